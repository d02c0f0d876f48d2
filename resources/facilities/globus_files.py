"""Small files at a facility that only Globus reaches: looked at in place, and fetched to where this machine sees them.

Belongs here: a path there as Globus has it, and one small transfer for all that is wanted at a time.
Does not: copies of scans and products (resources.transfer): what is fetched here is read once and removed.
"""

import shutil
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path, PurePosixPath

from beamlines.places import Location, Place, Store
from resources.clock import Clock
from resources.errors import ServiceRefusedError, ServiceUnavailableError
from resources.facilities.job import FileTooLargeError
from resources.facilities.service import Content, Entry
from resources.globus import MOST_ENTRIES, EntryType, Globus, NotFoundError, Paths

FETCH_MAY_TAKE = timedelta(minutes=10)
"""Behind other transfers: Globus works on three at a time for one user."""
_FOLDER = ".als-fetched"

_NO_ROOM = "QUOTA_EXCEEDED"


class GlobusFiles:
    """Files below the root of a place, read over ``bench``, a place that is mounted on this machine."""

    look_every = timedelta(minutes=5)
    """Each is a transfer, among those of scans."""

    def __init__(self, globus: Globus, place: Place, bench: Place, clock: Clock) -> None:
        self._globus = globus
        self._place = place
        self._bench = bench
        self._clock = clock

    def list(self, path: str) -> list[Entry]:
        try:
            found = self._globus.stat(self._place.collection, self._there(path))
            if found.type is not EntryType.FOLDER:
                return [Entry(PurePosixPath(path).name, found.size_bytes, is_folder=False, modified=found.modified)]
            entries, _ = self._globus.list(
                self._place.collection, self._there(path), orderby=None, filter_by=None, limit=MOST_ENTRIES, offset=0
            )
        except NotFoundError as error:
            raise FileNotFoundError(f"{self._place.name} has no {path!r}") from error
        return [
            Entry(entry.name, entry.size_bytes, entry.type is EntryType.FOLDER, entry.modified) for entry in entries
        ]

    def read(self, path: str, *, limit_bytes: int) -> bytes:
        content = self.read_all([path], limit_bytes=limit_bytes)[path]
        if isinstance(content, Exception):
            raise content
        return content

    def read_all(self, paths: Sequence[str], *, limit_bytes: int) -> Mapping[str, Content]:
        answers: dict[str, Content] = {}
        wanted: list[str] = []
        for path in paths:
            try:
                size = self._globus.stat(self._place.collection, self._there(path)).size_bytes
            except NotFoundError:
                answers[path] = FileNotFoundError(f"{self._place.name} has no {path!r}")
                continue
            if size > limit_bytes:
                answers[path] = FileTooLargeError(f"{path!r} has {size} bytes, more than {limit_bytes}")
            else:
                wanted.append(path)
        return answers | self._fetched(wanted)

    def make_folder(self, path: str) -> None:
        """Make one folder at the facility, at once. Raises NotFoundError where its parent is not there."""
        self._globus.make_folder(self._place.collection, self._there(path))

    # -- fetching ------------------------------------------------------------------------------------------------

    def _fetched(self, paths: Sequence[str]) -> dict[str, bytes]:
        if not paths:
            return {}
        submission = self._globus.new_submission_id()
        folder = self._bench.at(Store.RESULTS, f"{_FOLDER}/{submission}")
        landed = {path: folder / str(number) for number, path in enumerate(paths)}
        try:
            self._fetch(submission, landed)
            return {path: location.here.read_bytes() for path, location in landed.items()}
        except OSError as error:
            raise ServiceUnavailableError(
                seen=f"what Globus has fetched to {folder} cannot be read here ({error.strerror})",
                meaning="the mount is gone, or shows another folder than the collection",
                remedy=f"compare the mount of {self._bench.name} with its collection (als doctor)",
            ) from error
        finally:
            _remove(folder.here)

    def _fetch(self, submission: str, landed: Mapping[str, Location]) -> None:
        deadline = self._clock.now() + FETCH_MAY_TAKE
        items = [Paths(self._there(path), location.on_collection, None) for path, location in landed.items()]
        task_id = self._globus.submit_transfer(
            self._place.collection,
            self._bench.collection,
            items,
            skip_equal=False,
            label=f"als-read-{submission}",
            submission_id=submission,
            deadline=deadline,
        )
        pause = 0.25
        while (task := self._globus.task(task_id))["status"] == "ACTIVE":
            # A task with faults goes on until its deadline; a file that cannot be read is asked for again, later.
            if self._clock.now() >= deadline or (task.get("faults") and task.get("nice_status") not in (None, "OK")):
                self._globus.cancel(task_id)
                raise self._not_fetched(task_id, str(task.get("nice_status")))
            self._clock.sleep(pause)
            pause = min(pause * 1.5, 5)
        if task["status"] != "SUCCEEDED":
            fatal = (task.get("fatal_error") or {}).get("code")
            raise self._not_fetched(task_id, str(task.get("nice_status") or fatal or task["status"]))

    def _not_fetched(self, task_id: str, status: str) -> ServiceUnavailableError | ServiceRefusedError:
        if status == _NO_ROOM:
            return ServiceRefusedError(
                seen=f"{self._bench.name} has no room for small files of {self._place.name} (Globus task {task_id})",
                meaning="what a job has left cannot be read, so nothing is said of it; the job and its files stay",
                remedy=f"make room on {self._bench.name}, and run this again: it attaches to the same job",
            )
        return ServiceUnavailableError(
            seen=f"files of {self._place.name} could not be fetched to be read ({status}, Globus task {task_id})",
            meaning="the collection does not give them now, or they are just being written",
            remedy="nothing to do at once: they are asked for again",
        )

    def _there(self, path: str) -> str:
        try:
            below = PurePosixPath(path).relative_to(self._place.posix_root)
        except ValueError as error:
            raise ServiceRefusedError(
                seen=f"{path!r} is not below {self._place.posix_root}",
                meaning=f"Globus shows only what lies in {self._place.name}",
                remedy="let the folder of the jobs' logs lie below the root of the place where jobs work",
            ) from error
        return str(self._place.collection_root / below)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)  # what cannot be removed is a few files of text, in a folder of our own
