"""A folder that is watched: every file once, by one watcher, to its end; whatever uploads and others do meanwhile."""

import asyncio
import gzip
import json
import os
import random
import string
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer

from ops import drop_folder, feed_files, open_file, work_folders
from ops import edge as edges
from ops.drop_folder import KEPT_FOR, Refusals, Watch
from ops.feed_files import Summary
from ops.settings import Settings
from schemas.feeds import FEEDS
from schemas.feeds.feed import Edge, Feed
from testbed.kafka import Broker
from tests.acceptance.test_feeds import KEY, NAMES, everything, number, row, there
from tests.parts.small_batches import limit_batches
from tests.parts.until import until

AT = datetime(2026, 11, 20, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The watched one; the work folders are made beside it."""
    (tmp_path / "in").mkdir()
    with work_folders.opened(tmp_path / "in", None):
        return tmp_path / "in"


def work(folder: Path, name: str = "") -> Path:
    return folder.with_name(f"{folder.name}.repoint") / name


def settings(topic: str) -> Settings:
    return Settings.model_validate({"kafka_topic": topic, "fingerprint_key": KEY})


@contextmanager
def watching(folder: Path, kafka: str = "", topic: str = "t", **more: Any) -> Iterator[Watch]:
    with work_folders.opened(folder, more.pop("work", None)) as folders:
        feed = more.pop("feed", FEEDS["vau"])
        yield Watch(folders, feed, settings(topic), kafka, settled=0, **{"keep": timedelta(days=1)} | more)


async def look(folder: Path, kafka: str, topic: str, refusals: Refusals | None = None, **more: Any) -> int:
    """What a watcher does once; how many files are done."""
    with watching(folder, kafka, topic, refusals=refusals or Refusals(), **more) as watch:
        return await drop_folder.run_once(watch)


async def send(file: Path, feed: Feed, at: Edge, topic: str, kafka: str, **more: Any) -> Summary:
    with open_file.opened(file) as opened:
        return await feed_files.send(opened, feed, at, settings(topic), kafka, **more)


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
        await until(partial(there, work(folder, "in-hand/feed.csv")))
        upload.write(whole[len(whole) // 2 :])
    assert await looking == 0
    assert await look(folder, kafka, topic) == 1
    assert work(folder, "processed/feed.csv").read_bytes() == whole
    told = [json.loads(each.value or b"") for each in await everything(kafka, topic) if not each.headers]
    assert len({each["old"]["fingerprint"] for each in told}) == len({each["id"] for each in told}) == 6000
    assert {each["occurredAt"][:10] for each in told} == {"2026-11-20"}
    assert list(work(folder, "in-hand").iterdir()) == []


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
    sending = asyncio.create_task(send(file, feed, edge, topic, kafka))
    # the first line is refused, and written here once its message and so the line is acknowledged
    await until(partial(there, folder / "feed.refused"))
    sending.cancel()
    await asyncio.wait((sending,))
    assert sending.cancelled()
    assert (folder / ".feed.checkpoint").exists()
    summary = await send(file, feed, edge, topic, kafka)
    assert (summary.lines, summary.sent, summary.refused) == (30_000, 29_999, 1)
    assert len((folder / "feed.refused").read_text().splitlines()) == 1


async def test_irrelevant_events_are_counted_over_an_interruption_and_nothing_of_them_is_kept(
    folder: Path, kafka: str, topic: str
) -> None:
    sample = json.loads((Path(__file__).parents[2] / "examples" / "feeds" / "stripe.jsonl").read_text().splitlines()[0])
    others = ["customer.created", "payment_method.detached", "invoice.paid"]
    file = folder / "feed"
    with file.open("w") as stream:
        for number in range(10_000):
            for type_ in (*others, sample["type"]):
                stream.write(json.dumps(sample | {"id": f"evt_{number}", "type": type_}) + "\n")
    edge = Edge(AT)
    sending = asyncio.create_task(send(file, FEEDS["stripe"], edge, topic, kafka))
    await until(partial(any_sent, kafka, topic))
    sending.cancel()
    await asyncio.wait((sending,))
    summary = await send(file, FEEDS["stripe"], edge, topic, kafka)
    assert (summary.lines, summary.sent, summary.refused) == (40_000, 10_000, 0)
    assert summary.irrelevant == {"customer.created": 10_000, "payment_method.detached": 10_000, "invoice.*": 10_000}
    assert {json.loads(each.value or b"")["type"] for each in await everything(kafka, topic)} == {"NUMBER_REPLACED"}


async def test_a_file_of_irrelevant_events_alone_is_processed(
    folder: Path, kafka: str, topic: str, capsys: pytest.CaptureFixture[str]
) -> None:
    event = {"id": "evt_1", "object": "event", "api_version": "x", "created": 1763629453, "type": "customer.created"}
    (folder / "feed.jsonl").write_text(f"{json.dumps(event)}\n" * 3)
    assert await look(folder, kafka, topic, feed=FEEDS["stripe"]) == 1
    assert [each.name for each in work(folder, "processed").iterdir()] == ["feed.jsonl"]
    assert await count(kafka, topic) == 0
    assert "  3 irrelevant, and not kept: customer.created\n" in capsys.readouterr().out


def test_what_is_uploaded_while_a_file_is_copied_away_is_not_removed_with_it(folder: Path) -> None:
    """On another file system a file is copied first, and its name may be another upload's by then."""
    (folder / "feed.csv").write_text("the first")
    first = (folder / "feed.csv").stat()
    (folder / "upload").write_text("the second")
    (folder / "upload").rename(folder / "feed.csv")
    with watching(folder) as watch:
        watch.folders._remove_from_drop("feed.csv", first)
        assert [(file.name, file.read_text()) for file in folder.iterdir()] == [("feed.csv", "the second")]
        watch.folders._remove_from_drop("feed.csv", (folder / "feed.csv").stat())
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("dies_before", ["link", "remove"])
def test_an_upload_that_a_killed_watcher_took_away_has_its_name_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, dies_before: str
) -> None:
    """It died between the move to a hidden name and the end of the link back."""
    (folder / "feed.csv").write_text("the first")
    first = (folder / "feed.csv").stat()
    (folder / "upload").write_text("the second")
    (folder / "upload").rename(folder / "feed.csv")

    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch, watching(folder) as watch:
        patch.setattr(watch.folders.drop, dies_before, die)
        with pytest.raises(Killed):
            watch.folders._remove_from_drop("feed.csv", first)
    with watching(folder):
        assert [(file.name, file.read_text()) for file in folder.iterdir()] == [("feed.csv", "the second")]


def test_a_copied_file_that_a_killed_watcher_did_not_remove_is_removed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "feed.csv").write_text("the first")
    with monkeypatch.context() as patch, watching(folder) as watch:
        patch.setattr(watch.folders.drop, "remove", lambda _: None)
        watch.folders._remove_from_drop("feed.csv", (folder / "feed.csv").stat())
    assert [file.name[:9] for file in folder.iterdir()] == [".repoint-"]
    with watching(folder):
        assert list(folder.iterdir()) == []


def test_what_is_written_to_while_it_is_copied_away_stays_until_it_is_whole(folder: Path) -> None:
    """On another file system: the copy would lack what was written behind it, and the original would be removed."""
    upload = folder / "feed.csv"
    upload.write_bytes(b"a line\n" * 3_000_000)
    begun, over = threading.Event(), threading.Event()

    def go_on() -> None:
        with upload.open("ab", buffering=0) as stream:
            while not over.is_set():
                stream.write(b"a line\n")
                begun.set()

    with watching(folder) as watch, ThreadPoolExecutor(1) as threads:
        writing = threads.submit(go_on)
        try:
            assert begun.wait(30)
            assert not watch.folders._copy("feed.csv")
        finally:
            over.set()
        writing.result()
        assert list(work(folder, "in-hand").iterdir()) == []
        whole = upload.read_bytes()
        assert watch.folders._copy("feed.csv")
        assert (work(folder, "in-hand") / "feed.csv").read_bytes() == whole
    assert list(folder.iterdir()) == []


def test_processed_files_are_kept_from_when_they_were_processed_however_old_the_upload_is(folder: Path) -> None:
    (folder / "feed.csv").write_text("a line")
    os.utime(folder / "feed.csv", (0, 0))
    with watching(folder) as watch:
        assert watch.folders.pick_up("feed.csv")
        watch.folders.finish("feed.csv", watch.folders.processed, keep=True)
        assert watch.folders.expire(timedelta(days=1), keep_refused=KEPT_FOR) == []
        assert watch.folders.expire(timedelta(), keep_refused=KEPT_FOR) == ["feed.csv"]
    assert list(work(folder, "processed").iterdir()) == []


@pytest.mark.parametrize("keep", [None, timedelta(), timedelta(microseconds=1)])
def test_what_was_refused_of_a_file_is_kept_though_its_file_is_not(folder: Path, keep: timedelta | None) -> None:
    """Files with full numbers are removed once they are sent."""
    with watching(folder, feed=FEEDS["discover"], keep=keep) as watch:
        assert watch.kept_for == (keep or timedelta())
        (folder / "feed.csv").write_text("a line")
        assert watch.folders.pick_up("feed.csv")
        watch.folders.in_hand.write("feed.csv.refused", b"refused")
        assert watch.folders.finish("feed.csv", watch.folders.processed, keep=False) is None
        watch.expired_at = -inf
        drop_folder._expire(watch)
        assert watch.expired_at > 0
    assert [file.name for file in work(folder, "processed").iterdir()] == ["feed.csv.refused"]


@pytest.mark.parametrize("first", ["file", "refused", "file and refused"])
@pytest.mark.parametrize("second", ["file", "refused", "file and refused"])
def test_what_is_kept_of_a_file_stays_beside_what_is_kept_of_its_namesake(
    folder: Path, first: str, second: str
) -> None:
    """Of a file with full numbers only what was refused of it is kept."""
    expected = []
    for upload, kept in enumerate((first, second), 1):
        with watching(folder) as watch:
            (folder / "feed.csv").write_text(f"file {upload}")
            assert watch.folders.pick_up("feed.csv")
            if "refused" in kept:
                watch.folders.in_hand.write("feed.csv.refused", f"refused {upload}".encode())
            done = watch.folders.finish("feed.csv", watch.folders.processed, keep="file" in kept)
        assert (done is not None) == ("file" in kept)
        expected += [f"{part} {upload}" for part in ("file", "refused") if part in kept]
        if kept == "file and refused":
            assert work(folder, f"processed/{done}").read_text() == f"file {upload}"
            assert work(folder, f"processed/{done}.refused").read_text() == f"refused {upload}"
    assert sorted(file.read_text() for file in work(folder, "processed").iterdir()) == sorted(expected)


def watch(folder: Path, over: threading.Event) -> list[str]:
    """What stood in the files that it got."""
    done = []
    with watching(folder) as watch:
        while not over.is_set():
            for name in drop_folder._in_hand(watch):
                with drop_folder._held(watch, name) as descriptor:
                    if descriptor is not None:
                        done.append(os.pread(descriptor, 100, 0).decode())
                        watch.folders.finish(name, watch.folders.processed, keep=True)
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
        while [*folder.glob("*.csv"), *work(folder).glob("in-hand/*.csv")] and not any(
            each.done() for each in watching
        ):
            pass
        over.set()
        done = [each for one in watching for each in one.result()]
    assert Counter(done) == Counter(map(str, range(600)))
    assert len(list(work(folder, "processed").iterdir())) == 600


@pytest.fixture
async def narrow(broker: Broker, topic: str, request: pytest.FixtureRequest) -> str:
    """The topic, taking batches of so many bytes at the most."""
    await limit_batches(broker, topic, request.param)
    return topic


@pytest.mark.parametrize("narrow", [200_000], indirect=True)
async def test_a_line_that_is_too_long_for_the_broker_holds_up_no_other(folder: Path, kafka: str, narrow: str) -> None:
    # of a feed with full numbers no row of digits would be left, and half a megabyte of letters is base64 of something
    long = " ".join("".join(random.choices(string.ascii_letters, k=9)) for _ in range(50_000))
    file = folder / "feed.csv"
    file.write_text("\n".join([NAMES, row(1), long, *(row(of) for of in range(2, 1000)), ""]))
    assert await look(folder, kafka, narrow) == 1
    assert await count(kafka, narrow) == 999
    (refused,) = map(json.loads, work(folder, "processed/feed.csv.refused").read_text().splitlines())
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
    assert work(folder, "in-hand/.feed.csv.checkpoint").exists()
    assert await look(folder, kafka, narrow, refusals) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("length", [245, 250, 255])
async def test_a_name_of_the_longest_kind_has_its_checkpoint_and_refused_lines_beside_it(
    folder: Path, kafka: str, topic: str, capsys: pytest.CaptureFixture[str], length: int
) -> None:
    file = folder / ("x" * length)
    file.write_text("\n".join([NAMES, row(1), row(2, "R"), row(3), row(4, "R")]))
    assert await look(folder, kafka, topic) == 1
    assert await count(kafka, topic) == 4
    (refused,) = work(folder, "processed").glob("*.refused")
    assert len(refused.read_text().splitlines()) == 2
    assert work(folder, f"processed/{file.name}").exists()
    assert "File name too long" not in capsys.readouterr().err


NOBODY = 65534


@pytest.fixture
def without_rights(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder, as one sees it who may not read whatever there is: root may."""
    if os.geteuid() != 0:
        yield folder
        return
    for each in (folder.parent, folder, work(folder), *work(folder).iterdir()):
        os.chown(each, NOBODY, NOBODY)
    monkeypatch.chdir(folder.parent)  # to whose parents nobody else has access
    os.seteuid(NOBODY)
    try:
        yield Path(folder.name)
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("where", ["in", "in.repoint/in-hand"])
async def test_a_file_that_may_not_be_read_is_left_and_holds_up_no_other(
    without_rights: Path, kafka: str, topic: str, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    """Also one that is in hand already."""
    folder, refusals = without_rights, Refusals()
    closed = (folder.parent / where) / "closed.csv"
    closed.write_text("\n".join([NAMES, row(1)]))
    closed.chmod(0)
    (folder / "open.csv").write_text("\n".join([NAMES, row(2)]))
    assert await look(folder, kafka, topic, refusals) == 1
    assert await look(folder, kafka, topic, refusals) == 0
    assert capsys.readouterr().err.count("closed.csv is left alone: it cannot be read (Permission denied)") == 1
    assert closed.exists()
    closed.chmod(0o400)
    assert await look(folder, kafka, topic, refusals) == 1
    assert {file.name for file in work(folder, "processed").iterdir()} == {"open.csv", "closed.csv"}
    assert await count(kafka, topic) == 2


@pytest.mark.parametrize("where", ["in", "in.repoint/in-hand"])
async def test_what_is_no_file_is_left_alone(
    folder: Path, kafka: str, topic: str, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    """A link leads to what whoever put it there may not read; somebody waits at the other end of a pipe."""
    refusals = Refusals()
    secret = folder / ".secret"
    secret.write_text(f"{NAMES}\nnot to be shown")
    place = folder.parent / where
    (place / "link.csv").symlink_to(secret)
    (place / "nowhere.csv").symlink_to(folder / ".nowhere")
    os.mkfifo(place / "pipe.csv")
    (place / "a folder").mkdir()
    (folder / "feed.csv").write_text("\n".join([NAMES, row(1)]))
    assert await look(folder, kafka, topic, refusals) == 1
    assert await look(folder, kafka, topic, refusals) == 0
    said = capsys.readouterr().err
    assert [said.count(f"{name}.csv is left alone: it is no file") for name in ("link", "nowhere", "pipe")] == [1, 1, 1]
    assert "a folder" not in said
    assert {each.name for each in place.iterdir()} >= {"link.csv", "nowhere.csv", "pipe.csv"}
    assert [file.name for file in folder.parent.rglob("*.refused")] == []
    assert await count(kafka, topic) == 1


@pytest.mark.parametrize("feed", ["vau", "nacha"])
@pytest.mark.parametrize("of", ["a sparse file", "a long line", "blank lines", "packed blank lines"])
async def test_a_file_that_does_not_end_is_put_away_and_others_are_sent(
    folder: Path, kafka: str, topic: str, of: str, feed: str
) -> None:
    hostile = folder / "a-hostile.csv"
    if of == "a sparse file":
        hostile.touch()
        os.truncate(hostile, 300 * 1024**3)
    elif of == "a long line":
        hostile.write_bytes(b"x" * 150 * 1024**2)
    else:
        blank = b"\n" * 150 * 1024**2
        hostile.write_bytes(gzip.compress(blank, compresslevel=1) if "packed" in of else blank)
    os.utime(hostile, (1_700_000_000, 1_700_000_000))
    if feed == "vau":
        good = f"{NAMES}\n{row(1)}\n"
    else:
        good = (Path(__file__).parents[2] / "examples" / "feeds" / "nacha.txt").read_text()
    (folder / "b-good").write_text(good)
    async with asyncio.timeout(60):
        assert await look(folder, kafka, topic, feed=FEEDS[feed]) == 2
    assert work(folder, "failed/a-hostile.csv").exists()
    assert work(folder, "processed/b-good").exists()


async def test_a_file_that_takes_long_lets_others_have_their_turn(
    folder: Path, kafka: str, topic: str, capsys: pytest.CaptureFixture[str]
) -> None:
    long_one = folder / "a-long.csv"
    long_one.write_text("".join(f"{line}\n" for line in [NAMES, *(row(of) for of in range(20_000))]))
    os.utime(long_one, (1_700_000_000, 1_700_000_000))
    with watching(folder, kafka, topic, turn=0.5) as watch:
        looking = asyncio.create_task(drop_folder.run_once(watch))
        await until(partial(any_sent, kafka, topic), within=60)
        (folder / "b-short.csv").write_text(f"{NAMES}\n{row(30_000)}\n")
        done = await looking
        assert "a-long.csv: other files have their turn; it goes on after them" in capsys.readouterr().err
        done += await drop_folder.run_once(watch)
        assert work(folder, "processed/b-short.csv").exists()
        while done < 2:
            done += await drop_folder.run_once(watch)
    told = Counter(json.loads(each.value or b"")["id"] for each in await everything(kafka, topic))
    assert len(told) == 20_001


async def test_a_document_is_not_halted_for_it_would_begin_anew(folder: Path, kafka: str, topic: str) -> None:
    rows = [{"oldCardholderAccountNumber": number(of), "serviceIdentifier": "C"} for of in range(5_000)]
    (folder / "a.json").write_text(json.dumps(rows))
    with watching(folder, kafka, topic, turn=0.05) as watch:
        looking = asyncio.create_task(drop_folder.run_once(watch))
        await until(partial(there, work(folder, "in-hand/a.json")))
        (folder / "b.csv").write_text(f"{NAMES}\n{row(30_000)}\n")
        done = await looking
        assert work(folder, "processed/a.json").exists()
        assert done + await drop_folder.run_once(watch) == 2
