"""The PostgreSQL server: its version and settings, what holds old rows back, and whether it is cleaned up.

check               fault
─────────────────   ───────────────────────────────────────────────────────────────────────────────────────────────
database-version    older than the oldest version that PostgreSQL's makers support
database-writable   a replica, or sessions that are read-only
database-settings   a setting by which a COMMIT may be lost, or by which tables are never cleaned up
connections         hardly any connection left
clock               this machine's clock and the database's differ by so much that leases and signatures go wrong
transactions        a transaction that is open for so long that dead rows pile up
prepared            a transaction that was prepared, not ended, and left
replication-slots   a slot that keeps too much of the write-ahead log, or has lost what it needs
xmin-horizon        something keeps rows that died so many transactions ago
wraparound          so many transactions since the last freeze that the server will stop
dead-tuples         a table that is changed at every delivery consists of dead rows
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from domain.checkup.diagnosis import Bounds, Diagnosis, Level, psql, size, span, verdict

# The makers of PostgreSQL ended the support of 14 in November 2026; 17 has `transaction_timeout`, which ends the
# transaction of a process that was stopped in the middle of a statement.
_OLDEST_SUPPORTED, _OLDEST_COMPLETE = 15, 17
_VERSION_UNIT = 10_000

# By setting, the values that are safe, and what is lost with any other.
SAFE_SETTINGS: Mapping[str, tuple[frozenset[str], str]] = {
    "fsync": (frozenset({"on"}), "a crash of the server loses or damages the database"),
    "full_page_writes": (frozenset({"on"}), "a crash of the server damages pages"),
    "synchronous_commit": (
        frozenset({"on", "local", "remote_write", "remote_apply"}),
        "a crash loses updates whose offsets are committed on Kafka",
    ),
    "autovacuum": (frozenset({"on"}), "dead rows stay, and every claim walks over them"),
    "track_counts": (frozenset({"on"}), "autovacuum does not know which tables need it"),
    "server_encoding": (frozenset({"UTF8"}), "names and tokens of other alphabets are refused"),
}
_NO_SERVER_SETTING = {"server_encoding"}

# Batches and dispatchers wait for a connection where none is left.
_CONNECTIONS_SHARE = Bounds(0.8, 0.95)
# Merchants allow 5 minutes between the timestamp of a signature and their own clock; certificates and tokens expire.
CLOCK_SECONDS = Bounds(2, 60)
# The program's own end after 30 s. A claim walks 30 times as many rows after 75 s (docs/decisions.md).
TRANSACTION_SECONDS = Bounds(60, 600)
PREPARED_SECONDS = Bounds(0, 600)
# Half a minute at 1,000 transactions a second is normal.
XMIN_AGE = Bounds(100_000, 1_000_000)
# The server freezes from 200 million on, and refuses to write at 2.1 billion.
WRAPAROUND_AGE = Bounds(500_000_000, 1_200_000_000)
SLOT_BYTES = Bounds(1024**3, 16 * 1024**3)
# Autovacuum looks once a minute: at 2,000 deliveries a second 120,000 rows have died by then. A table of many live rows
# may have as many dead ones: there autovacuum waits for a fifth of them.
DEAD_ROWS = Bounds(250_000, 1_000_000)


@dataclass(frozen=True, slots=True)
class ServerState:
    """The server: `version` as `server_version_num`, the settings of SAFE_SETTINGS, and its connections."""

    version: int
    replica: bool
    read_only: bool
    settings: Mapping[str, str]
    connections: int
    most_connections: int
    frozen_age: int


@dataclass(frozen=True, slots=True)
class Session:
    """A session with an open transaction."""

    pid: int
    application: str
    state: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Prepared:
    """A prepared transaction."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Slot:
    """A replication slot, and the bytes of the write-ahead log that it keeps (None: it keeps none)."""

    name: str
    active: bool
    wal_status: str | None
    bytes_kept: int | None


@dataclass(frozen=True, slots=True)
class Holder:
    """What keeps dead rows: a session, a prepared transaction or a slot, and for how many transactions."""

    kind: str
    name: str
    age: int


@dataclass(frozen=True, slots=True)
class TableRows:
    """Rows of a table, as the server's statistics have them."""

    name: str
    live: int
    dead: int


def server(state: ServerState) -> Iterator[Diagnosis]:
    """Judge version, writability, settings, connections and the distance to a wraparound."""
    yield _version(state.version)
    yield _writable(state)
    yield from _settings(state.settings)
    yield _connections(state)
    yield _wraparound(state.frozen_age)


def _version(number: int) -> Diagnosis:
    major, minor = divmod(number, _VERSION_UNIT)
    level = Level.FAULT if major < _OLDEST_SUPPORTED else Level.WARNING if major < _OLDEST_COMPLETE else Level.OK
    expected = f"PostgreSQL {_OLDEST_COMPLETE} or newer"
    command = "pg_upgrade --check"
    return verdict("database-version", "server", level, expected, f"PostgreSQL {major}.{minor}", command=command)


def _writable(state: ServerState) -> Diagnosis:
    measured = "a replica" if state.replica else "read-only sessions" if state.read_only else "takes writes"
    level = Level.FAULT if state.replica or state.read_only else Level.OK
    command = psql("SELECT pg_is_in_recovery()")
    return verdict("database-writable", "server", level, "takes writes", measured, command=command)


def _settings(settings: Mapping[str, str]) -> Iterator[Diagnosis]:
    unsafe = {name: value for name, value in settings.items() if value not in SAFE_SETTINGS[name][0]}
    for name, value in sorted(unsafe.items()):
        safe, lost = SAFE_SETTINGS[name]
        expected = f"{name} = {min(safe) if len(safe) == 1 else 'on'}"
        command = (
            "createdb --encoding=UTF8 --template=template0 NAME" if name in _NO_SERVER_SETTING else psql(f"SHOW {name}")
        )
        yield Diagnosis("database-settings", name, Level.FAULT, expected, f"{value}: {lost}", command)
    if not unsafe:
        yield Diagnosis("database-settings", "server", Level.OK, "safe settings", "safe settings")


def _connections(state: ServerState) -> Diagnosis:
    share = state.connections / max(state.most_connections, 1)
    level = _CONNECTIONS_SHARE.level(share)
    command = psql("SELECT application_name, count(*) FROM pg_stat_activity GROUP BY 1 ORDER BY 2 DESC")
    measured = f"{state.connections} of {state.most_connections} in use"
    return verdict(
        "connections", "server", level, f"under {_CONNECTIONS_SHARE.warning:.0%} in use", measured, command=command
    )


def _wraparound(age: int) -> Diagnosis:
    level = WRAPAROUND_AGE.level(age)
    command = "vacuumdb --freeze --all"
    expected = f"under {WRAPAROUND_AGE.warning:,.0f} transactions since the last freeze"
    return verdict("wraparound", "database", level, expected, f"{age:,}", command=command)


def clock(seconds_ahead: float) -> Diagnosis:
    """Judge by how many seconds this machine's clock is ahead of the database's."""
    level = CLOCK_SECONDS.level(abs(seconds_ahead))
    command = "timedatectl timesync-status"
    where = "ahead of" if seconds_ahead > 0 else "behind"
    measured = f"{span(abs(seconds_ahead))} {where} the database's"
    expected = f"within {span(CLOCK_SECONDS.warning)} of the database's"
    return verdict("clock", "this machine", level, expected, measured, command=command)


def transactions(
    sessions: Sequence[Session], *, sees_all: bool = True, bounds: Bounds = TRANSACTION_SECONDS
) -> Iterator[Diagnosis]:
    """Judge the oldest open transaction, and whether this user sees those of others."""
    if not sees_all:
        command = psql("GRANT pg_read_all_stats TO CURRENT_USER")
        measured = "sees its own transactions alone"
        yield Diagnosis("transactions", "rights", Level.WARNING, "a member of pg_read_all_stats", measured, command)
    expected = f"none open for {span(bounds.warning)}"
    oldest = max(sessions, key=lambda session: session.seconds, default=None)
    if oldest is None:
        yield Diagnosis("transactions", "database", Level.OK, expected, "none open")
        return
    level = bounds.level(oldest.seconds)
    command = psql(f"SELECT pg_terminate_backend({oldest.pid})")
    measured = f"{span(oldest.seconds)}, {oldest.state} ({oldest.application or 'without a name'}, pid {oldest.pid})"
    yield verdict("transactions", "database", level, expected, measured, command=command)


def prepared(transactions_: Sequence[Prepared], bounds: Bounds = PREPARED_SECONDS) -> Iterator[Diagnosis]:
    """Judge prepared transactions: this program prepares none, and they hold locks over a restart."""
    for transaction in transactions_:
        level = bounds.level(transaction.seconds)
        command = psql(f"ROLLBACK PREPARED '{transaction.name}'")
        measured = f"prepared {span(transaction.seconds)} ago"
        yield verdict("prepared", transaction.name, level, "none", measured, command=command)
    if not transactions_:
        yield Diagnosis("prepared", "database", Level.OK, "none", "none")


def slots(slots_: Sequence[Slot]) -> Iterator[Diagnosis]:
    """Judge replication slots: one that nobody reads fills the disk, and an old one holds rows."""
    for slot in slots_:
        kept = slot.bytes_kept or 0
        level = Level.FAULT if slot.wal_status == "lost" else SLOT_BYTES.level(kept)
        if level is Level.OK and not slot.active:
            level = Level.WARNING
        read = "read" if slot.active else "not read"
        measured = f"{read}, keeps {size(kept)}" + (", has lost what it needs" if slot.wal_status == "lost" else "")
        command = psql(f"SELECT pg_drop_replication_slot('{slot.name}')")
        yield verdict("replication-slots", slot.name, level, "read, and keeps little", measured, command=command)
    if not slots_:
        yield Diagnosis("replication-slots", "server", Level.OK, "read, and keep little", "none")


def horizon(holders: Sequence[Holder], bounds: Bounds = XMIN_AGE) -> Iterator[Diagnosis]:
    """Judge what holds the xmin horizon back: rows that died since then cannot be cleaned up."""
    expected = f"under {bounds.warning:,.0f} transactions behind"
    oldest = max(holders, key=lambda holder: holder.age, default=None)
    if oldest is None:
        yield Diagnosis("xmin-horizon", "database", Level.OK, expected, "nothing holds it")
        return
    level = bounds.level(oldest.age)
    measured = f"{oldest.age:,} behind, held by the {oldest.kind} {oldest.name}"
    command = _release(oldest)
    yield verdict("xmin-horizon", "database", level, expected, measured, command=command)


def _release(holder: Holder) -> str:
    release = {
        "session": f"pg_terminate_backend({holder.name})",
        "replication slot": f"pg_drop_replication_slot('{holder.name}')",
    }.get(holder.kind)
    if release is None:
        return psql(f"ROLLBACK PREPARED '{holder.name}'")
    return psql(f"SELECT {release}")


def dead_tuples(tables: Sequence[TableRows]) -> Iterator[Diagnosis]:
    """Judge the tables that every batch and every delivery changes."""
    for table in tables:
        level = DEAD_ROWS.level(table.dead) if table.dead > table.live else Level.OK
        command = psql(f"VACUUM (ANALYZE) {table.name}")
        measured = f"{table.dead:,} dead rows beside {table.live:,}"
        expected = f"fewer dead rows than live ones, or than {DEAD_ROWS.warning:,}"
        yield verdict("dead-tuples", table.name, level, expected, measured, command=command)
