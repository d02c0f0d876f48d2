"""What a terminal shows of a scan: its way while it happens, and the table at the end.

Belongs here: rich tables and lines.
Does not: reading events (follow), or arithmetic (beamlines.seconds).
"""

from collections.abc import Collection
from dataclasses import dataclass, field

import dagster as dg
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from als.follow import AssetView, Progress, ScanView
from als.words import size
from beamlines.seconds import Split, outside_of, overhead_s, split_of

_STYLE = {Progress.WAITING: "dim", Progress.RUNNING: "cyan", Progress.DONE: "green", Progress.FAILED: "bold red"}
PROMISED_S, PROMISED_OVERHEAD_S, PROMISED_BRANCH_OVERHEAD_S = 150, 30, 20
_PADDING = (0, 1, 0, 0)
"""So that the table fits a terminal of 80 columns."""
_SIGN = {Progress.WAITING: "·", Progress.RUNNING: "▸", Progress.DONE: "✓", Progress.FAILED: "✗"}


def live(view: ScanView, waited_s: float) -> Table:
    """The scan's way as it stands now."""
    title = f"{escape(view.partition)}   {waited_s:.0f} s"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=_PADDING, expand=True)
    widest = max(len(_name(asset)) for asset in view.assets.values())
    table.add_column("", min_width=1)
    table.add_column("asset", min_width=widest)
    for column, width in (("files", 5), ("bytes", 8), ("s", 6)):
        table.add_column(column, justify="right", min_width=width)
    # Last and elastic: what a service says can be long, and the figures before it are what people read.
    table.add_column("state", overflow="ellipsis", no_wrap=True, ratio=1)
    for asset in view.assets.values():
        table.add_row(_sign(asset), _name(asset), *_amounts(asset), Text(asset.news or asset.progress.value))
    return table


@dataclass(slots=True)
class Lines:
    """The same without a terminal: a line whenever something has changed."""

    console: Console
    said: dict[str, str] = field(default_factory=dict)

    def show(self, view: ScanView, waited_s: float) -> None:
        for asset in view.assets.values():
            files, size_bytes, seconds = _amounts(asset)
            amounts = (
                ", ".join(
                    f"{amount}{unit}"
                    for amount, unit in ((files, " file(s)"), (size_bytes, ""), (seconds, " s"))
                    if amount and asset.progress is Progress.DONE
                )
                or asset.news
            )
            line = f"{_name(asset)}: {asset.progress.value} {amounts}".rstrip()
            if self.said.get(_name(asset), f"{_name(asset)}: {Progress.WAITING.value}") != line:
                self.said[_name(asset)] = line
                self.console.print(f"{waited_s:6.1f} s  {line}", markup=False, highlight=False, soft_wrap=True)


def summary(view: ScanView) -> Table:
    """Asset, files, bytes, seconds, and of these transfer, queue, job and our own overhead."""
    table = Table(title=f"{escape(view.partition)}", title_justify="left", box=None, padding=_PADDING, pad_edge=False)
    table.add_column("asset", no_wrap=True)
    for column in ("files", "bytes", "seconds", "transfer", "queue", "job", "ours", "checks"):
        table.add_column(column, justify="right", no_wrap=True)
    for asset in view.assets.values():
        split = split_of(asset.metadata)
        passed = sum(asset.checks.values())
        checks = Text(f"{passed}/{len(asset.checks)}" if asset.checks else "")
        checks.stylize("green" if passed == len(asset.checks) else "bold red")
        table.add_row(Text(_name(asset)), *_amounts(asset)[:2], *_seconds(split), checks)
    return table


def places(view: ScanView) -> str:
    """Where each asset lies: too long for a column beside the figures."""
    width = max(len(_name(asset)) for asset in view.assets.values())
    made = (asset for asset in view.assets.values() if "path" in asset.metadata)
    return "\n".join(f"{_name(asset):<{width}}  {asset.metadata['path']}" for asset in made)


def verdict(
    view: ScanView,
    complete_at: float,
    ingested: dg.AssetKey,
    branch: Collection[dg.AssetKey],
    entries: Collection[dg.AssetKey],
) -> Text:
    """The figures of the whole scan, from the moment its file was complete, beside what the project promises.

    And those of its ``branch``, which begins when the scan is ``ingested``; and when its ``entries`` stood in the
    catalogue, for which nothing else waits.
    """
    copies = [asset for key, asset in view.assets.items() if key not in entries]
    ended = max(asset.recorded for asset in copies)
    ours = overhead_s(complete_at, ended, outside_of(asset.metadata for asset in copies))
    began, made = view.assets[ingested].recorded, outside_of(view.assets[key].metadata for key in branch)
    return Text.assemble(
        f"all {len(copies)} copies and products were there ",
        _against(ended - complete_at, PROMISED_S),
        " after the file was complete; of these our own overhead was ",
        _against(ours, PROMISED_OVERHEAD_S),
        ", in the branch ",
        _against(overhead_s(began, ended, made), PROMISED_BRANCH_OVERHEAD_S),
        ": runs that start, sensors that look every few seconds, and what the column 'ours' counts",
        *(f"\nin the catalogue: {view.assets[key].metadata['page']}" for key in entries),
    )


def _against(seconds: float, promised_s: float) -> Text:
    kept = seconds <= promised_s
    said = f"{seconds:.1f} s ({'promised' if kept else 'MISSED: promised'} {promised_s:.0f} s)"
    return Text(said, style="green" if kept else "bold yellow")


def _seconds(split: Split | None) -> list[str]:
    if split is None:
        return [""] * 5
    return [f"{value:.1f}" for value in (split.total_s, split.transfer_s, split.queue_s, split.job_s, split.ours_s)]


def _amounts(asset: AssetView) -> tuple[str, str, str]:
    found = asset.metadata
    if not found:
        return "", "", ""
    size_bytes = found.get("bytes", 0)
    seconds = f"{found['seconds']:.1f}" if "seconds" in found else ""
    return str(found.get("files", 1)), size(float(size_bytes)), seconds


def _name(asset: AssetView) -> str:
    return "/".join(asset.key.path[1:])


def _sign(asset: AssetView) -> Text:
    return Text(_SIGN[asset.progress], style=_STYLE[asset.progress])
