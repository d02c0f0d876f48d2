"""``python -m benchmarks.child USED.json COMMAND...``: run a command, and write down what it took.

Belongs here: one child, from a process that is small. Does not: what the figures mean (processes).

The kernel's peak of a process is at least that of whoever started it, whose memory it shares for a moment: started from
a benchmark with arrays of a gigabyte, every program would seem to need one.
"""

import json
import os
import sys
import time
from pathlib import Path


def main(out: Path, command: list[str]) -> int:
    """Run it; its exit status, as a shell has it."""
    began = time.perf_counter()
    _, status, usage = os.wait4(os.posix_spawnp(command[0], command, os.environ), 0)
    used = {
        "wall_s": time.perf_counter() - began,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_gb": usage.ru_maxrss * 1024 / 1e9,
    }
    out.write_text(json.dumps(used))
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
