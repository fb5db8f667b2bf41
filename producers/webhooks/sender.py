"""A POST to an endpoint that may be slow, broken or hostile; every failure is a `PostResult`."""

import asyncio
import ssl
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import NamedTuple, Self

from domain.delivery.outcome import ACCEPTED, Outcome, outcome_of_status
from producers.egress import Egress, EgressDenied, Network
from producers.names import LookUp, NameUnknown, ResolverUnavailable, system_look_up
from producers.retry_after import delay
from producers.webhooks.connections import (
    KEEP_IDLE,
    Connection,
    Connections,
    HandshakeFailed,
    parse_target,
)
from producers.webhooks.tunnels import EgressProxy, EndpointUnreachable, ProxyFailed


class FailingAnswer(NamedTuple):
    """What an endpoint sent that did not accept a request: the names of its headers, the beginning of its body.

    Nothing in it is masked.
    """

    header_names: Sequence[str]
    excerpt: bytes


class PostResult(NamedTuple):
    """The result of one request; `seconds` is its duration, `retry_after` the endpoint's unbounded delay.

    `failing` is the answer if there is one and it does not accept the request.
    """

    outcome: Outcome
    seconds: float
    status_code: int | None = None
    retry_after: timedelta | None = None
    failing: FailingAnswer | None = None


class Sender:
    """An async context manager over the connections to all endpoints.

    `deadline` in seconds is for the whole request, name look-up to last byte; connecting may take half of it. `allow`,
    `ports` and `https_only` are of `producers.egress.Egress`. Requests go through `proxy` if there is one. `on_sent` is
    called when a request has been written: before `post` returns, and as a rule before the response is read. The caller
    of `post` bounds the number of requests at a time. `look_up` looks up the addresses of a name. An idle connection is
    kept for `keep_idle` seconds.
    """

    def __init__(
        self,
        *,
        version: str,
        deadline: float = 15.0,
        allow: Sequence[Network] = (),
        ports: Collection[int] | None = None,
        https_only: bool = False,
        proxy: EgressProxy | None = None,
        trust: ssl.SSLContext | None = None,
        on_sent: Callable[[], None] | None = None,
        look_up: LookUp = system_look_up,
        keep_idle: float = KEEP_IDLE,
    ) -> None:
        self.deadline = deadline
        self._headers = (
            f"user-agent: Repoint/{version}\r\ncontent-type: application/json\r\naccept-encoding: identity\r\n"
        ).encode("ascii")
        self._egress = Egress(allow, ports, https_only)
        self._proxy = proxy
        self._trust = trust
        self._on_sent = on_sent
        self._look_up = look_up
        self._keep_idle = keep_idle

    async def __aenter__(self) -> Self:
        self._connections = Connections(
            within=self.deadline / 2,
            egress=self._egress,
            proxy=self._proxy,
            trust=self._trust,
            look_up=self._look_up,
            keep_idle=self._keep_idle,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connections.close()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, *, endpoint: str) -> PostResult:
        """Post `body` to `url`. Never raises for a failure of the endpoint, its name server or the network.

        `headers` are ASCII without line ends. `endpoint` is the endpoint's id: a kept connection serves this endpoint
        alone.
        """
        started_at = time.perf_counter()
        try:
            target = parse_target(url)
        except ValueError:
            return PostResult(Outcome.URL_UNUSABLE, time.perf_counter() - started_at)
        header_lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        request = b"%b%b%bcontent-length: %d\r\n\r\n%b" % (
            target.head,
            self._headers,
            header_lines.encode("ascii"),
            len(body),
            body,
        )
        key = (endpoint, url)
        if (connection := self._connections.reuse(key)) is None:
            try:
                async with asyncio.timeout(self.deadline):
                    connection = await self._connections.open(target.url)
            except OSError as error:
                return PostResult(_outcome_of(error), time.perf_counter() - started_at)
        try:
            completion = connection.post(request, within=self.deadline - (time.perf_counter() - started_at))
            if self._on_sent is not None:
                # the loop writes the request before it runs this callback
                asyncio.get_running_loop().call_soon(self._on_sent)
            await completion
        finally:
            self._connections.keep(connection, key)
        seconds = time.perf_counter() - started_at
        if connection.status is None:
            return PostResult(_outcome_without_answer(connection), seconds)
        outcome = outcome_of_status(connection.status)
        if outcome is ACCEPTED:
            return PostResult(outcome, seconds, connection.status)
        failing = FailingAnswer(connection.header_names, connection.excerpt)
        return PostResult(outcome, seconds, connection.status, _read_delay(connection.retry_after), failing)


# The first matching class gives the outcome of a failed connection.
_OUTCOMES: Sequence[tuple[type[Exception], Outcome]] = [
    (ResolverUnavailable, Outcome.RESOLVER_UNAVAILABLE),
    (NameUnknown, Outcome.DNS_LOOKUP_FAILED),
    (EgressDenied, Outcome.EGRESS_DENIED),
    (ProxyFailed, Outcome.EGRESS_PROXY_FAILED),
    (EndpointUnreachable, Outcome.CONNECTION_FAILED),
    (ssl.SSLError, Outcome.TLS_FAILED),
    (HandshakeFailed, Outcome.TLS_FAILED),
    (ConnectionRefusedError, Outcome.CONNECTION_REFUSED),
    (TimeoutError, Outcome.CONNECTION_TIMEOUT),
    (OSError, Outcome.CONNECTION_FAILED),
]


def _outcome_of(error: OSError) -> Outcome:
    return next(outcome for kind, outcome in _OUTCOMES if isinstance(error, kind))


def _outcome_without_answer(connection: Connection) -> Outcome:
    if connection.is_late:
        return Outcome.RESPONSE_TIMEOUT
    return Outcome.RESPONSE_UNREADABLE if connection.is_unreadable else Outcome.CONNECTION_CLOSED


def _read_delay(header: bytes | None) -> timedelta | None:
    return None if header is None else delay(header.decode("latin-1"), now=datetime.now(UTC))
