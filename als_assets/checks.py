"""Verification of a copy: decided inside the step that makes it, shown as asset checks.

Belongs here: what is looked at, the verdicts, and their check specs.
Does not: proof before a deletion (resources.proof). A failed blocking check would leave the partition materialized
(docs/decisions/0005-verification-in-the-step.md), so a bad verdict fails the step before anything is yielded.
"""

import itertools
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import dagster as dg

from als_assets.naming import asset_key, scan_partitions
from beamlines.config import Beamline
from beamlines.layout import Artifact, Copy
from beamlines.manifest import Manifest
from beamlines.places import Location
from resources import proof
from resources.clock import Clock
from resources.errors import CopyNotIntactError
from resources.transfer import EntryType, Transfer, TransferReceipt
from tomography.criteria import CHECKS

LISTED_FOLDERS = 100
"""At about 20 listings a second, looking takes 5 s at most."""
WHOLE = "whole"
QUALITY = tuple(CHECKS)
"""What a first look finds, as checks of the preview."""
ABOUT_THE_SCAN = frozenset({WHOLE, *QUALITY})
"""These say how a scan is, not whether a copy of it is right."""
_DESCRIPTIONS = {
    "files": "As many files as the manifest lists.",
    "size": "As many bytes as the manifest lists.",
    "checksum": "Every byte's checksum was compared when it was copied or made; says with what.",
    "manifest": "The manifest beside it was written by the right version of the program, for this artifact.",
    WHOLE: "The scan was finished: its file ends where it should, with as many projections as angles, none empty.",
    **CHECKS,
    "readable": "The pyramid opens, its levels halve exactly, and its coarsest level can be read.",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one check saw."""

    name: str
    passed: bool
    detail: str
    is_serious: bool = True
    """Of a check about the scan: whether nothing good can be made of it; else a bad one is a warning."""

    @property
    def is_about_the_scan(self) -> bool:
        """Whether it says how the scan is, not whether the copy is right: a bad one fails nothing."""
        return self.name in ABOUT_THE_SCAN


def check_names(beamline: Beamline, copy: Copy) -> tuple[str, ...]:
    """The checks that a copy has."""
    if copy.artifact is Artifact.RAW and copy.place.name == beamline.scans.first_copy:
        return ("files", "size", "checksum", WHOLE)
    if copy.artifact is Artifact.PREVIEW:
        return ("manifest", *QUALITY)
    if copy.artifact is Artifact.COMPARISON or _is_made_there(beamline, copy):
        return ("manifest",)
    if copy.artifact is Artifact.RAW and _is_staged_there(beamline, copy):
        return ("checksum",)
    readable = ("readable",) if copy.artifact is Artifact.ZARR and copy.place.mount is not None else ()
    return ("files", "size", "checksum", *readable)


def _is_made_there(beamline: Beamline, copy: Copy) -> bool:
    """By a job, which has written it and its manifest: it was not copied."""
    return copy.maker is not None and beamline.facilities[copy.maker].work == copy.place.name


def _is_staged_there(beamline: Beamline, copy: Copy) -> bool:
    """By a job, which has compared its checksum."""
    return any(rules.work == copy.place.name != rules.raw for rules in beamline.facilities.values())


def check_specs(beamline: Beamline, copies: Iterable[Copy]) -> list[dg.AssetCheckSpec]:
    """The checks of some copies, with partitions: without them an evaluation would belong to no scan."""
    with warnings.catch_warnings():
        # Checks with partitions are a preview in Dagster 1.13; a test notices when they change.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return [
            dg.AssetCheckSpec(
                name,
                asset=asset_key(beamline, copy),
                description=_DESCRIPTIONS[name],
                partitions_def=scan_partitions(beamline),
            )
            for copy in copies
            for name in check_names(beamline, copy)
        ]


def report(key: dg.AssetKey, verdicts: Iterable[Verdict]) -> Iterator[dg.AssetCheckResult]:
    """Yield every verdict as a check's result, then fail the step if one of them is bad."""
    bad: list[Verdict] = []
    for verdict in verdicts:
        yield dg.AssetCheckResult(
            asset_key=key,
            check_name=verdict.name,
            passed=verdict.passed,
            severity=dg.AssetCheckSeverity.ERROR if verdict.is_serious else dg.AssetCheckSeverity.WARN,
            metadata={"detail": verdict.detail},
        )
        if not verdict.passed and not verdict.is_about_the_scan:
            bad.append(verdict)
    if bad:
        raise dg.Failure(
            description=f"{key.to_user_string()} is not what it must be: "
            + "; ".join(f"{verdict.name}: {verdict.detail}" for verdict in bad)
            + ". It was not recorded as made. Look at the copy; nothing that exists is overwritten.",
            allow_retries=False,
        )


def of_checksums(receipt: TransferReceipt) -> Verdict:
    """Whether a checksum of every byte was compared on the way: Globus has skipped, or checksummed, all of them."""
    compared = receipt.files_skipped > 0 or receipt.bytes_checksummed >= receipt.bytes
    detail = f"{receipt.verified_by}; {receipt.bytes_checksummed} of {receipt.bytes} bytes, with the manifest's own"
    if receipt.files_skipped:
        detail += f"; {receipt.files_skipped} files were equal already"
    if receipt.reused:
        detail += f". That was when it was copied, on {receipt.completed:%Y-%m-%d %H:%M} UTC; it was not read again now"
    return Verdict("checksum", bool(receipt.verified_by) and compared, detail)


def of_checksums_of(receipt: TransferReceipt, copy: Location, manifest: Manifest, clock: Clock) -> Verdict:
    """Whether every file was compared with the manifest itself, and not only with its source.

    Globus skips a file that an attempt before has left equal to its source, and then does not look at the checksum that
    it was given: a source that was damaged would pass at the second attempt. Such a copy is read again here.
    """
    if receipt.task_id is None or receipt.files_skipped == 0 or receipt.reused:
        return of_checksums(receipt)
    skipped = f"{receipt.files_skipped} files were equal to their source already"
    if copy.place.mount is None:
        why = f"whether they equal the manifest cannot be seen from here: remove {copy}, and run this again"
        return Verdict("checksum", False, f"{skipped}; {why}")
    try:
        proof.prove_here(copy, manifest, clock=clock)
    except CopyNotIntactError as error:
        return Verdict("checksum", False, str(error))
    return Verdict("checksum", True, f"{skipped}; every file was read again here and has the manifest's SHA-256")


def of_listed(transfer: Transfer, root: Location, manifest: Manifest) -> list[Verdict]:
    """Files and bytes as a listing of the place shows them, against the manifest.

    A file (raw) is asked after by itself. Of a product the folders that the manifest names are listed, the coarse ones
    first and at most ``LISTED_FOLDERS``; the rest is known by the transfer's own checksums alone, and that is said.
    """
    if manifest.artifact == "raw":
        entry = transfer.stat(root)
        return _compared({entry.name: entry.size_bytes}, {root.name: manifest.total_bytes}, "as the place shows it")
    listed = {file.path: file.bytes for file in manifest.files}
    folders = sorted(
        {str(PurePosixPath(path).parent) for path in listed}, key=lambda folder: (folder.count("/"), folder)
    )
    looked_at = folders[:LISTED_FOLDERS]
    found: dict[str, int] = {}
    for folder in looked_at:
        entries = transfer.list(root if folder == "." else root / folder).entries
        below = PurePosixPath(folder)
        found |= {str(below / entry.name): entry.size_bytes for entry in entries if entry.type is EntryType.FILE}
    expected = {path: size for path, size in listed.items() if str(PurePosixPath(path).parent) in set(looked_at)}
    return _compared(found, expected, f"listed in {len(looked_at)} of {len(folders)} folders")


def of_files_here(root: Path, manifest: Manifest) -> list[Verdict]:
    """Files and bytes as this machine sees them, against the manifest."""
    found = {path.relative_to(root).as_posix(): path.stat().st_size for path in root.rglob("*") if path.is_file()}
    return _compared(found, {file.path: file.bytes for file in manifest.files}, "as this machine sees them")


def _compared(found: dict[str, int], expected: dict[str, int], how: str) -> list[Verdict]:
    differing = sorted(set(found.items()) ^ set(expected.items()))
    first = f"; the first difference is {differing[0][0]!r}" if differing else ""
    return [
        Verdict("files", set(found) == set(expected), f"{len(found)} of {len(expected)} files, {how}{first}"),
        Verdict("size", found == expected, f"{sum(found.values())} of {sum(expected.values())} bytes, {how}{first}"),
    ]


def of_manifest(manifest: Manifest, artifact: Artifact, program_version: str) -> Verdict:
    """Whether a manifest is of the right artifact and program."""
    right = manifest.artifact == artifact and manifest.program.version == program_version
    detail = f"{manifest.artifact} by {manifest.program.name} {manifest.program.version}, {manifest.total_files} files"
    return Verdict("manifest", right, detail if right else f"{detail}; expected {artifact} by {program_version}")


def of_quality(manifest: Manifest) -> list[Verdict]:
    """What the first look has found, check by check."""
    found: Mapping[str, Mapping[str, Any]] = manifest.results["quality"]
    return [
        Verdict(name, found[name]["passed"], found[name]["said"], is_serious=found[name]["severity"] == "error")
        for name in QUALITY
    ]


def of_pyramid_here(root: Path) -> Verdict:
    """Whether an OME-Zarr pyramid can be opened and read."""
    import numpy as np  # a third of a second, and only here
    import zarr

    try:
        group = zarr.open_group(str(root), mode="r")
        multiscales: Any = group.attrs.asdict()["multiscales"]
        levels = [zarr.open_array(str(root), path=level["path"], mode="r") for level in multiscales[0]["datasets"]]
        halved = all(
            coarse.shape == tuple((n + 1) // 2 for n in fine.shape) for fine, coarse in itertools.pairwise(levels)
        )
        voxels = np.asarray(levels[-1][...]).size
    except Exception as error:
        # Whatever it is that zarr cannot do with it, the verdict is the same, and the error is in it.
        return Verdict("readable", False, f"{type(error).__name__}: {error}")
    shapes = ", ".join("x".join(map(str, level.shape)) for level in levels)
    return Verdict("readable", halved and voxels > 0, f"levels {shapes}; the coarsest was read")
