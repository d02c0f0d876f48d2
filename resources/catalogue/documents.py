"""Entries in SciCat's own fields, and how such a document differs from what the service has.

Belongs here: names of fields, times as SciCat reads them, lists of files in blocks of bounded size.
Does not: sending (session, catalogue), or what an entry says (beamlines.catalogue).

pyscicat's own models are not used: of a dataset's life they have nothing, they want a number for the name of a
checksum, and they put ``type`` into an update; the service refuses the last two.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from beamlines.catalogue.entries import Entry, ListedFile, Taken, Whereabouts, copies_said

CHECKSUM = "sha256"
FILES_A_BLOCK = 20_000
"""About 4 MB of JSON: the service takes 16 MB, and so does its database for one document."""
PICTURE_CHARACTERS = 1_000_000
OUR_CAPTION = "Made by the data platform"
"""With which every picture of ours begins: people add pictures too, and those are left alone."""
_NOT_CHANGED = ("pid", "type")
"""What an update must not name."""

Document = dict[str, Any]


def dataset(entry: Entry) -> Document:
    """The dataset of an entry."""
    where = entry.whereabouts
    common = {
        "pid": entry.pid,
        "datasetName": entry.name,
        "description": entry.description,
        "keywords": list(entry.keywords),
        "owner": entry.owner,
        "contactEmail": entry.contact_email,
        "ownerGroup": entry.owner_group,
        "accessGroups": list(entry.access_groups),
        "creationTime": time(entry.created),
        "isPublished": False,
        "size": entry.bytes,
        "numberOfFiles": len(entry.files),
        "scientificMetadata": {**entry.metadata, "copies": copies_said(where.copies)},
        **location(where),
    }
    return {**common, **_origin(entry)}


def location(where: Whereabouts) -> Document:
    """Where the data lie, and what became of copies that are gone."""
    best = where.best
    left = {} if where.left_site is None else {"dateOfDiskPurging": time(where.left_site)}
    return {
        "sourceFolder": best.folder,
        "sourceFolderHost": best.place,
        "datasetlifecycle": {
            # No archive job of SciCat's own is worked on here: what is kept where is for retention to say.
            "archivable": False,
            "retrievable": where.is_elsewhere and not where.is_on_site,
            "publishable": False,
            "isOnCentralDisk": where.is_on_site,
            "archiveStatusMessage": where.said,
            "retrieveStatusMessage": "",
            "storageLocation": f"{best.place}:{best.path}",
            **left,
        },
    }


def moved(found: Document, where: Whereabouts) -> Document:
    """What is to be changed of a dataset that is there, so that it says where its data lie now."""
    metadata = found.get("scientificMetadata") or {}
    return {**location(where), "scientificMetadata": {**metadata, "copies": copies_said(where.copies)}}


def update(document: Document) -> Document:
    """The same as an update has it."""
    return {name: value for name, value in document.items() if name not in _NOT_CHANGED}


def blocks(files: Sequence[ListedFile]) -> Iterator[Document]:
    """The lists of files."""
    for start in range(0, len(files), FILES_A_BLOCK):
        some = files[start : start + FILES_A_BLOCK]
        yield {
            "chkAlg": CHECKSUM,
            "size": sum(file.bytes for file in some),
            "dataFileList": [
                {"path": file.path, "size": file.bytes, "time": time(file.time), "chk": file.sha256} for file in some
            ],
        }


def attachment(entry: Entry) -> Document | None:
    """The picture of an entry; None where it has none, or one that nobody could take for a thumbnail."""
    picture = entry.picture
    if picture is None or len(picture.png_base64) > PICTURE_CHARACTERS:
        return None
    return {
        "datasetId": entry.pid,
        "ownerGroup": entry.owner_group,
        "accessGroups": list(entry.access_groups),
        "caption": f"{OUR_CAPTION}: {picture.caption}",
        "thumbnail": f"data:image/png;base64,{picture.png_base64}",
    }


def time(at: datetime) -> str:
    """ISO 8601 in UTC, to the millisecond, as SciCat writes times itself."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def differences(meant: Any, found: Any, where: str = "") -> list[str]:
    """Where what is found is not what is meant. What is found beside that is the service's own, and is no difference.

    The service adds fields everywhere, the same quantity in SI units for one, and writes a time in its own way.
    """
    if isinstance(meant, Mapping):
        if not isinstance(found, Mapping):
            return [where or "everything"]
        names = ((name, f"{where}.{name}" if where else str(name)) for name in meant)
        return [one for name, path in names for one in differences(meant[name], found.get(name), path)]
    if isinstance(meant, list):
        if not isinstance(found, list) or len(found) != len(meant):
            return [where]
        pairs = enumerate(zip(meant, found, strict=True))
        return [one for index, (of, there) in pairs for one in differences(of, there, f"{where}[{index}]")]
    same = meant == found or (isinstance(meant, str) and _is_same_time(meant, found))
    return [] if same and isinstance(meant, bool) is isinstance(found, bool) else [where]


def _is_same_time(meant: str, found: object) -> bool:
    if not isinstance(found, str) or len(meant) < len("2026-01-01T00:00") or not meant[:4].isdigit():
        return False
    try:
        return datetime.fromisoformat(meant) == datetime.fromisoformat(found)
    except (ValueError, TypeError):
        return False


def _origin(entry: Entry) -> Document:
    origin = entry.origin
    if isinstance(origin, Taken):
        taken = {
            "type": "raw",
            "principalInvestigator": origin.principal_investigator,
            "creationLocation": origin.instrument,
            "instrumentId": origin.instrument,
            "dataFormat": origin.data_format,
        }
        return taken if origin.proposal is None else {**taken, "proposalId": origin.proposal}
    return {
        "type": "derived",
        "investigator": origin.investigator,
        "inputDatasets": list(origin.inputs),
        "usedSoftware": list(origin.software),
        "jobParameters": dict(origin.parameters),
    }
