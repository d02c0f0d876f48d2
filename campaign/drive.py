"""The course of a case: a scan, a run in which something goes wrong, and runs until all is well or nothing helps.

Belongs here: what Dagster and people do after each end, and collecting what is judged.
Does not: the faults (injections), or what is right (judgement).
"""

import random
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import dagster as dg

from beamlines.places import Store
from campaign import worker
from campaign.calls import Call, calls_of
from campaign.injections import Act, Injection, injection, nothing
from campaign.judgement import RunSeen, Seen, judge
from campaign.lane import Lane, Run
from campaign.outside import content
from campaign.plan import Case
from campaign.stage import LONGEST_RUN_S, Stage

INGEST = "ingest"
MOST_RUNS = 5
SETTLES_IN_S = 8.0
"""What was told to end outside has ended by then."""


@dataclass(frozen=True)
class Undisturbed:
    """What a scan is like that nothing has disturbed."""

    calls: tuple[Call, ...]
    contents: Mapping[str, Mapping[str, str]]
    """By asset."""
    seconds: Mapping[str, float]
    """By part."""


@dataclass(frozen=True)
class Outcome:
    """How a case has ended."""

    case: Case
    findings: tuple[str, ...]
    runs: tuple[RunSeen, ...]
    met: bool
    """Whether what was to go wrong came about: a run may make fewer calls than usual."""
    seconds: float

    @property
    def way(self) -> str:
        """In a few words: what each run ended with."""
        return ", then ".join(_word(run) for run in self.runs)


def undisturbed(lane: Lane) -> Undisturbed:
    """Run both parts once with nothing going wrong. Raises RuntimeError where that does not work by itself."""
    calls: list[Call] = []
    contents: dict[str, Mapping[str, str]] = {}
    seconds: dict[str, float] = {}
    for part in (INGEST, lane.facility):
        began, name = time.monotonic(), f"undisturbed_{part}"
        key = _arrived(lane, part, name)
        lane.twin.control.injector.clear_log()
        job, assets = lane.job_of(part), _wanted(lane, part)
        run = lane.start(job, key, assets)
        run.process.join(LONGEST_RUN_S)
        seen = _seen(lane, run, killed=False, terminated=False)
        if seen.status != "SUCCESS":
            raise RuntimeError(f"a {part} run that nothing disturbs ends as {seen}")
        calls += calls_of(part, [entry.request for entry in lane.twin.control.injector.requests()])
        contents |= {asset: content(lane.path_of(asset, key), name) for asset in assets}
        seconds[part] = time.monotonic() - began
    return Undisturbed(tuple(calls), contents, seconds)


def drive(lane: Lane, case: Case, usual: Undisturbed, seed: int) -> Outcome:
    """Carry a case out and judge it."""
    began = time.monotonic()
    lane.in_order()
    name = f"s{seed}_{case.id.replace(':', '_')}_{int(began * 1000)}"
    jobs_before = frozenset(job.job_id for job in lane.site.jobs())
    key = _arrived(lane, case.part, name)
    stage = Stage(
        lane=lane,
        case=case,
        key=key,
        name=name,
        calls=[call for call in usual.calls if call.part == case.part],
        usual_s=usual.seconds[case.part],
        chance=random.Random(f"{seed}:{case.chance}"),
    )
    wanted = _wanted(lane, case.part)
    runs = _runs(stage, injection(case.fault), wanted, jobs_before)
    _settle(lane, name, jobs_before)
    materialized = lane.materialized(key, wanted)
    seen = Seen(
        runs=tuple(runs),
        outside=lane.look(name, jobs_before),
        records=tuple(lane.ledger.attempts_of(key)),
        wanted=frozenset(wanted),
        materialized=frozenset(materialized),
        contents={asset: content(lane.path_of(asset, key), name) for asset in materialized},
        right=usual.contents,
        damaged=frozenset(stage.damaged),
        source_is_there=_source(lane, key).read_bytes() == lane.phantom,
    )
    return Outcome(case, tuple(judge(seen)), seen.runs, stage.met, time.monotonic() - began)


def _runs(stage: Stage, fault: Injection, wanted: tuple[str, ...], jobs_before: frozenset[str]) -> list[RunSeen]:
    """The first run, in which the fault comes; then, when it is mended, as many as are needed."""
    fault.before(stage)
    runs = [_run(stage, wanted, fault, fault.meanwhile, jobs_before)]
    stage.lane.in_order()
    fault.mend(stage)
    while runs[-1].status != "SUCCESS" and len(runs) < MOST_RUNS:
        # Dagster's own retry, of a worker that died, leaves out what was made; a person asks for everything again.
        is_retry = runs[-1].killed and stage.chance.random() < 0.7
        made = stage.lane.materialized(stage.key, wanted) if is_retry else set()
        rest = tuple(asset for asset in wanted if asset not in made)
        act = fault.again if len(runs) == 1 else nothing
        runs.append(_run(stage, rest or wanted, Injection(), act, jobs_before))
        stage.lane.in_order()
    if stage.damaged and runs[-1].status == "SUCCESS":
        # What was damaged is made again only where somebody asks for it.
        runs.append(_run(stage, wanted, Injection(), nothing, jobs_before))
    return runs


def _run(stage: Stage, assets: tuple[str, ...], fault: Injection, act: Act, jobs_before: frozenset[str]) -> RunSeen:
    lane = stage.lane
    stage.killed = stage.terminated = False
    stage.run = lane.start(lane.job_of(stage.case.part), stage.key, assets, fault.clock_ahead)
    act(stage)
    stage.run.process.join(LONGEST_RUN_S)
    seen = _seen(lane, stage.run, killed=stage.killed, terminated=stage.terminated)
    if seen.terminated and seen.status == "CANCELED":
        seen = replace(seen, left_running=tuple(_settle(lane, stage.name, jobs_before)))
    return seen


def _seen(lane: Lane, run: Run, *, killed: bool, terminated: bool) -> RunSeen:
    ended = not run.is_alive
    if not ended:
        run.kill()
    recorded = lane.instance.get_run_by_id(run.run_id)
    if recorded is not None and not recorded.is_finished:
        # As the daemon does for a worker that is gone.
        lane.instance.report_run_failed(recorded, "the worker is gone")
        recorded = lane.instance.get_run_by_id(run.run_id)
    status = recorded.status.value if recorded is not None else "FAILURE"
    errors, unnamed = _errors(worker.event_log(lane.instance, run.run_id))
    return RunSeen(status, errors, unnamed, killed or run.process.exitcode == -9, terminated, ended)


def _errors(events: Iterable[dg.DagsterEvent]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    named: list[str] = []
    unnamed: list[str] = []
    for event in events:
        if not event.is_step_failure:
            continue
        failure = event.step_failure_data
        said = failure.user_failure_data
        if said is not None and "error" in said.metadata:
            named.append(str(said.metadata["error"].value))
        elif said is not None and "is not what it must be" in str(said.description):
            named.append("NotWhatItMustBe")
        else:
            chain = _chain(failure.error)
            retried = [name for name in chain if name in RETRIED]
            if retried:
                named.append(f"{retried[0]}, after every retry")
            elif "DagsterExecutionInterruptedError" not in chain:
                unnamed.append(f"{' < '.join(chain)}: {failure.error.message.strip() if failure.error else ''}"[:400])
    return tuple(named), tuple(unnamed)


RETRIED = ("ServiceUnavailableError", "WorkInterruptedError")


def _chain(error: object) -> list[str]:
    names = []
    while error is not None:
        names.append(str(getattr(error, "cls_name", error)))
        error = getattr(error, "cause", None) or getattr(error, "context", None)
    return names


def _settle(lane: Lane, name: str, jobs_before: frozenset[str]) -> list[str]:
    """Wait until nothing of a scan runs outside any more; what still does after some time."""
    give_up = time.monotonic() + SETTLES_IN_S
    while (running := lane.look(name, jobs_before).running) and time.monotonic() < give_up:
        time.sleep(0.05)
    return running


def _arrived(lane: Lane, part: str, name: str) -> str:
    key = lane.arrive(name)
    if part != INGEST:
        lane.ingest(key)
    return key


def _wanted(lane: Lane, part: str) -> tuple[str, ...]:
    """The assets that a part of a scan's way makes; the preview, which asks nobody outside, is not among them."""
    return tuple(asset for asset in lane.assets_of(lane.job_of(part)) if not asset.endswith("/preview"))


def _source(lane: Lane, key: str) -> Path:
    beamline = lane.settings.beamline
    return Path(beamline.places[beamline.scans.place].at(Store.RAW, f"{key}.h5").posix)


def _word(run: RunSeen) -> str:
    if run.killed:
        return "killed"
    if run.terminated:
        return "terminated"
    return "complete" if run.status == "SUCCESS" else "stopped: " + (", ".join(sorted(set(run.errors))) or run.status)
