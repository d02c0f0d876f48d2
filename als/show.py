"""How ``als scan show`` reads: every copy with its state, what it waits for, how its seconds divide, and links.

Belongs here: tables and lines, for people.
Does not: what is read (lookup), or any judgement (als_assets.whereabouts).
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from urllib.parse import quote

from rich.table import Table
from rich.text import Text

from als.lookup import Found
from als.saying import console, printable, say, say_problem
from als.words import size
from als_assets.whereabouts import BAD, UNFINISHED, Read, State, Whereabout, entries, not_asked_for, whereabouts
from beamlines.branches import Stage
from beamlines.scans import PartitionKey
from beamlines.seconds import Expected
from resources.standings import Entry

_STYLE = {State.THERE: "green", State.DELETED: "dim", State.NEVER: "dim", State.MAKING: "cyan", State.WAITING: "yellow"}
_PARTS = ("transfer", "queue", "job", "ours")


def show_scan(found: Found, stages: Sequence[Stage], names: Sequence[str], ui: str, now: datetime) -> None:
    """All of it: what was decided, and each partition of the scan, its own one first; ``names`` are the catalogue's."""
    say(f"{found.scan.key}\n{found.scan.path!r}")
    for word, value in _words(found):
        say(f"  {word:<12} {printable(value)}")
    for key in found.keys:
        _show_partition(found.read, stages, key, ui, now)
        for line in _catalogued(entries(found.read, names, key), ui, found.read.beamline.name):
            say(printable(line))
    if found.history:
        say("")
        console.print(_history(found.history))


def _show_partition(read: Read, stages: Sequence[Stage], key: PartitionKey, ui: str, now: datetime) -> None:
    copies = whereabouts(read, stages, key)
    say(f"\n{key}" if key.label is not None else "")
    console.print(_table(copies, now))
    unasked = not_asked_for(stages, copies) if key.label is None else []
    if unasked:
        say(f"never sent to {', '.join(unasked)}")
    for copy in copies:
        for line in _about(copy, now):
            (say_problem if copy.state in BAD or copy.failed_checks else say)(f"{copy.name}: {printable(line)}")
    say("")
    for line in _links(read.beamline.name, copies, ui):
        say(line)


def _table(copies: Iterable[Whereabout], now: datetime) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("copy", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for column in ("age", "size", "s", *_PARTS):
        table.add_column(column, justify="right", no_wrap=True)
    for copy in copies:
        split = copy.split
        seconds = [] if split is None else [split.total_s, *(split.parts[part] for part in _PARTS)]
        table.add_row(
            Text(copy.name),
            Text(copy.state, style=_STYLE.get(copy.state, "bold red")),
            "" if copy.since is None else age(now - copy.since),
            "" if copy.bytes is None else size(copy.bytes),
            *(f"{value:.1f}" for value in seconds),
        )
    return table


def _about(copy: Whereabout, now: datetime) -> Iterator[str]:
    if copy.why:
        waits = "waits " if copy.state is State.WAITING and copy.why.startswith("for ") else ""
        yield f"{waits}{copy.why}"
    if copy.expected is not None:
        yield _expected(copy.expected, now - copy.since if copy.since and copy.state is State.MAKING else None)
    yield from _failed(copy)


def _failed(copy: Whereabout) -> Iterator[str]:
    for check in copy.failed_checks:
        yield f"check {check.name!r} has failed: {check.detail or 'it says nothing more'}"


def _expected(told: Expected, so_far: timedelta | None) -> str:
    median, most = span_s(told.median_s), span_s(told.most_s)
    took = f"the last {told.scans} similar scans took {median} here, nine of ten at most {most}"
    return took if so_far is None else f"{took}; this one {span(so_far)} so far"


def _catalogued(found: Iterable[Whereabout], ui: str, beamline: str) -> Iterator[str]:
    """The page of each entry in the catalogue, or why there is none, and what it has got wrong."""
    for entry in found:
        if entry.state is State.THERE:
            yield f"in the catalogue: {entry.page}"
        else:
            yield f"{entry.name}: {entry.state}{': ' if entry.why else ''}{entry.why}"
            yield _page(beamline, entry, ui)
        yield from (f"{entry.name}: {line}" for line in _failed(entry))


def _page(beamline: str, copy: Whereabout, ui: str) -> str:
    return f"{ui}/assets/{beamline}/{copy.name}?view=partitions&partition={quote(copy.partition, safe='')}"


def _links(beamline: str, copies: Iterable[Whereabout], ui: str) -> Iterator[str]:
    """A page of each copy that there is something to see of, and each run once."""
    runs: dict[str, None] = {}
    for copy in copies:
        if copy.state in (State.NEVER, State.WAITING) and copy.run_id is None:
            continue
        yield _page(beamline, copy, ui)
        if copy.run_id is not None and copy.state in (*BAD, *UNFINISHED, State.NEVER):
            runs.setdefault(copy.run_id)
    yield from (f"{ui}/runs/{run_id}" for run_id in runs)


def age(time: timedelta) -> str:
    """In its largest unit, so that the table fits a terminal of 80 columns."""
    return " ".join(span(time).split()[:2])


def span(time: timedelta) -> str:
    """A time for people, in its two largest units."""
    return span_s(time.total_seconds())


def span_s(seconds: float) -> str:
    """The same, of seconds."""
    for unit, length, smaller, fits in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit} {seconds % length // fits:.0f} {smaller}"
    return f"{max(seconds, 0):.0f} s"


def _words(found: Found) -> list[tuple[str, str]]:
    standing, beamline = found.read.standing, found.read.beamline
    restriction = beamline.export_control.restriction(found.scan, standing)
    words = [("leaves site", "yes" if restriction is None else f"no ({restriction[0]}): {restriction[1]}")]
    if standing.lifted:
        words.append(("lifted", "an operator says that it is not export controlled"))
    if standing.withheld_from:
        words.append(("not to", ", ".join(sorted(standing.withheld_from))))
    if standing.file is not None:
        words.append(("file", str(standing.file)))
    if standing.proposal is not None:
        words.append(("proposal", f"{standing.proposal} (the file's own word)"))
    if standing.aborted is not None:
        words.append(("not whole", standing.aborted))
    if standing.changed is not None:
        words.append(("changed", standing.changed))
    return words


def _history(history: Iterable[Entry]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for column in ("when (UTC)", "what", "by", "note", "detail"):
        table.add_column(column)
    for entry in history:
        when = f"{entry.at:%Y-%m-%d %H:%M:%S}"
        table.add_row(
            *(
                Text(text)
                for text in (when, entry.what, *map(printable, (entry.author, entry.note, _brief(entry.detail))))
            )
        )
    return table


def _brief(detail: str) -> str:
    """A detail for a table: of a document, which copy it is about and how it ended."""
    try:
        document = json.loads(detail)
    except ValueError:
        return detail
    return f"{document['state']}: {document['copy']}" if isinstance(document, dict) and "copy" in document else detail
