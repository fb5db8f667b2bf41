"""Why the database cannot be used, in words for people: by the server's code, or by what the connection ran into."""

import socket
import ssl

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from store.refusals import explain, needs_pooling, reason

URL = "(REPOINT_DATABASE_URL)"
POOLER = f"is reached through a connection pooler: add pgbouncer=true to the URL {URL}"


def from_server(state: str, message: str = "") -> asyncpg.PostgresError:
    error: asyncpg.PostgresError = asyncpg.PostgresError.new({"C": state, "M": message})
    return error


def caused(error: BaseException, by: BaseException) -> BaseException:
    error.__cause__ = by
    return error


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("28000", "does not let this user in from here, or not without TLS"),
        ("28P01", "refuses this user or password"),
        ("3D000", "does not exist on that server"),
        ("3F000", "lacks the schema that this program needs"),
        ("42501", "does not let this user read or change its tables"),
        ("42P01", "lacks a table that this program needs"),
        ("42704", "knows no setting that options= names"),
        ("22023", "refuses the value of a setting that options= names"),
        ("42P05", POOLER),
        ("26000", POOLER),
        ("25006", "is read-only"),
        ("53100", "has a disk that is full"),
        ("53200", "is out of memory"),
        ("53300", "has no connection left"),
        ("57014", "takes too long to answer"),
        ("57P01", "is shutting down"),
        ("57P02", "has just crashed"),
        ("57P03", "is starting up or shutting down"),
        ("57P04", "has just been dropped"),
        ("58030", "cannot read or write its files"),
        ("99999", f"cannot be reached {URL}"),
    ],
)
def test_a_code_of_the_server_is_explained(state: str, words: str) -> None:
    assert explain(from_server(state)).startswith(words)


@pytest.mark.parametrize("state", ["42P05", "26000", "08P01"])
def test_a_pooler_is_recognised_by_statements_of_other_sessions_and_by_parameters_that_it_does_not_know(
    state: str,
) -> None:
    error = from_server(state, "unsupported startup parameter: statement_timeout")
    assert explain(error) == POOLER
    assert needs_pooling(caused(RuntimeError(), error))
    assert not needs_pooling(from_server("57P01"))


def test_a_poolers_own_words_are_shown_in_one_line_of_some_length() -> None:
    error = from_server("08P01", "no such\n database: " + "x" * 300)
    shown = explain(error)
    assert shown.startswith("answers through its pooler: no such database: xxx")
    assert len(shown) == len("answers through its pooler: ") + 200
    assert not needs_pooling(error)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            asyncpg.TargetServerAttributeNotMatched(),
            f"has no server of the kind that target_session_attrs asks for {URL}",
        ),
        (asyncpg.ClientConfigurationError("no\n root"), f"cannot be connected to: no root; see sslrootcert {URL}"),
        (ConnectionError("rejected SSL upgrade"), f"offers no TLS, which sslmode asks for {URL}"),
        (ConnectionRefusedError("rejected"), f"cannot be reached {URL}"),
        *(
            (kind(2, "not there", "/ca.pem"), "cannot be connected to: /ca.pem, which the URL names, cannot be read")
            for kind in (FileNotFoundError, PermissionError, IsADirectoryError)
        ),
        (FileNotFoundError(2, "no socket"), f"cannot be reached {URL}"),
        (socket.gaierror(-2, "unknown"), f"cannot be reached: no such host {URL}"),
        (TimeoutError(), f"cannot be reached: no answer in time {URL}"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_a_connection_ran_into_is_explained(error: Exception, words: str) -> None:
    assert explain(error).startswith(words)


def test_a_certificate_that_cannot_be_trusted_says_why() -> None:
    error = ssl.SSLCertVerificationError(1, "failed")
    error.verify_message = "it has expired"
    assert explain(error).startswith("shows a certificate that cannot be trusted, it has expired: ")


@pytest.mark.parametrize(("said", "shown"), [("WRONG_VERSION_NUMBER", "WRONG_VERSION_NUMBER"), ("", "broken off")])
def test_a_handshake_that_fails_is_named_by_its_reason_if_it_has_one(said: str, shown: str) -> None:
    error = ssl.SSLError(1, "failed")
    error.reason = said
    assert explain(error).startswith(f"cannot be spoken to by TLS, {shown}: ")


def test_the_nearest_cause_that_is_known_explains_the_error() -> None:
    deepest = caused(OSError("hung up"), from_server("57P01"))
    assert explain(caused(RuntimeError(), deepest)) == "is shutting down"
    assert explain(caused(from_server("53100"), from_server("57P01"))) == "has a disk that is full"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (from_server("57P03"), "the database is starting up or shutting down"),
        (from_server("28P01"), f"the database refuses this user or password {URL}"),
        (ConnectionResetError(), "the database cannot be reached"),
        (RuntimeError(), "the database cannot be reached"),
        (from_server("40P01"), "another worker was in the way: 40P01"),
        (from_server("57014"), "it is too much for one transaction: 57014"),
        (from_server("22003"), "the database refuses what was written: 22003"),
    ],
    ids=lambda value: "" if isinstance(value, str) else str(getattr(value, "sqlstate", type(value).__name__)),
)
def test_a_wait_names_what_the_database_lacks_or_what_is_in_the_way(error: Exception, words: str) -> None:
    assert reason(error) == words


def test_an_error_of_sqlalchemy_is_read_as_the_drivers() -> None:
    wrapped = DBAPIError("SELECT 1", {}, from_server("53300"))
    assert explain(caused(wrapped, from_server("53300"))) == "has no connection left"
