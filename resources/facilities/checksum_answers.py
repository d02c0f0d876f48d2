"""What a job that read copies again has said, and whether that is what the manifests say.

Belongs here: the form that its answer must have, and holding it against a manifest. Pure: nothing is read or asked.
Does not: the job itself (checksums, checksums.sh.template).
"""

import base64
import binascii
import hashlib
import os
import re
from dataclasses import dataclass

from beamlines.deletion import Found
from beamlines.manifest import Manifest
from resources.errors import PlatformError
from resources.facilities.service import Content
from resources.rereading import Asked, NoVerdictError, shown, usable_manifest

_SUM = r"[0-9a-f]{64}"
_LINE = re.compile(
    rf"als-read copy (?P<number>\d{{1,6}}) (?P<state>read|changed|missing|unread) (?P<manifest>{_SUM}|-) "
    rf"(?P<listed>{_SUM}|-) (?P<contents>{_SUM}|-) (?P<files>\d{{1,12}}) (?P<odd>[A-Za-z0-9+/=,]+|-) "
    rf"(?P<lost>[0-9a-f,]+|-) (?P<why>[A-Za-z0-9+/=]+) \."
)
_ODD = re.compile(rb"(?P<size>\d*) (?P<sum>[0-9a-f]{64})  (?:\./(?P<path>.*)|-)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Said:
    """What the job says of one copy."""

    state: str
    manifest: str
    listed: str
    contents: str
    files: int
    odd: tuple[bytes, ...]
    lost: tuple[str, ...]
    why: str


def parse_answer(log: bytes, token: str) -> dict[int, Said] | str:
    """What the job's log says of each copy, by its number; or why nothing of it is believed.

    One block, begun and ended with this token and with a checksum: half of it, or another job's, is none. Of a copy of
    which it says two things, or one that nobody understands, it says nothing.
    """
    lines = log.split(b"\n")
    begin, end = f"als-read begin {token}".encode(), f"als-read end {token} ".encode()
    starts = [number for number, line in enumerate(lines) if line == begin]
    ends = [number for number, line in enumerate(lines) if line.startswith(end)]
    if len(starts) != 1 or len(ends) != 1 or ends[0] < starts[0]:
        return "its answer is not there, not whole, or not this job's"
    block = lines[starts[0] + 1 : ends[0]]
    digest = hashlib.sha256(b"".join(line + b"\n" for line in block)).hexdigest()
    if lines[ends[0]] != end + digest.encode() or ends[0] + 1 >= len(lines):
        return "its answer is damaged"
    said: dict[int, Said] = {}
    twice: set[int] = set()
    for line in block:
        parsed = _line(line)
        if parsed is not None:
            twice |= {parsed[0]} & said.keys()
            said[parsed[0]] = parsed[1]
    return {number: one for number, one in said.items() if number not in twice}


def _line(line: bytes) -> tuple[int, Said] | None:
    match = _LINE.fullmatch(line.decode("ascii", "replace"))
    if match is None:
        return None
    try:
        odd = tuple(base64.b64decode(word, validate=True) for word in match["odd"].split(",") if word != "-")
        why = base64.b64decode(match["why"], validate=True).decode("utf-8", "backslashreplace")
    except binascii.Error:
        return None
    lost = tuple(match["lost"].split(","))
    state, manifest, listed, contents = (match[name] for name in ("state", "manifest", "listed", "contents"))
    return int(match["number"]), Said(state, manifest, listed, contents, int(match["files"]), odd, lost, why)


def held_against(asked: Asked, said: Said | None, content: Content | PlatformError) -> tuple[Manifest, bytes]:
    """The manifest that the copy equals. Raises NoVerdictError where it does not, or where that cannot be told."""
    if said is None:
        raise NoVerdictError(Found.UNREAD, "the job has said nothing of it that can be understood")
    if said.state == "missing":
        raise NoVerdictError(Found.DIFFERENT, f"missing: {said.why}")
    if said.manifest == "-":
        raise NoVerdictError(Found.UNREAD, said.why)
    if isinstance(content, Exception):
        raise NoVerdictError(Found.UNREAD, f"its manifest was not to be had: {content}")
    if hashlib.sha256(content).hexdigest() != said.manifest:
        raise NoVerdictError(Found.UNREAD, "its manifest is not the one that lay there when the copy was read")
    manifest = usable_manifest(asked, content)
    if said.listed != _digest(_files(manifest)):
        raise NoVerdictError(Found.DIFFERENT, _differences(said, manifest))
    if said.state == "unread":
        raise NoVerdictError(Found.UNREAD, said.why)
    if said.contents != _digest(_contents(manifest)):
        raise NoVerdictError(Found.DIFFERENT, _differences(said, manifest))
    if said.state != "read":
        raise NoVerdictError(Found.UNREAD, "its files changed while they were read")
    return manifest, content


def _files(manifest: Manifest) -> list[bytes]:
    """As ``find`` prints them with ``%y %s %P``."""
    raw = manifest.artifact == "raw"
    return [b"f %d %s" % (file.bytes, b"" if raw else os.fsencode(file.path)) for file in manifest.files]


def _contents(manifest: Manifest) -> list[bytes]:
    """As ``sha256sum --zero`` prints them."""
    raw = manifest.artifact == "raw"
    names = (b"-" if raw else b"./" + os.fsencode(file.path) for file in manifest.files)
    return [b"%s  %s" % (file.sha256.encode(), name) for file, name in zip(manifest.files, names, strict=True)]


def _digest(records: list[bytes]) -> str:
    return hashlib.sha256(b"".join(record + b"\0" for record in sorted(records))).hexdigest()


def _differences(said: Said, manifest: Manifest) -> str:
    """In words. What differs in name alone, or doubles another file, is told only by how many there are."""
    raw = manifest.artifact == "raw"
    files = {b"-" if raw else os.fsencode(file.path): file for file in manifest.files}
    words, there = [], set()
    for odd in map(_ODD.fullmatch, said.odd):
        if odd is None:
            continue
        path = odd["path"] or b"-"
        file, size = files.get(path), int(odd["size"] or 0)
        there.add(path)
        if file is None:
            words.append(f"{os.fsdecode(path)}: not in the manifest")
        elif size != file.bytes:
            words.append(f"{file.path}: {size} bytes, not {file.bytes}")
        else:
            words.append(f"{file.path}: SHA-256 {odd['sum'].decode()[:12]}..., not {file.sha256[:12]}...")
    missing = [file for path, file in files.items() if file.sha256 in said.lost and path not in there]
    if said.files < manifest.total_files:
        words += [f"{file.path}: missing" for file in missing]
    if not words or said.files != manifest.total_files:
        words.insert(
            0, f"{said.files} files lie there, and {manifest.total_files} are listed with their names and sizes"
        )
    return f"it differs from its manifest: {shown(words)}"
