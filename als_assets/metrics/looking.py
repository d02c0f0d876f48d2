"""Looking at the platform for its metrics: counting what is new in the event log, and what is now.

Belongs here: one look, and what it found, as plain numbers.
Does not: which event counts as what (counting), or serving (exporter).
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import takewhile

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, SensorInstigatorData

from als_assets.graph import Graph
from als_assets.metrics import catalogue as names
from als_assets.metrics.catalogue import Metric
from als_assets.metrics.counting import Counter
from als_assets.retention.inventory import up_to_date
from als_assets.retention.tables import Tables
from beamlines.branches import Stage, stages
from beamlines.config import Beamline
from beamlines.retention import name_of
from resources.clock import Clock
from resources.counts import Counts
from resources.dagster_log import DagsterLog
from resources.database import Database
from resources.tallies import Series, Tallies

PAGE = 1_000
PAGES_A_LOOK = 20
SETTLED = timedelta(seconds=10)
"""A younger event waits: of two that are written at once the one with the smaller id may become visible last."""
FAILED_WITHIN = timedelta(days=7)
COPIES_EVERY_S, COPIES_SHARE = 60.0, 0.05
"""Copies are counted this often, and more rarely where it would take more of a core's time than this share."""
_RUN_STATES = {
    "queued": (dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED),
    "starting": (dg.DagsterRunStatus.STARTING,),
    "running": (dg.DagsterRunStatus.STARTED,),
    "canceling": (dg.DagsterRunStatus.CANCELING,),
}
STATES = ("arrived", "ingested", "in_branch", "done", "not_whole", "changed")
GLOBUS = "globus"

WaitingOf = Callable[[str], Collection[tuple[str, float]]]
"""What a router's cursor says of the scans that it has in hand: why, and since when (seconds since 1970)."""


@dataclass(slots=True)
class Values:
    """Numbers by series."""

    of: dict[Series, float] = field(default_factory=dict)

    def set(self, metric: Metric, value: float, **labels: str) -> None:
        """Say what a series is."""
        self.of[metric.name, tuple(sorted(labels.items()))] = value


@dataclass(slots=True)
class Looker:
    """Looks, one after another, and remembers what takes long."""

    graph: Graph
    instance: dg.DagsterInstance
    log: DagsterLog
    database: Database
    tables: Tables
    clock: Clock
    waiting_of: WaitingOf
    jobs: frozenset[str]
    sensors: frozenset[str]
    """Those that there are: Dagster remembers also such as there are no more."""
    _copies: Values = field(default_factory=Values)
    _copies_due: datetime | None = None

    def look(self) -> Mapping[Series, float]:
        """Count what is new, and say everything. Raises as the storages do."""
        values, now = Values(), self.clock.now()
        behind = self.count_on()
        values.of |= Tallies(self.database).sums()
        values.set(names.BEHIND, float(behind))
        self._say_runs(values, now)
        self._say_remote_work(values, now)
        self._say_sensors(values, now)
        values.of |= self._of_copies(now).of
        values.set(names.LOOK, now.timestamp())
        return values.of

    # -- what only grows -----------------------------------------------------------------------------------------

    def count_on(self) -> bool:
        """Count the next portions of the event log; whether more is left than one look takes."""
        tallies, counter = Tallies(self.database), self._counter()
        for _ in range(PAGES_A_LOOK):
            after, settled = tallies.position(), self.clock.now() - SETTLED
            page = self.log.after(after, PAGE)
            events = list(takewhile(lambda event: event.at <= settled, page))  # noqa: B023  # used up at once
            if not events:
                return False
            scans = {event.partition.partition("@")[0] for event in events if event.partition}
            sizes = {
                scan: standing.file.size_bytes
                for scan, standing in self.tables.standings.of_many(scans).items()
                if standing.file is not None
            }
            tallies.count(counter.count(events, sizes), after=after, up_to=events[-1].storage_id)
            if len(events) < PAGE:
                return False
        return True

    def _counter(self) -> Counter:
        return Counter(self._beamline.name, self._stages, self.jobs, self.log.failures)

    # -- what is now ---------------------------------------------------------------------------------------------

    def _say_runs(self, values: Values, now: datetime) -> None:
        for state, statuses in _RUN_STATES.items():
            number = self.instance.get_runs_count(dg.RunsFilter(statuses=[*statuses]))
            values.set(names.RUNS, number, state=state)
        queued = dg.RunsFilter(statuses=[*_RUN_STATES["queued"]])
        oldest = self.instance.get_run_records(queued, limit=1, ascending=True)
        age = (now - oldest[0].create_timestamp.astimezone(UTC)).total_seconds() if oldest else 0.0
        values.set(names.OLDEST_QUEUED, age)
        values.set(
            names.SCANS_FAILED, len({key.partition("@")[0] for key in self.log.failed_since(now - FAILED_WITHIN)})
        )

    def _say_remote_work(self, values: Values, now: datetime) -> None:
        records = self.tables.ledger.in_flight()
        for where in (GLOBUS, *self._beamline.facilities):
            mine = [record for record in records if (record.facility or GLOBUS) == where]
            for state in ("intent", "submitted"):
                values.set(names.REMOTE_WORK, sum(r.state == state for r in mine), where=where, state=state)
            ages = [(now - record.created).total_seconds() for record in mine]
            values.set(names.OLDEST_REMOTE, max(ages, default=0.0), where=where)

    def _say_sensors(self, values: Values, now: datetime) -> None:
        for status in self.instance.get_daemon_statuses().values():
            if status.required and status.last_heartbeat is not None:
                values.set(names.HEARTBEAT, status.last_heartbeat.timestamp, daemon=status.daemon_type.lower())
        states = {
            s.instigator_name: s for s in self.instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)
        }
        for name in sorted(self.sensors):
            state = states.get(name)
            is_off = state is not None and state.status is InstigatorStatus.STOPPED
            data = None if state is None else _data(state)
            values.set(names.SENSOR_ON, float(not is_off), sensor=name)
            values.set(names.TICK, (data and data.last_tick_success_timestamp) or 0.0, sensor=name)
        for branch in self._beamline.facilities:
            found = states.get(self._beamline.router(branch))
            self._say_waiting(values, branch, None if found is None else _data(found), now)

    def _say_waiting(self, values: Values, branch: str, data: SensorInstigatorData | None, now: datetime) -> None:
        waiting = self.waiting_of(data.cursor) if data is not None and data.cursor else ()
        for reason in {reason for reason, _ in waiting}:
            number = sum(why == reason for why, _ in waiting)
            values.set(names.SCANS_WAITING, number, branch=branch, reason=reason)
        ages = [now.timestamp() - since for _, since in waiting]
        values.set(names.OLDEST_WAITING, max(ages, default=0.0), branch=branch)

    # -- what takes longer ---------------------------------------------------------------------------------------

    def _of_copies(self, now: datetime) -> Values:
        """What was counted of copies, now or a moment ago."""
        if self._copies_due is None or now >= self._copies_due:
            self._copies = self._count_copies(now)
            took = (self.clock.now() - now).total_seconds()
            self._copies_due = now + timedelta(seconds=max(COPIES_EVERY_S, took / COPIES_SHARE))
        return self._copies

    def _count_copies(self, now: datetime) -> Values:
        values, counts, place_names = Values(), Counts(self.database), self._beamline.places
        copies = {name_of(copy): copy for copy in self.graph.copies}
        up_to_date(self.instance, self._beamline, copies, self.tables)
        at_places, refusals, suspects = counts.at_places(), counts.refusals(), counts.suspects()
        for place in place_names:
            found = at_places.get(place)
            values.set(names.PLACE_COPIES, found.copies if found else 0, place=place)
            values.set(names.PLACE_BYTES, found.bytes if found else 0, place=place)
            values.set(names.PLACE_FILES, found.files if found else 0, place=place)
            values.set(names.SUSPECTS, suspects.get(place, 0), place=place)
        for (place, reason), number in refusals.items():
            values.set(names.REFUSALS, number, place=place, reason=reason)
        scans = counts.scans(
            ingested=f"{self._beamline.scans.first_copy}/raw",
            in_branch=[name for name, stage in self._stages.items() if stage.branch is not None],
            last=[name_of(branch.copies[-1]) for branch in self.graph.branches.values()],
        )
        for state in STATES:
            values.set(names.SCANS, scans.get(state, 0), state=state)
        values.set(names.COPIES_LOOK, now.timestamp())
        return values

    @property
    def _beamline(self) -> Beamline:
        return self.graph.beamline

    @property
    def _stages(self) -> Mapping[str, Stage]:
        return {name_of(stage.copy): stage for stage in stages(self._beamline)}


def _data(state: InstigatorState) -> SensorInstigatorData | None:
    data = state.instigator_data
    return data if isinstance(data, SensorInstigatorData) else None
