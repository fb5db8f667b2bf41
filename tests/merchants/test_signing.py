"""Webhooks that are signed with ed25519, too, and the public keys that a command shows for it."""

from base64 import b64decode
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy.ext.asyncio import AsyncEngine
from standardwebhooks.webhooks import Webhook

from producers.egress import parse_networks
from producers.webhooks.dispatcher import Dispatcher
from producers.webhooks.sender import Sender
from schemas.sealing import Key
from schemas.signing_keys import SigningKeys
from tests.acceptance.program import Program
from tests.parts.receiver import Receiver
from tests.store.outbox import SECRET, Outbox

KEY = f"v1:{'ab' * 32}"


@pytest.fixture
def program(tmp_path: Path, database_url: str) -> Program:
    return Program(tmp_path, DATABASE_URL=database_url, EGRESS_ALLOW="127.0.0.0/8", SIGNING_KEY=KEY, HTTP_PORT="0")


async def test_a_webhook_verifies_with_the_public_key_that_the_command_shows(
    program: Program, engine: AsyncEngine, receiver: Receiver
) -> None:
    outbox = Outbox(engine)
    for name in ("gym", "shop"):
        await outbox.add_endpoint(name, receiver.url(f"/{name}"))
        await outbox.tell(name, await outbox.add_wallet())
    shown = (await program("keys", "signing", "--json")).json()
    assert [(key["endpointId"], key["merchantId"], key["keyVersion"]) for key in shown] == [
        ("gym", "gym", "v1"),
        ("shop", "shop", "v1"),
    ]
    assert (await program("keys", "signing", "--json", "--endpoint", "shop")).json() == shown[1:]
    assert (await program("keys", "signing", "--json", "--merchant", "gym")).json() == shown[:1]
    assert "whpk_" in (await program("keys", "signing")).well().out

    keys = SigningKeys([Key("v1", b"\xab" * 32)])
    async with Sender(version="1", deadline=5, allow=parse_networks(["127.0.0.0/8"])) as sender:
        assert await Dispatcher(engine, sender, signing_keys=keys).run_once() == 2
    for key in shown:
        [request] = receiver.at(f"/{key['endpointId']}")
        Webhook(SECRET).verify(request.body, dict(request.headers))
        symmetric, asymmetric = request.headers["webhook-signature"].split(" ")
        assert symmetric.startswith("v1,")
        signed = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + request.body
        public = Ed25519PublicKey.from_public_bytes(b64decode(key["publicKey"].removeprefix("whpk_")))
        public.verify(b64decode(asymmetric.removeprefix("v1a,")), signed)


async def test_the_program_signs_with_the_key_of_its_settings(
    program: Program, engine: AsyncEngine, receiver: Receiver
) -> None:
    outbox = Outbox(engine)
    await outbox.add_endpoint("m", receiver.url("/m"))
    await outbox.tell("m", await outbox.add_wallet())
    async with program.going("run", "--role", "deliver") as running:
        await receiver.arrived(1, "/m", within=60)
        assert await running.stop() == 0
    assert [part.partition(",")[0] for part in receiver.requests[0].headers["webhook-signature"].split(" ")] == [
        "v1",
        "v1a",
    ]


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("", "there are no signing keys: REPOINT_SIGNING_KEY is not set"),
        ("v1:abcd", "REPOINT_SIGNING_KEY: expected VERSION:HEX with 64 hexadecimal digits"),
        (f"v1:{'11' * 32},v2:{'22' * 32},v3:{'33' * 32}", "REPOINT_SIGNING_KEY: expected 2 keys at most"),
        (f"v1:{'EF' * 32}", "REPOINT_SIGNING_KEY: expected other keys than those of REPOINT_SECRETS_KEY"),
    ],
)
async def test_keys_that_cannot_sign_are_refused(program: Program, key: str, said: str) -> None:
    ended = await program("keys", "signing", SIGNING_KEY=key, SECRETS_KEY=f"v7:{'ef' * 32}")
    assert (ended.code, said in ended.err) == (2 if key else 1, True), ended
