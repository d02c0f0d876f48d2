"""The report of the proof: Markdown, and its pictures beside it.

Belongs here: writing. Does not: any measurement.
"""

from collections.abc import Sequence
from pathlib import Path

from accuracy.chapter import Chapter, rows_of
from accuracy.findings import Finding

HEAD = """# Accuracy

What `make accuracy` measured: slices and pyramids beside phantoms whose truth is known, and beside other programs on
the same raw file. It ends with exit code 1 where a limit is missed. Errors are in parts of the range of the true
values."""


def write(chapters: Sequence[Chapter], path: Path) -> None:
    """Write the report at ``path``, and its pictures in a folder of the same name."""
    folder = path.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    for chapter in chapters:
        for name, content in chapter.pictures.items():
            (folder / name).write_bytes(content)
    path.write_text("\n".join(_lines(chapters, folder.name)))


def all_of(chapters: Sequence[Chapter]) -> list[Finding]:
    """Everything that was found."""
    return [finding for chapter in chapters for finding in chapter.findings]


def _lines(chapters: Sequence[Chapter], pictures: str) -> list[str]:
    findings = all_of(chapters)
    missed = [finding for finding in findings if finding.is_missed]
    limits = sum(bool(finding.limit) for finding in findings)
    lines = [HEAD, "", f"**{limits - len(missed)} of {limits} limits kept.**", ""]
    lines += [f"- MISSED: {one.part}, {one.what}: {one.figure}, limit {one.limit}" for one in missed]
    for chapter in chapters:
        lines += ["", f"## {chapter.title}", chapter.about, "", *(chapter.table or rows_of(chapter.findings))]
        for name in chapter.pictures:
            lines += ["", f"![{Path(name).stem}]({pictures}/{name})"]
    return [*lines, ""]
