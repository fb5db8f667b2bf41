"""What goes wrong outside the program is said in one line, from the first moment on."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ops import embedded
from tests.acceptance.lines import merchant
from tests.acceptance.program import COMMAND, Program

# modules that are loaded one after another, early and late
LOADING = ["typer", "pydantic", "sqlalchemy"]
PYTHON = (sys.executable, "-X", "importtime")


@pytest.mark.parametrize("module", LOADING)
@pytest.mark.parametrize("command", [COMMAND, ("-m", "ops.console")], ids=["repoint", "module"])
def test_ctrl_c_while_the_program_is_loaded_ends_it_quietly(command: tuple[str, ...], module: str) -> None:
    arguments = (*PYTHON, *command, "feeds", "list")
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if re.search(rf"\| +{module}\.", line):
                process.send_signal(signal.SIGINT)
                break
        rest = process.stderr.read()
        assert process.wait(60) == 130
    assert "Traceback" not in rest
    assert [line for line in rest.splitlines() if not line.startswith("import time")][-1] == "repoint: interrupted"


def test_an_ignored_interrupt_stays_ignored_while_the_program_is_loaded() -> None:
    ignoring = ("sh", "-c", 'trap "" INT; exec "$@"', "sh")
    with subprocess.Popen(
        (*ignoring, *PYTHON, *COMMAND, "feeds", "list"), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "pydantic." in line:
                process.send_signal(signal.SIGINT)
                break
        process.stderr.read()
        assert process.wait(60) == 0


async def test_the_embedded_broker_says_that_it_has_no_administration(tmp_path: Path, database_url: str) -> None:
    with embedded.broker("vendor.payment-method-updates", "vendor.thin-events") as servers:
        program = Program(tmp_path, DATABASE_URL=database_url, KAFKA_BOOTSTRAP_SERVERS=servers)
        there = (await program("topics", "create")).well()
        assert there.out.count("there already") == 2
        for arguments in (("--partitions", "9"), ("--partitions", "9", "--dry-run")):
            ended = await program("topics", "create", *arguments)
            assert (ended.code, ended.out) == (1, "")
            assert ended.err.startswith("repoint: the brokers have no controller, so no topic can be made or grown")
            assert ended.err.count("\n") == 1
        ended = await program("topics", "skip", "vendor.thin-events", "0", "0", "--reason", "x")
        assert (ended.code, ended.err) == (1, "repoint: partition 0 of vendor.thin-events is empty\n")


async def test_a_topic_that_no_worker_reads_is_no_topic_to_skip_in(tmp_path: Path) -> None:
    program = Program(tmp_path, DATABASE_URL="postgresql://127.0.0.1:1/d", KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
    ended = await program("topics", "skip", "nosuch", "0", "0", "--reason", "x")
    assert ended.code == 1
    assert ended.err == (
        "repoint: no worker reads the topic nosuch: expected vendor.payment-method-updates (REPOINT_KAFKA_TOPIC) or"
        " vendor.thin-events (REPOINT_KAFKA_THIN_TOPIC)\n"
    )


@pytest.mark.parametrize("address", [None, b"garbage", b"\xff", b"a:99999999", b"127.0.0.1:", b"127.0.0.1:1"])
async def test_where_no_broker_runs_it_is_said_where_one_was_looked_for(tmp_path: Path, address: bytes | None) -> None:
    if address is not None:
        (tmp_path / ".repoint").mkdir()
        (tmp_path / ".repoint" / "broker").write_bytes(address)
    ended = await Program(tmp_path)("topics", "create")
    assert ended.code == 1
    assert ended.err.startswith("repoint: no broker: set REPOINT_KAFKA_BOOTSTRAP_SERVERS")
    assert f"{tmp_path}/.repoint/broker" in ended.err
    assert ended.err.count("\n") == 1


async def test_a_folder_that_is_none_is_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = await Program(tmp_path, EMBEDDED_DIRECTORY="file")("endpoints", "list")
    assert ended.code == 1
    assert ended.err.splitlines()[-1] == f"repoint: {tmp_path}/file: File exists"


@pytest.mark.parametrize(
    ("target", "problem"),
    [("pipe", "it is a pipe"), (".", "it is a directory"), ("no/file", "there is no folder 'no'")],
)
async def test_an_export_replaces_no_pipe_and_no_device(tmp_path: Path, target: str, problem: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    ended = await Program(tmp_path, DATABASE_URL="postgresql://127.0.0.1:1/d")("wallets", "export", target)
    assert ended.code == 2
    assert problem in " ".join(ended.err.replace("│", " ").split())
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("command", [("topics", "create", "--retention"), ("ingest", "--keep-processed")])
async def test_a_duration_that_is_none_is_told_by_what_was_expected(tmp_path: Path, command: tuple[str, ...]) -> None:
    ended = await Program(tmp_path)(*command, "5x")
    shown = " ".join(ended.err.replace("│", " ").split())
    assert ended.code == 2
    assert f"Invalid value for '{command[-1]}': expected a duration such as 250ms, 5s, 2m, 72h or 800d" in shown


@pytest.mark.parametrize("arguments", ["feeds list", "feeds list --json", "keys generate", "--version"])
def test_a_full_disk_is_said_in_one_line(arguments: str) -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            (*COMMAND, *arguments.split()), stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (ended.returncode, ended.stderr) == (1, "repoint: No space left on device\n")


def test_a_reader_that_went_away_ends_a_command_in_silence() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        ended = subprocess.run((*COMMAND, "feeds", "list"), stdout=pipe, stderr=subprocess.PIPE, text=True, check=False)
        assert (ended.returncode, ended.stderr) == (1, "")


async def test_a_replay_of_nothing_says_so(tmp_path: Path, database_url: str) -> None:
    program = Program(tmp_path, DATABASE_URL=database_url)
    (await program("merchants", "import", program.write("merchants.jsonl", merchant("m-1")))).well()
    ended = (await program("replay", "--merchant", "m-1")).well()
    assert ended.out == "replayed 0 deliveries\n"
    assert ended.err == "repoint: nothing of that is DEAD: `repoint deliveries list --status DEAD` shows what is\n"
