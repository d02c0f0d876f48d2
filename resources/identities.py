"""As whom Globus is asked for what: one client transfers, another one deletes.

Belongs here: which of the two does what, and whose a piece of work is; nobody else chooses between them.
Does not: their credentials (settings), or what is asked (transfer, globus).
Why there are two: docs/decisions/0018-retention.md.
"""

from dataclasses import dataclass

from resources.globus import Globus
from resources.work import Record

TRANSFERS, DELETES = "globus", "globus (deletes)"
"""What the service is called where work is listed: to each client it shows its own tasks alone."""


@dataclass(frozen=True, slots=True)
class Identities:
    """The clients of a deployment."""

    transfers: Globus
    """Copies, and looks."""
    deletes: Globus
    """Asks for every delete, of whatever; the same object where the deployment has no client for that alone."""

    @property
    def are_two(self) -> bool:
        return self.deletes is not self.transfers

    def by_service(self) -> dict[str, Globus]:
        """Each client once, by what the service is called to it."""
        return {TRANSFERS: self.transfers, **({DELETES: self.deletes} if self.are_two else {})}

    def of(self, record: Record) -> Globus:
        """The client that has begun a piece of work: only it can find the task, ask after it and end it.

        One that the deployment has no more is asked for by the client that deletes, to which the task is unknown: it is
        lost then, and begun again.
        """
        return self.transfers if record.client in (None, self.transfers.client_id) else self.deletes

    def service_of(self, record: Record) -> str:
        """What the service of a task is called."""
        return TRANSFERS if self.of(record) is self.transfers else DELETES

    def close(self) -> None:
        """Close this thread's connections."""
        for globus in self.by_service().values():
            globus.close()
