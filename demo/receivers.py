"""The demo's merchants: each has an endpoint on loopback that verifies every webhook and records it.

The verification follows the Standard Webhooks specification and shares no code with `schemas/signature.py`.
"""

import base64
import hashlib
import hmac
import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from aiohttp import web

Manner: TypeAlias = Callable[[int], int]
"""The status that an endpoint answers with, by the number of the attempt at an event, from 1."""

# The specification leaves it open; libraries take five minutes.
_TOLERANCE_SECONDS = 300


def healthy(_attempt: int) -> int:
    return 200


def busy_at_first(attempt: int) -> int:
    return 503 if attempt <= 2 else 200  # noqa: PLR2004 - twice


def disabling(_attempt: int) -> int:
    return 410


@dataclass(frozen=True, slots=True)
class ReceivedWebhook:
    """One request: its event, whether its signature was right, and the answer."""

    merchant: str
    event: Mapping[str, Any]
    body: bytes
    genuine: bool
    attempt: int
    answered: int

    @property
    def id(self) -> str:
        return str(self.event["id"])

    @property
    def accepted(self) -> bool:
        return self.answered == 200  # noqa: PLR2004 - see the manners


@dataclass
class Receivers:
    """The requests to all endpoints, in the order of arrival."""

    requests: list[ReceivedWebhook] = field(default_factory=list)
    _attempts: Counter[str] = field(default_factory=Counter)

    async def receive(self, request: web.Request, merchant: str, secret: str, manner: Manner) -> web.Response:
        body = await request.read()
        event = json.loads(body)
        genuine = is_genuine(secret, request.headers, body) and request.headers["webhook-id"] == event["id"]
        self._attempts[event["id"]] += 1
        answer = manner(self._attempts[event["id"]])
        self.requests.append(ReceivedWebhook(merchant, event, body, genuine, self._attempts[event["id"]], answer))
        return web.Response(status=answer)


def is_genuine(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    """Whether a signature fits this id, time, body and `whsec_…` secret, and the time is at most five minutes away."""
    signed_at = headers.get("webhook-timestamp", "")
    if not re.fullmatch("[0-9]{1,12}", signed_at) or abs(time.time() - int(signed_at)) > _TOLERANCE_SECONDS:
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = b".".join((headers.get("webhook-id", "").encode(), signed_at.encode(), body))
    expected = "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    signatures = headers.get("webhook-signature", "").encode(errors="replace").split()
    return any(hmac.compare_digest(expected.encode(), signature) for signature in signatures)


@asynccontextmanager
async def listening(
    secrets: Mapping[str, str], manners: Mapping[str, Manner]
) -> AsyncIterator[tuple[Receivers, Mapping[str, str]]]:
    """Serve an endpoint for each merchant of `secrets` on a free port; yields the received requests and the URLs."""
    receivers = Receivers()
    application = web.Application()
    for merchant, secret in secrets.items():
        application.router.add_post(f"/{merchant}", _handler(receivers, merchant, secret, manners[merchant]))
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        yield receivers, {merchant: f"http://{host}:{port}/{merchant}" for merchant in secrets}
    finally:
        await runner.cleanup()


def _handler(receivers: Receivers, merchant: str, secret: str, manner: Manner) -> Callable[[web.Request], Any]:
    async def handle(request: web.Request) -> web.Response:
        return await receivers.receive(request, merchant, secret, manner)

    return handle
