"""The inbox of announcements: what the acquisition program has said, kept until a sensor has dealt with it.

Belongs here: the table ``announcements``.
Does not: what an announcement says (beamlines.announcements), or what follows from it (sensors).
"""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from beamlines.announcements import Announced, Announcement
from beamlines.config import Beamline
from beamlines.scans import ScanId
from resources.database import OPEN, Database, announcements, insert_new
from resources.standings import Standings

_SETTLED = "settled"
_EXPIRED = "expired"


class Announcements:
    """Announcements, first come first served."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._standings = Standings(database)

    def take(self, announcement: Announcement, beamline: Beamline, *, author: str, at: datetime) -> ScanId:
        """Keep an announcement. Said again, it is the same one; only a restriction is heard even then.

        Raises InvalidAnnouncementError for what is no scan, and then nothing is kept.
        """
        scan = announcement.scan(beamline)
        # The restriction first: a scan that is waited for must not be free for a moment.
        self._standings.announced(
            scan.key,
            export_control=announcement.export_control,
            withheld_from=announcement.withheld_from,
            author=author,
            at=at,
        )
        row = {"scan": scan.key, "at": at, "author": author, "state": OPEN, "said": ""}
        with self._database.writing() as connection:
            insert_new(connection, announcements, [row])
        return scan

    def open(self, *, after: int, limit: int) -> list[Announced]:
        """The next ones that nobody has dealt with; after the last one those from the beginning."""
        columns = announcements.c.id, announcements.c.scan, announcements.c.at
        query = sa.select(*columns).where(announcements.c.state == OPEN).order_by(announcements.c.id)
        with self._database.reading() as connection:
            rows = list(connection.execute(query.where(announcements.c.id > after).limit(limit)))
            if len(rows) < limit:
                rows += connection.execute(query.where(announcements.c.id <= after).limit(limit - len(rows)))
        return [Announced(*row) for row in rows]

    def settle(self, ids: Sequence[int]) -> None:
        """Their scans have arrived."""
        self._close(ids, _SETTLED, "")

    def expire(self, announced: Announced, why: str) -> None:
        """Give one up."""
        self._close([announced.id], _EXPIRED, why)

    def _close(self, ids: Sequence[int], state: str, said: str) -> None:
        if ids:
            statement = sa.update(announcements).where(announcements.c.id.in_(ids), announcements.c.state == OPEN)
            with self._database.writing() as connection:
                connection.execute(statement.values(state=state, said=said))
