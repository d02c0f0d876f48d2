"""Two small pages to look at the catalogue: all datasets, and one.

Belongs here: HTML in which every text is escaped, whoever wrote it. Does not: what is shown (service).
"""

import json
from html import escape
from typing import Any
from urllib.parse import quote

Document = dict[str, Any]

HEADERS = {"content-security-policy": "default-src 'none'; img-src data:; style-src 'unsafe-inline'"}
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.4rem .8rem .4rem 0;"
    "border-bottom:1px solid #ddd;overflow-wrap:anywhere}img{max-height:6rem;background:#000}"
    "h1{font-size:1.3rem}pre{white-space:pre-wrap;overflow-wrap:anywhere}small{color:#666}"
    ".number{text-align:right;white-space:nowrap}"
)


def overview(held: list[Document], here: str) -> str:
    """All datasets, the newest first."""
    base = here.split("?")[0].rstrip("/")
    rows = "".join(_row(one, base) for one in held)
    table = f"<table><tr><th></th><th>dataset</th><th>where</th><th class=number>files</th></tr>{rows}</table>"
    return _page(f"SciCat of the twin: {len(held)} datasets", table)


def dataset(one: Document) -> str:
    """One dataset, with all that was said of it."""
    said, pictures = one["dataset"], "".join(_picture(item) for item in one["attachments"])
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{_value(said[name])}</td></tr>" for name in sorted(said, key=str.lower)
    )
    files = sum(len(block["dataFileList"]) for block in one["origdatablocks"])
    lists = f"<p>{files} files in {len(one['origdatablocks'])} list(s)</p>"
    return _page(str(said["datasetName"]), f"<p>{pictures}</p>{lists}<table>{rows}</table>")


def missing(pid: str) -> str:
    return _page("Nothing here", f"<p>There is no dataset {escape(pid)}.</p>")


def _row(one: Document, base: str) -> str:
    said = one["dataset"]
    link = f"{base}/datasets/{quote(said['pid'], safe='')}"
    life = (said.get("datasetlifecycle") or {}).get("archiveStatusMessage", "")
    picture = "".join(_picture(item) for item in one["attachments"][:1])
    name = f'<a href="{escape(link)}">{escape(str(said["datasetName"]))}</a>'
    return (
        f"<tr><td>{picture}</td><td>{name}<br><small>{escape(said['type'])}, {escape(said['pid'])}, "
        f"owner {escape(said['ownerGroup'])}</small></td><td>{escape(str(said['sourceFolder']))}<br>"
        f"<small>{escape(str(life))}</small></td><td class=number>{escape(str(said['numberOfFiles']))}</td></tr>"
    )


def _picture(item: Document) -> str:
    thumbnail = str(item.get("thumbnail", ""))
    return f'<img src="{escape(thumbnail)}" alt="{escape(str(item["caption"]))}">'


def _value(value: Any) -> str:
    if isinstance(value, dict | list):
        return f"<pre>{escape(json.dumps(value, indent=1, ensure_ascii=False))}</pre>"
    return escape(str(value))


def _page(title: str, body: str) -> str:
    head = f"<meta charset=utf-8><title>{escape(title)}</title><style>{_STYLE}</style>"
    return f"<!doctype html><html lang=en><head>{head}</head><body><h1>{escape(title)}</h1>{body}</body></html>"
