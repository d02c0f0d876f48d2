"""How evidence reads in the UI: receipts, job results and manifests as Dagster metadata.

Belongs here: metadata and its names.
Does not: what is evidence (resources), or deciding by it (checks).
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import dagster as dg

from beamlines.layout import Copy
from beamlines.manifest import Manifest
from beamlines.places import Place
from beamlines.scans import PartitionKey
from beamlines.seconds import (
    COPIED_FROM,
    JOB_SECONDS,
    QUEUE_SECONDS,
    REMOTE_BEGAN,
    REMOTE_ENDED,
    REUSED,
    SECONDS,
    TRANSFER_SECONDS,
)
from resources.facilities import JobResult
from resources.transfer import TransferReceipt

Metadata = Mapping[str, dg.MetadataValue[Any]]

_SHOWN_ELSEWHERE = frozenset({"thumbnail_png", "contact_sheet_jpeg", "quality"})
"""As pictures, and as checks."""
_THUMBNAIL_BYTES = 100_000
"""A picture lies in the event log: larger ones are linked, not stored."""


def of_copy(copy: Copy, key: PartitionKey, files: int, size_bytes: int, seconds: float) -> Metadata:
    """What is said of every materialization: where, how many files, how many bytes, how long."""
    location = copy.location(key)
    return {
        "path": dg.MetadataValue.path(sendable(location.posix)),
        "scan": dg.MetadataValue.text(sendable(key.scan.path)),
        "files": dg.MetadataValue.int(files),
        "bytes": dg.MetadataValue.int(size_bytes),
        SECONDS: dg.MetadataValue.float(round(seconds, 2)),
    }


def of_transfer(receipt: TransferReceipt, source: Place) -> Metadata:
    """Globus' side of a copy."""
    return {
        **_found(receipt.reused),
        COPIED_FROM: dg.MetadataValue.text(source.name),
        "globus_task": dg.MetadataValue.text(receipt.task_id or "none: equal content lay there"),
        "checksum_evidence": dg.MetadataValue.text(receipt.verified_by),
        TRANSFER_SECONDS: dg.MetadataValue.float(receipt.seconds),
        **_rate(receipt),
        "transfer_faults": dg.MetadataValue.int(receipt.faults),
        **interval(receipt.requested, receipt.completed),
    }


def _found(reused: bool) -> Metadata:
    what = "found as it was made before; nothing was sent, and what is said below is of that time"
    return {REUSED: dg.MetadataValue.text(what)} if reused else {}


def _rate(receipt: TransferReceipt) -> Metadata:
    # Globus tells times in whole seconds: of a copy that took less than one there is no rate.
    rate = receipt.effective_bytes_per_second
    return {"transfer_rate_bytes_per_second": dg.MetadataValue.int(rate)} if receipt.seconds >= 1 else {}


def of_job(job: JobResult) -> Metadata:
    """The facility's side of a product."""
    known: dict[str, dg.MetadataValue[Any]] = {
        **_found(job.reused),
        "job_id": dg.MetadataValue.text(job.job_id),
        "job_state": dg.MetadataValue.text(job.state),
        "stage_seconds": dg.MetadataValue.json(job.stage_seconds),
        "logs": dg.MetadataValue.json(list(job.logs)),
        "log_tail": dg.MetadataValue.md(fenced(job.log_tail)),
    }
    for name, seconds in ((QUEUE_SECONDS, job.queue_seconds), (JOB_SECONDS, job.job_seconds)):
        if seconds is not None:
            known[name] = dg.MetadataValue.float(seconds)
    if job.submitted is not None and job.ended is not None:
        known |= interval(job.submitted, job.ended)
    return known


def picture(manifest: Manifest, *, restricted: bool) -> Metadata:
    """A slice of the product, which goes first: it is what people look for. Of a restricted scan none is kept here."""
    thumbnail = manifest.results.get("thumbnail_png")
    if restricted or not isinstance(thumbnail, str) or len(thumbnail) > _THUMBNAIL_BYTES:
        return {}
    return {"slice": dg.MetadataValue.md(f"![reconstructed slice](data:image/png;base64,{thumbnail})")}


def contact_sheet(manifest: Manifest, *, restricted: bool) -> Metadata:
    """All pictures of a first look on one. Of a restricted scan none is kept here."""
    sheet = manifest.results.get("contact_sheet_jpeg")
    if restricted or not isinstance(sheet, str) or len(sheet) > _THUMBNAIL_BYTES:
        return {}
    return {"first_look": dg.MetadataValue.md(f"![first look](data:image/jpeg;base64,{sheet})")}


def of_product(manifest: Manifest) -> Metadata:
    """What the program said of its product: its settings and what it found."""
    results = {name: value for name, value in manifest.results.items() if name not in _SHOWN_ELSEWHERE}
    return {
        "program": dg.MetadataValue.text(f"{manifest.program.name} {manifest.program.version}"),
        "settings": dg.MetadataValue.json(manifest.settings),
        "results": dg.MetadataValue.json(results),
    }


def sendable(text: str) -> str:
    """The text with bytes that are no UTF-8 shown escaped: as they are, the UI could not send them to a browser."""
    return text.encode("utf-8", "backslashreplace").decode()


def fenced(text: str) -> str:
    """Text as a Markdown block that nothing inside it can end."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def interval(began: datetime, ended: datetime) -> Metadata:
    """When the outside world, or a program, was at work for this."""
    return {
        REMOTE_BEGAN: dg.MetadataValue.timestamp(began.timestamp()),
        REMOTE_ENDED: dg.MetadataValue.timestamp(ended.timestamp()),
    }
