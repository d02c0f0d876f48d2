"""The command line: ``python -m tomography reconstruct | pyramid | preview | sweep | ...``.

Belongs here: arguments, and what is called with them.
Does not: how a run reports and ends (tomography.command), or work. Heavy libraries are imported by the command that
needs them; ``--help`` answers at once.

Exit codes: 0 done (or there already, intact); 2 the request cannot be fulfilled as it stands, and one message says why;
1 the machine failed (a full disk, lost permission): the same command continues later.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tomography import __version__
from tomography.command import Source, part_told, product_at, running
from tomography.options import named, settings_of, with_settings
from tomography.parts import Format

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
    typer.Option("--flat-file", metavar="FLAT.h5", help="A scan without the sample: its projections are the flats."),
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
    with running(as_json, threads, memory_gb) as command:
        settings = settings_of(given, settings_file)
        from tomography.stack import Outputs
        from tomography.stack import reconstruct as run

        tiff, zarr = (None if path is None else product_at(path) for path in (tiff_dir, pyramid_out))
        outputs = Outputs(tiff, zarr, version, part_told(part))
        source = Source(raw, flat_file, input_sha256)
        with command.opened(source, spool=(tiff or zarr or Path()).parent) as scan:
            for made in run(scan, source.input, outputs, settings, command.machine, command.reporter):
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
    with running(as_json, threads, memory_gb) as command:
        from tomography.pyramid import build_pyramid
        from tomography.tiffs import open_stack

        product, stack = product_at(out), open_stack(product_at(tiff_dir), raw)
        made = build_pyramid(stack, product, command.machine, command.reporter, version, part_told(part))
        command.finish(product, *made)


@app.command()
def merge(
    products: Annotated[list[Path], typer.Argument(metavar="PRODUCT...", help="Stacks and pyramids made with --part.")],
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Join what --part has made: coarse levels, then the manifest. Interrupted, the same command continues."""
    with running(as_json, threads) as command:
        from tomography.merging import merge as run

        for path in products:
            product = product_at(path)
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
    with running(as_json, threads) as command:
        settings = settings_of(given, settings_file)
        from tomography.look import open_to_look
        from tomography.preview import preview as run

        product, threads_ = product_at(out_dir), command.machine.threads
        with open_to_look(raw, flat_file) as (scan, inspection):
            source = Source(raw, flat_file, input_sha256).input
            made = run(scan, inspection, source, product, settings, threads_, command.reporter)
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
    with running(as_json, threads) as command:
        from tomography.sweep import sweep as run
        from tomography.sweep import tries

        name, base = named(over), settings_of(given, settings_file)
        chosen = tries(base, name, values)
        product, threads_ = product_at(out_dir), command.machine.threads
        source = Source(raw, flat_file, input_sha256)
        with command.opened(source, spool=product.parent) as scan:
            made = run(scan, source.input, product, name, chosen, base, threads_, command.reporter)
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
    with running(as_json, threads) as command:
        settings = settings_of(given, settings_file)
        from tomography.projections import Content, write_projections

        content = Content.RAW if counts else Content.NORMALISED
        source, product, threads_ = Source(raw, flat_file, input_sha256), product_at(out_dir), command.machine.threads
        with command.opened(source) as scan:
            made = write_projections(scan, source.input, product, settings, content, threads_, command.reporter)
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
    with running(as_json, threads) as command:
        from tomography.comparison import compare as run
        from tomography.comparison import open_volume

        product = product_at(out_dir)
        one, other = open_volume(product_at(first)), open_volume(product_at(second))
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
    with running(as_json, None) as command:
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
    with running(as_json=False, threads=None) as command:
        from tomography.settings import written

        command.answer({}, [written(settings_of(given, settings_file)).rstrip()])


@app.command()
def inspect(raw: Raw, as_json: AsJson = False) -> None:
    """Say whether a scan is whole: not cut off, and as many projections as angles. Exit code 0 also where it is not."""
    with running(as_json, None) as command:
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
    with running(as_json, None) as command:
        from tomography.metadata import metadata as run

        found = run(raw)
        values = {path: {"value": stated.value, "unit": stated.unit} for path, stated in found.items()}
        lines = [f"{path} = {stated.value!r} {stated.unit or ''}".rstrip() for path, stated in found.items()]
        command.answer({"values": values}, lines)
