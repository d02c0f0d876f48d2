"""A pass over one place: open deletions finished, everything decided, keepers proven, copies let go.

Belongs here: the order of a pass, and what is asked anew just before each deletion.
Does not: decisions (planning, proving), one deletion (letting_go), or jobs and schedules (jobs, sensors.retention).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import dagster as dg

from als_assets import records as dagster_records
from als_assets.checks import ABOUT_THE_SCAN, check_names
from als_assets.naming import asset_key
from als_assets.retention import records
from als_assets.retention.letting_go import LettingGo
from als_assets.retention.order import Order
from als_assets.retention.planner import Planner
from als_assets.retention.planning import Candidate, Plan
from als_assets.retention.proving import Evidence, prove
from als_assets.retention.unfinished import Unfinished
from beamlines.decisions import Decision, Reason
from beamlines.deletion import Found
from beamlines.layout import Copy
from beamlines.scans import PartitionKey
from resources.candidates import AsRecorded, Seen, changed_since, look
from resources.certificates import Certificate, DeletionRefusedError
from resources.errors import EpochLostError, PlatformError
from resources.keepers import KeeperReader
from resources.recorded import RecordedCopy, Suspect
from resources.refusals import Refusal
from resources.remote import Pulse
from resources.rereading import Asked, Reread
from resources.transfer import Transfer

AT_ONCE = 100
"""So many candidates are proven together: what was proven must not be old when the last of them is deleted."""
YIELDS_FOR = timedelta(minutes=10)
"""How long a batch waits for transfers of scans to end. Then it begins all the same: a full place stops a beamline."""
_LOOKS_AGAIN_S = 5.0


@dataclass(slots=True)
class PassReport:
    """What a pass found and did."""

    plan: Plan
    deleted: list[Certificate] = field(default_factory=list)
    kept: list[tuple[Candidate, Decision]] = field(default_factory=list)
    """What was to go, and was kept by its proof or by what was seen just before."""
    problems: list[str] = field(default_factory=list)
    """What a person must look at."""
    waits: Decision | None = None
    """Why nothing was deleted at all, though something may go."""


@dataclass(frozen=True, slots=True)
class Beats:
    """What keeps the turn of a pass, and ends it where it is lost, or where a person ends the run."""

    pulse: Pulse
    """At every poll of remote work."""
    still_ours: Callable[[], None]
    """Just before a deletion."""
    now_and_then: Callable[[], None]
    """While a keeper is read here."""


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass over one place."""

    planner: Planner
    transfer: Transfer
    reader: KeeperReader
    letting_go: LettingGo
    beats: Beats
    say: Callable[[str], None]

    # -- carrying out --------------------------------------------------------------------------------------------

    def carry_out(self, order: Order) -> PassReport:
        """Finish what is open, decide about everything, and delete what may go, unless it is a dry run."""
        if order.dry_run or not self.planner.beamline.retention.places[self.planner.place].enforce:
            report = PassReport(self.planner.plan(order))
            report.waits = Decision.no(Reason.DRY_RUN, "nothing is deleted in a dry run")
            return report
        finished, problems = Unfinished(self.planner, self.letting_go, self._read, order.partition).go_on()
        report = PassReport(self.planner.plan(order), deleted=finished, problems=problems)
        if order.partition is None:
            self._record_refusals(report.plan)
        if not report.plan.brake.allowed and not order.beyond_the_brake:
            report.waits = report.plan.brake
            return report
        going = report.plan.going
        for start in range(0, len(going), AT_ONCE):
            self._let_go(order, going[start : start + AT_ONCE], report)
        return report

    def _let_go(self, order: Order, candidates: Sequence[Candidate], report: PassReport) -> None:
        self._yield_to_transfers()
        head = self.planner.tables.certificates.head()
        looked = {
            id(candidate): seen for candidate in candidates if (seen := self._look(candidate, report)) is not None
        }
        there = [candidate for candidate in candidates if id(candidate) in looked]
        for evidence in prove(self.planner.beamline, self.planner.copies, there, self._read, self._said):
            candidate = evidence.candidate
            self.beats.now_and_then()
            self._mark_different(evidence, report)
            decision = self._last_word(order, evidence, looked[id(candidate)])
            if not decision.allowed:
                self._keep(candidate, decision, report)
                continue
            self.beats.still_ours()
            try:
                report.deleted.append(self.letting_go.let_go(evidence, decision, head))
                self.say(f"deleted {candidate.name} of {candidate.partition}: {decision.detail}")
            except DeletionRefusedError as error:
                self._keep(candidate, Decision.no(Reason.UNKNOWN, str(error)), report)
            except EpochLostError:
                raise
            except PlatformError as error:
                report.problems.append(f"{candidate.name} of {candidate.partition}: {error}")

    def _last_word(self, order: Order, evidence: Evidence, seen: Seen) -> Decision:
        """Everything that may have changed while keepers were read is asked once more."""
        if not (judged := evidence.judged(None)).allowed:
            return judged
        candidate = evidence.candidate
        anew = self._recorded_anew(evidence)
        if anew is not None:
            return anew
        again = self.planner.decide_again(order, candidate)
        if not again.allowed:
            return again
        changed = self._changed(candidate, seen)
        old = evidence.outdated(self.planner.clock.now())
        return evidence.judged(changed) if old is None else Decision.no(Reason.KEEPER_NOT_READ, old)

    def _recorded_anew(self, evidence: Evidence) -> Decision | None:
        """Whether the copy, or one of its keepers, was made again or failed a check since it was decided about."""
        candidate = evidence.candidate
        mine = {candidate.name: candidate.record}
        for name, record in {**mine, **{name: candidate.others[name] for name in evidence.read}}.items():
            copy = self.planner.copies[name]
            partition = record.partition
            if self.planner.latest(name, partition) != record.storage_id:
                return Decision.no(Reason.UNKNOWN, f"{name} was recorded anew, or wiped, while keepers were read")
            failed = self._failed_checks(copy, partition)
            if failed:
                return Decision.no(Reason.SUSPECT, f"{name}: its latest check {', '.join(failed)} failed")
        return None

    def _failed_checks(self, copy: Copy, partition: str) -> list[str]:
        asset = asset_key(self.planner.beamline, copy)
        names = [name for name in check_names(self.planner.beamline, copy) if name not in ABOUT_THE_SCAN]
        keys = [dg.AssetCheckKey(asset, name) for name in names]
        found = self.planner.instance.event_log_storage.get_asset_check_partition_info(keys, partition_keys=[partition])
        return [info.check_key.name for info in found if info.latest_execution_status.value == "FAILED"]

    def _look(self, candidate: Candidate, report: PassReport) -> Seen | None:
        """How a candidate lies there before its keepers are read; None where it is kept for what was seen."""
        record = candidate.record
        self.beats.now_and_then()
        try:
            seen = look(self.transfer, *self._copy_of(candidate))
        except PlatformError as error:
            self._keep(candidate, Decision.no(Reason.UNKNOWN, str(error)), report)
            return None
        why = changed_since(None, seen, _as_recorded(record))
        if why is not None:
            self._suspect(candidate.name, candidate.partition, record.storage_id, why, report)
            self._keep(candidate, Decision.no(Reason.CANDIDATE_CHANGED, why), report)
            return None
        return seen

    def _changed(self, candidate: Candidate, seen: Seen) -> str | None:
        try:
            now = look(self.transfer, *self._copy_of(candidate))
        except PlatformError as error:
            return f"it cannot be looked at: {error.seen}"
        return changed_since(seen, now, _as_recorded(candidate.record))

    def _read(self, asked: Sequence[Asked]) -> Sequence[Reread]:
        return self.reader.read(asked, self.planner.run_id, self.beats.pulse, lambda *_: self.beats.now_and_then())

    # -- what is kept --------------------------------------------------------------------------------------------

    def _keep(self, candidate: Candidate, decision: Decision, report: PassReport) -> None:
        report.kept.append((candidate, decision))
        self.say(f"kept {candidate.name} of {candidate.partition}: {decision}")
        refusal = Refusal(candidate.name, candidate.partition, decision.reason, decision.detail)
        self.planner.tables.refusals.record([refusal], self.planner.clock.now())

    def _record_refusals(self, made: Plan) -> None:
        self.planner.tables.refusals.record(
            [Refusal(copy.asset, copy.partition, decision.reason, decision.detail) for copy, decision in made.refused],
            self.planner.clock.now(),
        )
        self.planner.tables.refusals.clear([(candidate.name, candidate.partition) for candidate in made.going])

    def _mark_different(self, evidence: Evidence, report: PassReport) -> None:
        for name, again in evidence.read.items():
            if again.found is Found.DIFFERENT:
                record = evidence.candidate.others[name]
                self._suspect(name, record.partition, record.storage_id, again.detail, report)
        for reading in evidence.readings:
            if reading.found is Found.DIFFERENT and evidence.read[reading.name].found is Found.EQUAL:
                report.problems.append(f"{reading.name} of {evidence.candidate.partition}: {reading.detail}")

    def _suspect(self, name: str, partition: str, storage_id: int, why: str, report: PassReport) -> None:
        self.planner.tables.suspects.add(Suspect(name, partition, storage_id, self.planner.clock.now(), why))
        problem = f"{name} of {partition} is not what was recorded: {why}"
        if problem not in report.problems:
            report.problems.append(problem)
            events = records.suspect_records(self.planner.beamline, self.planner.copies[name], partition, why)
            records.report(self.planner.instance, events, self.letting_go.by.run)

    # -- the rest ------------------------------------------------------------------------------------------------

    def _yield_to_transfers(self) -> None:
        """Let copies of scans go first, for a while."""
        until = self.planner.clock.now() + YIELDS_FOR
        while self.planner.clock.now() < until:
            moving = [
                record
                for record in self.planner.tables.ledger.in_flight()
                if record.facility is None and "#" not in record.asset
            ]
            if not moving:
                return
            self.say(f"waits for {len(moving)} transfers of scans")
            self.planner.clock.sleep(_LOOKS_AGAIN_S)

    def _said(self, name: str, partition: str) -> dict[str, object] | None:
        return dagster_records.newest(
            self.planner.instance, asset_key(self.planner.beamline, self.planner.copies[name]), partition
        )

    def _copy_of(self, candidate: Candidate) -> tuple[Copy, PartitionKey]:
        return self.planner.copies[candidate.name], PartitionKey.parse(candidate.partition)


def _as_recorded(record: RecordedCopy) -> AsRecorded:
    return AsRecorded(record.files, record.bytes, record.recorded)
