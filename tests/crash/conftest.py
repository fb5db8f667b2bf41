"""What all crash runs have in common is made once."""

import asyncio
from collections.abc import Iterator

import pytest

from testbed.kafka import Broker
from testbed.postgres import Databases
from tests.crash.beginnings import Beginnings, begin, feed
from tests.crash.lives import nursery


@pytest.fixture(scope="session")
def beginnings(databases: Databases, broker: Broker) -> Iterator[Beginnings]:
    with nursery() as children:
        beginnings = asyncio.run(begin(databases, children, asyncio.run(feed(broker))))
        yield beginnings
    asyncio.run(databases.drop(beginnings.imported))
    asyncio.run(databases.drop(beginnings.consumed))
