"""`repoint ingest` as a person meets it: files of no use, packed files, Ctrl-C, a pipe, a file that was rewritten."""

import asyncio
import gzip
import json
import os
import random
import re
import signal
import zipfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from testbed.kafka import Broker
from tests.acceptance.program import COMMAND, Program
from tests.acceptance.test_feeds import KEY, NAMES, everything, row, there
from tests.parts.small_batches import limit_batches
from tests.parts.until import until

SAMPLES = Path(__file__).parents[2] / "examples" / "feeds"
TABLE = "\n".join([NAMES, *(row(of) for of in range(20))]) + "\n"


@pytest.fixture
def program(tmp_path: Path, kafka: str, topic: str) -> Program:
    return Program(tmp_path, KAFKA_BOOTSTRAP_SERVERS=kafka, KAFKA_TOPIC=topic, FINGERPRINT_KEY=KEY)


@pytest.fixture
def offline(tmp_path: Path) -> Program:
    """Without any broker."""
    return Program(tmp_path, KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1", FINGERPRINT_KEY=KEY)


@asynccontextmanager
async def started(program: Program, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """With pipes to and from it."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *arguments,
        cwd=program.directory,
        env=program._environment({}),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def line_with(stream: asyncio.StreamReader | None, words: str) -> str:
    """The first line with `words`, as soon as it is there."""
    assert stream is not None
    lines = []
    async with asyncio.timeout(60):
        async for line in stream:
            lines.append(line.decode())
            if words in lines[-1]:
                return lines[-1]
    raise AssertionError(f"no {words!r} in {lines}")


# --- files of no use --------------------------------------------------------------------------------------------------


def files_of_no_use() -> Iterator[tuple[str, bytes, str]]:
    noise = random.Random(9).randbytes(3000)
    discover = (SAMPLES / "discover.csv").read_bytes()
    yield (
        "another feed",
        discover,
        r"nothing in it can be used \(line of names: .*\); it looks like discover: --format discover",
    )
    yield (
        "canonical",
        (SAMPLES.parent / "updates.jsonl").read_bytes(),
        r"nothing .* looks like canonical: --format canonical",
    )
    yield "no feed", b"a,b\n1,2\n", r"nothing in it can be used \(line of names: .*\)$"
    yield "UTF-16", TABLE.encode("utf-16"), r"nothing in it can be used \(file: expected UTF-8, not UTF-16\)$"
    yield "UTF-16 unmarked", TABLE.encode("utf-16-le"), r"nothing .* \(file: expected UTF-8, not UTF-16\)$"
    yield "UTF-32", TABLE.encode("utf-32"), r"nothing .* \(file: expected UTF-8, not UTF-32\)$"
    yield "random", noise, r"nothing in it can be used \(file: expected text, not binary data\)$"
    yield (
        "packed twice",
        gzip.compress(gzip.compress(TABLE.encode())),
        r"nothing .* \(file: expected it unpacked, not as gzip\)",
    )
    yield "packed otherwise", b"BZh91AY&SY" + noise, r"nothing .* \(file: expected it unpacked, not as bzip2\)$"
    yield "empty", b"", r"it is empty$"
    yield "blank", b"\xef\xbb\xbf\r\n \n", r"it is empty$"
    yield "packed nothing", gzip.compress(b""), r"it is empty$"


@pytest.mark.parametrize(("content", "problem"), [pytest.param(*case[1:], id=case[0]) for case in files_of_no_use()])
async def test_a_file_of_no_use_fails_and_what_it_looks_like_is_named(
    program: Program, content: bytes, problem: str
) -> None:
    (program.directory / "feed").write_bytes(content)
    for arguments in ((), ("--dry-run",)):
        ended = await program("ingest", "--format", "vau", "feed", *arguments)
        assert ended.code == 1
        assert re.search(rf"^repoint: feed: {problem}", ended.err.splitlines()[-1])
        assert "0 updates" in ended.out


async def test_nothing_is_sent_of_a_file_of_another_format_unless_it_is_forced(
    program: Program, kafka: str, topic: str
) -> None:
    updates = SAMPLES.parent / "updates.jsonl"
    lines = updates.read_text().splitlines(keepends=True)[:30]
    (program.directory / "feed").write_text("".join(lines))
    ended = await program("ingest", "--format", "stripe", "feed")
    assert ended.code == 1
    assert re.fullmatch(
        r"repoint: feed: nothing in its first 20 lines can be used; it looks like canonical: --format canonical;"
        r" nothing was sent \(--force sends it all the same\)",
        ended.err.splitlines()[-1],
    )
    assert "feed: 0 of 20 lines accepted, 0 updates sent" in ended.out
    assert "dead letters" not in ended.err
    assert sorted(path.name for path in program.directory.iterdir()) == ["feed"]
    assert await everything(kafka, topic) == []
    by_stdin = await program("ingest", "--format", "stripe", "-", stdin="".join(lines).encode())
    assert (by_stdin.code, await everything(kafka, topic)) == (1, [])
    forced = await program("ingest", "--format", "stripe", "feed", "--force")
    assert forced.code == 1
    assert "30 unusable lines will be among the dead letters" in forced.err
    assert len(await everything(kafka, topic)) == 30


async def test_a_file_of_the_right_format_that_begins_with_bad_lines_is_sent(
    program: Program, kafka: str, topic: str
) -> None:
    rows = [row(of) for of in range(20)]
    (program.directory / "feed").write_text(
        "\n".join([NAMES, *(line.replace(",", ";", 1) for line in rows[:19]), rows[19]])
    )
    ended = (await program("ingest", "--format", "vau", "feed")).well()
    assert "1 of 20 lines accepted, 1 update sent" in ended.out
    assert len(await everything(kafka, topic)) == 20


async def test_a_bad_line_alone_is_sent_to_the_dead_letters(program: Program, kafka: str, topic: str) -> None:
    (program.directory / "feed").write_text('{"half a li')
    ended = await program("ingest", "--format", "canonical", "feed")
    assert (ended.code, len(await everything(kafka, topic))) == (1, 1)


async def test_of_several_files_each_that_is_of_no_use_is_named(program: Program) -> None:
    (program.directory / "good").write_text(TABLE)
    (program.directory / "empty").write_text("")
    (program.directory / "other").write_text("a,b\n1,2\n")
    ended = await program("ingest", "--format", "vau", "empty", "good", "other")
    assert ended.code == 1
    assert ended.err.splitlines()[-2] == "repoint: empty: it is empty"
    assert ended.err.splitlines()[-1].startswith("repoint: other: nothing in it can be used")
    assert "good: 20 of 20 lines accepted, 20 updates sent" in ended.out


@pytest.mark.parametrize("content", [NAMES + "\n", "[]"], ids=["a table without rows", "an empty array"])
async def test_a_file_that_says_that_nothing_changed_is_accepted(program: Program, content: str) -> None:
    (program.directory / "feed").write_text(content)
    (await program("ingest", "--format", "vau", "feed")).well()


# --- packed files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["file", "stdin"])
async def test_a_gzip_file_is_unpacked_as_it_is_read(program: Program, kafka: str, topic: str, how: str) -> None:
    # in two members, as files that were packed and joined are
    packed = gzip.compress(TABLE[:100].encode()) + gzip.compress(TABLE[100:].encode())
    (program.directory / "feed.gz").write_bytes(packed)
    name, stdin = ("feed.gz", b"") if how == "file" else ("-", packed)
    ended = (await program("ingest", "--format", "vau", name, stdin=stdin)).well()
    assert "20 of 20 lines accepted, 20 updates sent" in ended.out
    assert len(await everything(kafka, topic)) == 20
    if how == "file":
        assert (await program("ingest", "--detect", name)).well().out == "feed.gz: vau\n"


async def test_of_a_gzip_file_that_is_cut_off_the_lines_before_are_sent(
    program: Program, kafka: str, topic: str
) -> None:
    rows = [row(of) for of in range(20_000)]
    (program.directory / "feed.gz").write_bytes(gzip.compress("\n".join([NAMES, *rows]).encode())[:-5000])
    ended = await program("ingest", "--format", "vau", "feed.gz")
    assert ended.code == 1
    assert ended.err.splitlines()[-1] == "repoint: feed.gz: the gzip file is cut off"
    sent = len(await everything(kafka, topic))
    assert 0 < sent < 20_000
    assert f"{sent:,} of {sent:,} lines accepted" in ended.out


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (random.Random(9).randbytes(35_000_000).hex().encode(), "a line of the gzip file unpacks to more than 64 MiB"),
        (b"0" * 3_000_000, "the gzip file unpacks to more than 200 times its size"),
        (b"\n" * 3_000_000, "the gzip file unpacks to more than 200 times its size"),
    ],
    ids=["a long line", "one character", "line ends"],
)
async def test_a_gzip_file_that_unpacks_to_too_much_is_given_up(offline: Program, content: bytes, problem: str) -> None:
    (offline.directory / "feed.gz").write_bytes(gzip.compress(content, 1))
    ended = await offline("ingest", "--format", "vau", "--dry-run", "feed.gz")
    assert (ended.code, ended.err.splitlines()[-1]) == (1, f"repoint: feed.gz: {problem}")


async def test_a_zip_file_is_named_and_nothing_of_it_is_kept(program: Program, kafka: str, topic: str) -> None:
    with zipfile.ZipFile(program.directory / "feed.zip", "w") as archive:
        archive.writestr("feed.csv", TABLE)
    ended = await program("ingest", "--format", "vau", "feed.zip")
    assert ended.code == 1
    assert "(file: expected it unpacked, not as zip)" in ended.err.splitlines()[-1]
    assert [each.value for each in await everything(kafka, topic)] == [b""]


# --- interrupted ------------------------------------------------------------------------------------------------------


async def test_ctrl_c_says_what_was_acknowledged_and_how_to_go_on(program: Program, kafka: str, topic: str) -> None:
    (program.directory / "feed.csv").write_text("\n".join([NAMES, *(row(of) for of in range(60_000))]) + "\n")
    async with started(program, "ingest", "--format", "vau", "feed.csv") as first:
        await until(partial(there, program.directory / ".feed.csv.checkpoint"), within=60)
        first.send_signal(signal.SIGINT)
        _, err = await first.communicate()
    assert first.returncode == 130
    assert err.decode().splitlines()[-1] == "repoint: interrupted"
    told = re.search(
        r"feed.csv: interrupted; ([\d,]+) lines acknowledged, and the same command goes on after them", err.decode()
    )
    assert told is not None
    ended = (await program("ingest", "--format", "vau", "feed.csv")).well()
    assert "going on after line" in ended.err
    assert "feed.csv: 60,000 of 60,000 lines accepted" in ended.out
    assert 60_000 <= len(await everything(kafka, topic)) < 120_000 - int(told[1].replace(",", ""))


async def test_a_pipe_that_is_silent_shows_that_it_goes_on_and_ends_with_ctrl_c(program: Program) -> None:
    async with started(program, "ingest", "--format", "vau", "-") as process:
        assert process.stdin is not None
        process.stdin.write(f"{NAMES}\n{row(1)}\n{row(2)}\n".encode())
        assert re.fullmatch(r"repoint: stdin: 2 lines so far, \d+/s\n", await line_with(process.stderr, "so far"))
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(30):
            _, err = await process.communicate()
    assert process.returncode == 130
    assert err.decode().splitlines()[-2:] == [
        "repoint: stdin: interrupted; 2 lines acknowledged. The same command begins anew: what was sent is recognised",
        "repoint: interrupted",
    ]


async def test_where_nothing_was_sent_no_checkpoint_stays(offline: Program) -> None:
    (offline.directory / "feed.csv").write_text(TABLE)
    assert (await offline("ingest", "--format", "vau", "feed.csv")).code == 1
    assert [file.name for file in offline.directory.iterdir()] == ["feed.csv"]


# --- a file that was rewritten ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["plain", "gzip"])
async def test_a_file_that_was_rewritten_begins_anew_though_its_size_and_time_are_the_same(
    program: Program, form: str
) -> None:
    file = program.directory / "feed.csv"

    def rewrite(code: str) -> int:
        content = "\n".join([NAMES, *(f"{row(of)[:17]}2612,,,{code},N" for of in range(60_000))]).encode()
        file.write_bytes(gzip.compress(content, 0, mtime=0) if form == "gzip" else content)
        os.utime(file, (1_700_000_000, 1_700_000_000))
        return file.stat().st_size

    size = rewrite("C")
    async with started(program, "ingest", "--format", "vau", "feed.csv") as first:
        await until(partial(there, program.directory / ".feed.csv.checkpoint"), within=60)
        first.kill()
        await first.wait()
    checkpoint = json.loads((program.directory / ".feed.csv.checkpoint").read_text())
    assert 0 < checkpoint["lines"] < 60_000
    assert rewrite("Q") == size
    ended = (await program("ingest", "--format", "vau", "feed.csv")).well()
    assert "going on" not in ended.err
    assert "feed.csv: 60,000 of 60,000 lines accepted" in ended.out


# --- a broker that refuses --------------------------------------------------------------------------------------------


async def test_lines_that_the_broker_does_not_acknowledge_are_a_failure(
    program: Program, broker: Broker, topic: str
) -> None:
    await limit_batches(broker, topic, 1_000)
    (program.directory / "feed.csv").write_text("\n".join([NAMES, *(row(of) for of in range(5_000))]))
    ended = await program("ingest", "--format", "vau", "feed.csv")
    assert ended.code == 1
    assert "the broker refuses with MessageSizeTooLargeError" in ended.err
    assert re.search(r"^repoint: [\d,]+ messages? not acknowledged; send the whole again", ended.err, re.MULTILINE)
