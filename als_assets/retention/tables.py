"""The platform's own tables that retention reads and writes, together.

Belongs here: making them over one database. Does not: what is in them (resources).
"""

from dataclasses import dataclass

from resources.ages import Ages
from resources.catalogue.disagreements import Disagreements
from resources.certificates import Certificates
from resources.database import Database
from resources.holds import Holds
from resources.ledger import Ledger
from resources.recorded import Recorded, Suspects
from resources.refusals import Refusals
from resources.standings import Standings


@dataclass(frozen=True, slots=True)
class Tables:
    """Remote work, standings, holds, ages, records of copies, suspects, certificates, refusals and
    entries of the catalogue that are not what was sent."""

    ledger: Ledger
    standings: Standings
    holds: Holds
    ages: Ages
    recorded: Recorded
    suspects: Suspects
    certificates: Certificates
    refusals: Refusals
    disagreements: Disagreements


def make_tables(database: Database, ledger: Ledger, standings: Standings, holds: Holds) -> Tables:
    """The tables of one database."""
    return Tables(
        ledger=ledger,
        standings=standings,
        holds=holds,
        ages=Ages(database),
        recorded=Recorded(database),
        suspects=Suspects(database),
        certificates=Certificates(database),
        refusals=Refusals(database),
        disagreements=Disagreements(database),
    )
