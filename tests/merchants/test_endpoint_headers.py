"""Headers of an endpoint's own: encrypted at rest, sent with every webhook, and shown nowhere."""

import asyncio
import json

import pytest
from standardwebhooks.webhooks import Webhook
from structlog.testing import capture_logs

from producers.webhooks.dispatcher import Dispatcher
from schemas.sealing import BUILT_IN_KEYS, Key, Keys
from tests.acceptance.lines import SECRET, merchant
from tests.acceptance.program import Program
from tests.parts.receiver import Answer, Receiver
from tests.store.outbox import Outbox

TOKEN = "tok-s3cret-4f1c"
HEADERS = {"Authorization": f"Bearer {TOKEN}", "X-Tenant": "tenant-s3cret"}
V1, V2 = (Key(version, digits * 32) for version, digits in (("v1", b"\x11"), ("v2", b"\x22")))
BOTH = f"v2:{'22' * 32},v1:{'11' * 32}"


async def tell(outbox: Outbox, count: int = 1) -> None:
    await outbox.execute("INSERT INTO merchants (id, name) VALUES ('ep-m-1', 'm') ON CONFLICT DO NOTHING")
    await outbox.tell("ep-m-1", await outbox.add_wallet(), count)


async def import_(program: Program, url: str, headers: dict[str, str] | None = None) -> None:
    line = merchant(url=url)
    line["endpoints"][0]["headers"] = HEADERS if headers is None else headers
    (await program("merchants", "import", program.write("merchants.jsonl", line))).well()


async def stored(outbox: Outbox) -> tuple[str | None, list[str]]:
    [row] = await outbox.execute("SELECT sealed_headers, header_names FROM endpoints")
    return row.sealed_headers, list(row.header_names)


async def test_they_are_sent_with_every_webhook_until_a_file_leaves_them_out(
    program: Program, outbox: Outbox, dispatcher: Dispatcher, receiver: Receiver
) -> None:
    await import_(program, receiver.url("/m"))
    await tell(outbox, 2)
    for number in (1, 2):
        assert await dispatcher.run_once() == 1
        request = receiver.requests[-1]
        assert {name: request.headers[name] for name in HEADERS} == HEADERS
        Webhook(SECRET).verify(request.body, dict(request.headers))
        assert len(receiver.requests) == number
    (await program("endpoints", "test", "ep-m-1")).well()
    await dispatcher.run_once()
    assert receiver.requests[-1].headers["X-Tenant"] == HEADERS["X-Tenant"]
    await import_(program, receiver.url("/m"), {})
    assert await stored(outbox) == (None, [])
    await tell(outbox)
    await dispatcher.run_once()
    assert not set(HEADERS) & set(receiver.requests[-1].headers)


async def test_the_next_delivery_of_a_line_has_them_too(
    program: Program, outbox: Outbox, dispatcher: Dispatcher, receiver: Receiver
) -> None:
    """It comes back claimed by the statement that records the one before it."""
    await import_(program, receiver.url("/m"))
    await tell(outbox, 3)
    stopping = asyncio.Event()
    running = asyncio.create_task(dispatcher.run(stopping))
    await receiver.arrived(3, "/m")
    stopping.set()
    await running
    assert [request.headers["Authorization"] for request in receiver.requests] == [HEADERS["Authorization"]] * 3


async def test_they_are_encrypted_at_rest_and_only_their_names_are_shown(program: Program, outbox: Outbox) -> None:
    await import_(program, "http://127.0.0.1:9/")
    sealed, names = await stored(outbox)
    assert names == ["Authorization", "X-Tenant"]
    assert sealed is not None
    assert sealed.startswith("sealed:0:")
    assert BUILT_IN_KEYS.open(sealed, "headers", "ep-m-1") == json.dumps(HEADERS)
    program.write("headers", {"X-Api-Key": "key-s3cret"})
    shown = [
        await program("endpoints", "add", "m-1", "http://127.0.0.1:9/", "--id", "new", "--headers-file", "headers"),
        await program("endpoints", "list", "--json"),
        await program("endpoints", "list"),
        await program("merchants", "list", "--json"),
        await program("endpoints", "remove", "new", "--reason", "a test"),
        await program("audit", "list", "--json"),
    ]
    assert not any("s3cret" in ended.well().out + ended.err for ended in shown)
    assert [row["headerNames"] for row in shown[1].json()] == [["Authorization", "X-Tenant"], ["X-Api-Key"]]
    assert shown[5].json()[1]["after"]["headerNames"] == ["X-Api-Key"]
    tables = await outbox.execute(
        "SELECT quote_ident(relname) AS name FROM pg_class"
        " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    )
    for table in tables:
        for row in await outbox.execute(f"SELECT CAST(t AS text) FROM {table.name} AS t"):  # noqa: S608 - our tables
            assert "s3cret" not in row[0], table.name
    [row] = await outbox.execute("SELECT sealed_headers, header_names FROM endpoints WHERE id = 'new'")
    assert (row.sealed_headers, list(row.header_names)) == (None, [])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("no JSON: s3cret", "expected a JSON object"),
        ("[" * 200_000, "expected a JSON object"),
        ('{"X-Key": "s3cret", "X-Key": "another"}', "headers: expected X-Key once"),
        ({"Host": "s3cret"}, "headers.Host: expected"),
    ],
)
async def test_a_file_of_headers_that_cannot_be_used_is_refused(
    program: Program, outbox: Outbox, content: object, said: str
) -> None:
    await outbox.add_endpoint("m")
    program.write("headers", content)
    ended = await program("endpoints", "add", "m", "http://127.0.0.1:9/", "--headers-file", "headers")
    assert (ended.code, said in ended.err, "s3cret" in ended.err) == (1, True, False)


async def test_they_are_encrypted_anew_with_the_secrets(program: Program, outbox: Outbox) -> None:
    await outbox.add_endpoint("m")
    await outbox.execute(
        "UPDATE endpoints SET sealed_secrets = :secrets, sealed_headers = :headers, header_names = '{X-Tenant}'",
        secrets=[Keys([V2]).seal(SECRET, "secret", "m")],
        headers=Keys([V1]).seal('{"X-Tenant": "a"}', "headers", "m"),
    )
    shown = await program("secrets", "reencrypt", "--json", SECRETS_KEY=BOTH)
    assert shown.json() == {"encrypted": 1, "byKeyVersion": {"v2": 2}}
    sealed, _ = await stored(outbox)
    assert sealed is not None
    assert Keys([V2]).open(sealed, "headers", "m") == '{"X-Tenant": "a"}'
    await outbox.execute(
        "UPDATE endpoints SET sealed_headers = :headers", headers=Keys([V1]).seal("{}", "headers", "another")
    )
    ended = await program("secrets", "reencrypt", SECRETS_KEY=BOTH)
    assert ended.err.splitlines()[-1] == "repoint: m: the key of version v1 does not open it"


async def test_headers_that_no_key_opens_cost_no_try(
    outbox: Outbox, dispatcher: Dispatcher, receiver: Receiver
) -> None:
    await outbox.add_endpoint("m", receiver.url("/m"))
    await outbox.execute(
        "UPDATE endpoints SET sealed_headers = :headers, header_names = '{X-Tenant}'",
        headers=Keys([V1]).seal('{"X-Tenant": "s3cret"}', "headers", "m"),
    )
    await outbox.tell("m", await outbox.add_wallet())
    with capture_logs() as logs:
        await dispatcher.run_once()
    assert receiver.requests == []
    assert [row.status for row in await outbox.live()] == ["PENDING"]
    assert await outbox.attempts() == []
    [entry] = [entry for entry in logs if entry["log_level"] == "error"]
    assert (entry["endpoint"], entry["why"]) == ("m", "there is no key of version v1")


BASIC = "dXNlcjpwYXNzLXMzY3JldA=="  # user:pass-s3cret


@pytest.mark.parametrize(
    "echoed", [f"Bearer {TOKEN}", TOKEN, "tenant-s3cret", TOKEN.upper(), BASIC, "pass-s3cret", "user:pass-s3cret"]
)
async def test_an_answer_that_repeats_one_is_not_kept(
    program: Program, outbox: Outbox, dispatcher: Dispatcher, receiver: Receiver, echoed: str
) -> None:
    await import_(program, receiver.url("/m"), HEADERS | {"X-Basic": f"Basic {BASIC}"})
    receiver.answer(
        "/m", Answer(500, body=f"refused {echoed} here".encode()), Answer(401, body=b"expected a Bearer token")
    )
    await tell(outbox)
    await dispatcher.run_once()
    await dispatcher.run_once()
    assert [row.body for row in await outbox.execute("SELECT body FROM attempt_evidence")] == [
        "expected a Bearer token"
    ]
