"""What each fault is: what is done before the run, while it runs, and by whoever mends it afterwards.

Belongs here: the table of faults, by the names that the plan has.
Does not: their order (plan), the means (stage), or what must hold afterwards (judgement).
"""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from beamlines.places import Store
from beamlines.standing import SeenFile
from campaign.calls import Call
from campaign.plan import JOB_FAULTS
from campaign.sites import BatchSite
from campaign.stage import Stage, corrupt, truncate
from twin.faults import Fault
from twin.globus.conditions import FaultCode, TaskFault
from twin.traps import Moment, Release

Act = Callable[[Stage], None]
MANY = 100_000
LATE_S = {"globus": 3.0, "facility": 11.0}
"""A little more than each client waits for an answer."""
CLOCKS_DIFFER = timedelta(minutes=25)
_CONSENT = {"code": "ConsentRequired", "message": "no consent", "request_id": "r", "required_scopes": ["data_access"]}


def nothing(_: Stage) -> None:
    """Nothing to do here."""


@dataclass(frozen=True)
class Injection:
    """One fault."""

    before: Act = nothing
    """Before the first run is started."""
    meanwhile: Act = nothing
    """While the first run runs; returns when nothing more is to be done."""
    mend: Act = nothing
    """By a person, after the first run has ended; faults outside and outages end by themselves."""
    again: Act = nothing
    """While the second run runs."""
    clock_ahead: timedelta = timedelta()
    """Of the machine of the first run."""


# -- at a call ---------------------------------------------------------------------------------------------------


def kill(moment: Moment, release: Release) -> Injection:
    """The worker is killed at the case's call."""

    def act(stage: Stage) -> None:
        trap = stage.trap(_call(stage), moment)
        if stage.caught(trap):
            if moment is Moment.ANSWERED:
                time.sleep(stage.chance.uniform(0, 0.04))  # whatever it does first with the answer
            stage.kill()
        trap.release(release)

    return Injection(meanwhile=act)


def terminate(release: Release) -> Injection:
    """A person terminates the run while it waits for the answer to the case's call."""

    def act(stage: Stage) -> None:
        trap = stage.trap(_call(stage), Moment.ARRIVED)
        if stage.caught(trap):
            stage.terminate()
        trap.release(release)

    return Injection(meanwhile=act)


def answered(times: tuple[int, ...], **fault: Any) -> Injection:
    """The case's call, and perhaps the next of its name, are answered otherwise."""

    def before(stage: Stage) -> None:
        call, document = _call(stage), dict(fault)
        if document.get("status") == 403 and "/transfer/" in call.pattern:
            document["body"] = _CONSENT
        times_here = stage.chance.choice(times)
        stage.lane.twin.control.injector.add(Fault(match=call.pattern, skip=call.nth - 1, times=times_here, **document))
        stage.met = True

    return Injection(before=before)


def late(stage: Stage) -> None:
    """The call is executed, and its answer does not come in the time that the client waits."""
    call = _call(stage)
    of = "globus" if "/transfer/" in call.pattern or "/auth/" in call.pattern else "facility"
    stage.lane.twin.control.injector.add(
        Fault(match=call.pattern, skip=call.nth - 1, after=True, drop=True, delay_s=LATE_S[of])
    )
    stage.met = True


def _call(stage: Stage) -> Call:
    assert stage.case.call is not None  # noqa: S101 - the plan gives these faults a call
    return stage.case.call


# -- anywhere ----------------------------------------------------------------------------------------------------


def kill_anytime(stage: Stage) -> None:
    stage.nap(stage.chance.uniform(0, stage.usual_s))
    stage.kill()


def kill_at_any_call(stage: Stage) -> None:
    stage.at_any_call(stage.kill)


def terminate_anytime(stage: Stage) -> None:
    stage.nap(stage.chance.uniform(0, stage.usual_s))
    stage.terminate()


def outage(*paths: str) -> Injection:
    """Services that do not answer for some time, from some call on: minutes, in the hurry of the worker's clock.

    With no path it is the facility's own.
    """

    def act(stage: Stage) -> None:
        how: dict[str, Any] = stage.chance.choice([{"status": 503}, {"status": 502}, {"drop": True}])

        def begin() -> None:
            for path in paths or (stage.lane.site.address,):
                stage.lane.twin.control.injector.add(Fault(match=f"* {path}*", times=MANY, **how))
            stage.nap(stage.chance.uniform(0.5, 5))
            stage.lane.twin.control.injector.clear()

        stage.at_any_call(begin)

    return Injection(meanwhile=act)


def globus_tokens_end(stage: Stage) -> None:
    stage.at_any_call(lambda: _ignored(stage.lane.twin.control.issuer.expire_all()))


def facility_tokens_end(stage: Stage) -> None:
    stage.at_any_call(_batch_site(stage).end_tokens)


def collection_down(place: str | None = None) -> Injection:
    """A collection's server does not answer for some time; with no place, where the facility has its raw files."""

    def act(stage: Stage) -> None:
        collection = _collection(stage, place)

        def begin() -> None:
            stage.lane.twin.control.board.change({"down": [collection]})
            stage.nap(stage.chance.uniform(0.5, 4))
            stage.lane.twin.control.board.change({"down": []})

        stage.at_any_call(begin)

    return Injection(meanwhile=act)


def quota(place: str | None = None) -> Injection:
    """No room at a place, until somebody makes some; with none named, where the facility has its raw files."""

    def before(stage: Stage) -> None:
        collection = _collection(stage, place)
        stage.lane.twin.control.board.change({"quota_bytes": {collection: 1}})
        stage.met = True

    return Injection(before=before)


def file_fault(*codes: FaultCode) -> Injection:
    """Something is wrong with one file on its way, once or for long."""

    def before(stage: Stage) -> None:
        manifest = stage.manifest("data832/raw").name
        file = stage.chance.choice([f"{stage.name}.h5", f"{stage.name}.h5", manifest])
        file = f"{stage.name}.h5" if stage.case.part == "ingest" else file
        fault = TaskFault(name=file, code=stage.chance.choice(codes), times=stage.chance.choice([1, 2, 50]))
        stage.lane.twin.control.board.add_fault(fault)
        stage.met = True

    return Injection(before=before)


# -- jobs --------------------------------------------------------------------------------------------------------


def job_fault(stage: Stage) -> None:
    """The next job meets the case's fault, some time after it has started."""
    stage.lane.site.break_job(stage.case.fault, after_s=stage.chance.uniform(0, 0.6))
    stage.met = True


def job_shown_late(stage: Stage) -> None:
    _batch_site(stage).show_late(stage.chance.uniform(0.2, 1))
    stage.met = True


def controller_down(stage: Stage) -> None:
    def begin() -> None:
        stage.lane.site.away(is_away=True)
        stage.nap(stage.chance.uniform(0.3, 4))
        stage.lane.site.away(is_away=False)

    stage.at_any_call(begin)


# -- files -------------------------------------------------------------------------------------------------------


def damaged_source(how: Callable[[Path], None]) -> Injection:
    """The first copy has decayed before the branch takes it; a person puts a good one there."""

    def before(stage: Stage) -> None:
        how(stage.path("data832/raw"))
        stage.met = True

    def mend(stage: Stage) -> None:
        stage.path("data832/raw").write_bytes(stage.lane.phantom)

    return Injection(before=before, mend=mend)


def damaged_product(how: Callable[[Path], None]) -> Injection:
    """A product has decayed at the facility before it is copied back; a person removes what is left of it."""

    def act(stage: Stage) -> None:
        asset = f"{_work(stage)}/{stage.chance.choice(['tiff', 'zarr'])}"
        trap = stage.trap(Call(stage.case.part, "transfer-submit", 2), Moment.ARRIVED)
        if stage.caught(trap):
            stage.damage(asset, how)
        trap.release()

    return Injection(meanwhile=act, mend=remove_damaged_products)


def remove_damaged_products(stage: Stage) -> None:
    """What the programs' own messages ask for: they make nothing over what they cannot account for."""
    for asset in [f"{_work(stage)}/tiff", f"{_work(stage)}/zarr"]:
        if f"{stage.lane.settings.beamline.name}/{asset}" in stage.damaged:
            _remove(stage, asset)


def removed_product(stage: Stage) -> None:
    """Scratch is purged between the job and the copies."""
    trap = stage.trap(Call(stage.case.part, "submission-id", 2), Moment.ARRIVED)
    if stage.caught(trap):
        asset = f"{_work(stage)}/{stage.chance.choice(['tiff', 'zarr'])}"
        _remove(stage, asset)
        stage.damaged.add(f"{stage.lane.settings.beamline.name}/{asset}")
    trap.release()


def truncated_manifest(stage: Stage) -> None:
    """A manifest is cut off after the job has ended, before it is read for the copies."""
    trap = stage.trap(Call(stage.case.part, "file-listing", 5), Moment.ARRIVED)
    if stage.caught(trap):
        asset = f"{_work(stage)}/{stage.chance.choice(['tiff', 'zarr'])}"
        truncate(stage.manifest(asset))
        stage.damaged.add(f"{stage.lane.settings.beamline.name}/{asset}")
    trap.release()


def damaged_on_arrival() -> Injection:
    """A copy on site is cut off after Globus has compared it, before it is looked at; a person removes it."""
    place = "data832"

    def asset(stage: Stage) -> str:
        return f"{place}/{stage.case.part}_tiff"

    def act(stage: Stage) -> None:
        trap = stage.trap(Call(stage.case.part, "listing", 1), Moment.ARRIVED)
        if stage.caught(trap):
            if stage.path(asset(stage)).exists():
                stage.damage(asset(stage), truncate)
            else:
                stage.met = False  # where marks are listed, the first listing comes long before
        trap.release()

    def mend(stage: Stage) -> None:
        if stage.damaged:
            _remove(stage, asset(stage))

    return Injection(meanwhile=act, mend=mend)


def source_changed() -> Injection:
    """Somebody writes to the scan while it is copied; a person puts it right and accepts it."""

    def source(stage: Stage) -> Path:
        beamline = stage.lane.settings.beamline
        return Path(beamline.places[beamline.scans.place].at(Store.RAW, f"{stage.key}.h5").posix)

    def act(stage: Stage) -> None:
        trap = stage.trap(Call("ingest", "transfer-submit", 1), Moment.ARRIVED)
        if stage.caught(trap):
            with source(stage).open("ab") as file:
                file.write(b"more")
            # What Globus copies of it now is whole to Globus, and has to be copied again all the same.
            stage.damaged.add(f"{stage.lane.settings.beamline.name}/data832/raw")
        trap.release()

    def mend(stage: Stage) -> None:
        if stage.met:
            source(stage).write_bytes(stage.lane.phantom)
            now, status = datetime.now(UTC), source(stage).stat()
            seen = SeenFile(status.st_size, datetime.fromtimestamp(int(status.st_mtime), UTC))
            stage.lane.standings.accept(stage.key, seen, author="campaign", note="as it was measured", at=now)
            # What was copied of the changed file is no scan, and a person takes it away.
            stage.path("data832/raw").unlink(missing_ok=True)

    return Injection(meanwhile=act, mend=mend)


def _batch_site(stage: Stage) -> BatchSite:
    site = stage.lane.site
    assert isinstance(site, BatchSite)  # noqa: S101 - only these have the faults that ask for it
    return site


def _collection(stage: Stage, place: str | None) -> str:
    beamline = stage.lane.settings.beamline
    return beamline.places[place or beamline.facilities[stage.lane.facility].raw].collection


def _work(stage: Stage) -> str:
    return stage.lane.settings.beamline.facilities[stage.case.part].work


def _remove(stage: Stage, asset: str) -> None:
    stage.manifest(asset).unlink(missing_ok=True)
    shutil.rmtree(stage.path(asset), ignore_errors=True)


def _ignored(_: object) -> None:
    """A call whose answer is of no interest."""


def injection(fault: str) -> Injection:
    """What a fault of the plan is. Raises KeyError for one that nobody has written down here."""
    return _TABLE[fault]


_ONCE, _OFTEN = (1,), (1, 3, 30)
_TABLE: dict[str, Injection] = {
    "kill-before": kill(Moment.ARRIVED, Release.DROP),
    "kill-during": kill(Moment.ARRIVED, Release.GO_ON),
    "kill-after": kill(Moment.ANSWERED, Release.GO_ON),
    "terminate-before": terminate(Release.DROP),
    "terminate-during": terminate(Release.GO_ON),
    "lost": answered(_OFTEN, after=True, drop=True),
    "dropped": answered(_OFTEN, drop=True),
    "bad-gateway-lost": answered(_OFTEN, after=True, status=502),
    "401": answered((1, 3), status=401, body={"code": "AuthenticationFailed", "message": "the token has expired"}),
    "403": answered((1, 3), status=403, body={"detail": "Could not validate credentials"}),
    "429": answered((1, 3), status=429, headers={"Retry-After": "1"}),
    "500": answered(_OFTEN, status=500),
    "503": answered(_OFTEN, status=503),
    "nonsense": answered(_OFTEN, status=200, body={"login": "a proxy's page"}),
    "late": Injection(before=late),
    "kill-anytime": Injection(meanwhile=kill_anytime),
    "kill-twice": Injection(meanwhile=kill_at_any_call, again=kill_at_any_call),
    "terminate-anytime": Injection(meanwhile=terminate_anytime),
    "outage-globus": outage("/transfer/", "/auth/"),
    "outage-facility": outage(),
    "outage-everything": outage("/"),
    "tokens-globus": Injection(meanwhile=globus_tokens_end),
    "tokens-facility": Injection(meanwhile=facility_tokens_end),
    "clock-ahead": Injection(meanwhile=kill_at_any_call, clock_ahead=CLOCKS_DIFFER),
    "clock-behind": Injection(meanwhile=kill_at_any_call, clock_ahead=-CLOCKS_DIFFER),
    **dict.fromkeys(JOB_FAULTS, Injection(before=job_fault)),
    "job-shown-late": Injection(before=job_shown_late),
    "controller-down": Injection(meanwhile=controller_down),
    "file-corrupted-on-the-way": file_fault(FaultCode.CORRUPT),
    "file-not-readable": file_fault(FaultCode.FILE_NOT_FOUND, FaultCode.PERMISSION_DENIED, FaultCode.ENDPOINT_ERROR),
    "quota-data832": quota("data832"),
    "quota-raw": quota(),
    "collection-down-spot832": collection_down("spot832"),
    "collection-down-raw": collection_down(),
    "source-changed": source_changed(),
    "raw-corrupted": damaged_source(corrupt),
    "raw-truncated": damaged_source(truncate),
    "product-truncated": damaged_product(truncate),
    "product-corrupted": damaged_product(corrupt),
    "product-removed": Injection(meanwhile=removed_product),
    "manifest-truncated": Injection(meanwhile=truncated_manifest, mend=remove_damaged_products),
    "result-damaged-on-arrival": damaged_on_arrival(),
}
