"""A dispatcher, and what it delivers: from the test's database to receivers on loopback."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from producers.egress import parse_networks
from producers.webhooks.dispatcher import Dispatcher
from producers.webhooks.sender import Sender
from tests.store.outbox import Outbox

# Fast-forwarded: what is retried is due again by the next look.
AT_ONCE = (timedelta(0), timedelta(0), timedelta(0))


@pytest.fixture
def outbox(engine: AsyncEngine) -> Outbox:
    return Outbox(engine)


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    async with Sender(version="1", deadline=5, allow=parse_networks(["127.0.0.0/8"])) as sender:
        yield sender


@pytest.fixture
def dispatcher(engine: AsyncEngine, sender: Sender) -> Dispatcher:
    return Dispatcher(engine, sender, schedule=AT_ONCE)
