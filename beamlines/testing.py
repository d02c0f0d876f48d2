"""What tests of names share: the worst names that people and programs have typed, and strategies that make more.

Belongs here: hostile names, and hypothesis strategies for paths and partition keys.
Does not: what must be true of them (tests).
"""

from hypothesis import strategies as st

from beamlines.layout import LEGACY
from beamlines.scans import RESERVED_LABELS, SUFFIX, PartitionKey, ScanId

HOSTILE_NAMES = (
    "with space",
    "it's",
    'say "hello"',
    "a;b && c | d > e",
    "$(touch x)",
    "`id`",
    "${HOME}",
    "new\nline",
    "tab\tand\rreturn",
    "-rf",
    "--help",
    "*?[a]{b}",
    "back\\slash",
    "100%~7E",
    "a@label",
    "#SBATCH --time=1",
    "<b>&amp;",
    "e\u0301t\u00e9",
    "\U0001f9ea",
    "\u202egpj.exe\u202c",
    "\ufeff\u200b",
    "\udcff\udc80",
    ".",
    "..",
    "...",
    "." * 40,
    "~",
    "~41",
    "x" * 200,
    "\u00e9" * 100,
    "rec",
    "_rec_x",
    "from_alcf",
    "nersc",
    "alcf",
    "preview",
    "a.zarr",
    "a.tiff",
    "a.tiff.manifest.json",
    "a.preview.manifest.json",
    "a.zarr.manifest.json.partial",
    "a.tiff.partial.jsonl",
    "a.h5",
    "a.h5.manifest.json",
    "a.h5_",
    "a.b",
    "a.",
    "a",
    "raw",
    "results",
)
"""Folders and scans (less ``.h5``) that must be harmless everywhere. Names of dots alone are scans, not folders."""


_MEANINGFUL = (".", "_", "a", "b", "rec", "from_", "zarr", "tiff", "h5", "manifest", "json", "nersc", "alcf", "preview")


def texts() -> st.SearchStrategy[str]:
    """Any file name: no ``/``, no NUL; bytes that are no UTF-8 as surrogate escapes."""
    return st.binary(min_size=1, max_size=24).map(_as_name).filter(bool)


def names() -> st.SearchStrategy[str]:
    """Names made of the parts that layouts give a meaning to, hostile ones, and any others."""
    parts = st.lists(st.sampled_from(_MEANINGFUL), min_size=1, max_size=6).map("".join)
    return st.one_of(st.sampled_from(HOSTILE_NAMES), parts, texts(), st.text(max_size=8)).filter(_is_a_name)


def scan_ids() -> st.SearchStrategy[ScanId]:
    """Scans in none, one or a few folders."""
    folders = st.lists(names().filter(lambda name: name not in (".", "..")), max_size=3)
    return st.builds(lambda above, name: ScanId("/".join([*above, name + SUFFIX])), folders, names())


def partition_keys() -> st.SearchStrategy[PartitionKey]:
    """Scans, and labelled re-reconstructions of them."""
    labels = st.one_of(
        st.none(),
        st.sampled_from(("a", "b", "manifest", "1", "-", "nersc")),
        st.from_regex(r"[a-z0-9-]{1,32}", fullmatch=True).filter(lambda label: label not in {*RESERVED_LABELS, LEGACY}),
    )
    return st.builds(PartitionKey, scan_ids(), labels)


def _as_name(content: bytes) -> str:
    return content.replace(b"/", b"").replace(b"\0", b"").decode("utf-8", "surrogateescape")


def _is_a_name(text: str) -> bool:
    try:
        same = text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape") == text
    except UnicodeEncodeError:
        return False
    return bool(text) and same and "/" not in text and "\0" not in text
