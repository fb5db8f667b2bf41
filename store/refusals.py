"""The reasons why a database cannot be used, as the end of a line for people, without a password."""

import socket
import ssl
from collections.abc import Iterator, Mapping

import asyncpg

from store.failures import Failure, failure, refused_by, sqlstate

_URL = "(REPOINT_DATABASE_URL)"
_POOLER = f"is reached through a connection pooler: add pgbouncer=true to the URL {_URL}"

READ_ONLY = "the database is read-only: it is a replica, or its disk is full"
TOO_SLOW = "the database is too slow: one row takes more than 2 s"

_BY_STATE: Mapping[str, str] = {
    "28000": f"does not let this user in from here, or not without TLS: see pg_hba.conf and sslmode {_URL}",
    "28P01": f"refuses this user or password {_URL}",
    "3D000": f"does not exist on that server {_URL}",
    "42501": "does not let this user read or change its tables",
    "42P01": "lacks a table that this program needs: was it dropped or renamed?",
    "3F000": "lacks the schema that this program needs: was it dropped or renamed?",
    "42704": f"knows no setting that options= names {_URL}",
    "22023": f"refuses the value of a setting that options= names {_URL}",
    # a prepared statement that another client made, or that was made in another session
    "42P05": _POOLER,
    "26000": _POOLER,
    "25006": "is read-only: it is a replica, or its disk is full",
    "53100": "has a disk that is full",
    "53200": "is out of memory",
    "53300": "has no connection left",
    "55P03": "did not give a lock in time: `repoint doctor` names transactions that are open for long",
    "57014": "takes too long to answer",
    "57P01": "is shutting down",
    "57P02": "has just crashed",
    "57P03": "is starting up or shutting down",
    "57P04": "has just been dropped",
    "58030": "cannot read or write its files",
}


def reason(error: BaseException) -> str:
    """What a passing `error` waits for: what the database lacks, or what is in the way."""
    kind = failure(error)
    if kind in (None, Failure.AWAY, Failure.UNUSABLE):
        return f"the database {_known(error) or 'cannot be reached'}"
    rule = refused_by(error)
    return f"{kind.value}: {rule}" if rule else kind.value


def needs_pooling(error: BaseException) -> bool:
    """Whether `error` comes of a pooler that shares its sessions among clients."""
    return any(_of_server(cause) is _POOLER for cause in _causes(error))


def explain(error: BaseException) -> str:
    """The explanation of an `error` that was raised on the way to the database."""
    return _known(error) or f"cannot be reached {_URL}"


def _known(error: BaseException) -> str | None:
    for cause in _causes(error):
        explained = _of_server(cause) or _of_tls(cause) or _of_network(cause)
        if explained is not None:
            return explained
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and its causes, the nearest first; SQLAlchemy wraps asyncpg's errors."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__


def _of_server(error: BaseException) -> str | None:
    state = sqlstate(error)
    if state is None:
        return None
    message = " ".join(str(error.args[0]).split()) if error.args else ""
    if state == "08P01":
        if "unsupported startup parameter" in message:
            return _POOLER
        # PgBouncer's one code for everything: its words name users, databases and servers, and no password
        return f"answers through its pooler: {message[:200]}" if isinstance(error, asyncpg.PostgresError) else None
    return _BY_STATE.get(state)


def _of_tls(error: BaseException) -> str | None:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"shows a certificate that cannot be trusted, {error.verify_message}: see sslmode and sslrootcert {_URL}"
    if isinstance(error, ssl.SSLError):
        return f"cannot be spoken to by TLS, {error.reason or 'broken off'}: see the files that the URL names {_URL}"
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        return f"has no server of the kind that target_session_attrs asks for {_URL}"
    if isinstance(error, asyncpg.ClientConfigurationError):
        return f"cannot be connected to: {' '.join(str(error.args[0]).split())}; see sslrootcert {_URL}"
    if isinstance(error, ConnectionError) and "SSL upgrade" in str(error):
        return f"offers no TLS, which sslmode asks for {_URL}"
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError) and error.filename:
        return f"cannot be connected to: {error.filename}, which the URL names, cannot be read {_URL}"
    return None


def _of_network(error: BaseException) -> str | None:
    if isinstance(error, socket.gaierror):
        return f"cannot be reached: no such host {_URL}"
    if isinstance(error, TimeoutError):
        return f"cannot be reached: no answer in time {_URL}"
    return None
