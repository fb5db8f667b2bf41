"""A new secret of an endpoint: both sign until the overlap ends, and then the new one alone."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from svix.webhooks import Webhook as SvixWebhook

from merchants.secrets import rotate
from producers.egress import parse_networks
from producers.webhooks.dispatcher import Dispatcher
from producers.webhooks.sender import Sender
from schemas.sealing import BUILT_IN_KEYS
from schemas.signature import secret
from tests.acceptance.lines import merchant
from tests.acceptance.program import Program
from tests.parts.receiver import Receiver
from tests.parts.until import until
from tests.store.outbox import SECRET, Outbox

OTHER = secret(b"o" * 32)


@pytest.fixture
async def dispatcher(engine: AsyncEngine) -> AsyncIterator[Dispatcher]:
    async with Sender(version="1", deadline=5, allow=parse_networks(["127.0.0.0/8"])) as sender:
        yield Dispatcher(engine, sender)


async def stored(outbox: Outbox) -> tuple[list[str], datetime | None]:
    [row] = await outbox.execute("SELECT id, sealed_secrets, former_secret_until FROM endpoints")
    return [BUILT_IN_KEYS.open(sealed, "secret", row.id) for sealed in row.sealed_secrets], row.former_secret_until


async def signed_with(
    outbox: Outbox, dispatcher: Dispatcher, receiver: Receiver, *expected: str, refused: tuple[str, ...] = ()
) -> None:
    """The next webhook verifies, by two libraries, with each of the secrets `expected` and with none of `refused`."""
    await outbox.tell("m", await outbox.add_wallet())
    assert await dispatcher.run_once() == 1
    request = receiver.requests[-1]
    headers = dict(request.headers)
    assert len(headers["webhook-signature"].split(" ")) == len(expected)
    for each in expected:
        Webhook(each).verify(request.body, headers)
        SvixWebhook(each).verify(request.body, headers)
    for each in refused:
        with pytest.raises(WebhookVerificationError):
            Webhook(each).verify(request.body, headers)


async def test_both_secrets_sign_until_the_overlap_ends(
    program: Program, outbox: Outbox, dispatcher: Dispatcher, receiver: Receiver
) -> None:
    await outbox.add_endpoint("m", receiver.url("/m"))
    program.write("new", OTHER)
    before = datetime.now(UTC)
    said = (await program("endpoints", "rotate-secret", "m", "--secret-file", "new")).well()
    secrets, until = await stored(outbox)
    assert secrets == [OTHER, SECRET]
    assert until is not None
    assert timedelta(hours=24) <= until - before < timedelta(hours=24, minutes=10)
    assert said.out == (f"rotated the secret of m: the former one signs, too, until {until:%Y-%m-%dT%H:%M:%SZ}\n")
    await signed_with(outbox, dispatcher, receiver, OTHER, SECRET)
    again = await program("endpoints", "rotate-secret", "m")
    assert (again.code, again.out) == (1, "")
    assert "nothing was changed: two secrets sign until" in again.err
    await outbox.execute("UPDATE endpoints SET former_secret_until = now() - interval '1 second'")
    await dispatcher.run_once()
    assert await stored(outbox) == ([OTHER], None)
    await signed_with(outbox, dispatcher, receiver, OTHER, refused=(SECRET,))


async def test_a_secret_that_is_made_is_shown_once_and_without_overlap_replaces_all(
    program: Program, outbox: Outbox
) -> None:
    await outbox.add_endpoint("m", secrets=[SECRET, OTHER])
    await outbox.execute("UPDATE endpoints SET former_secret_until = now() + interval '1 hour'")
    tried = (await program("endpoints", "rotate-secret", "m", "--overlap", "0s", "--dry-run")).well()
    assert tried.out == "would rotate the secret of m: the former one signs no more\n"
    assert (await stored(outbox))[0] == [SECRET, OTHER]
    made = (await program("endpoints", "rotate-secret", "m", "--overlap", "0s", "--json")).json()
    assert made["formerSecretUntil"] is None
    assert await stored(outbox) == ([made["secret"]], None)
    [act] = (await program("audit", "list", "--json")).json()
    assert act["action"] == "endpoint secret rotated"
    assert "whsec_" not in str(act)


async def test_of_two_rotations_at_the_same_time_the_second_is_refused(
    program: Program, outbox: Outbox, engine: AsyncEngine
) -> None:
    await outbox.add_endpoint("m")
    async with engine.connect() as first:
        await rotate(first, BUILT_IN_KEYS, "m", OTHER, timedelta(hours=1))
        second = asyncio.create_task(program("endpoints", "rotate-secret", "m"))
        await until(
            lambda: outbox.execute(
                "SELECT 1 FROM pg_locks JOIN pg_stat_activity USING (pid)"
                " WHERE NOT granted AND datname = current_database()"
            )
        )
        await first.commit()
    ended = await second
    assert "nothing was changed: two secrets sign until" in ended.err
    assert (await stored(outbox))[0] == [OTHER, SECRET]


async def test_what_is_no_other_secret_changes_nothing(program: Program, outbox: Outbox) -> None:
    await outbox.add_endpoint("m")
    for written, why in (
        (SECRET, "the endpoint has this secret already"),
        ("whsec_AAAA", "new: a signing secret is of"),
    ):
        program.write("new", written)
        ended = await program("endpoints", "rotate-secret", "m", "--secret-file", "new")
        assert (ended.code, ended.out) == (1, "")
        assert why in ended.err
        assert written not in ended.err
    assert await stored(outbox) == ([SECRET], None)


async def test_a_merchants_file_with_the_new_secret_keeps_the_overlap_and_another_one_ends_it(
    program: Program, outbox: Outbox
) -> None:
    line = merchant("m", url="http://127.0.0.1:9/")
    program.write("new", OTHER)
    (await program("merchants", "import", program.write("merchants.jsonl", line))).well()
    (await program("endpoints", "rotate-secret", "ep-m", "--secret-file", "new")).well()
    line["endpoints"][0]["secret"] = OTHER
    (await program("merchants", "import", program.write("merchants.jsonl", line))).well()
    secrets, until = await stored(outbox)
    assert (secrets, until is not None) == ([OTHER, SECRET], True)
    line["endpoints"][0]["secret"] = SECRET
    (await program("merchants", "import", program.write("merchants.jsonl", line))).well()
    assert await stored(outbox) == ([SECRET], None)
