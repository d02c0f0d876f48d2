"""The identity of a scan, and the partition key that carries it through the platform.

Belongs here: ScanId, PartitionKey, their encoding, and what can be read off a scan's name.
Does not: where copies lie (layout), or what may happen to a scan (policy).
"""

import re
from dataclasses import dataclass

SUFFIX = ".h5"
RESERVED_LABELS = frozenset({"zarr", "tiff", "json", "jsonl", "partial", "h5"})
"""Labels that would make a result's folder read as another result's file (see layout)."""

_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._/-")
_NEEDS_NO_ESCAPE = re.compile(r"[A-Za-z0-9._/-]*")
_ESCAPE = re.compile(r"~([0-9A-F]{2})")
_KEY = re.compile(r"(?:[A-Za-z0-9._/-]|~[0-9A-F]{2})+")
_LABEL = re.compile(r"[a-z0-9-]{1,32}")
_EXPERIMENT = re.compile(r"(?P<prefix>[A-Za-z]+)-(?P<number>\d{5})_(?P<user>.+)")
_NAME = re.compile(r"(?P<date>\d{8})_(?P<time>\d{6})_(?P<text>.*?)(?:_x(?P<x>\d+)y(?P<y>\d+))?", re.DOTALL)


class InvalidScanPathError(ValueError):
    """A path that cannot name a scan: says which path, and which rule it breaks."""


class InvalidPartitionKeyError(ValueError):
    """A text that is no partition key of this platform."""


@dataclass(frozen=True, slots=True, order=True)
class ScanId:
    """A scan: the path of its raw file below ``raw/``, as it truly is, e.g. ``BLS-00564_dyparkinson/a.h5``.

    The text is Unicode; bytes of a file name that are not UTF-8 are carried as surrogate escapes (PEP 383).
    Raises InvalidScanPathError for a path that leaves ``raw/`` or does not end in ``.h5``.
    """

    path: str

    def __post_init__(self) -> None:
        parts = self.path.split("/")
        if any(part in ("", ".", "..") for part in parts):
            raise InvalidScanPathError(f"{self.path!r} is not a plain path below raw/: a part is empty, '.' or '..'")
        if "\0" in self.path:
            raise InvalidScanPathError(f"{self.path!r} holds a NUL character: no file system can store it")
        if not parts[-1].endswith(SUFFIX) or parts[-1] == SUFFIX:
            raise InvalidScanPathError(f"{self.path!r} is no scan: its name must be something followed by {SUFFIX}")
        try:
            same = self.path.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
        except UnicodeEncodeError as error:
            raise InvalidScanPathError(f"{self.path!r} holds a lone surrogate that stands for no byte") from error
        if same != self.path:
            raise InvalidScanPathError(f"{self.path!r} holds bytes escaped that are plain UTF-8: it is {same!r}")

    @property
    def name(self) -> str:
        """The file's name without ``.h5``, as people typed it."""
        return self.path.rpartition("/")[2].removesuffix(SUFFIX)

    @property
    def folder(self) -> str:
        """The path of the folder below ``raw/``; empty for a scan that lies in ``raw/`` itself."""
        return self.path.rpartition("/")[0]

    @property
    def key(self) -> str:
        """The scan part of the partition key: safe in a UI, a URL, a job's name and a shell."""
        return _encode(self.path.removesuffix(SUFFIX))

    @classmethod
    def from_key(cls, key: str) -> "ScanId":
        """The scan that a key stands for. Raises InvalidPartitionKeyError unless ``from_key(s.key) == s``."""
        try:
            scan = cls(_decode(key) + SUFFIX)
        except InvalidScanPathError as error:
            raise InvalidPartitionKeyError(f"{key!r} decodes to no scan: {error}") from error
        if scan.key != key:
            raise InvalidPartitionKeyError(f"{key!r} is not in its canonical form, which is {scan.key!r}")
        return scan

    def describe(self) -> "ScanName":
        """What the folder and the name say by the beamline's habits. Labels for people, never identities."""
        experiment = _EXPERIMENT.fullmatch(self.folder.split("/")[0])
        name = _NAME.fullmatch(self.name)
        tiled = name is not None and name["x"] is not None
        return ScanName(
            proposal=f"{experiment['prefix']}-{experiment['number']}" if experiment else None,
            user=experiment["user"] if experiment else None,
            taken=f"{name['date']}_{name['time']}" if name else None,
            tile=(int(name["x"]), int(name["y"])) if name and tiled else None,
            group=self.key.rpartition("_x")[0] if tiled else None,
        )


@dataclass(frozen=True, slots=True)
class ScanName:
    """What can be read off a conforming name; every part is None where the name does not conform."""

    proposal: str | None
    user: str | None
    taken: str | None
    """``YYYYMMDD_HHMMSS`` as it stands in the name: a label, not a time to compute with."""
    tile: tuple[int, int] | None
    """Column x and row y of a tiled scan."""
    group: str | None
    """What all tiles of one tiled scan share: the key without ``_x##y##``, so in the same folder."""


@dataclass(frozen=True, slots=True, order=True)
class PartitionKey:
    """``<scan>`` or ``<scan>@<label>``: one scan, or one re-reconstruction of it."""

    scan: ScanId
    label: str | None = None

    def __post_init__(self) -> None:
        if self.label is None:
            return
        if not _LABEL.fullmatch(self.label):
            raise InvalidPartitionKeyError(f"label {self.label!r}: must be 1 to 32 lower-case letters, digits and '-'")
        if self.label in RESERVED_LABELS:
            raise InvalidPartitionKeyError(f"label {self.label!r} is reserved, as are {sorted(RESERVED_LABELS)}")

    def __str__(self) -> str:
        return self.scan.key if self.label is None else f"{self.scan.key}@{self.label}"

    @classmethod
    def parse(cls, text: str) -> "PartitionKey":
        """The key that a Dagster partition stands for. Raises InvalidPartitionKeyError."""
        scan, at, label = text.partition("@")
        return cls(ScanId.from_key(scan), label if at else None)

    @property
    def of_scan(self) -> "PartitionKey":
        """The key of the scan itself, which is where its raw copies are recorded."""
        return PartitionKey(self.scan)


def _encode(text: str) -> str:
    if _NEEDS_NO_ESCAPE.fullmatch(text) and ".." not in text:
        return text  # nearly every scan: a pass asks for 100,000
    out: list[str] = []
    previous = 0
    for byte in text.encode("utf-8", "surrogateescape"):
        dots = byte == previous == ord(".")
        out.append(chr(byte) if byte in _PLAIN and not dots else f"~{byte:02X}")
        previous = byte
    return "".join(out)


def _decode(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise InvalidPartitionKeyError(f"{key!r}: only A-Z a-z 0-9 . _ / - and ~XX make a key, and it is never empty")
    raw = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), key).encode("latin-1")
    return raw.decode("utf-8", "surrogateescape")
