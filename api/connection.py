"""HTTP with untrusted clients: every answer has a request id, and no text of a request is repeated.

aiohttp writes the line of a request that it cannot read into its log and its answer. That line may hold a client's
credentials. This module answers and logs what was expected instead.
"""

import asyncio
import re
import secrets
import string
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from aiohttp import web
from structlog.contextvars import bind_contextvars, get_contextvars

from api.problem import problem
from domain import pan

log = structlog.get_logger()

REQUEST_ID = "X-Request-Id"
_WELL_FORMED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{7,63}")
# 94 bits. Letters only: digits could pass for a card number, and the log would mask them.
_LENGTH = 20

# Without versions: scanners look for known flaws by version.
_SERVER = "repoint"

_BAD_REQUEST, _FAILED = 400, 500


def request_id(request: web.BaseRequest) -> str:
    """The client's own id of the request if it is well-formed, otherwise a new one; the same for the whole request.

    It is bound to the context of the request's task (aiohttp makes one for each request), so every log line has it.
    """
    bound_id = get_contextvars().get("request_id")
    if isinstance(bound_id, str):
        return bound_id
    id_ = request.headers.get(REQUEST_ID, "")
    if _WELL_FORMED.fullmatch(id_) is None or pan.contains_pan(id_):
        id_ = "".join(secrets.choice(string.ascii_lowercase) for _ in range(_LENGTH))
    bind_contextvars(request_id=id_)
    return id_


def connection_factory(server: web.Server, **options: object) -> Callable[[], "ClientConnection"]:
    """A factory for the protocol of each new connection to `server`; `options` are aiohttp's."""
    server.request_handler = _with_problem_details(server.request_handler)
    arguments: dict[str, Any] = {"access_log": None, **options}
    return lambda: ClientConnection(server, loop=asyncio.get_running_loop(), **arguments)


def _with_problem_details(
    handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    """Wrap `handle`: its answers and log lines have a request id, and its refusals are problem details."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        id_ = request_id(request)
        try:
            # aiohttp's own refusal repeats the header
            if request.headers.get("Expect", "100-continue").lower() != "100-continue":
                raise web.HTTPExpectationFailed
            response = await handle(request)
        except web.HTTPException as refusal:
            log.info("request refused", status=refusal.status)
            headers = {"Allow": refusal.headers["Allow"]} if "Allow" in refusal.headers else {}
            response = problem(refusal.status, id_, headers=headers)
        return _with_headers(response, id_)

    return answer


class ClientConnection(web.RequestHandler):
    """The protocol of one client's connection. It logs and answers errors without any text of the request."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = _FAILED,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  aiohttp's text repeats the request
    ) -> web.StreamResponse:
        """The answer to a request that cannot be read, or whose handler failed; it closes the connection."""
        id_ = request_id(request)
        if status >= _FAILED:
            log.error("request failed", **_describe(exc))
        else:
            log.info("request refused", status=status, error=type(exc).__name__)
        if request.writer.output_size > 0:
            raise ConnectionError("part of another answer is sent already")
        response = problem(status, id_)
        response.force_close()
        return _with_headers(response, id_)

    def log_exception(self, *_args: object, **kw: object) -> None:
        """Log the exception that ended the connection, without its text."""
        log.error("connection failed", **_describe(kw.get("exc_info")))


def _with_headers(response: web.StreamResponse, id_: str) -> web.StreamResponse:
    """`response`, with the headers that every answer has."""
    response.headers[REQUEST_ID] = id_
    response.headers["Server"] = _SERVER
    return response


def _describe(error: object) -> dict[str, Any]:
    """Describe an error by its class, and where it was raised. Its text may repeat what a client sent."""
    if not isinstance(error, BaseException):
        return {}
    frames = traceback.extract_tb(error.__traceback__)
    return {
        "error": type(error).__name__,
        "where": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
    }
