"""``python -m benchmarks [name ...]``: run the benchmarks, or those that are named, and print their tables.

Belongs here: the list of benchmarks. Does not: any measurement.
"""

import sys
from collections.abc import Callable

from rich.console import Console

from benchmarks import (
    announcements,
    catalogue,
    imports,
    pyramids,
    reconciliation,
    reconstruction,
    register,
    retention,
    scan_show,
    ticks,
    waiting,
    whole_scan,
)

BENCHMARKS: dict[str, Callable[[Console], None]] = {
    "imports": imports.run,
    "ticks": ticks.run,
    "register": register.run,
    "retention": retention.run,
    "reconciliation": reconciliation.run,
    "announcements": announcements.run,
    "catalogue": catalogue.run,
    "waiting": waiting.run,
    "scan-show": scan_show.run,
    "reconstruction": reconstruction.run,
    "pyramid": pyramids.run,
    "whole-scan": whole_scan.run,
}
ON_DEMAND: dict[str, Callable[[Console], None]] = {"pyramid-1024": pyramids.run_large}
"""Too large for a run of all: each needs more memory or time than the others together."""


def main(names: list[str]) -> int:
    """Run the benchmarks of these names, or all; 2 where there is no such name."""
    console = Console()
    known = BENCHMARKS | ON_DEMAND
    unknown = sorted(set(names) - set(known))
    if unknown:
        console.print(f"there is no benchmark {unknown[0]!r}; there are {', '.join(known)}", markup=False)
        return 2
    for name in names or BENCHMARKS:
        known[name](console)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
