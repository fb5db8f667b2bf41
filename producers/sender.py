"""One POST to an endpoint that may be slow, broken or hostile; whatever it does comes back as an Answer."""

import asyncio
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import NamedTuple, Self

from domain.delivery import Outcome, answered
from producers.connections import Connection, Connections, NameUnknown, target
from producers.egress import EgressDenied, Network


class Answer(NamedTuple):
    """What came of one request; `took` in seconds, `retry_after` as the endpoint asked, unbounded."""

    outcome: Outcome
    took: float
    status_code: int | None = None
    retry_after: timedelta | None = None


class Sender:
    """An async context manager over the connections to all endpoints.

    `deadline` in seconds is for the whole of a request, name lookup to last byte; connecting may take half of
    it. `allow` are networks that may be reached beside public addresses. `sent` is called when a request has
    been written, as a rule before its response is read, and before `post` returns. Whoever calls `post` bounds how
    many run at a time.
    """

    def __init__(
        self,
        *,
        version: str,
        deadline: float = 15.0,
        allow: Sequence[Network] = (),
        trust: ssl.SSLContext | None = None,
        sent: Callable[[], None] | None = None,
    ) -> None:
        self.deadline = deadline
        self._headers = (
            f"user-agent: Repoint/{version}\r\ncontent-type: application/json\r\naccept-encoding: identity\r\n"
        ).encode("ascii")
        self._allow = allow
        self._trust = trust
        self._sent = sent

    async def __aenter__(self) -> Self:
        self._connections = Connections(within=self.deadline / 2, allow=self._allow, trust=self._trust)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connections.close()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Never raises for what the endpoint, its name server or the network does.

        `headers` are of ASCII, and ours: nothing in them ends a line.
        """
        begun = time.perf_counter()
        try:
            to = target(url)
        except ValueError:
            return Answer(Outcome.URL_UNUSABLE, time.perf_counter() - begun)
        own = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        request = b"%b%b%bcontent-length: %d\r\n\r\n%b" % (
            to.head,
            self._headers,
            own.encode("ascii"),
            len(body),
            body,
        )
        connection: Connection | None = None
        late = False
        try:
            async with asyncio.timeout(self.deadline):
                connection = self._connections.kept(to.place) or await self._connections.open(to.place)
                ended = connection.post(request)
                if self._sent is not None:
                    # by the loop's next turn it is written
                    asyncio.get_running_loop().call_soon(self._sent)
                await ended
        except OSError as error:
            if connection is None:
                return Answer(_name_of(error), time.perf_counter() - begun)
            late = True
        finally:
            if connection is not None:
                self._connections.give_back(connection, to.place)
        took = time.perf_counter() - begun
        if connection.status is None:
            return Answer(_without_an_answer(connection, late=late), took)
        outcome = answered(connection.status)
        if outcome is Outcome.ACCEPTED:
            return Answer(outcome, took, connection.status)
        return Answer(outcome, took, connection.status, _delay(connection.retry_after))


# The first class that fits names why there is no connection.
_NAMES: Sequence[tuple[type[Exception], Outcome]] = [
    (NameUnknown, Outcome.DNS_LOOKUP_FAILED),
    (EgressDenied, Outcome.EGRESS_DENIED),
    (ssl.SSLError, Outcome.TLS_FAILED),
    (ConnectionRefusedError, Outcome.CONNECTION_REFUSED),
    (TimeoutError, Outcome.CONNECTION_TIMEOUT),
    (OSError, Outcome.CONNECTION_FAILED),
]


def _name_of(error: OSError) -> Outcome:
    return next(name for kind, name in _NAMES if isinstance(error, kind))


def _without_an_answer(connection: Connection, *, late: bool) -> Outcome:
    if late:
        return Outcome.RESPONSE_TIMEOUT
    return Outcome.RESPONSE_UNREADABLE if connection.unreadable else Outcome.CONNECTION_CLOSED


def _delay(header: bytes | None) -> timedelta | None:
    """A Retry-After header, seconds or a date, as a delay from now; None if it is neither."""
    if header is None:
        return None
    retry_after = header.decode("latin-1").strip()
    if retry_after.isascii() and retry_after.isdigit():
        return timedelta(seconds=min(int(retry_after[:9]), 10**8))
    try:
        at = parsedate_to_datetime(retry_after)
    except (ValueError, OverflowError):  # of a time zone many digits long
        return None
    return at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)
