"""How long a new process takes to import the code location: every run pays it.

Belongs here: wall time of imports in processes of their own. Does not: which modules are heavy (tests).
"""

import statistics
import subprocess
import sys
import time

from rich.console import Console
from rich.table import Table

from benchmarks.limits import against

LIMIT_S = 1.5
ROUNDS = 5
_IMPORTS = {
    "nothing": "pass",
    "dagster alone": "import dagster",
    "als_assets.definitions": "import als_assets.definitions",
}


def run(console: Console) -> None:
    """Median wall time of each import, taken in turn so that a busy machine slows all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in _IMPORTS}
    for _ in range(ROUNDS):
        for name, statement in _IMPORTS.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", statement], check=True)
            seconds[name].append(time.perf_counter() - began)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    table = Table(title=f"A new process and its imports: median of {ROUNDS}", title_justify="left")
    table.add_column("imports")
    for column in ("seconds", "times dagster alone", "limit"):
        table.add_column(column, justify="right")
    for name, value in median.items():
        limit = against(value, LIMIT_S, "s") if name == "als_assets.definitions" else ""
        table.add_row(name, f"{value:.2f}", f"{value / median['dagster alone']:.2f}", limit)
    console.print(table)
