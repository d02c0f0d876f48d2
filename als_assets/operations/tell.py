"""Telling people as a job: what is due is sent, each message once, and the run says who was told what.

Belongs here: the job, the order of its work, and what follows where a recipient cannot be reached.
Does not: when it runs (sensors.messages), the words (telling), or sending (resources.notifier).
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

import dagster as dg

from als_assets.operations.telling import Telling
from beamlines import messages
from beamlines.config import Beamline
from beamlines.deployment import Messages
from beamlines.layout import Copy
from beamlines.messages import Links, Message, Told, Waiting
from resources.clock import Clock
from resources.gate import Gate
from resources.notifier import Notifier, NotToldError, UnconfirmedError

POOL = "messages"
"""Of its own: no copy and no job ever waits for a mail server."""
_FIRST = {"dagster/priority": "10"}
"""Said within a minute, or nobody needs it: in a full queue it comes before runs that take minutes. There is only ever
one, and it takes seconds."""


class Ages(Protocol):
    """How long copies are kept, where a person has changed that."""

    def now(self) -> Mapping[str, timedelta]: ...


class Tables(Protocol):
    """Of retention's own tables, what matters here."""

    @property
    def ages(self) -> Ages: ...


class Outbox(Protocol):
    """Who is to be told what."""

    def due(self, recipient: str, now: datetime) -> Sequence[Waiting]: ...

    def told(self, recipient: str, since: datetime) -> Told: ...

    def left_behind(self, recipient: str, now: datetime) -> Sequence[Waiting]: ...

    def claim(self, some: Sequence[Waiting], now: datetime) -> bool: ...

    def sent(self, some: Sequence[Waiting], now: datetime, sha256: str) -> None: ...

    def withhold(self, some: Sequence[Waiting], now: datetime) -> None: ...

    def not_sent(self, recipient: str, some: Sequence[Waiting], now: datetime) -> Sequence[Waiting]: ...

    def lost(self, recipient: str, some: Sequence[Waiting], now: datetime) -> Sequence[Waiting]: ...


@dataclass(slots=True)
class Round:
    """One round over all recipients."""

    rules: Messages
    telling: Telling
    outbox: Outbox
    notifier: Notifier
    clock: Clock
    log: dg.DagsterLogManager
    done: list[tuple[str, str, str]] = field(default_factory=list)
    """Recipient, message, how it ended."""
    never: list[str] = field(default_factory=list)
    """Messages that will not be sent any more, though nobody knows that they have arrived."""

    def go(self) -> None:
        """Tell everybody what is due. One whom nothing reaches keeps no other waiting."""
        for name in self.rules.recipients:
            left = self.outbox.left_behind(name, self.clock.now())
            self._never(name, self.outbox.lost(name, left, self.clock.now()))
            for some in self._portions(name):
                if self.outbox.claim(some, self.clock.now()) and not self._tell(name, some):
                    break

    def _portions(self, name: str) -> list[list[Waiting]]:
        now, rate = self.clock.now(), self.rules.rate
        told = self.outbox.told(name, now - max(timedelta(hours=1), rate.digest_every))
        return messages.portions(self.outbox.due(name, now), told, rate, now)

    def _tell(self, name: str, some: Sequence[Waiting]) -> bool:
        """Send these as one message; False where the recipient is to be left in peace."""
        said = {item.id: self.telling.message(item.news, self.rules.recipients[name]) for item in some}
        unsaid = [item for item in some if said[item.id] is None]
        self.outbox.withhold(unsaid, self.clock.now())
        some = [item for item in some if item not in unsaid]
        words = [message for message in said.values() if message is not None]
        if not words:
            return True
        message = words[0] if len(words) == 1 else messages.digest(words, self.telling.links.runs)
        try:
            self.notifier.send(name, message)
        except NotToldError as error:
            self._failed(name, message, error)
            self._never(name, self.outbox.not_sent(name, some, self.clock.now()))
            return False
        except UnconfirmedError as error:
            self._failed(name, message, error)
            self._never(name, self.outbox.lost(name, some, self.clock.now()))
            return False
        self.outbox.sent(some, self.clock.now(), _sha256(message))
        self.log.info(f"{name} was told: {message.title}")
        self.done.append((name, message.title, "told"))
        return True

    def _failed(self, name: str, message: Message, error: NotToldError | UnconfirmedError) -> None:
        self.log.warning(f"{message.title}: {error}")
        self.done.append((name, message.title, type(error).__name__))

    def _never(self, name: str, some: Sequence[Waiting]) -> None:
        self.never += [f"{name}: {item.news.kind} of {item.since:%Y-%m-%d %H:%M} UTC" for item in some]


def tell_job(beamline: Beamline, rules: Messages, copies: Sequence[Copy], ui: str) -> dg.JobDefinition:
    """``<beamline>_tell``, with one op, ``tell``, and no configuration: no address is ever in a run."""

    @dg.op(name="tell", out=dg.Out(dg.Nothing), pool=POOL)
    def tell(
        context: dg.OpExecutionContext,
        outbox: dg.ResourceParam[Outbox],
        notifier: dg.ResourceParam[Notifier],
        gate: dg.ResourceParam[Gate],
        retention: dg.ResourceParam[Tables],
        clock: dg.ResourceParam[Clock],
    ) -> None:
        telling = Telling(beamline, copies, context.instance, gate, retention.ages.now(), Links(ui))
        going = Round(rules, telling, outbox, notifier, clock, context.log)
        going.go()
        if going.never:
            raise dg.Failure(
                description=f"Given up, and nobody knows that they have arrived: {'; '.join(going.never)}. "
                "The warnings in this run's log, and in those before, say why.",
                metadata=_metadata(going),
                allow_retries=False,
            )
        context.add_output_metadata(_metadata(going))

    @dg.job(
        name=f"{beamline.name}_tell",
        description="Sends the messages that are due: by e-mail, Slack, Teams and the rest, to configured recipients.",
        tags={"als/tell": beamline.name, **_FIRST},
    )
    def job() -> None:
        tell()

    return job


def _metadata(going: Round) -> Mapping[str, dg.MetadataValue]:
    return {"messages": dg.MetadataValue.table([*_rows(going)])} if going.done else {}


def _rows(going: Round) -> Iterator[dg.TableRecord]:
    for recipient, message, outcome in going.done:
        yield dg.TableRecord({"recipient": recipient, "message": message, "how it ended": outcome})


def _sha256(message: Message) -> str:
    return hashlib.sha256(f"{message.title}\n{message.body}".encode()).hexdigest()
