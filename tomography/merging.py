"""The parts of a product joined: what only the whole has is added, and the manifest makes it one.

Belongs here: whether the parts are complete and of one kind, coarse levels of a pyramid, results of the whole.
Does not: making parts (tomography.stack, tomography.pyramid).

What the parts have made is not read again, but for what coarser levels need: each part read and wrote it just now.
"""

from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tomography import journal, ome
from tomography.errors import OutputError
from tomography.manifest import Artifact, FileEntry, Manifest, journal_path, journals_of_parts, read_manifest
from tomography.parts import Format, Part, rows_told
from tomography.product import Build, Request, intact, own_files
from tomography.progress import Reporter
from tomography.pyramid import Pyramid, pyramid_request
from tomography.stack import tiff_request, tiff_results


def merge(directory: Path, threads: int, reporter: Reporter) -> tuple[Manifest, bool]:
    """Make one product of the parts in ``directory``; returns its manifest and whether anything was to be done.

    Raises OutputError where a part is missing, or does not fit to the others.
    """
    artifact: Artifact = "zarr" if directory.suffix == ".zarr" else "tiff"
    with journal.locked(journal_path(directory, artifact), directory), ThreadPoolExecutor(threads) as pool:
        journals = journals_of_parts(directory, artifact)
        manifest = _finished(directory, artifact, pool)
        made = manifest is None
        if manifest is None:
            manifest = _joined(directory, artifact, _complete(directory, journals), pool, reporter)
        for path in journals.values():
            path.unlink(missing_ok=True)
    return manifest, made


def _finished(directory: Path, artifact: Artifact, pool: Executor) -> Manifest | None:
    """The manifest of a product that was joined before, and is intact."""
    manifest = read_manifest(directory, artifact)
    if manifest is None or len(intact(directory, manifest.files, pool)) < manifest.total_files:
        return None
    return manifest


def _complete(directory: Path, journals: dict[Part, Path]) -> list[Manifest]:
    """The manifests of all parts. Raises OutputError where one is missing or differs in more than its files."""
    where = str(directory)
    if not journals:
        raise OutputError(f"{where!r} has no parts beside it: nothing to merge. Reconstruct with --part first.")
    divisions = {part.of for part in journals}
    if len(divisions) > 1:
        raise OutputError(
            f"{where!r} was divided into {' and into '.join(map(str, divisions))} parts: remove those "
            "journals that are of an earlier try."
        )
    parts = [Part(number, of) for of in divisions for number in range(1, of + 1)]
    told = {part: journal.told_at(journals[part]).manifest if part in journals else None for part in parts}
    unfinished = [str(part.number) for part, manifest in told.items() if manifest is None]
    if unfinished:
        raise OutputError(
            f"{where!r}: of {len(parts)} parts these are not finished: {', '.join(unfinished)}. "
            "Run them, then merge again."
        )
    manifests = [manifest for manifest in told.values() if manifest is not None]
    for part, manifest in zip(parts[1:], manifests[1:], strict=True):
        first = manifests[0]
        same = (manifest.input, manifest.settings, manifest.results, manifest.program) == (
            first.input,
            first.settings,
            first.results,
            first.program,
        )
        if not same:
            raise OutputError(
                f"{where!r}: part {part.number} was made from another input, with other settings, by another program "
                "or on another device than part 1, or found another centre. Remove the parts, and begin again."
            )
    return manifests


def _joined(
    directory: Path, artifact: Artifact, parts: list[Manifest], pool: ThreadPoolExecutor, reporter: Reporter
) -> Manifest:
    first = parts[0]
    z, y, x = first.results["shape"]
    dtype = np.dtype(first.results["dtype"])
    said = {name: value for name, value in first.results.items() if name not in _OF_THE_FORM}
    files = {entry.path: entry for part in parts for entry in part.files}
    if artifact == "tiff":
        rows = rows_told(said, z)
        build = _begun(tiff_request(directory, first.input, first.settings, rows, None), files)
        return build.commit(tiff_results(build, said, (z, y, x), dtype))
    version = next(one for one in Format if ome.SETTINGS[one]["format"] == first.settings["format"])
    made_of = {name: first.settings[name] for name in ("pixel_size_um", "reconstruction")}
    build = _begun(pyramid_request(directory, version, first.input, made_of, z, None), files)
    reporter.progress("merge", 0, 1, "pyramids")
    pyramid = Pyramid(build, version, (z, y, x), dtype, pool)
    pyramid.write(iter(()))
    manifest = build.commit(pyramid.results(said, first.settings["pixel_size_um"]))
    reporter.progress("merge", 1, 1, "pyramids")
    return manifest


_OF_THE_FORM = ("axes", "shape", "dtype", "levels")


def _begun(request: Request, files: dict[str, FileEntry]) -> Build:
    """The product as the parts have left it. A merge keeps no account: killed, it begins again."""
    for name, entry in files.items():
        path = request.directory / name
        if not path.is_file() or path.stat().st_size != entry.bytes:
            raise OutputError(f"{str(path)!r} is not what its part has written: run that part again, then merge.")
    build = Build(request, None, files)
    build.begin(own_files(request))
    return build
