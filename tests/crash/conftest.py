"""What all crash runs have in common is made once."""

import asyncio
from collections.abc import Iterator

import pytest

from testbed.kafka import Broker
from testbed.postgres import Databases
from tests.crash.processes import fork_server
from tests.crash.starting_points import StartingPoints, begin, feed


@pytest.fixture(scope="session")
def starting_points(databases: Databases, broker: Broker) -> Iterator[StartingPoints]:
    with fork_server() as children:
        starting_points = asyncio.run(begin(databases, children, asyncio.run(feed(broker))))
        yield starting_points
    asyncio.run(databases.drop(starting_points.imported))
    asyncio.run(databases.drop(starting_points.consumed))
