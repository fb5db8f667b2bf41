"""`repoint run` from outside: a feed goes in, signed webhooks come out, and it ends and is restarted as it should."""

import asyncio
import contextlib
import json
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from standardwebhooks import Webhook

from testbed.postgres import Databases
from tests.acceptance.lines import merchant, method_id, replaced, wallet
from tests.acceptance.program import Going, Program
from tests.parts.receiver import Answer, Receiver, unavailable

EXAMPLES = Path(__file__).parents[2] / "examples"
OUTCOMES = {"APPLIED", "SUPERSEDED", "DUPLICATE", "PARKED", "IGNORED", "QUARANTINED"}


@pytest.fixture
async def program(tmp_path: Path, database_url: str, kafka: str, topic: str, receiver: Receiver) -> Program:
    """With the merchant m-1, at /m-1 of the receiver, and wallets 1 to 20."""
    program = Program(
        tmp_path,
        DATABASE_URL=database_url,
        KAFKA_BOOTSTRAP_SERVERS=kafka,
        KAFKA_TOPIC=topic,
        KAFKA_GROUP=f"group-of-{topic}",
        EGRESS_ALLOW="127.0.0.0/8",
        RETRY_SCHEDULE="200ms,400ms,1s,2s",
        HTTP_PORT="0",
        LOG_FORMAT="json",
    )
    program.write("merchants.jsonl", merchant("m-1", url=receiver.url("/m-1")))
    (await program("merchants", "import", "merchants.jsonl")).well()
    program.write("wallets.jsonl", *(wallet(number) for number in range(1, 21)))
    (await program("wallets", "import", "wallets.jsonl")).well()
    return program


async def ingest(program: Program, *lines: object) -> None:
    (await program("ingest", "--format", "canonical", program.write("feed.jsonl", *lines))).well()


async def settled(program: Program, produced: int) -> Counter[str]:
    """How many updates have which outcome, once all are taken in and every delivery has ended."""
    async with asyncio.timeout(90):
        while True:
            inbox = (await program("inbox", "list", "--limit", "100000", "--json")).json()
            letters = (await program("dead-letters", "list", "--limit", "100000", "--json")).json()
            pending = (await program("deliveries", "list", "--status", "PENDING", "--json")).json()
            if len(inbox) + len(letters) >= produced and not pending:
                return Counter([one["outcome"] for one in inbox] + ["unreadable" for _ in letters])
            await asyncio.sleep(0.2)


async def going_out(program: Program, count: int) -> None:
    """Until so many deliveries are pending."""
    async with asyncio.timeout(60):
        while True:
            if len((await program("deliveries", "list", "--status", "PENDING", "--json")).json()) >= count:
                return
            await asyncio.sleep(0.1)


def fields(line: str) -> Any:
    return json.loads(line)


async def children(parent: Going, count: int) -> list[int]:
    """The process ids of the latest `count` children."""
    started = [fields(line)["process"] for line in await parent.says('"event": "child started"', times=count)]
    return started[-count:]


async def ended(pid: int, *, within: float = 30.0) -> None:
    async with asyncio.timeout(within):
        while True:
            try:
                state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            except (FileNotFoundError, ProcessLookupError):
                return
            if state == "Z":
                return
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def consuming(program: Program, *arguments: str, members: int = 1) -> AsyncIterator[Going]:
    async with program.going("run", *arguments) as going:
        await going.says('"event": "partitions assigned"', times=members)
        yield going


# --- it is ended while it starts --------------------------------------------------------------------------------------


async def test_a_child_that_is_ended_while_it_starts_has_ended_well(tmp_path: Path) -> None:
    """Each child has only begun to load the program then. Ctrl-C at a terminal reaches the parent alone."""
    program = Program(
        tmp_path,
        KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1",
        FEED_SECRETS='{"checkout": "a secret of the test"}',
        HTTP_PORT="0",
        API_PORT="0",
        LOG_FORMAT="json",
    )
    async with program.going("run", "--role", "api", "--processes", "2") as going:
        pids = await children(going, 2)
        assert os.getsid(going.process.pid) not in {os.getsid(pid) for pid in pids}
        assert await going.stop() == 0, "".join(going.lines)
    codes = [fields(line)["exit_code"] for line in await going.says('"event": "child ended"', times=2)]
    assert set(codes) <= {0, -signal.SIGTERM}


async def test_production_starts_its_children_and_each_names_itself_in_its_lines(tmp_path: Path) -> None:
    program = Program(
        tmp_path,
        ENVIRONMENT="production",
        DATABASE_URL="postgresql://repoint:hunter2@db.internal:5432/repoint",
        KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1",
        SECRETS_KEY=f"v1:{'ab' * 32}",
        FEED_SECRETS='{"checkout": "a secret of the test that is long"}',
        HTTP_PORT="0",
        API_PORT="0",
        LOG_FORMAT="json",
    )
    async with program.going("run", "--role", "api", "--processes", "2") as going:
        running = [fields(line) for line in await going.says('"event": "running"', times=2)]
        assert {line["child"] for line in running} == {0, 1}
        assert {line["process"] for line in running} == set(await children(going, 2))
        assert await going.stop() == 0, "".join(going.lines)


# --- a feed goes in ---------------------------------------------------------------------------------------------------


async def test_every_line_of_a_feed_is_accounted_for(
    program: Program, databases: Databases, receiver: Receiver
) -> None:
    """The examples, on two processes, to merchants of whom one is healthy, one busy at first, and one gone."""
    secrets = {}
    lines = []
    for line in (EXAMPLES / "merchants.jsonl").read_text().splitlines():
        told = json.loads(line)
        [endpoint] = told["endpoints"]
        endpoint["url"] = receiver.url(f"/{told['id']}")
        secrets[f"/{told['id']}"] = endpoint["secret"]
        lines.append(told)
    receiver.answer("/m-streaming", *(unavailable() for _ in range(20)), Answer(200))
    receiver.answer("/m-gym", Answer(410))
    (await program("merchants", "import", program.write("examples.jsonl", *lines))).well()
    (await program("wallets", "import", str(EXAMPLES / "wallets.jsonl"))).well()
    produced = len((EXAMPLES / "updates.jsonl").read_text().splitlines())
    async with consuming(program, "--processes", "2", members=2) as going:
        sent = (
            await program("ingest", "--format", "canonical", "-", stdin=(EXAMPLES / "updates.jsonl").read_bytes())
        ).well()
        readable = f"{produced - 3} of {produced} lines accepted, {produced - 3} updates sent"
        assert sent.out.splitlines()[0] == f"stdin: {readable}"
        outcomes = await settled(program, produced)
        assert await going.stop() == 0
    assert outcomes.total() == produced
    assert set(outcomes) == OUTCOMES | {"unreadable"}
    assert outcomes["unreadable"] == 3
    accepted: dict[tuple[str, str], list[int]] = {}
    for request in receiver.requests:
        event = Webhook(secrets[request.path]).verify(request.body.decode(), dict(request.headers.items()))
        assert request.headers["webhook-id"] == event["id"]
        accepted.setdefault((request.path, event["walletId"]), []).append(event["sequence"])
    assert all(sequences == sorted(sequences) for sequences in accepted.values())
    deliveries = (await program("deliveries", "list", "--limit", "100000", "--json")).json()
    by_status = Counter((one["merchantId"], one["status"]) for one in deliveries)
    assert set(by_status) == {("m-pharmacy", "DELIVERED"), ("m-streaming", "DELIVERED"), ("m-gym", "PARKED")}
    assert by_status["m-pharmacy", "DELIVERED"] == len({one.body for one in receiver.at("/m-pharmacy")})
    assert "4111111111111111" not in "".join(going.lines)
    await the_same_again(program, databases)


async def the_same_again(program: Program, databases: Databases) -> None:
    """Export, import into an empty database, export: not a byte differs."""
    exported = (await program("wallets", "export")).well().out
    assert '"replacedBy": "' in exported
    url = await databases.create()
    for file in ("merchants.jsonl", "examples.jsonl"):
        (await program("merchants", "import", file, DATABASE_URL=url)).well()
    (await program("wallets", "import", "-", stdin=exported, DATABASE_URL=url)).well()
    assert (await program("wallets", "export", DATABASE_URL=url)).well().out == exported
    await databases.drop(url)


async def test_the_status_of_a_replaced_card_tells_it_all(program: Program, receiver: Receiver) -> None:
    receiver.answer("/m-1", unavailable(), Answer(200))
    async with consuming(program):
        await ingest(program, replaced(1))
        await settled(program, 1)
    told = (await program("status", method_id(1), "--json")).json()
    current = told["currentPaymentMethod"]
    assert told["paymentMethod"]["status"] == "DELETED"
    assert told["paymentMethod"]["replacedBy"] == current["id"]
    assert (current["details"]["last4"], current["default"], current["nickname"]) == ("5678", True, "Personal Card")
    [replacement] = told["chain"]
    assert (replacement["oldPaymentMethodId"], replacement["newPaymentMethodId"]) == (method_id(1), current["id"])
    assert (replacement["vendor"], replacement["updateId"]) == ("vau", "vau-1")
    assert [link["paymentMethodId"] for link in told["paymentLinks"]] == [current["id"]]
    assert [
        (one["name"], one["status"], [each["statusCode"] for each in one["attempts"]]) for one in told["deliveries"]
    ] == [
        ("PAYMENT_METHOD_REPLACED", "DELIVERED", [503, 200]),
        ("PAYMENT_METHOD_DELETED", "DELIVERED", [200]),
    ]
    assert (await program("status", current["id"], "--json")).json()["chain"] == told["chain"]
    text = (await program("status", method_id(1))).well().out
    assert "VISA •••• 1234  12/2026  DELETED" in text
    assert "503, 200" in text


async def test_where_the_settings_say_so_a_token_of_digits_is_taken_in_from_the_file_to_the_wallet(
    program: Program, receiver: Receiver
) -> None:
    token = "4539578763621486"
    program.settings["DIGIT_IDS"] = "vau"
    line = wallet(21)
    line["paymentMethods"][0]["credentials"] = [{"vendor": "vau", "token": token}]
    (await program("wallets", "import", program.write("digits.jsonl", line))).well()
    async with consuming(program):
        await ingest(program, replaced(21) | {"old": {"token": token}})
        outcomes = await settled(program, 1)
    assert outcomes == {"APPLIED": 1}
    assert len(receiver.at("/m-1")) == 2


async def test_the_roles_can_run_apart(program: Program, receiver: Receiver) -> None:
    async with consuming(program, "--role", "consume") as consumer:
        await ingest(program, replaced(1))
        await going_out(program, 2)
        assert receiver.requests == []
        async with program.going("run", "--role", "deliver", KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1") as deliverer:
            await receiver.arrived(2, "/m-1")
            assert await deliverer.stop() == 0
        assert await consumer.stop() == 0


async def test_metrics_and_health_are_on_one_port(program: Program) -> None:
    async with consuming(program) as going:
        [line] = await going.says('"event": "running"')
        base = f"http://127.0.0.1:{fields(line)['port']}"
        await ingest(program, replaced(1))
        await settled(program, 1)
        async with aiohttp.ClientSession() as client:
            async with client.get(f"{base}/readyz") as response:
                assert (response.status, set((await response.json()).values())) == (200, {"ok"})
            async with client.get(f"{base}/livez") as response:
                assert response.status == 200
            async with client.get(f"{base}/metrics") as response:
                assert 'repoint_updates_total{outcome="APPLIED"} 1.0' in await response.text()


async def test_without_settings_a_feed_finds_the_broker_of_a_run(tmp_path: Path, receiver: Receiver) -> None:
    program = Program(tmp_path, EGRESS_ALLOW="127.0.0.0/8", HTTP_PORT="0", LOG_FORMAT="json")
    program.write("merchants.jsonl", merchant("m-1", url=receiver.url("/m-1")))
    (await program("merchants", "import", "merchants.jsonl")).well()
    (await program("wallets", "import", program.write("wallets.jsonl", wallet(1)))).well()
    async with consuming(program) as going:
        await ingest(program, replaced(1))
        await receiver.arrived(2, "/m-1", within=60)
        assert await going.stop() == 0
    after = await program("ingest", "--format", "canonical", "feed.jsonl")
    assert (after.code, "no broker" in after.err) == (1, True)


# --- and it ends ------------------------------------------------------------------------------------------------------


async def test_what_is_under_way_is_finished_before_it_ends(program: Program, receiver: Receiver) -> None:
    receiver.answer("/m-1", Answer(200, delay=3))
    async with consuming(program) as going:
        await ingest(program, replaced(1))
        await receiver.arrived(1, "/m-1")
        assert await going.stop(within=30) == 0
    first, second = (await program("deliveries", "list", "--json")).json()
    statuses = {one["name"]: (one["status"], one["attempts"]) for one in (first, second)}
    assert statuses == {"PAYMENT_METHOD_REPLACED": ("DELIVERED", 1), "PAYMENT_METHOD_DELETED": ("PENDING", 0)}


async def test_a_child_that_dies_is_started_anew_and_nothing_is_lost(program: Program, receiver: Receiver) -> None:
    async with consuming(program, "--processes", "2", members=2) as going:
        await ingest(program, *(replaced(number) for number in range(1, 11)))
        [first, _] = await children(going, 2)
        os.kill(first, signal.SIGKILL)
        await ingest(program, *(replaced(number) for number in range(11, 21)))
        [died] = await going.says('"event": "child died"')
        assert fields(died)["exit_code"] == -signal.SIGKILL
        await going.says('"event": "child started"', times=3)
        outcomes = await settled(program, 20)
        assert await going.stop() == 0
    assert outcomes == {"APPLIED": 20}
    events = Counter(request.headers["webhook-id"] for request in receiver.requests)
    assert len(events) == 40


async def test_children_end_with_a_parent_that_is_killed(program: Program) -> None:
    async with consuming(program, "--processes", "2", members=2) as going:
        pids = await children(going, 2)
        assert await going.stop(signal.SIGKILL) == -signal.SIGKILL
        for pid in pids:
            await ended(pid)


async def test_a_port_that_is_taken_is_said_in_one_line(program: Program) -> None:
    async with consuming(program) as going:
        [line] = await going.says('"event": "running"')
        other = await program("run", HTTP_PORT=str(fields(line)["port"]))
    assert other.code == 1
    assert "REPOINT_HTTP_PORT" in other.err
    assert "Traceback" not in other.err
