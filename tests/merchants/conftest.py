"""What is in the database, the program on it, and a dispatcher that tries thrice at once."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from producers.egress import parse_networks
from producers.webhooks.dispatcher import Dispatcher
from producers.webhooks.sender import Sender
from tests.acceptance.program import Program
from tests.store.outbox import Outbox


@pytest.fixture
def outbox(engine: AsyncEngine) -> Outbox:
    return Outbox(engine)


@pytest.fixture
def program(tmp_path: Path, database_url: str) -> Program:
    return Program(tmp_path, DATABASE_URL=database_url, EGRESS_ALLOW="127.0.0.0/8")


@pytest.fixture
async def dispatcher(engine: AsyncEngine) -> AsyncIterator[Dispatcher]:
    async with Sender(version="1", deadline=5, allow=parse_networks(["127.0.0.0/8"])) as sender:
        yield Dispatcher(engine, sender, schedule=(timedelta(0), timedelta(0)))
