"""Which scan a person means by a name.

Belongs here: keys, paths below raw/ and whole paths, what is known, and what is near to what is not.
Does not: what is known of the scan that is meant.
"""

import difflib
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from beamlines.announcements import Announcement
from beamlines.config import Beamline
from beamlines.scans import SUFFIX, InvalidPartitionKeyError, PartitionKey, ScanId
from beamlines.standing import Standing

if TYPE_CHECKING:
    from als.platform import Platform  # dagster costs every command a second

_SIMILAR = 3
_COMPARED = 2_000
"""Comparing takes 0.1 ms a name: of very many only those of the folder that is nearest are compared."""


class UnknownScanError(ValueError):
    """A name of which nothing is known: mistyped, most likely."""


def known_scan(at: "Platform", name: str) -> ScanId:
    """The scan that a person means; see ``meant_scan``."""
    partitions = str(at.graph.partitions.name)

    def is_known(scan: ScanId) -> bool:
        return at.instance.has_dynamic_partition(partitions, scan.key) or at.standings.of(scan.key) != Standing()

    return meant_scan(
        at.beamline,
        name,
        is_known,
        lambda: {*at.instance.get_dynamic_partitions(partitions), *at.standings.restricted()},
    )


def meant_scan(
    beamline: Beamline, name: str, is_known: Callable[[ScanId], bool], known: Callable[[], Collection[str]]
) -> ScanId:
    """The scan that a person means, by a whole path, a path below raw/, or a key: one of which something is known.

    Raises UnknownScanError: a decision about a typing error helps nobody, and one about a guessed scan harms.
    """
    for scan in meanings(beamline, name):
        if is_known(scan):
            return scan
    similar = _similar(name, sorted(key for key in known() if "@" not in key))
    hint = f"; did you mean {' or '.join(similar)}?" if similar else ""
    raise UnknownScanError(f"nothing is known of {name!r}{hint}")


def meanings(beamline: Beamline, name: str) -> Iterator[ScanId]:
    """A name that is a key as it stands is that key before it is a path."""
    if name.startswith("/"):
        yield Announcement(path=name).scan(beamline)
        return
    with suppress(InvalidPartitionKeyError):
        yield PartitionKey.parse(name).scan  # of a labelled reconstruction it is the scan that is meant
    if name.endswith(SUFFIX):
        yield ScanId(name)


def _similar(name: str, known: Collection[str]) -> list[str]:
    if "/" not in name:
        called_so = [key for key in known if key.endswith(f"/{name.removesuffix(SUFFIX)}")]
        if called_so:
            return called_so[:_SIMILAR]
    if len(known) > _COMPARED:
        folder, _, last = name.removesuffix(SUFFIX).rpartition("/")
        folders = {key.rpartition("/")[0] for key in known}
        nearest = difflib.get_close_matches(folder, folders, _SIMILAR) if len(folders) <= _COMPARED else [folder]
        known = [key for key in known if key.rpartition("/")[0] in nearest or key.endswith(f"/{last}")]
    return difflib.get_close_matches(name, known, _SIMILAR)
