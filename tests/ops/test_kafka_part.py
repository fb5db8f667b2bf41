"""Which broker the tests get, and that it ends with them."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from testbed import kafka
from testbed.engine import engine_has
from tests.parts.until import until

HOLD = """
import sys
from testbed.kafka import kafka
with kafka(None, "apache") as broker:
    print(broker.servers, flush=True)
    sys.stdin.read()
"""


def hold() -> tuple[subprocess.Popen[str], tuple[str, str]]:
    """A process that runs Kafka until it ends, and where it answers."""
    holder = subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    host, _, port = holder.stdout.readline().strip().partition(":")
    return holder, (host, port)


def test_a_broker_that_is_named_is_the_one() -> None:
    with kafka.kafka("kafka.example:9092", "auto") as broker:
        assert (broker.servers, broker.real) == ("kafka.example:9092", True)


def test_an_unknown_wish_is_refused() -> None:
    with pytest.raises(ValueError, match="none of auto, apache, mock"), kafka.kafka(None, "redpanda"):
        pytest.fail("started something")


def test_where_kafka_cannot_be_had_the_stand_in_says_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    if engine_has(kafka.IMAGE):
        pytest.skip("a Docker engine answers, so Kafka can be had")
    monkeypatch.setenv("PATH", "")
    with kafka.kafka(None, "auto") as broker:
        assert not broker.real
        assert broker.origin == "NOT Apache Kafka but librdkafka's broker: there is no `java` here"
    with pytest.raises(RuntimeError, match="there is no `java` here"), kafka.kafka(None, "apache"):
        pytest.fail("took a stand-in where Kafka was insisted on")


def test_where_maven_fetches_nothing_the_stand_in_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if shutil.which("java") is None or engine_has(kafka.IMAGE):
        pytest.skip("Kafka would not be run by this machine's Java")
    (tmp_path / "mvn").symlink_to("/bin/false")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with kafka.kafka(None, "auto") as broker:
        assert broker.origin.endswith(f"Maven cannot fetch Kafka {kafka.VERSION}")
    assert list((tmp_path / "cache" / "repoint").iterdir()) == []


async def test_the_broker_ends_when_the_tests_are_killed() -> None:
    if engine_has(kafka.IMAGE) or kafka.missing() is not None:
        pytest.skip(f"Kafka is not run by this machine's Java: {kafka.missing() or 'a Docker engine answers'}")
    holder, (host, port) = hold()
    socket.create_connection((host, int(port))).close()
    holder.send_signal(signal.SIGKILL)
    holder.communicate()

    async def gone() -> bool:
        try:
            socket.create_connection((host, int(port))).close()
        except ConnectionRefusedError:
            return True
        except ConnectionResetError:
            pass  # it stopped listening while this connection waited to be accepted
        return False

    await until(gone)
