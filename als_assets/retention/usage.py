"""How full a place is: by its file system where that is mounted here, else by our records against its capacity.

Belongs here: that measurement. Does not: what follows of it (beamlines.deletion).
"""

import os

from beamlines.deletion import Usage
from beamlines.places import Place
from beamlines.retention import PlaceRetention, Watermark
from resources.recorded import Recorded


def usage_of(place: Place, rules: PlaceRetention, recorded: Recorded) -> tuple[Usage | None, Usage | None]:
    """In bytes, and in files; None where nothing asks for it, or where it cannot be told."""
    if rules.bytes is None and rules.files is None:
        return None, None
    mounted = None if place.mount is None else os.statvfs(place.mount)
    ours = recorded.sum_of(place.name)
    return (
        _usage(rules.bytes, ours.bytes, None if mounted is None else _bytes(mounted)),
        _usage(rules.files, ours.files, None if mounted is None else _files(mounted)),
    )


def _usage(watermark: Watermark | None, ours: int, mounted: Usage | None) -> Usage | None:
    if watermark is None or watermark.capacity is None:
        return mounted
    return Usage(ours, int(watermark.capacity))


def _bytes(found: os.statvfs_result) -> Usage:
    return Usage((found.f_blocks - found.f_bfree) * found.f_frsize, found.f_blocks * found.f_frsize)


def _files(found: os.statvfs_result) -> Usage:
    return Usage(found.f_files - found.f_ffree, found.f_files)
