"""The command line: ``python -m tomography reconstruct | pyramid | preview | sweep | ...``.

Belongs here: arguments, exit codes, what is printed.
Does not: work. Heavy libraries are imported by the command that needs them; ``--help`` answers at once.

Exit codes: 0 done (or there already, intact); 2 the request cannot be fulfilled as it stands, and one message says why;
1 the machine failed (a full disk, lost permission): the same command continues later.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tomography import __version__
from tomography.errors import TomographyError
from tomography.machine import Machine, available_memory_bytes, available_threads
from tomography.options import named, settings_of, with_settings
from tomography.parts import Format, Part, part_of

if TYPE_CHECKING:
    from tomography.manifest import Manifest
    from tomography.progress import Reporter

REFUSED = 2
FAILED = 1
INTERRUPTED = 130

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None, help=__doc__
)

AsJson = Annotated[bool, typer.Option("--json", help="Progress and result as JSON lines on standard output.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads; by default all that this process may use.")]
MemoryGb = Annotated[
    float | None, typer.Option("--memory", min=0.1, help="Memory in GB (10^9 bytes); by default all that is free.")
]
Sha256 = Annotated[
    str | None, typer.Option("--input-sha256", help="SHA-256 of the raw file, if known; recorded in the manifest.")
]
Version = Annotated[Format, typer.Option("--ome-zarr", help="0.4 is on Zarr v2; 0.5 on Zarr v3, with shards.")]
PartWords = Annotated[
    str | None,
    typer.Option("--part", metavar="I/N", help="Only this part; then merge. slurm: the place of this task of srun."),
]
Raw = Annotated[Path, typer.Argument(metavar="RAW.h5", help="The scan.")]
SettingsFile = Annotated[
    Path | None,
    typer.Option("--settings", metavar="FILE.yaml", help="Settings from a file; options that are given count more."),
]


FlatFile = Annotated[
    Path | None,
    typer.Option(
        "--flat-file", metavar="FLAT.h5", help="A scan without the sample: its projections are the flat fields."
    ),
]


def main() -> None:
    """Run the command line."""
    app()


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Version.")
    ] = False,
) -> None:
    """Tomography beside the data: reconstruct a scan, build its pyramid, preview or inspect it, read what its file
    says, compare two results, make a phantom."""


@app.command()
@with_settings
def reconstruct(
    raw: Raw,
    tiff_dir: Annotated[
        Path | None, typer.Argument(metavar="[TIFF_DIR]", help="The stack: one TIFF a slice. None: only --pyramid.")
    ] = None,
    pyramid_out: Annotated[
        Path | None, typer.Option("--pyramid", metavar="OUT.zarr", help="The pyramid, made in the same pass.")
    ] = None,
    version: Version = Format.V04,
    part: PartWords = None,
    settings_file: SettingsFile = None,
    flat_file: FlatFile = None,
    input_sha256: Sha256 = None,
    threads: Threads = None,
    memory_gb: MemoryGb = None,
    as_json: AsJson = False,
    *,
    given: dict[str, Any],
) -> None:
    """Reconstruct a scan: a stack of TIFF files, a pyramid, or both. Interrupted, the same command continues."""
    with _command(as_json, threads, memory_gb) as command:
        settings = settings_of(given, settings_file)
        from tomography.manifest import raw_input
        from tomography.scan import open_scan
        from tomography.spool import decompressed_once
        from tomography.stack import Outputs
        from tomography.stack import reconstruct as run

        tiff, zarr = (None if path is None else _product(path) for path in (tiff_dir, pyramid_out))
        outputs = Outputs(tiff, zarr, version, _part(part))
        beside = (tiff or zarr or Path()).parent
        with open_scan(raw, flat_file) as file, decompressed_once(file, beside, command.reporter) as scan:
            source = raw_input(raw, _sha256(input_sha256), flat_file)
            for made in run(scan, source, outputs, settings, command.machine, command.reporter):
                command.finish(*made)


@app.command()
def pyramid(
    tiff_dir: Annotated[Path, typer.Argument(metavar="TIFF_DIR", help="A stack of TIFF files.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.zarr", help="The pyramid.")],
    raw: Annotated[
        Path | None, typer.Option(metavar="RAW.h5", help="The scan of the stack, for the pixel size.")
    ] = None,
    version: Version = Format.V04,
    part: PartWords = None,
    threads: Threads = None,
    memory_gb: MemoryGb = None,
    as_json: AsJson = False,
) -> None:
    """Build the multi-resolution pyramid of a stack of TIFF files. Interrupted, the same command continues."""
    with _command(as_json, threads, memory_gb) as command:
        from tomography.pyramid import build_pyramid
        from tomography.tiffs import open_stack

        product, stack = _product(out), open_stack(_product(tiff_dir), raw)
        made = build_pyramid(stack, product, command.machine, command.reporter, version, _part(part))
        command.finish(product, *made)


@app.command()
def merge(
    products: Annotated[list[Path], typer.Argument(metavar="PRODUCT...", help="Stacks and pyramids made with --part.")],
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Join what --part has made: coarse levels, then the manifest. Interrupted, the same command continues."""
    with _command(as_json, threads) as command:
        from tomography.merging import merge as run

        for path in products:
            product = _product(path)
            command.finish(product, *run(product, command.machine.threads, command.reporter))


@app.command()
@with_settings
def preview(
    raw: Raw,
    out_dir: Annotated[Path, typer.Argument(metavar="OUT_DIR", help="Pictures of slices, and preview.json.")],
    settings_file: SettingsFile = None,
    flat_file: FlatFile = None,
    input_sha256: Sha256 = None,
    threads: Threads = None,
    as_json: AsJson = False,
    *,
    given: dict[str, Any],
) -> None:
    """Look at a scan: slices, sinogram and projections as pictures, what may be wrong with it, and all on one page."""
    with _command(as_json, threads) as command:
        settings = settings_of(given, settings_file)
        from tomography.look import open_to_look
        from tomography.manifest import raw_input
        from tomography.preview import preview as run

        with open_to_look(raw, flat_file) as (scan, inspection):
            product = _product(out_dir)
            made = run(
                scan,
                inspection,
                raw_input(raw, _sha256(input_sha256), flat_file),
                product,
                settings,
                command.machine.threads,
                command.reporter,
            )
        command.finish(product, *made)


@app.command()
@with_settings
def sweep(
    raw: Raw,
    out_dir: Annotated[Path, typer.Argument(metavar="OUT_DIR", help="A sheet, slices, and settings for each value.")],
    over: Annotated[str, typer.Option("--over", help="The setting that is tried, by its option's name, as: center.")],
    values: Annotated[str, typer.Option("--values", help="Its values: a,b,c or first:last:step.")],
    settings_file: SettingsFile = None,
    flat_file: FlatFile = None,
    input_sha256: Sha256 = None,
    threads: Threads = None,
    as_json: AsJson = False,
    *,
    given: dict[str, Any],
) -> None:
    """Try one setting with several values on a few slices, and pick: sheet.png shows them, --settings takes one."""
    with _command(as_json, threads) as command:
        from tomography.manifest import raw_input
        from tomography.scan import open_scan
        from tomography.spool import decompressed_once
        from tomography.sweep import sweep as run
        from tomography.sweep import tries

        name, base = named(over), settings_of(given, settings_file)
        chosen = tries(base, name, values)
        product, threads_ = _product(out_dir), command.machine.threads
        with open_scan(raw, flat_file) as file, decompressed_once(file, product.parent, command.reporter) as scan:
            source = raw_input(raw, _sha256(input_sha256), flat_file)
            made = run(scan, source, product, name, chosen, base, threads_, command.reporter)
        command.finish(product, *made)


@app.command()
@with_settings
def projections(
    raw: Raw,
    out_dir: Annotated[Path, typer.Argument(metavar="OUT_DIR", help="A TIFF file a projection.")],
    counts: Annotated[
        bool, typer.Option("--counts", help="As counted, with flat and dark fields, instead of normalised.")
    ] = False,
    settings_file: SettingsFile = None,
    flat_file: FlatFile = None,
    input_sha256: Sha256 = None,
    threads: Threads = None,
    as_json: AsJson = False,
    *,
    given: dict[str, Any],
) -> None:
    """Write projections as TIFF files: normalised (0: no light, 1: all of it), or as they were counted."""
    with _command(as_json, threads) as command:
        settings = settings_of(given, settings_file)
        from tomography.manifest import raw_input
        from tomography.projections import Content, write_projections
        from tomography.scan import open_scan

        content = Content.RAW if counts else Content.NORMALISED
        with open_scan(raw, flat_file) as scan:
            product, source = _product(out_dir), raw_input(raw, _sha256(input_sha256), flat_file)
            threads_ = command.machine.threads
            made = write_projections(scan, source, product, settings, content, threads_, command.reporter)
        command.finish(product, *made)


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(metavar="FIRST", help="A stack of TIFF files, or a pyramid (.zarr).")],
    second: Annotated[Path, typer.Argument(metavar="SECOND", help="Another result of the same shape.")],
    out_dir: Annotated[Path, typer.Argument(metavar="OUT_DIR", help="comparison.png and comparison.json.")],
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Show three slices of two results side by side, with their difference and the settings that differ."""
    with _command(as_json, threads) as command:
        from tomography.comparison import compare as run
        from tomography.comparison import open_volume

        product = _product(out_dir)
        one, other = open_volume(_product(first)), open_volume(_product(second))
        made = run(one, other, product, command.machine.threads, command.reporter)
        command.finish(product, *made)


@app.command()
def phantom(
    out: Annotated[Path, typer.Argument(metavar="OUT.h5", help="The scan to write.")],
    rows: Annotated[int, typer.Option(min=1, help="Detector rows.")] = 256,
    columns: Annotated[int, typer.Option(min=8, help="Detector columns.")] = 512,
    angles: Annotated[int, typer.Option(min=3, help="Projections over 180 degrees, both ends included.")] = 361,
    seed: Annotated[int, typer.Option(min=0, help="Seed of detector and noise.")] = 0,
    noise: Annotated[bool, typer.Option(help="Photon noise.")] = True,
    as_json: AsJson = False,
) -> None:
    """Write a scan of a phantom whose true slices are known, as beamline 8.3.2 would."""
    with _command(as_json, None) as command:
        from tomography.phantom import Phantom, write_phantom

        made = Phantom(rows=rows, columns=columns, angles=angles, seed=seed, noisy=noise)
        write_phantom(out, made, lambda done, total: command.reporter.progress("phantom", done, total, "projections"))
        command.result(
            {"artifact": "raw", "manifest": None, "files": 1, "bytes": out.stat().st_size, "results": {}}, out
        )


@app.command()
@with_settings
def settings(
    settings_file: SettingsFile = None,
    *,
    given: dict[str, Any],
) -> None:
    """Write settings as a file for --settings: every one, with what it is. To standard output."""
    with _command(as_json=False, threads=None) as command:
        from tomography.settings import written

        command.answer({}, [written(settings_of(given, settings_file)).rstrip()])


@app.command()
def inspect(raw: Raw, as_json: AsJson = False) -> None:
    """Say whether a scan is whole: not cut off, and as many projections as angles. Exit code 0 also where it is not."""
    with _command(as_json, None) as command:
        from tomography.inspection import inspect as run

        found = run(raw)
        event = {"whole": found.whole, "missing": found.missing, "projections": found.projections}
        command.answer(
            {**event, "proposal": found.proposal},
            [f"{str(raw)!r}: {'whole' if found.whole else 'not whole'}", *(f"  {text}" for text in found.missing)],
        )


@app.command()
def metadata(raw: Raw, as_json: AsJson = False) -> None:
    """Read what a scan's file says of itself: single values, and a few of each row of values. No pixels."""
    with _command(as_json, None) as command:
        from tomography.metadata import metadata as run

        found = run(raw)
        values = {path: {"value": stated.value, "unit": stated.unit} for path, stated in found.items()}
        lines = [f"{path} = {stated.value!r} {stated.unit or ''}".rstrip() for path, stated in found.items()]
        command.answer({"values": values}, lines)


@dataclass
class _Command:
    """One run of a command: where it reports, and how it ends."""

    reporter: Reporter
    machine: Machine
    as_json: bool
    clock: Callable[[], float]
    started: float

    def finish(self, product: Path, manifest: Manifest, made: bool) -> None:
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
        return round(self.clock() - self.started, 3)


@contextmanager
def _command(as_json: bool, threads: int | None, memory_gb: float | None = None) -> Iterator[_Command]:
    from tomography.progress import BarReporter, JsonReporter

    clock = time.monotonic
    reporter = JsonReporter(sys.stdout, clock) if as_json else BarReporter(sys.stderr)
    try:
        memory = available_memory_bytes(os.environ) if memory_gb is None else int(memory_gb * 1e9)
        machine = Machine(threads or available_threads(os.environ), memory, memory_gb is not None)
        yield _Command(reporter, machine, as_json, clock, clock())
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


def _product(path: Path) -> Path:
    """The path of a product, by its own name: ``.`` and trailing slashes say nothing."""
    return Path(os.path.abspath(path))  # noqa: PTH100 resolve() would follow links to another name


def _part(words: str | None) -> Part | None:
    return None if words is None else part_of(words, os.environ)


def _sha256(told: str | None) -> str | None:
    if told is None:
        return None
    if len(told) != 64 or not set(told.lower()) <= set("0123456789abcdef"):
        raise TomographyError(f"--input-sha256 {told!r} is not a SHA-256: 64 hexadecimal digits.")
    return told.lower()
