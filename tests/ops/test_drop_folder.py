"""A folder that is watched: every file once, by one watcher, to its end; whatever uploads and others do meanwhile."""

import asyncio
import json
import os
import random
import string
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from ops import drop_folder, feed_files
from ops import edge as edges
from ops.drop_folder import Refusals
from ops.settings import Settings
from schemas.feeds import FEEDS
from schemas.feeds.feed import Edge
from tests.acceptance.test_feeds import KEY, NAMES, everything, number, row, there
from tests.parts.kafka import Broker
from tests.parts.until import until

AT = datetime(2026, 11, 20, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (".work", "processed", "failed"):
        (tmp_path / name).mkdir()
    return tmp_path


def settings(topic: str) -> Settings:
    return Settings.model_validate({"kafka_topic": topic, "fingerprint_key": KEY})


async def look(folder: Path, kafka: str, topic: str, refusals: Refusals | None = None) -> int:
    """What a watcher does once; how many files are done."""
    return await drop_folder.run_once(
        folder,
        FEEDS["vau"],
        settings(topic),
        kafka,
        None,
        settled=0,
        stopping=asyncio.Event(),
        refusals=refusals or Refusals(),
    )


async def count(kafka: str, topic: str) -> int:
    async with AIOKafkaConsumer(topic, bootstrap_servers=kafka) as consumer:
        return sum((await consumer.end_offsets(consumer.assignment())).values())


async def any_sent(kafka: str, topic: str) -> bool:
    return await count(kafka, topic) > 0


async def test_an_upload_that_only_paused_is_sent_to_its_end(folder: Path, kafka: str, topic: str) -> None:
    """Also the line in which it paused, and with the date that the file had."""
    file = folder / "feed.csv"
    whole = "".join(f"{line}\n" for line in [NAMES, *(row(of) for of in range(6000))]).encode()
    with file.open("wb", buffering=0) as upload:
        upload.write(whole[: len(whole) // 2])
        os.utime(file, (AT.timestamp(), AT.timestamp()))
        looking = asyncio.create_task(look(folder, kafka, topic))
        await until(partial(there, folder / ".work" / "feed.csv"))
        upload.write(whole[len(whole) // 2 :])
    assert await looking == 0
    assert await look(folder, kafka, topic) == 1
    assert (folder / "processed" / "feed.csv").read_bytes() == whole
    told = [json.loads(each.value or b"") for each in await everything(kafka, topic) if not each.headers]
    assert len({each["old"]["fingerprint"] for each in told}) == len({each["id"] for each in told}) == 6000
    assert {each["occurredAt"][:10] for each in told} == {"2026-11-20"}
    assert [each.name for each in (folder / ".work").iterdir()] == [".lock"]


@pytest.mark.parametrize("of", ["a document", "one batch of a bank"])
async def test_what_begins_anew_is_counted_once(folder: Path, kafka: str, topic: str, of: str) -> None:
    file = folder / "feed"
    if of == "a document":
        rows = [{"oldCardholderAccountNumber": number(of), "serviceIdentifier": "C"} for of in range(30_000)]
        rows[0]["serviceIdentifier"] = "R"
        feed, text = FEEDS["vau"], json.dumps(rows, indent=0)
    else:
        lines = (Path(__file__).parents[2] / "examples" / "feeds" / "nacha.txt").read_text().splitlines()
        batch = next(at for at, line in enumerate(lines) if line.startswith("5"))
        entry = lines[batch + 1 : batch + 3]
        wrong = [entry[0], entry[1][:3] + "C69" + entry[1][6:]]
        feed = FEEDS["nacha"]
        text = "\n".join([*lines[: batch + 1], *wrong, *entry * 29_999, "8".ljust(94), "9".ljust(94), ""])
    file.write_text(text)
    edge = Edge(AT, edges.fingerprints(settings(topic)))
    sending = asyncio.create_task(feed_files.send(file, feed, edge, settings(topic), kafka))
    await until(partial(any_sent, kafka, topic))
    sending.cancel()
    await asyncio.wait((sending,))
    assert sending.cancelled()
    assert (folder / ".feed.checkpoint").exists()
    summary = await feed_files.send(file, feed, edge, settings(topic), kafka)
    assert (summary.lines, summary.sent, summary.refused) == (30_000, 29_999, 1)
    assert len((folder / "feed.refused").read_text().splitlines()) == 1


def watch(folder: Path, over: threading.Event) -> list[str]:
    """What stood in the files that it got."""
    done = []
    refusals = Refusals()
    while not over.is_set():
        for file in drop_folder._picked_up(folder, 0, refusals):
            with drop_folder._held(file, refusals) as held:
                if held:
                    done.append(file.read_text())
                    drop_folder._move(file, folder / "processed")
    return done


def test_several_that_watch_get_each_file_once(folder: Path) -> None:
    """Under names that come again and again, too; and none of them is ended by what another moved."""
    over = threading.Event()
    with ThreadPoolExecutor(4) as threads:
        watching = [threads.submit(watch, folder, over) for _ in range(4)]
        for name in range(600):
            file = folder / f"{name % 5}.csv"
            while file.exists() and not any(each.done() for each in watching):
                pass  # an upload would only replace it
            (folder / ".upload").write_text(str(name))
            (folder / ".upload").rename(file)
        while [*folder.glob("*.csv"), *folder.glob(".work/*.csv")] and not any(each.done() for each in watching):
            pass
        over.set()
        done = [each for one in watching for each in one.result()]
    assert Counter(done) == Counter(map(str, range(600)))
    assert len(list((folder / "processed").iterdir())) == 600


@pytest.fixture
async def narrow(broker: Broker, topic: str, request: pytest.FixtureRequest) -> str:
    """The topic, taking batches of so many bytes at the most."""
    if not broker.real:
        pytest.skip("the stand-in broker takes messages of any length")
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.servers)
    await admin.start()
    try:
        config = {"max.message.bytes": str(request.param)}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, config)])
    finally:
        await admin.close()
    return topic


@pytest.mark.parametrize("narrow", [200_000], indirect=True)
async def test_a_line_that_is_too_long_for_the_broker_holds_up_no_other(folder: Path, kafka: str, narrow: str) -> None:
    # of a feed with full numbers no row of digits would be left
    long = "".join(random.choices(string.ascii_letters, k=500_000))
    file = folder / "feed.csv"
    file.write_text("\n".join([NAMES, row(1), long, *(row(of) for of in range(2, 1000)), ""]))
    assert await look(folder, kafka, narrow) == 1
    assert await count(kafka, narrow) == 999
    (refused,) = map(json.loads, (folder / "processed" / "feed.csv.refused").read_text().splitlines())
    assert (refused["line"], refused["problem"]) == (3, "message: too long for the broker")


@pytest.mark.parametrize("narrow", [1_000], indirect=True)
async def test_what_the_broker_refuses_is_tried_again_later_from_where_it_was(
    folder: Path, kafka: str, narrow: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = folder / "feed.csv"
    file.write_text("\n".join([NAMES, *(row(of) for of in range(5_000)), ""]))
    refusals = Refusals()
    assert await look(folder, kafka, narrow, refusals) == 0
    assert "the broker refuses with MessageSizeTooLargeError" in capsys.readouterr().err
    assert (folder / ".work" / ".feed.csv.checkpoint").exists()
    assert await look(folder, kafka, narrow, refusals) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("length", [245, 255])
async def test_where_nothing_can_be_written_beside_it_a_file_is_sent_all_the_same(
    tmp_path: Path, kafka: str, topic: str, capsys: pytest.CaptureFixture[str], length: int
) -> None:
    """As in a folder that is read-only; a name of the longest kind has room for no other beside it, for root either."""
    file = tmp_path / ("x" * length)
    file.write_text("\n".join([NAMES, row(1), row(2, "R"), row(3), row(4, "R")]))
    edge = Edge(AT, edges.fingerprints(settings(topic)))
    summary = await feed_files.send(file, FEEDS["vau"], edge, settings(topic), kafka, growing=True)
    assert (summary.sent, summary.refused, await count(kafka, topic)) == (2, 2, 4)
    said = capsys.readouterr().err
    assert said.count("no checkpoint beside it (File name too long)") == 1
    assert said.count("only named here (File name too long)") == (length == 255)


NOBODY = 65534


@pytest.fixture
def without_rights(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder, as one sees it who may not read whatever there is: root may."""
    if os.geteuid() != 0:
        yield folder
        return
    for each in (folder, *folder.iterdir()):
        os.chown(each, NOBODY, NOBODY)
    monkeypatch.chdir(folder)  # to whose parents nobody else has access
    os.seteuid(NOBODY)
    try:
        yield Path()
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("where", [".", ".work"])
async def test_a_file_that_may_not_be_read_is_left_and_holds_up_no_other(
    without_rights: Path, kafka: str, topic: str, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    """Also one that a former version had moved already."""
    folder, refusals = without_rights, Refusals()
    closed = folder / where / "closed.csv"
    closed.write_text("\n".join([NAMES, row(1)]))
    closed.chmod(0)
    (folder / "open.csv").write_text("\n".join([NAMES, row(2)]))
    assert await look(folder, kafka, topic, refusals) == 1
    assert await look(folder, kafka, topic, refusals) == 0
    assert capsys.readouterr().err.count("closed.csv is left alone: it cannot be read (Permission denied)") == 1
    assert closed.exists()
    closed.chmod(0o400)
    assert await look(folder, kafka, topic, refusals) == 1
    assert {file.name for file in (folder / "processed").iterdir()} == {"open.csv", "closed.csv"}
    assert await count(kafka, topic) == 2


@pytest.mark.parametrize("where", [".", ".work"])
async def test_what_is_no_file_is_left_alone(
    folder: Path, kafka: str, topic: str, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    """A link leads to what whoever put it there may not read; somebody waits at the other end of a pipe."""
    refusals = Refusals()
    secret = folder / ".secret"
    secret.write_text(f"{NAMES}\nnot to be shown")
    (folder / where / "link.csv").symlink_to(secret)
    (folder / where / "nowhere.csv").symlink_to(folder / ".nowhere")
    os.mkfifo(folder / where / "pipe.csv")
    (folder / where / "a folder").mkdir()
    (folder / "feed.csv").write_text("\n".join([NAMES, row(1)]))
    assert await look(folder, kafka, topic, refusals) == 1
    assert await look(folder, kafka, topic, refusals) == 0
    said = capsys.readouterr().err
    assert [said.count(f"{name}.csv is left alone: it is no file") for name in ("link", "nowhere", "pipe")] == [1, 1, 1]
    assert "a folder" not in said
    assert {each.name for each in (folder / where).iterdir()} >= {"link.csv", "nowhere.csv", "pipe.csv"}
    assert [file.name for file in folder.rglob("*.refused")] == []
    assert await count(kafka, topic) == 1
