"""Freed memory is kept for the next array, where there is plenty, instead of being given back to the kernel.

Belongs here: how the C library allocates. Does not: how much memory is taken (tomography.memory).

A slice of 2560 pixels passes through arrays of tens of megabytes, new ones for each, and in the libraries too. By
default the C library maps each anew, and the kernel clears every page of it: up to a sixth of the program's time. What
is kept has holes: up to twice as much memory is held, so this is for programs that may take that.
"""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8  # of glibc's malloc.h
_LARGEST = 2**31 - 1
HOLES = 2


def keep_freed_memory(needed_bytes: int, memory_bytes: int) -> None:
    """From now on, if so much memory has room for what is needed and for its holes.

    Where the C library has no such switch, nothing changes but the speed.
    """
    change = getattr(ctypes.CDLL(None), "mallopt", None)
    if change is None or HOLES * needed_bytes > memory_bytes:
        return
    for parameter, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _LARGEST), (_ARENA_MAX, 1)):
        change(parameter, value)
