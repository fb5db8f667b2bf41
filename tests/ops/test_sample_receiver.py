"""The sample receiver takes what an independent implementation signed, and nothing else."""

import base64
import json
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer
from standardwebhooks import Webhook

from examples.receiver import endpoint

SECRET = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
BODY = json.dumps({"id": "evt_1", "name": "PAYMENT_METHOD_REPLACED", "walletId": "w-1", "sequence": 1})


def signed(body: str, *, secret: str = SECRET, at: datetime | None = None) -> dict[str, str]:
    at = at or datetime.now(UTC)
    signature = Webhook(secret).sign("evt_1", at, body)
    return {"webhook-id": "evt_1", "webhook-timestamp": str(int(at.timestamp())), "webhook-signature": signature}


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with TestServer(endpoint(SECRET)) as server:
        yield str(server.make_url("/hooks"))


async def status(url: str, body: str, headers: dict[str, str]) -> int:
    async with ClientSession() as client, client.post(url, data=body.encode(), headers=headers) as response:
        return response.status


async def test_what_was_signed_is_taken_and_said(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    two = signed(BODY)
    two["webhook-signature"] = f"v1,bm90IHRoaXM= {two['webhook-signature']}"
    assert await status(url, BODY, signed(BODY)) == 204
    assert await status(url, BODY, two) == 204
    assert capsys.readouterr().out.splitlines() == [
        "PAYMENT_METHOD_REPLACED evt_1 wallet w-1 sequence 1",
        "PAYMENT_METHOD_REPLACED evt_1 wallet w-1 sequence 1 (again)",
    ]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        signed(BODY + " "),
        signed(BODY, secret="whsec_" + base64.b64encode(bytes(32)).decode()),
        signed(BODY, at=datetime.now(UTC) - timedelta(hours=1)),
        signed(BODY) | {"webhook-signature": "v1,\u00e9"},
        signed(BODY) | {"webhook-timestamp": "9" * 5000},
    ],
    ids=["unsigned", "other body", "other secret", "too old", "signature not of ASCII", "a time of 5,000 digits"],
)
async def test_anything_else_is_refused(url: str, headers: dict[str, str]) -> None:
    assert await status(url, BODY, headers) == 400
