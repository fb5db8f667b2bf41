"""Requests to vendors about thin events: the answer's bytes, or the name of the failure.

An address that an operator sets for a feed receives the vendor's credentials; an address from an event receives none.
The address of the socket is checked before it is dialled in both cases, and no redirect is followed. httpx serves here:
these requests are few, so its CPU does not matter.
"""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import TracebackType
from typing import Any, Self

import httpx
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from producers.egress import EgressDenied, Network, addresses_of, is_in, is_permitted
from producers.names import LookUp, Names, NameUnknown, system_look_up
from producers.retry_after import delay
from schemas.feeds.feed import Fetch
from schemas.url import LONGEST_OF_REPORT, Address, Url, read_url

# The answer about one card is some kilobytes.
LONGEST_ANSWER = 1_000_000
# A report of a day has a row of some hundred bytes for each changed card: this is ten million rows. A report is read as
# it arrives, so the bound only stops a vendor that sends without end.
LONGEST_FILE = 1024**3
# Seconds of waiting for a whole report: 1 GiB at 300 kB a second.
LONGEST_WAIT = 3600.0
# Most restarting servers answer a second try. After the last try the schedule asks again minutes later.
_TRIES = 3
_LONGEST_RETRY_AFTER = timedelta(days=1)
_OK = range(200, 300)
_UNUSABLE = "the vendor's address cannot be used"
_TOO_MANY, _SERVER_ERROR = 429, 500


class Unanswered(Exception):
    """The vendor was not asked, or gave no usable answer; the text names the failure, without any value."""

    def __init__(self, failure: str, retry_after: timedelta | None = None) -> None:
        super().__init__(failure)
        self.retry_after = retry_after


class NoAddress(Unanswered):
    """The vendor was not asked, because its feed has no address: a retry is useless until an operator sets one."""

    def __init__(self) -> None:
        super().__init__("no address is set for this feed (REPOINT_FEED_FETCH)")


class _PassingFailure(Unanswered):
    """A failure that may pass within a second."""


@dataclass(frozen=True, slots=True)
class VendorAddress:
    """A vendor's URL; `authorization` is the header's value, `allow` are networks that its addresses may be in."""

    url: str
    authorization: str | None = field(default=None, repr=False)
    allow: Sequence[Network] = ()


class VendorClient:
    """An async context manager for requests to all vendors. `deadline` in seconds is for a whole try.

    For a report, `deadline` is for the head and for each chunk, and `longest_wait` for all chunks together. `allow` are
    networks that an event's address may be in, beside public ones. `look_up` looks up the addresses of a name.
    """

    def __init__(
        self,
        addresses: Mapping[str, VendorAddress],
        *,
        version: str,
        deadline: float = 15.0,
        longest_wait: float = LONGEST_WAIT,
        allow: Sequence[Network] = (),
        trust: ssl.SSLContext | None = None,
        look_up: LookUp = system_look_up,
    ) -> None:
        self._addresses = addresses
        self._deadline = deadline
        self._longest_wait = longest_wait
        self._allow = allow
        self._trust = ssl.create_default_context() if trust is None else trust
        self._names = Names(look_up, within=deadline)
        self._client = httpx.AsyncClient(
            transport=_CheckedTransport(self._trust, self._names),
            headers={"User-Agent": f"Repoint/{version}", "Accept-Encoding": "identity"},
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            timeout=deadline,
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    @property
    def feeds(self) -> frozenset[str]:
        """The feeds whose vendors have an address."""
        return frozenset(self._addresses)

    async def reach(self, feed: str) -> None:
        """Connect to the vendor of a feed with an address, by TLS where it has it, and send nothing.

        Raises:
            NoAddress: the feed has no address.
            Unanswered: no connection can be made.
        """
        vendor = self._addresses.get(feed)
        if vendor is None:
            raise NoAddress
        url = _parse_url(vendor.url)
        with _named_failures():
            async with asyncio.timeout(self._deadline):
                address = await permitted_address(url, vendor.allow, self._names)
                name = url.host.rstrip(".") if url.tls else None
                tls = self._trust if url.tls else None
                _, writer = await asyncio.open_connection(str(address), url.port, ssl=tls, server_hostname=name)
                writer.close()

    async def ask(self, feed: str, fetch: Fetch) -> bytes:
        """The answer's bytes, after at most three tries.

        Raises:
            NoAddress: the feed has no address.
            Unanswered: there is no usable answer; a later request may have one.
        """
        answer: bytes = await _attempts()(self._try, self._request(feed, fetch))
        return answer

    @asynccontextmanager
    async def open_file(self, feed: str, fetch: Fetch) -> AsyncIterator[AsyncIterator[bytes]]:
        """A file as it arrives. Opening it has at most three tries; a broken transfer is not tried again.

        Raises:
            NoAddress: the feed has no address.
            Unanswered: there is no file, or it broke off; a later request may have it.
        """
        response: httpx.Response = await _attempts()(self._open_response, self._request(feed, fetch))
        try:
            yield self._chunks(response)
        finally:
            await response.aclose()

    def _request(self, feed: str, fetch: Fetch) -> "_Request":
        if fetch.path.startswith("https://"):
            return _Request("GET", _parse_url(fetch.path), {}, None, self._allow)
        vendor = self._addresses.get(feed)
        if vendor is None:
            raise NoAddress
        headers = {"Accept": "application/json"}
        if vendor.authorization is not None:
            headers["Authorization"] = vendor.authorization
        url = _parse_url(f"{vendor.url.rstrip('/')}/{fetch.path}")
        return _Request("GET" if fetch.body is None else "POST", url, headers, fetch.body, vendor.allow)

    async def _try(self, request: "_Request") -> bytes:
        with _named_failures():
            async with asyncio.timeout(self._deadline):
                response = await self._open_response(request)
                try:
                    return await _read_whole(response)
                finally:
                    await response.aclose()

    async def _open_response(self, request: "_Request") -> httpx.Response:
        """The response with its head read, within the deadline of one try."""
        with _named_failures():
            async with asyncio.timeout(self._deadline):
                response = await self._client.send(
                    self._client.build_request(
                        request.method,
                        f"{request.url.scheme}://{request.url.authority}/",
                        headers=request.headers,
                        json=request.body,
                        extensions={"url": request.url, "allow": request.allow},
                    ),
                    stream=True,
                )
        try:
            _check(response)
        except Unanswered:
            await response.aclose()
            raise
        return response

    async def _chunks(self, response: httpx.Response) -> AsyncIterator[bytes]:
        """The chunks, each within the deadline. The total wait is bounded too: a dripping vendor would never end."""
        size, wait_seconds, chunks = 0, 0.0, response.aiter_raw()
        while True:
            started_at = time.monotonic()
            with _named_failures():
                async with asyncio.timeout(self._deadline):
                    chunk = await anext(chunks, None)
            wait_seconds += time.monotonic() - started_at  # without the time that Kafka takes
            if wait_seconds > self._longest_wait:
                raise Unanswered(f"the vendor's file did not arrive within {self._longest_wait:,.0f} s")
            if chunk is None:
                return
            size += len(chunk)
            if size > LONGEST_FILE:
                raise Unanswered(f"the vendor's file is longer than {LONGEST_FILE:,} bytes")
            yield chunk


def _attempts() -> AsyncRetrying:
    return AsyncRetrying(
        retry=retry_if_exception_type(_PassingFailure),
        stop=stop_after_attempt(_TRIES),
        wait=wait_exponential_jitter(multiplier=0.2, max=2, jitter=0.2),
        reraise=True,
    )


@contextmanager
def _named_failures() -> Iterator[None]:
    """Turn a failure of the request into `Unanswered`, named without any value of either side."""
    try:
        yield
    except (TimeoutError, httpx.TimeoutException):
        raise _PassingFailure("the vendor did not answer in time") from None
    except NameUnknown:
        raise _PassingFailure("the name of the vendor's host is not known, or its name server did not answer") from None
    except EgressDenied:
        raise Unanswered("the vendor's address is not one that may be reached") from None
    except (httpx.UnsupportedProtocol, httpx.InvalidURL, UnicodeError):
        raise Unanswered(_UNUSABLE) from None
    except (httpx.TransportError, OSError) as error:
        raise _PassingFailure(f"the connection to the vendor failed ({type(error).__name__})") from None


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    url: Url = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: Mapping[str, Any] | None = field(repr=False)
    allow: Sequence[Network] = ()


def _parse_url(url: str) -> Url:
    """Parse the URL of a report or an answer, without its fragment, which is not sent."""
    try:
        return read_url(url.partition("#")[0], longest=LONGEST_OF_REPORT)
    except ValueError:
        raise Unanswered(_UNUSABLE) from None


def _check(response: httpx.Response) -> None:
    """Raise Unanswered for a response whose body cannot be used."""
    status = response.status_code
    if status >= _SERVER_ERROR or status == _TOO_MANY:
        kind = _PassingFailure if status >= _SERVER_ERROR else Unanswered
        raise kind(f"the vendor answered {status}", _retry_after(response.headers.get("Retry-After")))
    if status not in _OK:
        raise Unanswered(f"the vendor answered {status}")
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise Unanswered("the vendor's answer is packed, and was not asked to be")


async def _read_whole(response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > LONGEST_ANSWER:
            raise Unanswered(f"the vendor's answer is longer than {LONGEST_ANSWER:,} bytes")
    return bytes(body)


def _retry_after(header: str | None) -> timedelta | None:
    wait = None if header is None else delay(header, now=datetime.now(UTC))
    return None if wait is None else min(max(wait, timedelta(0)), _LONGEST_RETRY_AFTER)


async def permitted_address(url: Url, allow: Sequence[Network], names: Names) -> Address:
    """The address to dial for `url`. Raises NameUnknown; EgressDenied if one of its addresses is not permitted."""
    addresses = await addresses_of(url, names)
    if not addresses:
        raise NameUnknown(url.host)
    if not all(is_permitted(str(ip), allow) for ip in addresses):
        raise EgressDenied
    if not url.tls and not all(is_in(ip, allow) for ip in addresses):
        raise EgressDenied
    return addresses[0]


class _CheckedTransport(httpx.AsyncHTTPTransport):
    """Dials the address that was checked, under the requested name; each request on a connection of its own.

    A pooled connection is known by its address alone, so it could serve another name at the same address. Path and
    query go out byte for byte: httpx would normalise them, and a report's URL may be signed.
    """

    def __init__(self, trust: ssl.SSLContext, names: Names) -> None:
        super().__init__(verify=trust, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))
        self._names = names

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url: Url = request.extensions["url"]
        allow: Sequence[Network] = request.extensions["allow"]
        address = await permitted_address(url, allow, self._names)
        request.extensions = {
            **request.extensions,
            "sni_hostname": url.host.rstrip("."),
            "target": url.target.encode("ascii"),
        }
        request.url = request.url.copy_with(host=str(address))
        return await super().handle_async_request(request)
