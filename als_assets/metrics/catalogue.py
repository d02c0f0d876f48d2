"""Every metric that is exported: its name, labels and meaning.

Belongs here: that table, with which docs/metrics.md is compared.
Does not: any value. No label has a scan's name: labels are bounded by the configuration and by our own words.
"""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What Prometheus takes it for."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. A counter's name is without ``_total``, which every sample of it has."""

    name: str
    kind: Kind
    meaning: str
    labels: tuple[str, ...] = ()


TRANSFERS = Metric("als_transfers", Kind.COUNTER, "Copies that a transfer made.", ("from", "to"))
TRANSFER_BYTES = Metric("als_transfer_bytes", Kind.COUNTER, "Bytes of these copies.", ("from", "to"))
TRANSFER_SECONDS = Metric(
    "als_transfer_seconds",
    Kind.COUNTER,
    "Seconds that Globus took for them; with bytes, the rate.",
    ("from", "to"),
)
STAGE_SECONDS = Metric(
    "als_stage_seconds",
    Kind.HISTOGRAM,
    "Seconds that one scan took at a stage, by part: transfer, queue, job, and ours, which is the rest.",
    ("stage", "part"),
)
ARRIVALS = Metric("als_arrivals", Kind.COUNTER, "Scans recorded as arrived: new, adopted, repair.", ("arrival",))
DECISIONS = Metric(
    "als_decisions", Kind.COUNTER, "Decisions of a router not to send a scan, or to let it wait.", ("branch", "reason")
)
FAILURES = Metric("als_failures", Kind.COUNTER, "Steps that failed, by the name of the error.", ("job", "error"))
DELETIONS = Metric("als_deletions", Kind.COUNTER, "Copies that were deleted by rule.", ("place",))
DELETED_BYTES = Metric("als_deleted_bytes", Kind.COUNTER, "Bytes of these copies.", ("place",))

SCANS = Metric(
    "als_scans",
    Kind.GAUGE,
    "Scans by how far they have come: arrived, ingested, in_branch, done, not_whole, changed. Each is in one state.",
    ("state",),
)
SCANS_FAILED = Metric(
    "als_scans_failed", Kind.GAUGE, "Scans of which a run failed within 7 days, with no later run that has not."
)
SCANS_WAITING = Metric("als_scans_waiting", Kind.GAUGE, "Scans that a router has in hand.", ("branch", "reason"))
OLDEST_WAITING = Metric(
    "als_oldest_waiting_scan_seconds",
    Kind.GAUGE,
    "How long the oldest of these waits; else 0.",
    ("branch",),
)
RUNS = Metric("als_runs", Kind.GAUGE, "Runs that have not ended.", ("state",))
OLDEST_QUEUED = Metric("als_oldest_queued_run_seconds", Kind.GAUGE, "Age of the oldest run in the queue; else 0.")
REMOTE_WORK = Metric(
    "als_remote_work", Kind.GAUGE, "Transfers (globus) and jobs (by facility) that have not ended.", ("where", "state")
)
OLDEST_REMOTE = Metric("als_oldest_remote_work_seconds", Kind.GAUGE, "Age of the oldest of these; else 0.", ("where",))
PLACE_BYTES = Metric("als_place_bytes", Kind.GAUGE, "Bytes of copies that are recorded and not deleted.", ("place",))
PLACE_FILES = Metric("als_place_files", Kind.GAUGE, "Files of these copies.", ("place",))
PLACE_COPIES = Metric("als_place_copies", Kind.GAUGE, "These copies themselves.", ("place",))
REFUSALS = Metric(
    "als_retention_refusals",
    Kind.GAUGE,
    "Old copies that stay, by the last pass's reason.",
    ("place", "reason"),
)
SUSPECTS = Metric("als_suspect_copies", Kind.GAUGE, "Copies that are not as recorded: lost, or other.", ("place",))
HEARTBEAT = Metric(
    "als_daemon_heartbeat_timestamp_seconds",
    Kind.GAUGE,
    "When a daemon of Dagster's was last heard of.",
    ("daemon",),
)
TICK = Metric(
    "als_sensor_tick_timestamp_seconds",
    Kind.GAUGE,
    "When a sensor last ended a tick in order; 0: never.",
    ("sensor",),
)
SENSOR_ON = Metric("als_sensor_on", Kind.GAUGE, "1 for a sensor that is on, 0 for one that is off.", ("sensor",))
LOOK = Metric("als_metrics_look_timestamp_seconds", Kind.GAUGE, "When all of this was last looked at.")
COPIES_LOOK = Metric(
    "als_metrics_copies_look_timestamp_seconds",
    Kind.GAUGE,
    "When copies were last counted: als_scans, als_place_*, which take longer.",
)
BEHIND = Metric("als_metrics_behind", Kind.GAUGE, "1 while the event log of before is still being counted.")
FAILED_LOOKS = Metric(
    "als_metrics_failed_looks", Kind.COUNTER, "Looks that failed since it was started; its log says why."
)

METRICS = (
    TRANSFERS, TRANSFER_BYTES, TRANSFER_SECONDS, STAGE_SECONDS, ARRIVALS, DECISIONS, FAILURES, DELETIONS, DELETED_BYTES,
    SCANS, SCANS_FAILED, SCANS_WAITING, OLDEST_WAITING, RUNS, OLDEST_QUEUED, REMOTE_WORK, OLDEST_REMOTE,
    PLACE_BYTES, PLACE_FILES, PLACE_COPIES, REFUSALS, SUSPECTS, HEARTBEAT, TICK, SENSOR_ON,
    LOOK, COPIES_LOOK, BEHIND, FAILED_LOOKS,
)  # fmt: skip

BUCKETS_S = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 43200)
"""Upper bounds of the histogram, in seconds: from a small file's transfer to a night in a queue."""
