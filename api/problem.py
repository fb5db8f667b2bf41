"""Refusals as problem details (RFC 9457). Every text is ours: an answer never repeats what a request held."""

from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import web

CONTENT_TYPE = "application/problem+json"

_CODES = {
    400: "MALFORMED_REQUEST",
    401: "NOT_AUTHENTICATED",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    408: "BODY_TOO_SLOW",
    413: "BODY_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    417: "EXPECTATION_FAILED",
    422: "NOT_USABLE",
    500: "SYSTEM_ERROR",
    503: "TRY_AGAIN",
}
_DETAILS = {
    400: "expected an HTTP request whose line and headers can be read",
    404: "no such route",
    405: "expected one of the methods that the header Allow names",
    417: "expected no Expect but 100-continue",
    500: "the request failed here; the log has more under its requestId",
}

_NO_HEADERS: Mapping[str, str] = {}


def problem(
    status: int,
    request_id: str,
    detail: str | None = None,
    *,
    headers: Mapping[str, str] = _NO_HEADERS,
    **members: object,
) -> web.Response:
    """The answer for `status`; `members` are extension members of its body."""
    title = HTTPStatus(status).phrase
    body: dict[str, object] = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail or _DETAILS.get(status, title),
        "code": _CODES.get(status, "REFUSED"),
        "requestId": request_id,
    }
    return web.json_response(body | members, status=status, headers=headers, content_type=CONTENT_TYPE)
