"""Walking through a place: every folder of a store and what is in it, each listed once.

Belongs here: the order of folders, and pages of a listing put together.
Does not: what is looked for in them (operations.adopt, reconciliation), or the listing (resources.transfer).
"""

from collections import deque
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

from beamlines.config import Beamline
from beamlines.places import Location, Store
from resources.globus import MOST_ENTRIES
from resources.transfer import Entry, EntryType, Transfer

PRODUCT = "rec"
"""How the folder of every product begins: nothing else does, in the results (beamlines.layout)."""
LOOKS = frozenset({"preview", "comparison"})


def walk(
    below: str, entries_of: Callable[[str], list[Entry] | None], enters: Callable[[str, Entry], bool]
) -> Iterator[tuple[str, list[Entry]]]:
    """Every folder from ``below`` on, with its entries; ``entries_of`` says None of one that is not to be looked into.

    ``enters`` is asked, with its path, of each folder that was found.
    """
    queue = deque([below])
    while queue:
        folder = queue.popleft()
        entries = entries_of(folder)
        if entries is None:
            continue
        yield folder, entries
        for entry in entries:
            path = str(PurePosixPath(folder, entry.name))
            if entry.type is EntryType.FOLDER and enters(path, entry):
                queue.append(path)


def entries_in(transfer: Transfer, folder: Location) -> list[Entry]:
    """All entries of one folder, of however many pages. Raises NotFoundError, and as Transfer's listings do."""
    entries: list[Entry] = []
    offset, more = 0, True
    while more:
        listing = transfer.list(folder, offset=offset)
        entries += listing.entries
        offset, more = offset + MOST_ENTRIES, listing.more
    return entries


def may_hold_copies(beamline: Beamline, store: Store, path: str, entry: Entry) -> bool:
    """Whether scans or products can lie in a folder: not in those that never hold any, nor inside a product."""
    is_product = store is Store.RESULTS and entry.name.startswith(PRODUCT)
    return not is_product and path not in beamline.scans.ignore_folders


def folders_of_makers(beamline: Beamline) -> frozenset[str]:
    """What folders are called that results lie in beside others: by who has made them, and looks."""
    return LOOKS | {name for facility in beamline.facilities for name in (facility, f"from_{facility}")}
