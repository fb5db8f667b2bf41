"""A folder that is watched, and who uploads into it: a stranger, who may put anything there under any name."""

import asyncio
import gzip
import json
import os
import re
import signal
import stat
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from tests.acceptance.program import Program
from tests.acceptance.test_feeds import KEY, NAMES, everything, row, there
from tests.acceptance.test_ingest import started
from tests.parts.until import until

DATE = r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ "
TABLE = f"{NAMES}\n{row(1)}\n{row(2, 'R')}\n{row(3)}\n"


@pytest.fixture
def program(tmp_path: Path, kafka: str, topic: str) -> Program:
    (tmp_path / "in").mkdir()
    return Program(tmp_path, KAFKA_BOOTSTRAP_SERVERS=kafka, KAFKA_TOPIC=topic, FINGERPRINT_KEY=KEY)


def put(file: Path, content: str | bytes = TABLE) -> Path:
    """An upload that ended an hour ago."""
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    os.utime(file, (1_700_000_000, 1_700_000_000))
    return file


@asynccontextmanager
async def watching(program: Program, *more: str, form: str = "vau") -> AsyncIterator[list[str]]:
    """The lines that were written are there at the end."""
    output: list[str] = []
    async with started(program, "ingest", "--format", form, "--watch", "in", *more) as process:
        assert process.stderr is not None
        async with asyncio.timeout(60):
            while "watching" not in "".join(output):  # it listens for signals from then on
                line = await process.stderr.readline()
                assert line, output  # it has ended
                output.append(line.decode().rstrip("\n"))
        yield output
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            out, err = await process.communicate()
    assert process.returncode == 0, err.decode(errors="replace")
    output += [*out.decode().splitlines(), *err.decode().splitlines()]


# --- who uploads ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [".work", "processed", "failed", "in-hand", ".lock"])
async def test_a_link_in_the_folder_leads_to_nobody_elses_files(program: Program, name: str) -> None:
    (program.directory / "victim").mkdir()
    theirs = put(program.directory / "victim" / "theirs.csv")
    (program.directory / "in" / name).symlink_to(theirs.parent)
    put(program.directory / "in" / "ours.csv")
    async with watching(program, "--keep-processed", "1h") as output:
        await until(partial(there, program.directory / "in.repoint" / "processed" / "ours.csv"), within=60)
    assert [file.name for file in theirs.parent.iterdir()] == ["theirs.csv"]
    assert not any("theirs" in line for line in output)


NAMES_OF_FILES = [
    b"B\xfccher.csv",
    b"e\x1b[31m\x9b0m\n.csv",
    b"x" * 250,
    b"{0}[red].csv",
    "\u202egnp.csv".encode(),
    b"-",
]


async def test_a_file_of_any_name_is_sent_and_no_name_reaches_a_terminal_as_a_command(
    program: Program, kafka: str, topic: str
) -> None:
    work = program.directory / "in.repoint"
    for at, name in enumerate(NAMES_OF_FILES):
        put(
            Path(os.fsdecode(os.fsencode(program.directory / "in") + b"/" + name)),
            f"{NAMES}\n{row(at)}\n{row(at, 'R')}\n",
        )
    async with watching(program, "--keep-processed", "1h") as output:

        async def all_done() -> bool:
            return len(list((work / "processed").glob("*"))) == 2 * len(NAMES_OF_FILES)

        await until(all_done, within=60)
    assert set(NAMES_OF_FILES) < {os.fsencode(file.name) for file in (work / "processed").iterdir()}
    assert list((work / "in-hand").iterdir()) == []
    assert len(await everything(kafka, topic)) == 2 * len(NAMES_OF_FILES)
    assert all(line.isprintable() for line in output)
    assert any(r"in/B\xfccher.csv: 1 of 2 lines accepted" in line for line in output)
    assert any(r"in/e\x1b[31m\x9b0m\x0a.csv: 1 of 2 lines accepted" in line for line in output)


async def test_what_is_the_matter_with_one_file_ends_that_file_alone(program: Program) -> None:
    """The folder for processed files is removed: whatever is sent cannot be put away."""
    work = program.directory / "in.repoint"
    async with watching(program, "--keep-processed", "1h") as output:
        await until(partial(there, work / "failed"), within=60)
        (work / "processed").rmdir()
        put(program.directory / "in" / "good.csv")
        await until(partial(there, work / "in-hand" / ".good.csv.checkpoint"), within=60)
        put(program.directory / "in" / "useless.csv", "nothing that is known\n")
        await until(partial(there, work / "failed" / "useless.csv"), within=60)
    assert sum("in/good.csv: No such file or directory; it is tried again later" in line for line in output) >= 1
    assert (work / "in-hand" / "good.csv").exists()


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system."""
    memory = Path("/dev/shm")  # noqa: S108 - where Linux has a file system in memory
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("this machine has one file system")
    with tempfile.TemporaryDirectory(dir=memory) as name:
        yield Path(name)


async def test_the_work_folder_may_be_on_another_file_system(
    program: Program, kafka: str, topic: str, elsewhere: Path
) -> None:
    work = elsewhere / "work"
    put(program.directory / "in" / "feed.csv")
    async with watching(program, "--work", str(work), "--keep-processed", "1h"):
        await until(partial(there, work / "processed" / "feed.csv"), within=60)
    assert list((program.directory / "in").iterdir()) == []
    assert not (program.directory / "in.repoint").exists()
    assert (work / "processed" / "feed.csv").read_text() == TABLE
    assert sorted(file.name for file in work.rglob("*") if file.is_file()) == [".lock", "feed.csv", "feed.csv.refused"]
    told = [json.loads(each.value or b"") for each in await everything(kafka, topic) if not each.headers]
    assert {each["occurredAt"][:19] for each in told} == {"2023-11-14T22:13:20"}


@pytest.mark.parametrize(
    ("how", "code"), [("open to others", 1), ("a link", 1), ("no folder", 1), ("inside the watched one", 2)]
)
async def test_a_work_folder_that_others_reach_is_refused(program: Program, how: str, code: int) -> None:
    work = program.directory / "in.repoint"
    arguments: tuple[str, ...] = ()
    if how == "open to others":
        work.mkdir(mode=0o755)
    elif how == "a link":
        (program.directory / "victim").mkdir(mode=0o700)
        work.symlink_to(program.directory / "victim")
    elif how == "no folder":
        work.write_text("")
    else:
        arguments = ("--work", "in/work")
    put(program.directory / "in" / "feed.csv")
    ended = await program("ingest", "--format", "vau", "--watch", "in", *arguments)
    assert ended.code == code
    assert "--work" in ended.err
    assert "Traceback" not in ended.err
    assert (program.directory / "in" / "feed.csv").exists()


async def test_others_that_may_move_the_work_folder_away_are_warned_of(program: Program) -> None:
    program.directory.chmod(0o777)
    async with watching(program) as output:
        await until(partial(there, program.directory / "in.repoint" / "failed"), within=60)
    assert any("others may write to" in line for line in output)


# --- what is kept -----------------------------------------------------------------------------------------------------


def modes(folder: Path) -> dict[str, int]:
    return {str(file.relative_to(folder)): stat.S_IMODE(file.stat().st_mode) for file in folder.rglob("*")}


async def test_a_file_with_full_numbers_is_removed_once_it_is_sent(program: Program) -> None:
    put(program.directory / "in" / "feed.csv").chmod(0o666)
    work = program.directory / "in.repoint"
    async with watching(program) as output:
        await until(partial(there, work / "processed" / "feed.csv.refused"), within=60)
    assert modes(work) == {
        ".lock": 0o600,
        "in-hand": 0o700,
        "processed": 0o700,
        "failed": 0o700,
        "processed/feed.csv.refused": 0o600,
    }
    assert stat.S_IMODE(work.stat().st_mode) == 0o700
    assert any(
        re.fullmatch(DATE + r"in/feed\.csv: removed, as files with full numbers are .*", line) for line in output
    )


async def test_a_file_with_full_numbers_is_kept_for_ourselves_as_long_as_asked_for(program: Program) -> None:
    put(program.directory / "in" / "feed.csv").chmod(0o666)
    work = program.directory / "in.repoint"
    async with watching(program, "--keep-processed", "2s"):
        await until(partial(there, work / "processed" / "feed.csv"), within=60)
        assert modes(work)["processed/feed.csv"] == 0o600

        async def is_removed() -> bool:
            """What was refused of it is kept for a week."""
            return [file.name for file in (work / "processed").iterdir()] == ["feed.csv.refused"]

        await until(is_removed, within=60)
    assert await is_removed()


async def test_a_file_without_numbers_is_kept_for_a_week(program: Program) -> None:
    sample = Path(__file__).parents[2] / "examples" / "feeds" / "stripe.jsonl"
    put(program.directory / "in" / "feed.jsonl", sample.read_bytes())
    kept = program.directory / "in.repoint" / "processed" / "feed.jsonl"
    async with watching(program, form="stripe") as output:
        await until(partial(there, kept), within=60)
    assert kept.read_bytes() == sample.read_bytes()
    assert any(line.endswith("in/feed.jsonl: moved to in.repoint/processed/feed.jsonl, kept for 7d") for line in output)


async def test_what_was_refused_of_a_file_is_not_overwritten_by_the_next_of_its_name(program: Program) -> None:
    work = program.directory / "in.repoint" / "processed"
    async with watching(program):
        put(program.directory / "in" / "feed.csv")
        await until(partial(there, work / "feed.csv.refused"), within=60)
        put(program.directory / "in" / "feed.csv")
        await until(partial(there, work / "feed-2.csv.refused"), within=60)


# --- what it says -----------------------------------------------------------------------------------------------------


async def test_each_line_has_its_time_and_says_where_the_file_is_now(program: Program) -> None:
    work = program.directory / "in.repoint"
    put(program.directory / "in" / "feed.csv")
    put(program.directory / "in" / "useless.csv", "a,b\n1,2\n")
    put(program.directory / "in" / "cut.csv.gz", gzip.compress(TABLE.encode())[:-9])
    async with watching(program, "--keep-processed", "36h") as output:
        for name in ("processed/feed.csv", "failed/useless.csv", "failed/cut.csv.gz"):
            await until(partial(there, work / name), within=60)
    assert [line for line in output if not re.match(DATE, line)] == []
    assert {re.sub(DATE, "", line) for line in output} >= {
        "in/feed.csv: 2 of 3 lines accepted, 2 updates sent",
        "  1 refused: serviceIdentifier: R is in no table of this feed",
        "in/feed.csv: moved to in.repoint/processed/feed.csv, kept for 36h",
        "repoint: in/cut.csv.gz: the gzip file is cut off; moved to in.repoint/failed/cut.csv.gz",
    }
    assert any("in/useless.csv: nothing in it can be used" in line for line in output)
    assert any(line.endswith("; moved to in.repoint/failed/useless.csv") for line in output)


async def test_an_empty_file_is_left_until_something_is_in_it(program: Program) -> None:
    work = program.directory / "in.repoint"
    empty = put(program.directory / "in" / "empty.csv", "")
    put(program.directory / "in" / "blank.csv", "\n\n")
    async with watching(program) as output:
        await until(partial(there, work / "failed" / "blank.csv"), within=60)
        assert empty.exists()
        put(empty)
        await until(partial(there, work / "processed" / "empty.csv.refused"), within=60)
    assert sum("empty.csv is left alone: it is empty so far" in line for line in output) == 1
    assert any("in/blank.csv: it is empty; moved to in.repoint/failed/blank.csv" in line for line in output)


async def test_a_file_of_a_time_to_come_is_sent_as_of_now(program: Program, kafka: str, topic: str) -> None:
    """What is dated ahead would be the newest for ever."""
    file = put(program.directory / "in" / "feed.csv")
    os.utime(file, (4_000_000_000, 4_000_000_000))
    async with watching(program):
        await until(partial(there, program.directory / "in.repoint" / "processed" / "feed.csv.refused"), within=60)
    told = [json.loads(each.value or b"") for each in await everything(kafka, topic) if not each.headers]
    assert len(told) == 2
    assert all(datetime.fromisoformat(each["occurredAt"]) < datetime.now(UTC) for each in told)


@pytest.mark.parametrize("option", ["--work", "--keep-processed"])
async def test_options_of_a_watch_need_one(program: Program, option: str) -> None:
    put(program.directory / "feed.csv")
    ended = await program("ingest", "--format", "vau", "feed.csv", option, "7d")
    assert (ended.code, ended.out) == (2, "")
    assert (await program("ingest", "--format", "vau", "--watch", "in", "--keep-processed", "soon")).code == 2
