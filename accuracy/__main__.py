"""``python -m accuracy``: measure, print the table, write the report; 1 where a limit was missed.

Belongs here: options, and the order of the chapters. Does not: any measurement.
"""

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from accuracy import options, pyramids, real_scan, reconstruction, steps
from accuracy.findings import print_table
from accuracy.report import all_of, write
from peers.environment import PROJECT

TOOTH = PROJECT.parent / "shared" / "data" / "tooth.h5"

app = typer.Typer(add_completion=False)


@app.command()
def run(
    report: Annotated[Path, typer.Option(help="Where the report goes; its pictures lie in a folder beside it.")] = Path(
        "var/accuracy.md"
    ),
    peers: Annotated[
        bool, typer.Option(help="Beside other programs, which are installed where they are missing.")
    ] = True,
) -> None:
    """Measure slices and pyramids against phantoms whose truth is known, and beside other programs."""
    with tempfile.TemporaryDirectory() as name:
        places = [Path(name, part) for part in ("values", "peers", "steps", "options", "pyramids", "real")]
        for place in places:
            place.mkdir()
        chapters = [reconstruction.chapter(places[0])]
        if peers:
            chapters.append(reconstruction.beside_peers(places[1]))
        chapters += [
            steps.chapter(places[2]),
            options.chapter(places[3]),
            pyramids.chapter(places[4]),
            real_scan.chapter(places[5], TOOTH, with_peers=peers),
        ]
    report.parent.mkdir(parents=True, exist_ok=True)
    write(chapters, report)
    findings = all_of(chapters)
    print_table(findings, Console())
    typer.echo(f"report: {report}")
    if any(finding.is_missed for finding in findings):
        sys.exit(1)


if __name__ == "__main__":
    app()
