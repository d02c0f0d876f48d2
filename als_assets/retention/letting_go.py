"""One copy let go: looked at again, its certificate written, deleted, and the certificate completed.

Belongs here: the order of these, so that whatever is interrupted can be finished, and nothing goes without a
certificate. Does not: which copies (planning), whether they may (proving), or how Globus deletes (resources.transfer).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import dagster as dg

from als_assets.naming import asset_key
from als_assets.retention import records
from als_assets.retention.proving import Evidence
from als_assets.retention.tables import Tables
from beamlines.config import Beamline
from beamlines.decisions import Decision
from beamlines.layout import Artifact, Copy
from beamlines.scans import PartitionKey
from resources.certificates import Certificate, Deletion
from resources.chain import Head
from resources.clock import Clock
from resources.copies import DeleteReceipt, delete_receipt
from resources.owner import Owner
from resources.remote import NEVER_SENT, Pulse
from resources.transfer import Transfer
from resources.work import Record, WorkKey, WorkState

OF_RETENTION = "#retention"
"""In the names of its remote work."""


class Sent(StrEnum):
    """How far the deletion of a certificate has come, by the ledger."""

    NEVER = "nothing was ever sent out"
    PERHAPS = "something was sent out, or may have been"
    UNDER_WAY = "a task is at it"
    DONE = "the copy was deleted"


@dataclass(frozen=True, slots=True)
class By:
    """Who or what has the pass run."""

    author: str
    note: str
    run: dg.DagsterRun


@dataclass(frozen=True, slots=True)
class LettingGo:
    """Deletes copies one by one, each with its certificate."""

    beamline: Beamline
    copies: Mapping[str, Copy]
    instance: dg.DagsterInstance
    transfer: Transfer
    tables: Tables
    clock: Clock
    by: By
    pulse: Pulse

    def let_go(self, evidence: Evidence, decision: Decision, seen: Head) -> Certificate:
        """Certify, delete, and complete the certificate. ``decision`` is the yes of the judgement just made, ``seen``
        the end of the log of certificates before the first keeper was read.

        Raises DeletionRefusedError, and then nothing was done; and what a deletion raises: then the certificate stays
        open, and the next pass goes on with it.
        """
        candidate = evidence.candidate
        copy, key = self.copies[candidate.name], PartitionKey.parse(candidate.partition)
        rule = {**candidate.rule.model_dump(mode="json"), "recipe": evidence.recipe}
        deletion = Deletion(
            asset=candidate.name,
            partition=candidate.partition,
            storage_id=candidate.record.storage_id,
            path=str(copy.location(key)),
            bytes=candidate.record.bytes,
            files=candidate.record.files,
            rule=rule,
            reason=f"{candidate.decision.detail}; {decision.detail}",
            keepers=evidence.keepers,
            author=self.by.author,
            note=self.by.note,
        )
        return self.finish(self.tables.certificates.begin(deletion, seen=seen, at=self.clock.now()))

    def finish(self, certificate: Certificate) -> Certificate:
        """Delete what an open certificate is about, or see that it was deleted, and complete the certificate.

        The asset's page is told before: a certificate that is complete is looked at by no pass again.
        """
        deletion = certificate.deletion
        copy, key = self.copies[deletion.asset], PartitionKey.parse(deletion.partition)
        parts = (self._deleted(certificate, copy, key, what) for what in _parts(self.beamline, copy))
        receipts = [receipt.to_json() for receipt in parts if receipt is not None]
        at = self.clock.now()
        records.report(self.instance, records.deleted_records(self.beamline, copy, key, certificate, at), self.by.run)
        return self.tables.certificates.finish(certificate, receipts, at)

    def sent(self, certificate: Certificate) -> Sent:
        """What has become of the deletion of the copy itself."""
        attempts = self._attempts(self._work(certificate, ""))
        if any(record.state is WorkState.SUCCEEDED for record in attempts):
            return Sent.DONE
        if all(_was_never_sent(record) for record in attempts):
            return Sent.NEVER
        return Sent.UNDER_WAY if any(record.in_flight and record.handle for record in attempts) else Sent.PERHAPS

    def call_off(self, certificate: Certificate, why: str) -> None:
        """Give a certificate up, with whatever was begun for it: else its scan would have work in flight for ever.

        Raises DeletionEndedError; EpochLostError where another worker is at it: then it stays open.
        """
        for record in self._attempts(self._work(certificate, "")):
            if record.in_flight:
                now = self.clock.now()
                mine = self.tables.ledger.take_over(record, Owner.this_process(self.by.run.run_id), now)
                ours = self.tables.ledger.beat(record if mine is None else mine, now)
                globus = self.transfer.identities.of(ours)
                task = None if ours.intent is None else ours.handle or globus.find_task(ours.name)
                if task is not None:
                    globus.cancel(task)
                self.tables.ledger.finish(ours, WorkState.CANCELED, {**NEVER_SENT, "handle": task, "detail": why}, now)
        self.tables.certificates.give_up(certificate, why, self.clock.now())

    def _deleted(self, certificate: Certificate, copy: Copy, key: PartitionKey, what: str) -> DeleteReceipt | None:
        """The receipt of a part that is gone, deleted now or before; None where it is not this certificate's any more.

        What a certificate has deleted is never deleted for it again: whatever lies there then is a new copy.
        """
        location = copy.manifest(key) if what else copy.location(key)
        work = self._work(certificate, what)
        done = [record for record in self._attempts(work) if record.state is WorkState.SUCCEEDED]
        if done:
            return delete_receipt(location, done[0])
        if what and self.transfer.entry_at(copy.location(key)) is not None:
            return None
        recursive = not what and copy.artifact is not Artifact.RAW
        return self.transfer.delete(key.scan, location, work, self.pulse, recursive=recursive)

    def _attempts(self, work: WorkKey) -> list[Record]:
        return self.tables.ledger.attempts(work.asset, work.partition)

    def _work(self, certificate: Certificate, what: str) -> WorkKey:
        """Of this certificate alone: what was deleted for an earlier one says nothing of it."""
        deletion = certificate.deletion
        asset = asset_key(self.beamline, self.copies[deletion.asset]).to_user_string()
        return WorkKey(f"{asset}{OF_RETENTION}{what} {certificate.sequence}", deletion.partition, "", "")


def _was_never_sent(record: Record) -> bool:
    return record.intent is None or (not record.in_flight and NEVER_SENT.items() <= (record.evidence or {}).items())


def _parts(beamline: Beamline, copy: Copy) -> tuple[str, ...]:
    """What is deleted of a copy, in order: its manifest last, for while that is there what is left can be told.

    The manifest of the first raw copy stays: every other copy of the scan is measured by it. Where scans appear there
    are none.
    """
    has_none = copy.place.name in (beamline.scans.place, beamline.scans.first_copy) and copy.artifact is Artifact.RAW
    return ("",) if has_none else ("", " manifest")
