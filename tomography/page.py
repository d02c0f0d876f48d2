"""A first look as one HTML page that needs nothing else: no network, no files beside it.

Belongs here: the page and its style. Every text goes through ElementTree, which escapes it: names and metadata are
typed by people. Does not: what is shown.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

from tomography import __version__
from tomography.quality import Finding

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --quiet: #777; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1280px; padding: 0 1rem; }
h1 { font-size: 1.4rem; overflow-wrap: anywhere; } h2 { font-size: 1.1rem; margin-top: 2rem; }
ul { list-style: none; padding: 0; margin: 0; }
li { padding: .3rem .6rem; border-left: .35rem solid var(--line); margin: .2rem 0; }
li.error { border-color: #c62828; background: #c6282822; } li.warning { border-color: #ef9a00; background: #ef9a0022; }
li b { display: inline-block; min-width: 12rem; }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(220px, 1fr)); gap: 1rem; margin-top: 1rem; }
figure { margin: 0; } img { width: 100%; background: #000; image-rendering: auto; }
figcaption, footer { color: var(--quiet); font-size: .85rem; }
table { border-collapse: collapse; font-size: .85rem; }
td { border-top: 1px solid var(--line); padding: .2rem .8rem .2rem 0; vertical-align: top; overflow-wrap: anywhere; }
"""


def page(
    name: str,
    findings: Mapping[str, Finding],
    lines: Sequence[Sequence[tuple[str, bytes]]],
    metadata: Mapping[str, str],
    description: Mapping[str, Any],
) -> bytes:
    """The page of a scan.

    ``lines`` of pictures: captions and JPEG files; ``metadata``: values by their path in the file; ``description``:
    what ``preview.json`` says.
    """
    html = Element("html", lang="en")
    head = SubElement(html, "head")
    SubElement(head, "meta", charset="utf-8")
    SubElement(head, "meta", name="viewport", content="width=device-width")
    _text(head, "title", f"First look: {name}")
    _text(head, "style", _STYLE)
    body = SubElement(html, "body")
    _text(body, "h1", name)
    _findings(body, findings)
    _text(body, "h2", "Pictures")
    for line in lines:
        _pictures(body, line)
    if description["whole_file_was_read"]:
        _text(body, "p", "Its frames are compressed whole: the whole file was read for this, once.")
    _text(body, "h2", "What the file says")
    _table(body, metadata)
    _text(body, "footer", f"Absorption in {description['unit']}; made by tomography {__version__}.")
    return f"<!DOCTYPE html>\n{tostring(html, encoding='unicode', method='html')}\n".encode()


def _findings(body: Element, findings: Mapping[str, Finding]) -> None:
    wrong = sum(finding.wrong is not None for finding in findings.values())
    _text(body, "h2", f"{wrong} of {len(findings)} things to look at" if wrong else "Nothing found wrong")
    worst_first = sorted(findings.items(), key=lambda one: ("error", "warning", None).index(one[1].wrong))
    found = SubElement(body, "ul")
    for name, finding in worst_first:
        item = SubElement(found, "li", {"class": finding.wrong or "right"})
        _text(item, "b", name.replace("_", " ")).tail = _clean(finding.said)


def _pictures(body: Element, pictures: Sequence[tuple[str, bytes]]) -> None:
    grid = SubElement(body, "div", {"class": "pictures"})
    for caption, content in pictures:
        figure = SubElement(grid, "figure")
        source = f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"
        SubElement(figure, "img", src=source, alt=_clean(caption))
        _text(figure, "figcaption", caption)


def _table(body: Element, values: Mapping[str, str]) -> None:
    table = SubElement(body, "table")
    for name, value in values.items():
        row = SubElement(table, "tr")
        _text(row, "td", name)
        _text(row, "td", value)


def _text(parent: Element, tag: str, text: str) -> Element:
    element = SubElement(parent, tag)
    element.text = _clean(text)
    return element


def _clean(text: str) -> str:
    """Text that every browser shows: control characters, and bytes that are no text, are spelled out."""
    readable = text.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in readable)
