"""The parts that tests ask for by name: databases, a broker with a topic, a receiver."""

import secrets
import signal
from collections.abc import AsyncIterator
from typing import Any

import hypothesis
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from sqlalchemy.ext.asyncio import AsyncEngine

from testbed.kafka import Broker
from testbed.postgres import Databases
from tests.parts import thorough
from tests.parts.receiver import Receiver
from tests.parts.shared import Parts, RemoteParts, Server
from tests.parts.until import until

# Examples are many in CI and few on a developer's machine; a shared machine's slowness is never a failure.
hypothesis.settings.register_profile("dev", max_examples=40, deadline=None)
hypothesis.settings.register_profile("ci", max_examples=400, deadline=None, print_blob=True, derandomize=False)
hypothesis.settings.load_profile("ci" if thorough.IS_THOROUGH else "dev")

PARTS = pytest.StashKey[Parts | RemoteParts]()
SERVER = pytest.StashKey[Server]()


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # a shell has its background jobs ignore Ctrl-C, and so would every program that a test starts and interrupts
        signal.signal(signal.SIGINT, signal.default_int_handler)
    workerinput = getattr(config, "workerinput", None)
    config.stash[PARTS] = Parts() if workerinput is None else RemoteParts(workerinput)
    config.addinivalue_line("markers", "parts: set by itself where a test asks for a database or a broker")
    config.addinivalue_line("markers", "partitions(count): how many partitions the test's `topic` has; 3 if not said")


@pytest.hookimpl(tryfirst=True)  # before pytest looks at the markers that `-m` names
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if {"postgres_url", "broker"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("parts")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """In a parallel run: every worker process uses the parts of this process."""
    parts = node.config.stash[PARTS]
    if SERVER not in node.config.stash:
        node.config.stash[SERVER] = Server(parts)
    node.workerinput.update(node.config.stash[SERVER].workerinput)


def pytest_unconfigure(config: pytest.Config) -> None:
    if SERVER in config.stash:
        config.stash[SERVER].close()
    config.stash[PARTS].close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for part, origin in config.stash[PARTS].origins.items():
        terminalreporter.write_line(f"part used: {part}: {origin}")
    terminalreporter.write_line(thorough.REMARK)


@pytest.fixture(scope="session")
def postgres_url(pytestconfig: pytest.Config) -> str:
    """A superuser's URL. Tests want `database_url`."""
    return pytestconfig.stash[PARTS].postgres_url()


@pytest.fixture(scope="session")
def databases(postgres_url: str) -> Databases:
    """Where further databases come from, for tests that need more than one."""
    return Databases(postgres_url)


@pytest.fixture
async def database_url(databases: Databases) -> AsyncIterator[str]:
    """A migrated database of the test's own."""
    url = await databases.create()
    yield url
    await databases.drop(url)


@pytest.fixture
async def empty_database_url(databases: Databases) -> AsyncIterator[str]:
    """A database of the test's own with nothing in it."""
    url = await databases.create_empty()
    yield url
    await databases.drop(url)


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """Connections to `database_url`, made as the program makes them."""
    from store.engine import connect  # noqa: PLC0415 - tests that need no database do not load it

    engine = connect(database_url)
    yield engine
    await engine.dispose()


@pytest.fixture(scope="session")
def broker(pytestconfig: pytest.Config) -> Broker:
    return pytestconfig.stash[PARTS].broker()


@pytest.fixture
def kafka(broker: Broker) -> str:
    """The bootstrap servers."""
    return broker.servers


@pytest.fixture
async def topic(broker: Broker, request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """A topic of the test's own, of three partitions or as `@pytest.mark.partitions(n)` says."""
    name = f"updates-{secrets.token_hex(6)}"
    marker = request.node.get_closest_marker("partitions")
    count = marker.args[0] if marker else 3
    if not broker.real:
        # It knows no administration: it makes a topic, always of four partitions, for any name asked for.
        consumer = AIOKafkaConsumer(name, bootstrap_servers=broker.servers)
        await consumer.start()
        await consumer.stop()
        yield name
        return
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, num_partitions=count, replication_factor=1)])
        await until(lambda: _is_led(admin, name, count))
        yield name
        await admin.delete_topics([name])
    finally:
        await admin.close()


async def _is_led(admin: AIOKafkaAdminClient, topic: str, partitions: int) -> bool:
    """Whether the broker's metadata have the topic: they follow the controller's answer a moment later."""
    (described,) = await admin.describe_topics([topic])
    leaders = [partition["leader"] for partition in described["partitions"]]
    return len(leaders) == partitions and min(leaders) >= 0


@pytest.fixture
def group(topic: str) -> str:
    """A consumer group of the test's own."""
    return f"group-of-{topic}"


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A merchant's endpoint, scriptable per path."""
    async with Receiver() as receiver:
        yield receiver
