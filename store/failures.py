"""What a failed statement means: whether the failure passes by itself, or a message is at fault."""

from collections.abc import Mapping
from enum import Enum

import asyncpg
from sqlalchemy.exc import DBAPIError, InvalidRequestError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from domain.effort import TooMuch
from store.knowledge import Contended

DATABASE_ERRORS = (
    Contended,
    TooMuch,
    MemoryError,
    DBAPIError,
    InvalidRequestError,
    PoolTimeout,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    OSError,
)
"""What a transaction may raise that `failure` has a name for; a timeout and a refused connection are OSErrors.

A decision that looks at too much, and one that the memory does not suffice for, end a transaction like our limits do.
"""


class Failure(Enum):
    AWAY = "the database cannot be reached"
    UNUSABLE = "the database cannot be used as it is"
    CONTENDED = "another worker was in the way"
    TOO_MUCH = "it is too much for one transaction"
    REFUSED = "the database refuses what was written"


# Codes stand here whole: of one class some pass by themselves and others are a defect of ours, and 42P05 (a pooler
# that gave us another session) was once taken for a missing right, 42501, because both begin with 42.
_STATES: Mapping[str, Failure] = {
    # connection_exception and its kinds; 08P01 is what PgBouncer says of a server that it cannot reach
    **dict.fromkeys(("08000", "08001", "08003", "08004", "08006", "08007", "08P01"), Failure.AWAY),
    # disk full, too many connections, configuration limit
    **dict.fromkeys(("53000", "53100", "53300", "53400"), Failure.AWAY),
    # shutdown, crash, starting up, database dropped, idle session ended
    **dict.fromkeys(("57000", "57P01", "57P02", "57P03", "57P04", "57P05"), Failure.AWAY),
    # the server cannot read or write its files
    **dict.fromkeys(("58000", "58030"), Failure.AWAY),
    # the server became a replica
    "25006": Failure.AWAY,
    # a right, a login, a database, a schema or a table that was taken away: an operator gives it back
    **dict.fromkeys(("28000", "28P01", "3D000", "3F000", "42501", "42P01"), Failure.UNUSABLE),
    # serialization failure, deadlock and other rollbacks, a lock not to be had in time
    **dict.fromkeys(("40000", "40001", "40002", "40003", "40P01", "55P03"), Failure.CONTENDED),
    # our own limits: a statement, a transaction or a pause within it that took too long, memory, a row or an array that
    # is too long; a pause may also be a process that was stopped, so a single message is tried once more
    **dict.fromkeys(("57014", "25P04", "25P03", "53200", "54000", "54001", "54011", "54023"), Failure.TOO_MUCH),
}
# What a value of a message may bring about although it was read: characters that PostgreSQL's encoding lacks, a value
# that is too long or out of range. All else that the database refuses is a defect of ours.
_FAULTS_OF_A_VALUE = frozenset(("22001", "22003", "22007", "22008", "22021", "22P05", "54000"))
# The driver's own code. It also has it for a value of another type, which only this program can hand over.
_NOT_WRITTEN = "22000"
_CONNECTION_DOES_NOT_EXIST = "08003"
# Of a statement that ran into its limit, and of one that an administrator cancelled: that one ends earlier.
_CANCELLED = "57014"
# Data and integrity: every code of these two classes speaks of a value, so the next attempt would end the same.
_REFUSED = ("22", "23")
# A row that is too long for an index is a value's fault too. Its code, 54000, is also that of an array or a text that
# grew with the batch, but those name no constraint and come from another of the server's files.
_TOO_LONG = "54000"
_INDEX_ROWS = "indextuple.c"
# but not where another worker wrote a message's row first: the next attempt finds it
_WRITTEN_FIRST = frozenset(("uq_inbox_original", "uq_inbox_topic_partition_kafka_offset_digest"))


def failure(error: BaseException) -> Failure | None:
    """The kind of failure that `error` is; None for a defect of the program, which must not be caught."""
    if isinstance(error, Contended):
        return Failure.CONTENDED
    if isinstance(error, TooMuch | MemoryError):
        return Failure.TOO_MUCH
    if isinstance(error, OSError | PoolTimeout | asyncpg.InterfaceError):
        return Failure.AWAY
    state = sqlstate(error)
    if state == _TOO_LONG and _is_of_an_index(error):
        return Failure.REFUSED
    if state is not None and state in _STATES:
        # before the look at the connection: the server that ends a transaction for its length hangs up as well
        return _STATES[state]
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return Failure.AWAY
    if state is None:
        cause = error.__cause__
        return failure(cause) if cause is not None else None
    if constraint(error) in _WRITTEN_FIRST:
        return Failure.CONTENDED
    return Failure.REFUSED if state.startswith(_REFUSED) else None


def is_defect(error: BaseException) -> bool:
    """Whether the database refuses a row for which no message can be at fault: this program wrote something wrong."""
    if failure(error) is not Failure.REFUSED:
        return False
    state = sqlstate(error)
    if state == _NOT_WRITTEN:
        refused = _from_server(error)
        return not isinstance(refused.__cause__ if refused is not None else None, UnicodeEncodeError)
    return state not in _FAULTS_OF_A_VALUE


def passes(error: BaseException) -> bool:
    """Whether the same may succeed later, unchanged."""
    return failure(error) in {Failure.AWAY, Failure.UNUSABLE, Failure.CONTENDED, Failure.TOO_MUCH}


def was_cancelled(error: BaseException, *, after: float, limit: float) -> bool:
    """Whether a statement that may take `limit` seconds was ended `after` fewer: an administrator cancelled it."""
    return after < limit and sqlstate(error) == _CANCELLED


def sqlstate(error: BaseException) -> str | None:
    """The SQLSTATE of the error, if it has one.

    A server that hangs up sends its reason first. The driver then raises that the connection is gone, with that reason
    as the cause: 25P04 behind 08003.
    """
    original = error.orig if isinstance(error, DBAPIError) else error
    state: str | None = getattr(original, "sqlstate", None)
    reason = original
    while state == _CONNECTION_DOES_NOT_EXIST and reason is not None:
        reason = reason.__cause__
        state = getattr(reason, "sqlstate", None) or state
    return state


def constraint(error: BaseException) -> str | None:
    """The name of the constraint that was violated, if one was, or of an index that a row is too long for."""
    return getattr(_from_server(error), "constraint_name", None)


def _is_of_an_index(error: BaseException) -> bool:
    return constraint(error) is not None or getattr(_from_server(error), "server_source_filename", "") == _INDEX_ROWS


def _from_server(error: BaseException) -> BaseException | None:
    """The driver's exception, which holds the server's fields."""
    original = error.orig if isinstance(error, DBAPIError) else error
    return getattr(original, "__cause__", None)


def refused_by(error: BaseException) -> str:
    """The rule that a message broke, without the value: `SQLSTATE constraint`, or the bound of our own."""
    if isinstance(error, TooMuch):
        return str(error)
    if isinstance(error, MemoryError):
        return "memory"
    return " ".join(filter(None, (sqlstate(error), constraint(error))))
