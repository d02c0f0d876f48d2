"""What tests of sensors share: an acquisition machine in memory, and a daemon that can die in the middle of a tick.

Belongs here: drivers and stand-ins.
Does not: fixtures (tests), or the twin, which is the acquisition machine over HTTP.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import IntEnum

import dagster as dg
from dagster._core.definitions.partitions.context import partition_loading_context
from dagster._core.definitions.sensor_definition import SensorExecutionData
from dagster._core.execution.resources_init import get_transitive_required_resource_keys
from dagster._core.storage.tags import PARTITION_NAME_TAG, RUN_KEY_TAG
from dagster._core.test_utils import freeze_time

from resources.clock import Clock
from sensors.folders import Found, LookFailedError, join, parent


@dataclass(slots=True)
class Disk:
    """The acquisition machine's raw/ in memory, with a clock of its own that tells whole seconds."""

    clock: Clock
    ahead: timedelta = timedelta(0)
    """How far its clock is ahead of ours."""
    files: dict[str, tuple[int, float]] = field(default_factory=dict)
    folders: dict[str, float] = field(default_factory=dict)
    failing: set[str] = field(default_factory=set)
    looks: list[str] = field(default_factory=list)
    _inside: dict[str, set[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folders[""] = self.now
        self._inside[""] = set()

    @property
    def now(self) -> float:
        return float(int((self.clock.now() + self.ahead).timestamp()))

    def write(self, path: str, size_bytes: int) -> None:
        """Make a file, or write to one in place: only making it changes the time of its folder."""
        folder = parent(path)
        if folder not in self.folders:
            self.make(folder, self.now)
        if path not in self.files:
            self.folders[folder] = self.now
            self._inside[folder].add(path)
        self.files[path] = (size_bytes, self.now)

    def make(self, folder: str, time: float) -> None:
        """Make a folder, or move one in that has its own, older time."""
        if parent(folder) not in self.folders:
            self.make(parent(folder), time)
        self.folders[folder], self.folders[parent(folder)] = time, self.now
        self._inside[folder] = set()
        self._inside[parent(folder)].add(folder)

    def remove(self, path: str) -> None:
        """Remove a file, or a folder and what is in it."""
        for inside in [*self._inside.get(path, ())]:
            self.remove(inside)
        self._inside.pop(path, None)
        self.files.pop(path, None)
        self.folders.pop(path, None)
        self.folders[parent(path)] = self.now
        self._inside[parent(path)].discard(path)

    def look(self, folder: str) -> Collection[Found] | None:
        """A listing, as the service makes one."""
        self.looks.append(folder)
        if folder in self.failing:
            raise LookFailedError(f"{folder!r} does not answer")
        if folder not in self.folders:
            return None
        return [self._found(path) for path in sorted(self._inside[folder])]

    def _found(self, path: str) -> Found:
        name = path.removeprefix(join(parent(path), ""))
        size_bytes, time = self.files.get(path, (0, self.folders.get(path, 0.0)))
        return Found(name, path in self.folders, size_bytes, datetime.fromtimestamp(time, UTC))


class Stage(IntEnum):
    """What the daemon does with a tick's outcome, in its order."""

    EVENTS = 1
    PARTITIONS = 2
    RUNS = 3
    CURSOR = 4


@dataclass(slots=True)
class Switch:
    """What the daemon remembers of a sensor."""

    started: float
    cursor: str | None = None
    last_tick: float | None = None


@dataclass(slots=True)
class Daemon:
    """Ticks sensors as Dagster's daemon does (dagster._daemon.sensor), and dies where a test wants it to.

    Runs are created, which records what they are planned to make, and never executed. A run key makes a second request
    of a run nothing.
    """

    instance: dg.DagsterInstance
    repository: dg.RepositoryDefinition
    clock: Clock
    switches: dict[str, Switch] = field(default_factory=dict)
    runs: list[tuple[str, str]] = field(default_factory=list)
    """Job and partition of every run that was created, in order."""

    def switch_on(self, sensor: str) -> None:
        """As a person does in the UI, after having switched it off."""
        self.switches[sensor].started = self._now()

    def report(self, event: dg.AssetMaterialization | dg.AssetObservation | dg.AssetCheckEvaluation) -> None:
        """Record an event of no run, at this daemon's time."""
        with freeze_time(self.clock.now()):
            self.instance.report_runless_asset_event(event)

    def tick(self, sensor: str, dies_before: Stage | None = None) -> SensorExecutionData:
        """One tick; what the sensor said. The cursor of a tick that raises or dies is not stored."""
        definition = self.repository.get_sensor_def(sensor)
        now = self._now()
        switch = self.switches.setdefault(sensor, Switch(started=now))
        last_tick, switch.last_tick = switch.last_tick, now
        resources = self.repository.get_top_level_resources()
        needed = get_transitive_required_resource_keys(definition.required_resource_keys, resources)
        with (
            partition_loading_context(dynamic_partitions_store=self.instance),
            # As the code server does; the public builder cannot say when the last tick was.
            dg.SensorEvaluationContext(
                instance_ref=self.instance.get_ref(),
                last_tick_completion_time=last_tick,
                last_run_key=None,
                cursor=switch.cursor,
                repository_name=self.repository.name,
                instance=self.instance,
                repository_def=self.repository,
                sensor_name=sensor,
                resources={name: resources[name] for name in needed},
                last_sensor_start_time=switch.started,
            ) as context,
        ):
            said = definition.evaluate_tick(context)
        for stage in Stage:
            if stage is dies_before:
                break
            self._carry_out(stage, definition, said, switch)
        return said

    def _carry_out(
        self, stage: Stage, definition: dg.SensorDefinition, said: SensorExecutionData, switch: Switch
    ) -> None:
        if stage is Stage.EVENTS:
            for event in said.asset_events:
                self.report(event)
        elif stage is Stage.PARTITIONS:
            for request in said.dynamic_partitions_requests or []:
                self.instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
        elif stage is Stage.RUNS:
            for wanted in said.run_requests or []:
                self._create(str(definition.job_name), wanted)
        else:
            switch.cursor = said.cursor

    def _create(self, job: str, wanted: dg.RunRequest) -> None:
        if self.instance.get_runs(dg.RunsFilter(tags={RUN_KEY_TAG: str(wanted.run_key)})):
            return
        partition = {} if wanted.partition_key is None else {PARTITION_NAME_TAG: wanted.partition_key}
        tags = {**wanted.tags, RUN_KEY_TAG: str(wanted.run_key), **partition}
        chosen = None if wanted.asset_selection is None else frozenset(wanted.asset_selection)
        whole = self.repository.get_job(job)
        part = whole if chosen is None else whole.get_subset(asset_selection=chosen)
        self.instance.create_run_for_job(part, tags=tags, asset_selection=chosen)
        self.runs.append((job, str(wanted.partition_key)))

    def _now(self) -> float:
        return self.clock.now().timestamp()
