"""What the parts of one process do for each other."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from ops.jobs import run_together
from ops.run import Role, assembled
from ops.settings import Settings
from producers.webhooks import claimer
from testbed.kafka import Broker
from tests.acceptance.lines import merchant, replaced, wallet
from tests.acceptance.program import Program
from tests.api.posting import make_topic
from tests.parts.receiver import Receiver
from tests.parts.until import until


@pytest.fixture
async def program(tmp_path: Path, database_url: str, broker: Broker, topic: str) -> Program:
    return Program(
        tmp_path,
        DATABASE_URL=database_url,
        KAFKA_BOOTSTRAP_SERVERS=broker.servers,
        KAFKA_TOPIC=topic,
        KAFKA_THIN_TOPIC=await make_topic(broker.servers, real=broker.real),
        KAFKA_GROUP=f"group-of-{topic}",
        EGRESS_ALLOW="127.0.0.0/8",
    )


@pytest.mark.parametrize("roles", [[Role.ALL], [Role.CONSUME, Role.DELIVER]])
async def test_what_is_taken_in_is_delivered_without_waiting_for_the_dispatchers_next_look(
    monkeypatch: pytest.MonkeyPatch, program: Program, engine: AsyncEngine, receiver: Receiver, roles: list[Role]
) -> None:
    """Also by a dispatcher in another process."""
    monkeypatch.setattr(claimer, "_LOOK_SECONDS", (3600, 3600))
    monkeypatch.setattr(claimer, "_SWEEP_SECONDS", 3600)
    line = merchant("m-1", url=receiver.url("/m-1"))
    (await program("merchants", "import", program.write("merchants.jsonl", line))).well()
    (await program("wallets", "import", program.write("wallets.jsonl", wallet(1)))).well()
    for name, value in program.settings.items():
        monkeypatch.setenv(f"REPOINT_{name}", value)
    stopping = asyncio.Event()
    async with AsyncExitStack() as stack:
        processes = [
            await stack.enter_async_context(
                assembled(Settings(), role, engine, program.settings["KAFKA_BOOTSTRAP_SERVERS"])
            )
            for role in roles
        ]
        work = [asyncio.create_task(run_together(parts.jobs, stopping, drain_within=30)) for parts in processes]
        try:

            async def at_work() -> bool:
                return not [reason for parts in processes for ask in parts.ready.values() if (reason := ask())]

            await until(at_work, within=60)
            feed = program.write("feed.jsonl", replaced(1))
            (await program("ingest", "--format", "canonical", feed)).well()
            await receiver.arrived(2, "/m-1", within=60)
        finally:
            stopping.set()
            await asyncio.gather(*work)
