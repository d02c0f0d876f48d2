"""The platform's own small database: its tables, and the connection to them.

Belongs here: every table and index, their creation, times in UTC, the engine for SQLite and PostgreSQL, and what an
outage of it is called.
Does not: what is written there (ledger, standings, holds, certificates), or why there is a database beside
Dagster's (docs/decisions/0003-the-ledger.md).
"""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.pool import NullPool, StaticPool

from resources.errors import LedgerUnavailableError, PlatformError
from resources.work import IN_FLIGHT

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

CREATION_LOCK = 0x832
"""PostgreSQL's advisory lock under which the tables are made."""
KEYS_A_QUERY = 500
"""SQLite takes 32,766 variables, PostgreSQL's driver as many as fit into memory: this is for speed alone."""
IN_MEMORY = "sqlite://"
"""A database that ends with its process."""
OPEN = "open"
"""The state of an announcement that no sensor has dealt with yet."""


class OtherInstallationError(PlatformError):
    """A database that has recorded what lies in other folders."""


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """Aware datetimes in UTC, also on SQLite, which keeps no time zone."""

    impl = sa.DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else value.replace(tzinfo=UTC)


class AnyText(sa.types.TypeDecorator[str]):
    """What people and file systems say, made storable."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else storable(value)


_tables = sa.MetaData()

remote_work = sa.Table(
    "remote_work",
    _tables,
    sa.Column("key", sa.String(32), primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True),
    sa.Column("asset", sa.Text, nullable=False),
    sa.Column("partition", sa.Text, nullable=False),
    sa.Column("settings", sa.Text, nullable=False),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("owner", sa.JSON, nullable=False),
    sa.Column("heartbeat", UtcDateTime, nullable=False),
    sa.Column("intent", sa.JSON),
    sa.Column("handle", sa.Text),
    sa.Column("evidence", sa.JSON),
    sa.Column("created", UtcDateTime, nullable=False),
    sa.Column("updated", UtcDateTime, nullable=False),
    sa.Index("remote_work_by_partition", "asset", "partition"),
    sa.Index("remote_work_by_state", "state"),
    sa.Index("remote_work_by_end", "asset", "state", "updated"),
)
# Of two people who start the same partition with different settings at once, the database lets one in.
sa.Index(
    "remote_work_one_in_flight",
    remote_work.c.asset,
    remote_work.c.partition,
    unique=True,
    sqlite_where=remote_work.c.state.in_(IN_FLIGHT),
    postgresql_where=remote_work.c.state.in_(IN_FLIGHT),
)

workers = sa.Table(
    "workers",
    _tables,
    sa.Column("run", sa.String(64), primary_key=True),
    sa.Column("owner", sa.JSON, nullable=False),
    sa.Column("heartbeat", UtcDateTime, nullable=False),
)

scans = sa.Table(
    "scans",
    _tables,
    sa.Column("scan", sa.Text, primary_key=True),
    sa.Column("size_bytes", sa.BigInteger),
    sa.Column("modified", UtcDateTime),
    sa.Column("proposal", sa.Text),
    sa.Column("restricted", sa.String(64)),
    sa.Column("lifted", sa.Boolean, nullable=False, default=False),
    sa.Column("withheld_from", sa.JSON, nullable=False, default=list),
    sa.Column("changed", sa.Text),
    sa.Column("aborted", sa.Text),
)
scan_log = sa.Table(
    "scan_log",
    _tables,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("scan", sa.Text, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("what", sa.String(32), nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Index("scan_log_by_scan", "scan"),
)
installation = sa.Table(
    "installation",
    _tables,
    sa.Column("only", sa.Integer, primary_key=True),
    sa.Column("id", sa.String(8), nullable=False),
    sa.Column("shadow", sa.Text, nullable=False),
)
announcements = sa.Table(
    "announcements",
    _tables,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("scan", sa.Text, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("said", sa.Text, nullable=False, default=""),
)
# Repeated announcements of a scan that nobody has looked at yet are one.
sa.Index(
    "announcements_one_open",
    announcements.c.scan,
    unique=True,
    sqlite_where=announcements.c.state == OPEN,
    postgresql_where=announcements.c.state == OPEN,
)
holds = sa.Table(
    "holds",
    _tables,
    sa.Column("asset", sa.Text, primary_key=True),
    sa.Column("partition", sa.Text, primary_key=True),
    sa.Column("since", UtcDateTime, nullable=False),
    sa.Column("author", AnyText, nullable=False),
    sa.Column("note", AnyText, nullable=False),
    sa.Index("holds_by_partition", "partition"),
)
scan_holds = sa.Table(
    "scan_holds",
    _tables,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("since", UtcDateTime, nullable=False),
    sa.Column("until", UtcDateTime),
    sa.Column("author", AnyText, nullable=False),
    sa.Column("note", AnyText, nullable=False),
    sqlite_autoincrement=True,  # else the number of a released hold is given to another one
)
hold_releases = sa.Table(
    "hold_releases",
    _tables,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("asset", sa.Text),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("since", UtcDateTime, nullable=False),
    sa.Column("until", UtcDateTime),
    sa.Column("author", AnyText, nullable=False),
    sa.Column("note", AnyText, nullable=False),
    sa.Column("released", UtcDateTime, nullable=False),
    sa.Column("released_by", AnyText, nullable=False),
    sa.Column("why", AnyText, nullable=False),
    sa.Index("hold_releases_by_target", "target"),
)
certificates = sa.Table(
    "certificates",
    _tables,
    sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("what", sa.String(16), nullable=False),
    sa.Column("of", sa.Integer),
    sa.Column("scan", sa.Text, nullable=False),
    sa.Column("asset", sa.Text, nullable=False),
    sa.Column("partition", sa.Text, nullable=False),
    sa.Column("storage_id", sa.BigInteger, nullable=False),
    sa.Column("at", sa.String(32), nullable=False),  # the very text that is hashed
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("previous", sa.String(64), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
    sa.Index("certificates_by_scan", "scan"),
    sa.Index("certificates_by_time", "what", "at"),
    # It holds all that is asked of every copy of an asset, so that no document is read for it.
    sa.Index("certificates_by_asset", "asset", "sequence", "of", "what", "partition", "storage_id", "at"),
    sa.Index("certificates_one_end", "of", unique=True),
)
retention_refusals = sa.Table(
    "retention_refusals",
    _tables,
    sa.Column("asset", sa.Text, primary_key=True),
    sa.Column("partition", sa.Text, primary_key=True),
    sa.Column("reason", sa.String(64), nullable=False),
    sa.Column("detail", AnyText, nullable=False),
    sa.Column("first", UtcDateTime, nullable=False),
    sa.Column("last", UtcDateTime, nullable=False),
    sa.Column("times", sa.Integer, nullable=False),
    sa.Index("retention_refusals_by_partition", "partition"),
)
retention_ages = sa.Table(
    "retention_ages",
    _tables,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("asset", sa.Text, nullable=False),
    sa.Column("age_s", sa.Double),
    sa.Column("author", AnyText, nullable=False),
    sa.Column("note", AnyText, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
)
recorded_copies = sa.Table(
    "recorded_copies",
    _tables,
    sa.Column("scan", sa.Text, primary_key=True),
    sa.Column("partition", sa.Text, primary_key=True),
    sa.Column("asset", sa.Text, primary_key=True),
    sa.Column("storage_id", sa.BigInteger, nullable=False),
    sa.Column("recorded", UtcDateTime, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("files", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.String(64)),
    sa.Column("gone", sa.Boolean, nullable=False, default=False),
    sa.Index("recorded_copies_by_asset", "asset", "partition", "storage_id", "gone"),
    # Kept in the order in which all of it is gone through: beside a table in the order of the log that took four times
    # as long for 100,000 scans.
    sqlite_with_rowid=False,
)
suspects = sa.Table(
    "suspects",
    _tables,
    sa.Column("asset", sa.Text, primary_key=True),
    sa.Column("partition", sa.Text, primary_key=True),
    sa.Column("storage_id", sa.BigInteger, nullable=False),
    sa.Column("since", UtcDateTime, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("seen_by", sa.String(16), nullable=False),
    sa.Index("suspects_by_partition", "partition"),
)

messages = sa.Table(
    "messages",
    _tables,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("recipient", sa.String(64), nullable=False),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("about", sa.Text, nullable=False),
    sa.Column("branch", sa.String(64), nullable=False),
    sa.Column("run", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("since", UtcDateTime, nullable=False),
    sa.Column("due", UtcDateTime, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False, default=0),
    sa.Column("lost", sa.Integer, nullable=False, default=0),
    sa.Column("changed", UtcDateTime, nullable=False),
    sa.Column("alone", sa.Boolean),
    sa.Column("sha256", sa.String(64)),
    sa.Index("messages_once", "recipient", "kind", "about", "branch", unique=True),
    sa.Index("messages_by_state", "recipient", "state", "due"),
    sa.Index("messages_by_time", "recipient", "changed"),
)
stage_history = sa.Table(
    "stage_history",
    _tables,
    sa.Column("storage_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("asset", sa.Text, nullable=False),
    sa.Column("scan_bytes", sa.BigInteger, nullable=False),
    sa.Column("seconds", sa.Double, nullable=False),
    sa.Index("stage_history_by_asset", "asset", "storage_id", "scan_bytes", "seconds"),
)
tallies = sa.Table(
    "tallies",
    _tables,
    sa.Column("metric", sa.String(64), primary_key=True),
    sa.Column("labels", sa.Text, primary_key=True),
    sa.Column("value", sa.Double, nullable=False),
)
tally_position = sa.Table(
    "tally_position",
    _tables,
    sa.Column("only", sa.Integer, primary_key=True),
    sa.Column("storage_id", sa.BigInteger, nullable=False),
)
catalogue_disagreements = sa.Table(
    "catalogue_disagreements",
    _tables,
    sa.Column("entry", sa.Text, primary_key=True),
    sa.Column("partition", sa.Text, primary_key=True),
    sa.Column("since", UtcDateTime, nullable=False),
    sa.Column("why", AnyText, nullable=False),
)


class Database:
    """SQLite in a file, or PostgreSQL. Nothing is opened before it is used, and then missing tables are made."""

    def __init__(self, url: str, *, shadow: str | None = "") -> None:
        """``shadow`` is the folder of a deployment in the shadow of another: a database belongs to one of the two.
        None is for whoever only reads what was decided there.

        It is connected, and the tables are made, when it is first used; that raises OtherInstallationError.
        """
        self.url = url
        self._shadow = shadow

    @cached_property
    def installation(self) -> str:
        """8 hexadecimal digits of this database alone: what is started elsewhere carries them in its name."""
        with self.reading() as connection:
            return str(connection.execute(sa.select(installation.c.id)).scalar_one())

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection to read with. Raises LedgerUnavailableError, there and in whatever is asked through it."""
        with _named_errors(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """One transaction, all of it or nothing. Raises LedgerUnavailableError."""
        with _named_errors(), self.engine.begin() as connection:
            yield connection

    @cached_property
    def engine(self) -> sa.Engine:
        if not self.url.startswith("sqlite"):
            engine = sa.create_engine(self.url, pool_pre_ping=True, pool_size=1, max_overflow=4)
        elif self.url == IN_MEMORY:
            engine = sa.create_engine(self.url, poolclass=StaticPool, connect_args={"check_same_thread": False})
        else:
            engine = sa.create_engine(self.url, poolclass=NullPool, connect_args={"timeout": 30})

            @sa.event.listens_for(engine, "connect")
            def _wal(connection: Any, _: Any) -> None:
                connection.execute("PRAGMA journal_mode=WAL")

        _create_tables(engine)
        if self._shadow is not None:
            _must_belong_to(engine, self._shadow)
        return engine

    def close(self) -> None:
        """Give the connections back."""
        if "engine" in self.__dict__:
            self.engine.dispose()
            del self.__dict__["engine"]


@contextmanager
def _named_errors() -> Iterator[None]:
    """A database that does not answer is a service that is down: who waits for remote work goes on waiting."""
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        raise LedgerUnavailableError(
            seen=f"the ledger gave no usable answer: {' '.join(str(error.orig).split())[:400]}",
            meaning="its database is down, busy or cannot be reached; remote work goes on, and is recorded later",
            remedy="nothing where it comes back by itself; else look at the database that the deployment's file names",
        ) from error


def insert_new(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert the rows whose key is not there yet; the others stay as they are."""
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        connection.execute(sqlite.insert(table).on_conflict_do_nothing(), rows)
    else:
        insert = _postgresql_insert(table).on_conflict_do_nothing()
        connection.execute(insert.returning(sa.literal_column("1")), rows)  # as in insert_or_replace


def insert_or_replace(
    connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]], *, newer_by: str
) -> None:
    """Insert rows, no two of one key, instead of those that have their keys.

    Of a key that is there the row with the larger ``newer_by`` stays: who followed the log for longer may come last.
    """
    if not rows:
        return
    is_sqlite = connection.dialect.name == "sqlite"
    insert = sqlite.insert(table) if is_sqlite else _postgresql_insert(table)
    keys = [column.name for column in table.primary_key]
    others = {column.name: insert.excluded[column.name] for column in table.c if column.name not in keys}
    replacing = insert.on_conflict_do_update(
        index_elements=keys, set_=others, where=table.c[newer_by] <= insert.excluded[newer_by]
    )
    # Without RETURNING PostgreSQL is sent each row by itself: 10 s for 100,000, and 3 s with it.
    connection.execute(replacing if is_sqlite else replacing.returning(sa.literal_column("1")), rows)


def _postgresql_insert(table: sa.Table) -> "postgresql.Insert":
    from sqlalchemy.dialects import postgresql  # a tenth of a second, and only where it is used

    return postgresql.insert(table)


def storable(text: str) -> str:
    """What no database stores (bytes that are no UTF-8, NUL) becomes an escape."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def batches(keys: Sequence[str], size: int = KEYS_A_QUERY) -> Iterator[Sequence[str]]:
    """Keys in portions that a query takes."""
    for start in range(0, len(keys), size):
        yield keys[start : start + size]


def _create_tables(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            # Without it, two first workers at once collide in the server's own catalogue in spite of IF NOT EXISTS.
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(CREATION_LOCK)))
        for table in _tables.sorted_tables:
            connection.execute(sa.schema.CreateTable(table, if_not_exists=True))
            for index in table.indexes:
                connection.execute(sa.schema.CreateIndex(index, if_not_exists=True))


def _must_belong_to(engine: sa.Engine, shadow: str) -> None:
    query = sa.select(installation.c.shadow)
    with engine.begin() as connection:
        recorded = connection.execute(query).scalar_one_or_none()
        if recorded is None:
            insert_new(connection, installation, [{"only": 1, "id": secrets.token_hex(4), "shadow": shadow}])
            recorded = connection.execute(query).scalar_one()
    if recorded != shadow:
        was, is_now = (f"in the shadow, below {word!r}" if word else "in charge" for word in (recorded, shadow))
        raise OtherInstallationError(
            seen=f"the database was made by a deployment {was}, and this one is {is_now}",
            meaning="what it has recorded lies in other folders, so that files there would be taken for our own",
            remedy="name another, empty database (docs/cutover.md)",
        )
