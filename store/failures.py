"""What it means when a statement fails: which failures pass by themselves, and which a message brought about."""

from enum import Enum

import asyncpg
from sqlalchemy.exc import DBAPIError, InvalidRequestError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from store.knowledge import Contended

DATABASE_ERRORS = (
    Contended,
    DBAPIError,
    InvalidRequestError,
    PoolTimeout,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    OSError,
)
"""What a transaction may raise that `failure` has a name for; a timeout and a refused connection are OSErrors."""


class Failure(Enum):
    AWAY = "the database cannot be reached"
    CONTENDED = "another worker was in the way"
    REFUSED = "the database refuses what was written"


# 08 connection, 53 resources (too many connections, disk full), 57 operator (shutdown, starting up, cancelled),
# 25P03 and 25006: the transaction was ended while the process was stopped, or the server became a replica
_AWAY = ("08", "53", "57", "25P03", "25006")
# serialization, deadlock, lock timeout, a statement that took too long: less at a time may get through
_CONTENDED = ("40", "55P03", "57014")
# data, integrity, and what exceeds a limit, such as an index row's: the next attempt would end the same
_REFUSED = ("22", "23", "54")
# but not where another worker wrote a message's row first: the next attempt finds it
_WRITTEN_FIRST = frozenset(("uq_inbox_original", "uq_inbox_topic_partition_kafka_offset_digest"))


def failure(error: BaseException) -> Failure | None:
    """The kind of failure that `error` is; None if it is a defect of the program, which nobody should catch."""
    if isinstance(error, Contended):
        return Failure.CONTENDED
    if isinstance(error, OSError | PoolTimeout | asyncpg.InterfaceError):
        return Failure.AWAY
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return Failure.AWAY
    state = sqlstate(error)
    if state is None:
        cause = error.__cause__
        return failure(cause) if cause is not None else None
    if constraint(error) in _WRITTEN_FIRST:
        return Failure.CONTENDED
    for kind, states in ((Failure.CONTENDED, _CONTENDED), (Failure.AWAY, _AWAY), (Failure.REFUSED, _REFUSED)):
        if state.startswith(states):
            return kind
    return None


def passes(error: BaseException) -> bool:
    """Whether the same may succeed later, unchanged."""
    return failure(error) in {Failure.AWAY, Failure.CONTENDED}


def sqlstate(error: BaseException) -> str | None:
    """PostgreSQL's five characters for the error, where it has them."""
    original = error.orig if isinstance(error, DBAPIError) else error
    return getattr(original, "sqlstate", None)


def constraint(error: BaseException) -> str | None:
    """The name of the constraint that was violated, if one was."""
    original = error.orig if isinstance(error, DBAPIError) else error
    return getattr(getattr(original, "__cause__", None), "constraint_name", None)


def refused_by(error: BaseException) -> str:
    """The rule that a message broke, without the value: `SQLSTATE constraint`."""
    return " ".join(filter(None, (sqlstate(error), constraint(error))))
