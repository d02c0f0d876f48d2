"""Freed memory stays with the program where there is plenty, and only there."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from tomography.allocation import keep_freed_memory

def held():
    return 4096 * int(Path("/proc/self/statm").read_text().split()[1])

keep_freed_memory(200_000_000, int(sys.argv[1]))
before = held()
array = np.ones(100_000_000, np.uint8)
del array
print(held() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the switches are those of glibc")
@pytest.mark.parametrize(("memory_bytes", "kept"), [(400_000_000, True), (399_999_999, False)])
def test_an_array_that_was_freed_is_kept_if_there_is_room_for_twice_what_is_needed(
    memory_bytes: int, kept: bool
) -> None:
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(memory_bytes)], capture_output=True, text=True, check=True
    )
    assert (int(told.stdout) > 90_000_000) is kept
