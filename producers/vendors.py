"""One question to a vendor, of which a thin event left the answer open: bytes, or the name of what failed.

httpx, because there are few of these and it says exactly what it does. What an operator sets as a feed's address is
spoken to with credentials; an address that came in an event is not. Either way the address of the socket is looked at
before it is dialled, and no redirect is followed.
"""

import asyncio
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import TracebackType
from typing import Any, Self

import httpx
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from producers.egress import Address as IpAddress
from producers.egress import EgressDenied, Network, among, permitted, unmapped
from schemas.feeds.feed import Fetch

# One look at a wallet's card is some kilobytes.
LONGEST_ANSWER = 1_000_000
# A day's report has a row for each card that changed, some hundred bytes each.
LONGEST_FILE = 32 * 1024 * 1024
# A second try finds most servers that were just started anew; the next is the schedule's, minutes later.
_TRIES = 3
_LONGEST_RETRY_AFTER = timedelta(days=1)
_OK = range(200, 300)
_TOO_MANY, _SERVER_ERROR = 429, 500


class Unanswered(Exception):
    """The vendor was not asked, or did not answer well; the text names what failed, and nothing of either side."""

    def __init__(self, failed: str, retry_after: timedelta | None = None) -> None:
        super().__init__(failed)
        self.retry_after = retry_after


class _Passing(Unanswered):
    """It may be over in a second."""


@dataclass(frozen=True, slots=True)
class Vendor:
    """Where a feed's vendor answers; `authorization` is the header's value. `allow` are networks that it may be in."""

    url: str
    authorization: str | None = field(default=None, repr=False)
    allow: Sequence[Network] = ()


class Vendors:
    """An async context manager over the way to all of them. `deadline` in seconds is for the whole of a try.

    `allow` are networks that addresses of events may be in, beside public ones.
    """

    def __init__(
        self,
        vendors: Mapping[str, Vendor],
        *,
        version: str,
        deadline: float = 15.0,
        allow: Sequence[Network] = (),
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self._vendors = vendors
        self._deadline = deadline
        self._allow = allow
        self._client = httpx.AsyncClient(
            transport=_Guarded(ssl.create_default_context() if trust is None else trust),
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

    async def ask(self, feed: str, fetch: Fetch) -> bytes:
        """The answer's bytes, after at most three tries.

        Raises:
            Unanswered: there are none; asking later may help.
        """
        request, longest = self._request(feed, fetch), LONGEST_ANSWER if fetch.file_at is None else LONGEST_FILE
        trying = AsyncRetrying(
            retry=retry_if_exception_type(_Passing),
            stop=stop_after_attempt(_TRIES),
            wait=wait_exponential_jitter(multiplier=0.2, max=2, jitter=0.2),
            reraise=True,
        )
        answer: bytes = await trying(self._try, request, longest)
        return answer

    def _request(self, feed: str, fetch: Fetch) -> "_Request":
        if fetch.path.startswith("https://"):
            return _Request("GET", fetch.path, {}, None, self._allow)
        vendor = self._vendors.get(feed)
        if vendor is None:
            raise Unanswered("no address is set for this feed (REPOINT_FEED_FETCH)")
        headers = {"Accept": "application/json"}
        if vendor.authorization is not None:
            headers["Authorization"] = vendor.authorization
        url = f"{vendor.url.rstrip('/')}/{fetch.path}"
        return _Request("GET" if fetch.body is None else "POST", url, headers, fetch.body, vendor.allow)

    async def _try(self, request: "_Request", longest: int) -> bytes:
        try:
            async with (
                asyncio.timeout(self._deadline),
                self._client.stream(
                    request.method,
                    request.url,
                    headers=request.headers,
                    json=request.body,
                    extensions={"allow": request.allow},
                ) as response,
            ):
                return await _read(response, longest)
        except (TimeoutError, httpx.TimeoutException):
            raise _Passing("the vendor did not answer in time") from None
        except EgressDenied:
            raise Unanswered("the vendor's address is not one that may be reached") from None
        except (httpx.UnsupportedProtocol, httpx.InvalidURL, UnicodeError):
            raise Unanswered("the vendor's address cannot be used") from None
        except (httpx.TransportError, OSError) as error:
            raise _Passing(f"the connection to the vendor failed ({type(error).__name__})") from None


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: Mapping[str, Any] | None = field(repr=False)
    allow: Sequence[Network] = ()


async def _read(response: httpx.Response, longest: int) -> bytes:
    status = response.status_code
    if status >= _SERVER_ERROR or status == _TOO_MANY:
        kind = _Passing if status >= _SERVER_ERROR else Unanswered
        raise kind(f"the vendor answered {status}", _retry_after(response.headers.get("Retry-After")))
    if status not in _OK:
        raise Unanswered(f"the vendor answered {status}")
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise Unanswered("the vendor's answer is packed, and was not asked to be")
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > longest:
            raise Unanswered(f"the vendor's answer is longer than {longest:,} bytes")
    return bytes(body)


def _retry_after(seconds: str | None) -> timedelta | None:
    if seconds is None or not (seconds.isascii() and seconds.isdigit()):
        return None
    return min(timedelta(seconds=int(seconds[:9])), _LONGEST_RETRY_AFTER)


class _Guarded(httpx.AsyncHTTPTransport):
    """Dials the address that was looked at, under the name that was asked for; each request on its own connection.

    A connection that is kept would be known by its address alone, and serve another name at the same one.
    """

    def __init__(self, trust: ssl.SSLContext) -> None:
        super().__init__(verify=trust, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        host, port = request.url.host, request.url.port or (443 if request.url.scheme == "https" else 80)
        allow: Sequence[Network] = request.extensions["allow"]
        found = await _look_up(host, port)
        if not all(permitted(str(ip), allow) for ip in found):
            raise EgressDenied
        if request.url.scheme != "https" and not all(among(ip, allow) for ip in found):
            raise EgressDenied
        request.extensions = {**request.extensions, "sni_hostname": host}
        request.url = request.url.copy_with(host=str(found[0]))
        return await super().handle_async_request(request)


async def _look_up(host: str, port: int) -> list[IpAddress]:
    """IPv4 first: of a name with both, that is the one which works everywhere."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return sorted({unmapped(str(name[0])) for *_, name in found}, key=lambda ip: (ip.version, ip.packed))
