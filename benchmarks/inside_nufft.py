"""``python -m benchmarks.inside_nufft FILE.json ...``: our program, with a clock around each call of the NUFFT library.

Belongs here: the processor time of those calls, as JSON. Does not: what it is compared with.

Each plan has one thread, so a thread's own processor time is the library's.
"""

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import finufft

from tomography.cli import app

_spent: list[float] = []
_adding = threading.Lock()


def _clocked(method: Any) -> Any:
    def call(*arguments: Any, **named: Any) -> Any:
        began = time.thread_time()
        try:
            return method(*arguments, **named)
        finally:
            with _adding:
                _spent.append(time.thread_time() - began)

    return call


def main(out: Path, arguments: list[str]) -> None:
    """Run the command line, and write the seconds and the number of calls at its end."""
    for name in ("__init__", "setpts", "execute"):
        setattr(finufft.Plan, name, _clocked(getattr(finufft.Plan, name)))
    try:
        app(arguments, standalone_mode=False)
    finally:
        out.write_text(json.dumps({"cpu_s": sum(_spent), "calls": len(_spent)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
