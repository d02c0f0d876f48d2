"""How a reconciliation reads: a table on an asset of each place, and checks on the assets of copies.

Belongs here: events, rows, and what a person can do about each.
Does not: what was found (reconciler).
"""

import shlex
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

import dagster as dg

from als_assets.evidence import sendable
from als_assets.naming import asset_key
from als_assets.reconciliation.asset import reconciliation_key
from als_assets.reconciliation.report import Report
from als_assets.retention.records import ROWS_SHOWN, STATE, expected
from beamlines.config import Beamline
from beamlines.layout import Copy
from beamlines.places import Place
from beamlines.reconciliation import Finding, Kind

UNKNOWN = "unknown"
COLUMNS = ("what", "copy", "scan", "path", "seen", "what to do")
_FOLDERS_NAMED = 5
Event = dg.AssetObservation | dg.AssetCheckEvaluation


def table_record(beamline: Beamline, report: Report) -> dg.AssetMaterialization:
    """What one night has shown: counts, the first rows, and how dark ones are registered."""
    place = beamline.places[report.place]
    table = [dg.TableRecord(dict(zip(COLUMNS, row, strict=True))) for row in rows(place, report, ROWS_SHOWN)]
    registering = register_commands(place, report)
    metadata: dict[str, dg.MetadataValue[Any]] = {
        **{str(kind): dg.MetadataValue.int(len(report.of(kind))) for kind in Kind},
        "renamed": dg.MetadataValue.int(len(report.renamed)),
        "leftovers": dg.MetadataValue.int(report.leftovers),
        "not_judged": dg.MetadataValue.int(report.not_judged),
        "folders_listed": dg.MetadataValue.int(report.folders),
        "as_recorded": dg.MetadataValue.int(report.whole),
        **({"unreachable": dg.MetadataValue.json(_unreachable(report))} if report.unreachable else {}),
        **({UNKNOWN: dg.MetadataValue.json(sorted(map(shown, report.unknown)))} if report.unknown else {}),
        **({"found": dg.MetadataValue.table(table)} if table else {}),
        **({"register_dark": dg.MetadataValue.text("\n".join(registering))} if registering else {}),
    }
    return dg.AssetMaterialization(
        reconciliation_key(beamline, report.place), description=sendable(str(report)), metadata=metadata
    )


def again_records(beamline: Beamline, copies: Mapping[str, Copy], report: Report) -> Iterator[Event]:
    """That copies which a listing had found lost or changed are there again: their checks pass again."""
    said = "There again, as it was recorded."
    for suspect in report.again:
        copy = copies[suspect.asset]
        yield dg.AssetObservation(
            asset_key(beamline, copy),
            partition=suspect.partition,
            description=said,
            metadata={STATE: dg.MetadataValue.text("there again"), "was": dg.MetadataValue.text(suspect.why)},
        )
        yield from expected(beamline, copy, suspect.partition, passed=True, said=said)


def rows(place: Place, report: Report, most: int) -> list[tuple[str, ...]]:
    """The first findings, in the order of ``COLUMNS``, for people: no name in it breaks a line."""
    said = {pair.lost.path: f"perhaps renamed: {pair.dark.path} ({pair.said})" for pair in report.renamed}
    of_dark = {pair.dark.path: f"perhaps the lost {pair.lost.path} ({pair.said})" for pair in report.renamed}
    found = []
    for finding in report.findings[:most]:
        renamed = (said if finding.kind is Kind.LOST else of_dark).get(finding.path)
        seen = finding.why if renamed is None else f"{finding.why}; {renamed}"
        copy = finding.expected
        row = (
            str(finding.kind),
            "" if copy is None else copy.asset,
            "" if copy is None else copy.partition,
            finding.path,
            seen,
            _what_to_do(place, report, finding, is_renamed=renamed is not None),
        )
        found.append(tuple(shown(cell) for cell in row))
    return found


def _what_to_do(place: Place, report: Report, finding: Finding, *, is_renamed: bool) -> str:
    copy = finding.expected
    if copy is None:
        if is_renamed:
            return "if it is the lost one, move it back to where that is recorded; registered, it would be another scan"
        if "with a manifest" in finding.why:
            return "materialize its asset: what a job has made there is found, and recorded"
        return "register it (als register), or ask whose it is"
    if finding.kind is Kind.DARK:
        return f"if it is to be there, materialize {copy.asset}; else it may go"
    if is_renamed:
        return "move it back, by hand; then it is as recorded again"
    remains = ", ".join(report.remains.get((copy.asset, copy.partition), ()))
    if not remains:
        return f"no other copy is recorded: ask {place.run_by} at once, and look into snapshots and backups"
    first = "materialize" if finding.kind is Kind.LOST else "look at what has changed it, move it away, and materialize"
    return f"{first} {copy.asset} again; there are {remains}"


def register_commands(place: Place, report: Report) -> list[str]:
    """How what is dark is registered: a command a folder, or one for the whole place where there are many."""
    roots = sorted(place.stores.values(), key=lambda root: -len(root.parts))
    folders = set()
    for finding in report.of(Kind.DARK):
        if finding.expected is None and "with a manifest" not in finding.why:
            folder = PurePosixPath(finding.path).parent
            root = next(root for root in roots if folder.is_relative_to(root))
            folders.add(str(folder.relative_to(root)))
    command = f"als register --place {place.name}"
    if len(folders) > _FOLDERS_NAMED or any(folder == "." or not folder.isprintable() for folder in folders):
        return [command]
    return [f"{command} --folder {shlex.quote(folder)}" for folder in sorted(folders)]


def _unreachable(report: Report) -> dict[str, str]:
    return {shown(folder): shown(why) for folder, why in list(report.unreachable.items())[:ROWS_SHOWN]}


def unknown_in(table: dg.AssetMaterialization | None) -> set[str]:
    """The folders of which nobody could tell what lies there when a table was made."""
    said = None if table is None else table.metadata.get(UNKNOWN)
    return set(said.value) if isinstance(said, dg.JsonMetadataValue) and isinstance(said.value, list) else set()


def shown(text: str) -> str:
    """Text of one line that a browser, a terminal and a database take."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in sendable(text))


def lines(report: Report) -> list[str]:
    """What a run says of lost and changed copies, a line each."""
    return [
        f"{finding.kind}: {copy.asset} of {copy.partition}: {shown(finding.why)}"
        for finding in report.bad[:ROWS_SHOWN]
        if (copy := finding.expected) is not None
    ]
