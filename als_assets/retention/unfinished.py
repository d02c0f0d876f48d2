"""What an earlier pass has begun and not ended: deletions, and jobs that read keepers.

Belongs here: which deletions go on, are called off, or are told to people, and why; ending jobs that nobody waits for.
Does not: deleting (letting_go), or new deletions (passes).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from als_assets.retention.letting_go import OF_RETENTION, LettingGo, Sent
from als_assets.retention.order import Order
from als_assets.retention.planner import Planner
from beamlines.deletion import CopyFacts, Found, Scene, may_go_on
from beamlines.scans import PartitionKey, ScanId
from resources.certificates import Certificate, Deletion
from resources.clock import Clock
from resources.ending import Ending
from resources.errors import EpochLostError, PlatformError
from resources.facilities.checksums import reads_copies
from resources.owner import Owner
from resources.rereading import Asked, Reread

LEFT = "its pass has ended, and what it reads proves nothing to another one"


def end_left_reading(ending: Ending, here: Owner, clock: Clock, say: Callable[[str], None]) -> None:
    """End the jobs that read keepers for a pass whose worker is dead. What cannot be ended now, a later pass ends."""
    for record in ending.in_flight():
        if reads_copies(record) and record.owner.is_dead(seen_from=here, heartbeat=record.heartbeat, now=clock.now()):
            try:
                ending.end(record, LEFT)
                say(f"ended {record.said}: {LEFT}")
            except (PlatformError, LookupError) as error:
                say(f"{record.said} was left by an earlier pass, and is not ended now: {error}")


@dataclass(frozen=True, slots=True)
class Unfinished:
    """What is open at one place; of one partition alone, where a pass is about that alone."""

    planner: Planner
    letting_go: LettingGo
    read: Callable[[Sequence[Asked]], Sequence[Reread]]
    partition: str | None = None

    def go_on(self) -> tuple[list[Certificate], list[str]]:
        """What was finished, and what a person must look at. Raises EpochLostError."""
        finished: list[Certificate] = []
        problems: list[str] = []
        for certificate in self.planner.tables.certificates.open():
            deletion = certificate.deletion
            if deletion.asset.partition("/")[0] != self.planner.place:
                continue
            if self.partition not in (None, deletion.partition):
                continue
            try:
                if (why_off := self._why_called_off(certificate)) is not None:
                    self.letting_go.call_off(certificate, why_off)
                elif (why_not := self._why_not_finished(certificate)) is None:
                    finished.append(self.letting_go.finish(certificate))
                else:
                    problems.append(f"{deletion.asset} of {deletion.partition} is deleted in part, perhaps: {why_not}")
            except EpochLostError:
                raise
            except PlatformError as error:
                problems.append(f"{deletion.asset} of {deletion.partition} is deleted in part, perhaps: {error}")
        return finished, problems

    def _why_called_off(self, certificate: Certificate) -> str | None:
        """Why it is given up. What was proven is old by then: where nothing was sent, this pass makes a new proof."""
        deletion = certificate.deletion
        if deletion.asset not in self.planner.copies:
            return None
        sent = self.letting_go.sent(certificate)
        if sent is Sent.NEVER:
            return "the pass ended before anything was sent out; decided anew"
        latest = self.planner.latest(deletion.asset, deletion.partition)
        if sent is not Sent.DONE and latest not in (None, deletion.storage_id):
            return "it was recorded anew since: what lies there is another copy"
        return None

    def _why_not_finished(self, certificate: Certificate) -> str | None:
        """Why it must not go on. What was sent is followed to its end; before anything is sent again all is asked."""
        deletion = certificate.deletion
        if any(asset not in self.planner.copies for asset in (deletion.asset, *(k.asset for k in deletion.keepers))):
            return "it, or what keeps it, is no asset any more"
        if self.letting_go.sent(certificate) is not Sent.PERHAPS:
            return None
        if not (before := may_go_on(self._scene(deletion))).allowed:
            return str(before)
        asked = [
            Asked(self.planner.copies[keeper.asset], PartitionKey.parse(keeper.partition))
            for keeper in deletion.keepers
        ]
        bad = [
            f"{again.asked.said}: {again.detail}"
            for keeper, again in zip(deletion.keepers, self.read(asked), strict=True)
            if again.found is not Found.EQUAL or again.manifest_sha256 != keeper.checksum
        ]
        # Reading takes its time: a run may have begun meanwhile, or a person have held the scan.
        after = may_go_on(self._scene(deletion))
        return "; ".join(bad) or (None if after.allowed else str(after))

    def _scene(self, deletion: Deletion) -> Scene:
        known = self.planner.known_of(Order(author=""), deletion.scan, {deletion.partition})
        standing = self.planner.tables.standings.of(deletion.scan)
        restriction = self.planner.beamline.export_control.restriction(ScanId.from_key(deletion.scan), standing)
        return Scene(
            CopyFacts(deletion.asset, self.planner.copies[deletion.asset].place.role),
            {},
            standing,
            None if restriction is None else restriction[0],
            holds=known.holding(deletion.asset, deletion.partition),
            work=[work for work in known.work.of(deletion.scan) if OF_RETENTION not in work],
        )
