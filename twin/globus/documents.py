"""What a client submits.

Belongs here: transfer and delete documents with the service's own rules for them.
Does not: the state of the tasks that they become (tasks).
"""

from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

ALGORITHMS = {"MD5": "md5", "SHA1": "sha1", "SHA256": "sha256", "SHA512": "sha512"}


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _path(path: str) -> str:
    if "\r\n" in path:
        raise ValueError("a path may not hold the string CR LF")
    if not path.startswith(("/", "~")):
        raise ValueError("a path must be absolute or start with ~")
    return path


def _label(label: str | None) -> str | None:
    if label is not None and (label != label.strip() or "\n" in label or "\r" in label):
        raise ValueError("a label may not hold a line break, nor start or end with white space")
    return label


def _algorithm(name: object) -> object:
    return name.upper() if isinstance(name, str) else name


CollectionPath = Annotated[str, AfterValidator(_path)]
Label = Annotated[str | None, Field(max_length=128), AfterValidator(_label)]
Moment = Annotated[datetime, AfterValidator(_utc)]
Algorithm = Annotated[Literal["MD5", "SHA1", "SHA256", "SHA512"], BeforeValidator(_algorithm)]


class Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class FilterRule(Document):
    method: Literal["include", "exclude"] = "exclude"
    name: str
    type: Literal["file", "dir"] | None = None


class TransferItem(Document):
    source_path: CollectionPath
    destination_path: CollectionPath
    recursive: bool | None = None
    """None lets the service find out whether the source is a folder."""
    external_checksum: str | None = None
    checksum_algorithm: Algorithm | None = None

    @model_validator(mode="after")
    def _checksums_are_of_files(self) -> Self:
        if self.recursive and self.external_checksum is not None:
            raise ValueError("external_checksum cannot be used with a recursive item")
        return self


class DeleteItem(Document):
    path: CollectionPath


class Submission(Document):
    """What both documents have."""

    submission_id: str
    label: Label = None
    deadline: Moment | None = None


class TransferDocument(Submission):
    DATA: tuple[TransferItem, ...]
    source_endpoint: str
    destination_endpoint: str
    sync_level: Literal[0, 1, 2, 3] | None = None
    verify_checksum: bool = False
    preserve_timestamp: bool = False
    encrypt_data: bool = False
    skip_source_errors: bool = False
    fail_on_quota_errors: bool = False
    delete_destination_extra: Literal[False] = False
    """The twin deletes nothing that a transfer did not name."""
    filter_rules: tuple[FilterRule, ...] | None = None

    @property
    def paths(self) -> frozenset[tuple[str, str]]:
        return frozenset((item.source_path, item.destination_path) for item in self.DATA)


class DeleteDocument(Submission):
    DATA: tuple[DeleteItem, ...]
    endpoint: str
    recursive: bool = False
    ignore_missing: bool = False
    interpret_globs: Literal[False] = False
    """Names are taken as they are."""
