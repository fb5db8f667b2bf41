"""Embedded parts start by themselves, and end with whoever started them."""

import asyncio
import signal
import subprocess
import sys
import time
from pathlib import Path

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer
from sqlalchemy.engine import make_url

from ops import embedded

HOLD = """
import sys, time
from pathlib import Path
from ops import embedded
with embedded.postgres(Path(sys.argv[1])) as url:
    print(url, flush=True)
    sys.stdin.read()
"""


def hold(directory: Path) -> tuple[subprocess.Popen[str], str]:
    """A process that holds the server of `directory` until its standard input ends."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    return holder, holder.stdout.readline().strip()


async def run(url: str, statement: str) -> object:
    connection = await asyncpg.connect(make_url(url).set(drivername="postgresql").render_as_string(hide_password=False))
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def server_pid(directory: Path) -> int:
    return int((directory / "postmaster.pid").read_text().split("\n")[0])


def _state(pid: int) -> str:
    """As `ps` writes it; empty for none."""
    command = ["ps", "-o", "stat=", "-p", str(pid)]
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout


def await_end(pid: int, *, within: float = 30.0) -> None:
    """Until no such process is left, or only its entry, which the system's first process has yet to clear."""
    deadline = time.monotonic() + within
    while _state(pid)[:1].strip("Z"):
        assert time.monotonic() < deadline, f"process {pid} is still there after {within} s"
        time.sleep(0.05)


async def test_what_was_written_is_there_the_next_time(tmp_path: Path) -> None:
    directory = tmp_path / "in a folder" / "that is made" / "data"
    with embedded.postgres(directory) as url:
        await run(url, "CREATE TABLE kept AS SELECT 42 AS answer")
        pid = server_pid(directory)
    await_end(pid)
    with embedded.postgres(directory) as url:
        assert await run(url, "SELECT answer FROM kept") == 42
        assert await run(url, "SHOW fsync") == "on"


async def test_without_a_directory_nothing_is_left() -> None:
    with embedded.postgres(durable=False) as url:
        assert await run(url, "SHOW fsync") == "off"
        assert await run(url, "SHOW max_connections") == "200"
        directory = Path(str(make_url(url).query["host"]))
        assert directory.exists()
    assert not directory.parent.exists()


async def test_a_second_process_shares_the_server_and_the_last_one_stops_it(tmp_path: Path) -> None:
    first, url = hold(tmp_path / "data")
    second, second_url = hold(tmp_path / "data")
    assert url == second_url
    pid = server_pid(tmp_path / "data")
    first.communicate()
    assert await run(url, "SELECT 1") == 1
    second.communicate()
    await_end(pid)


async def test_the_server_ends_when_its_process_is_killed(tmp_path: Path) -> None:
    holder, url = hold(tmp_path / "data")
    assert await run(url, "SELECT 1") == 1
    pid = server_pid(tmp_path / "data")
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    await_end(pid)


async def test_a_keeper_that_was_killed_does_not_hold_the_server_for_ever(tmp_path: Path) -> None:
    with embedded.postgres(tmp_path / "data"):
        holders = tmp_path / "data" / ".handle_pids.json"
        ended = await asyncio.create_subprocess_exec("true")
        await ended.wait()
        holders.write_text(holders.read_text().replace("[", f"[{ended.pid}, "))
        pid = server_pid(tmp_path / "data")
    await_end(pid)


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "PG_VERSION").write_text("9\n")
    with (
        pytest.raises(embedded.EmbeddedError, match=r"(?s)did not start in .*Version mismatch"),
        embedded.postgres(tmp_path / "data"),
    ):
        raise AssertionError("started on what is no database")


async def test_the_broker_has_its_topics_from_the_beginning() -> None:
    with embedded.broker("updates", "thin") as servers:
        async with AIOKafkaConsumer(bootstrap_servers=servers) as consumer:
            assert await consumer.topics() == {"updates", "thin"}


def test_what_is_not_installed_is_named_with_the_setting_that_does_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "find_spec", lambda _: None)
    for part, setting in (
        (embedded.postgres, "REPOINT_DATABASE_URL"),
        (embedded.broker, "REPOINT_KAFKA_BOOTSTRAP_SERVERS"),
    ):
        with pytest.raises(embedded.EmbeddedError, match=rf"set {setting}, or pip install"), part():
            pass
