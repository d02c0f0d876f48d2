"""``python -m benchmarks [name ...]``: run all benchmarks, or those that are named, and print their tables.

Belongs here: the list of benchmarks. Does not: any measurement.
"""

import sys
from collections.abc import Callable

from rich.console import Console

from benchmarks import (
    announcements,
    catalogue,
    imports,
    reconciliation,
    register,
    retention,
    scan_show,
    ticks,
    waiting,
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
}


def main(names: list[str]) -> int:
    """Run the benchmarks of these names, or all; 2 where there is no such name."""
    console = Console()
    unknown = sorted(set(names) - set(BENCHMARKS))
    if unknown:
        console.print(f"there is no benchmark {unknown[0]!r}; there are {', '.join(BENCHMARKS)}", markup=False)
        return 2
    for name in names or BENCHMARKS:
        BENCHMARKS[name](console)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
