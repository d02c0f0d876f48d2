"""One run of a command of the program: what it works on, where it reports, how it ends.

Belongs here: exit codes, the result in words or as JSON, opening a scan as input, checking what was given as words.
Does not: arguments (tomography.cli), or work. Heavy libraries are imported where they are needed.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tomography.errors import TomographyError
from tomography.machine import Machine, available_memory_bytes, available_threads
from tomography.parts import Part, part_of

if TYPE_CHECKING:
    from tomography.manifest import Input, Manifest
    from tomography.progress import Reporter
    from tomography.scan import Scan

REFUSED = 2
FAILED = 1
INTERRUPTED = 130


@dataclass(frozen=True)
class Source:
    """The files that a product is made from. ``sha256`` is that of the raw file, as somebody told it."""

    raw: Path
    flat_file: Path | None = None
    sha256: str | None = None

    @property
    def input(self) -> Input:
        """What a manifest says of them. Raises TomographyError where the digest that was told is none."""
        from tomography.manifest import raw_input

        told = self.sha256
        if told is not None and (len(told) != 64 or not set(told.lower()) <= set("0123456789abcdef")):
            raise TomographyError(f"--input-sha256 {told!r} is not a SHA-256: 64 hexadecimal digits.")
        return raw_input(self.raw, told and told.lower(), self.flat_file)


@dataclass
class Command:
    """One run of a command: where it reports, and how it ends."""

    reporter: Reporter
    machine: Machine
    as_json: bool
    clock: Callable[[], float]
    started: float

    @contextmanager
    def opened(self, source: Source, spool: Path | None = None) -> Iterator[Scan]:
        """The scan; what is compressed frame by frame is decompressed once, into the folder ``spool`` if there is one.

        Raises ScanError.
        """
        from tomography.scan import open_scan
        from tomography.spool import decompressed_once

        with (
            open_scan(source.raw, source.flat_file) as file,
            nullcontext(file) if spool is None else decompressed_once(file, spool, self.reporter) as scan,
        ):
            yield scan

    def finish(self, product: Path, manifest: Manifest, made: bool) -> None:
        """End with a product: what it is, and whether it was there already."""
        from tomography.manifest import PICTURES, manifest_path

        artifact = manifest.artifact
        results = {name: value for name, value in manifest.results.items() if name not in PICTURES}
        self.result(
            {
                "artifact": artifact,
                "manifest": str(manifest_path(product, artifact)),
                "files": manifest.total_files,
                "bytes": manifest.total_bytes,
                "made": made,
                "results": results,
            },
            product,
        )

    def result(self, event: dict[str, Any], product: Path) -> None:
        """End with what was made: a line each for people."""
        state = "there already, intact" if event.get("made") is False else f"made in {self.seconds:.1f} s"
        lines = [f"{str(product)!r}: {event['files']} files, {event['bytes']} bytes, {state}"]
        for name, value in event["results"].items():
            if name == "flags":
                lines += [f"  flag: {flag}" for flag in value]
            elif name != "quality":  # what is wrong there stands among the flags
                lines.append(f"  {name}: {value}")
        self.answer(event, lines)

    def answer(self, event: dict[str, Any], lines: list[str]) -> None:
        """End with the event for programs, or the lines for people."""
        self.reporter.close()
        if self.as_json:
            lines = [json.dumps({"event": "result", **event, "seconds": self.seconds}, sort_keys=True)]
        for line in lines:
            typer.echo(line)

    @property
    def seconds(self) -> float:
        """Since it began."""
        return round(self.clock() - self.started, 3)


@contextmanager
def running(as_json: bool, threads: int | None, memory_gb: float | None = None) -> Iterator[Command]:
    """A command from its start to its end: errors become one message and an exit code."""
    from tomography.progress import BarReporter, JsonReporter

    clock = time.monotonic
    reporter = JsonReporter(sys.stdout, clock) if as_json else BarReporter(sys.stderr)
    try:
        memory = available_memory_bytes(os.environ) if memory_gb is None else int(memory_gb * 1e9)
        machine = Machine(threads or available_threads(os.environ), memory, memory_gb is not None)
        yield Command(reporter, machine, as_json, clock, clock())
    except TomographyError as error:
        reporter.close()
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(REFUSED) from error
    except (OSError, MemoryError) as error:
        reporter.close()
        typer.echo(
            f"error: {type(error).__name__}: {error}. Once that is mended, the same command continues.", err=True
        )
        raise typer.Exit(FAILED) from error
    except KeyboardInterrupt as error:
        reporter.close()
        typer.echo("interrupted. The same command continues where this one stopped.", err=True)
        raise typer.Exit(INTERRUPTED) from error


def product_at(path: Path) -> Path:
    """The path of a product, by its own name: ``.`` and trailing slashes say nothing."""
    return Path(os.path.abspath(path))  # noqa: PTH100 resolve() would follow links to another name


def part_told(words: str | None) -> Part | None:
    """The part that ``--part`` names. Raises OutputError where it is none."""
    return None if words is None else part_of(words, os.environ)
