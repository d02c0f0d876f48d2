"""What is recorded against what lies there: lost, changed, dark; by plain values.

Belongs here: the comparison of one folder, what are leftovers of our own, which lost and dark files may be the same.
Does not: listing folders, or reading files (als_assets.reconciliation). Nothing is deleted by any of it.

What is compared: of a raw file its size, and that it was not written after it was recorded. Of a product that its
folder and its manifest are there; not its files, which would take a listing for each of its folders.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from beamlines.places import Store
from beamlines.scans import SUFFIX

SETTLES_IN = timedelta(hours=1)
"""What was recorded, or written, more lately than this is not judged: a listing may be older than its record."""
CLOCKS_MAY_DIFFER = timedelta(minutes=5)
"""The place's clock and ours."""
_MANIFEST = ".manifest.json"
_KINDS = ("", ".tiff", ".preview", ".comparison")
"""What stands between a copy's name and that of its manifest (beamlines.layout)."""
_UNFINISHED = re.compile(r".*\.partial|\.manifest-.*", re.DOTALL)
_JOURNAL = re.compile(r"(?P<product>.+?)(?:\.tiff|\.preview|\.comparison)?(?:\.\d+-of-\d+)?\.partial\.jsonl", re.DOTALL)
"""Of a product that is being made, whole or in parts, or that was left so (tomography.product)."""


class Kind(StrEnum):
    """How the graph and a place differ."""

    LOST = "lost"
    """Recorded, and nothing is there."""
    CHANGED = "changed"
    """Recorded, and something else is there."""
    DARK = "dark"
    """There, and not recorded."""


BAD = frozenset({Kind.LOST, Kind.CHANGED})
"""What a person must look at; what is dark harms nothing."""


class Shape(StrEnum):
    """What lies at a name."""

    FILE = "file"
    FOLDER = "folder"
    OTHER = "neither file nor folder"


@dataclass(frozen=True, slots=True)
class Lying:
    """One entry of a listing. The size is that of a file."""

    shape: Shape
    size_bytes: int
    modified: datetime


@dataclass(frozen=True, slots=True)
class Expected:
    """A copy that has a record."""

    asset: str
    """``<place>/<asset>``."""
    partition: str
    storage_id: int
    """Of the record."""
    name: str
    """In its folder."""
    manifest: str | None
    """The name of its manifest; None of what never has one here."""
    shape: Shape
    size_bytes: int | None
    """Of a file; None where its record does not tell."""
    recorded: datetime
    gone: bool = False
    """A certificate says that it was deleted."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One way in which the graph and a place differ."""

    kind: Kind
    path: str
    """Below the place's root."""
    why: str
    size_bytes: int | None = None
    expected: Expected | None = None
    """None of what has no record."""


@dataclass(frozen=True, slots=True)
class Compared:
    """What one folder has shown."""

    findings: tuple[Finding, ...] = ()
    whole: tuple[Expected, ...] = ()
    """Recorded, and there as recorded."""
    leftovers: int = 0
    """Unfinished files of our own, and manifests without a copy: neither scans nor results."""
    unsettled: int = 0
    """Recorded or written so lately that nothing is said of it."""


def compare(
    store: Store, path: str, expected: Mapping[str, Expected], lying: Mapping[str, Lying], now: datetime
) -> Compared:
    """One folder of a store: what is recorded there against what lies there, both by name. ``path`` is the folder's."""
    findings: list[Finding] = []
    whole: list[Expected] = []
    unsettled = 0
    for name, copy in expected.items():
        found = _of_recorded(copy, f"{path}/{name}", lying)
        if found is None and not copy.gone:
            whole.append(copy)
        elif found is not None and _is_fresh(copy.recorded, now):
            unsettled += 1
        elif found is not None:
            findings.append(found)
    manifests = {copy.manifest for copy in expected.values()}
    unfinished = {match["product"] for name in lying if (match := _JOURNAL.fullmatch(name))}
    leftovers = 0
    for name, entry in lying.items():
        if name in expected or name in manifests:
            continue
        if _could_be_a_copy(store, name, entry) and name not in unfinished:
            if _is_fresh(entry.modified, now):
                unsettled += 1
            else:
                findings.append(_dark(f"{path}/{name}", entry, _has_manifest(name, lying)))
        elif name in unfinished or _is_leftover(name, entry, lying):
            leftovers += 1
    return Compared(tuple(findings), tuple(whole), leftovers, unsettled)


def _of_recorded(copy: Expected, path: str, lying: Mapping[str, Lying]) -> Finding | None:
    """How a recorded copy differs from what lies at its name; None where it does not."""
    entry = lying.get(copy.name)
    if copy.gone:
        if entry is None:
            return None
        why = "a certificate says that it was deleted, and something lies there"
        return Finding(Kind.DARK, path, why, _size(entry), copy)
    if entry is None:
        only = copy.manifest is not None and copy.manifest in lying
        return Finding(Kind.LOST, path, f"nothing lies there{', but its manifest' if only else ''}", None, copy)
    why_not = _why_not_as_recorded(copy, entry, lying)
    return None if why_not is None else Finding(Kind.CHANGED, path, why_not, _size(entry), copy)


def _why_not_as_recorded(copy: Expected, entry: Lying, lying: Mapping[str, Lying]) -> str | None:
    if entry.shape is not copy.shape:
        return f"a {entry.shape} lies there" if entry.shape is not Shape.OTHER else f"it is {entry.shape}"
    if copy.shape is Shape.FOLDER:
        return None if copy.manifest is None or copy.manifest in lying else "its manifest is not there"
    if copy.size_bytes is not None and entry.size_bytes != copy.size_bytes:
        return f"it has {entry.size_bytes} bytes, and {copy.size_bytes} are recorded"
    if entry.modified > copy.recorded + CLOCKS_MAY_DIFFER:
        return f"it was written at {entry.modified.isoformat()}, after it was recorded"
    return None


def _dark(path: str, entry: Lying, has_manifest: bool) -> Finding:
    if entry.shape is Shape.FILE:
        return Finding(Kind.DARK, path, "no record of it", entry.size_bytes)
    made_by = "with a manifest of this platform's" if has_manifest else "without a manifest: perhaps an old result"
    return Finding(Kind.DARK, path, f"no record of it, {made_by}")


def _could_be_a_copy(store: Store, name: str, entry: Lying) -> bool:
    """A raw file or a product, by its name; whether it can be a scan, the beamline's rules say."""
    if store is Store.RAW:
        return entry.shape is Shape.FILE and name.endswith(SUFFIX) and name != SUFFIX
    return entry.shape is Shape.FOLDER and name.startswith("rec") and name != "rec"


def _has_manifest(name: str, lying: Mapping[str, Lying]) -> bool:
    return any(f"{name}{kind}{_MANIFEST}" in lying for kind in _KINDS)


def _is_leftover(name: str, entry: Lying, lying: Mapping[str, Lying]) -> bool:
    if entry.shape is not Shape.FILE:
        return False
    if _UNFINISHED.fullmatch(name) or _JOURNAL.fullmatch(name):
        return True
    of = name.removesuffix(_MANIFEST)
    return of != name and not any(of.removesuffix(kind) in lying for kind in _KINDS)


def _is_fresh(at: datetime, now: datetime) -> bool:
    """Within the last hour, or the next one: clocks may differ."""
    return abs(now - at) < SETTLES_IN


def _size(entry: Lying) -> int | None:
    return entry.size_bytes if entry.shape is Shape.FILE else None


# -- renamed -----------------------------------------------------------------------------------------------------


def same_size(findings: Iterable[Finding]) -> Iterator[tuple[Finding, Finding]]:
    """Lost raw files, each with every dark one that has as many bytes as are recorded: one may be the other."""
    lost: list[Finding] = []
    dark: defaultdict[int, list[Finding]] = defaultdict(list)
    for finding in findings:
        if finding.kind is Kind.LOST and finding.expected is not None and finding.expected.size_bytes is not None:
            lost.append(finding)
        elif finding.kind is Kind.DARK and finding.expected is None and finding.size_bytes is not None:
            dark[finding.size_bytes].append(finding)
    for one in lost:
        if one.expected is not None and one.expected.size_bytes is not None:
            yield from ((one, other) for other in dark.get(one.expected.size_bytes, ()))
