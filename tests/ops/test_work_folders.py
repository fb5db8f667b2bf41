"""The folders beside a watched one: what is moved into them, under which name, and who may reach them."""

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ops import checkpoint, drop_folder, feed_files, work_folders
from ops.drop_folder import Watch
from ops.feed_files import Summary
from ops.settings import Settings
from ops.terminal import Failed
from ops.work_folders import WorkFolders
from schemas.feeds import FEEDS
from tests.parts.until import until

OLD = 1_700_000_000


@pytest.fixture
def drop(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


@pytest.fixture
def folders(drop: Path) -> Iterator[WorkFolders]:
    with work_folders.opened(drop, None) as folders:
        yield folders


@pytest.fixture
def watch(folders: WorkFolders) -> Watch:
    """A watcher of a feed with full numbers, whose files are not kept."""
    return Watch(folders, FEEDS["vau"], Settings(), "", settled=0)


def upload(folders: WorkFolders, name: str, *, at: int = OLD) -> Path:
    file = folders.drop.path / name
    file.write_text(name)
    os.utime(file, (at, at))
    return file


def in_hand(folders: WorkFolders) -> list[str]:
    return sorted(folders.in_hand.names())


def open_descriptors() -> int:
    return len(os.listdir("/dev/fd"))  # noqa: PTH208  the folder of this process's own descriptors


# --- picking up and putting away --------------------------------------------------------------------------------------


def test_the_checkpoint_of_a_former_file_of_the_name_is_none_of_the_next_one(folders: WorkFolders) -> None:
    left = checkpoint.beside("feed.csv")
    folders.in_hand.write(left, b"{}")
    upload(folders, "feed.csv")
    assert folders.pick_up("feed.csv")
    assert in_hand(folders) == ["feed.csv"]
    folders.in_hand.write(left, b"{}")
    assert folders.finish("feed.csv", folders.processed, keep=True) == "feed.csv"
    assert in_hand(folders) == []


def test_a_file_stays_where_it_was_put_while_another_of_its_name_is_in_hand(folders: WorkFolders) -> None:
    folders.in_hand.write("feed.csv", b"the first")
    file = upload(folders, "feed.csv")
    assert not folders.pick_up("feed.csv")
    assert (file.read_text(), folders.in_hand.read("feed.csv")) == ("feed.csv", b"the first")


def test_one_watcher_at_a_time_moves_files(folders: WorkFolders) -> None:
    with folders.alone():
        lock = folders.root.open(".lock")
        with pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(lock)


@pytest.mark.parametrize(
    ("name", "second"),
    [
        ("feed.csv", "feed-2.csv"),
        ("feed", "feed-2"),
        ("feed.{0}", "feed.{0}-2"),
        ("a sentence. And another", "a sentence-2. And another"),
        ("a sentence. And another one", "a sentence. And another one-2"),
    ],
)
def test_the_second_file_of_a_name_has_a_number_before_its_suffix(folders: WorkFolders, name: str, second: str) -> None:
    for expected in (name, second):
        folders.in_hand.write(name, b"")
        assert folders.finish(name, folders.processed, keep=True) == expected


def test_a_copied_file_keeps_its_time(folders: WorkFolders) -> None:
    upload(folders, "feed.csv")
    assert folders._copy("feed.csv")
    state = folders.in_hand.state("feed.csv")
    assert state is not None
    assert state.st_mtime == OLD


def test_a_copy_that_fails_leaves_nothing_but_the_upload(folders: WorkFolders, monkeypatch: pytest.MonkeyPatch) -> None:
    def is_full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    file = upload(folders, "feed.csv")
    monkeypatch.setattr(os, "fsync", is_full)
    with pytest.raises(OSError, match="No space left"):
        folders._copy("feed.csv")
    assert (file.exists(), in_hand(folders)) == (True, [])


def test_a_file_that_is_rewritten_while_it_is_copied_stays_though_it_has_its_former_size(
    folders: WorkFolders, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = upload(folders, "feed.csv")
    monkeypatch.setattr(os, "fsync", lambda _: os.utime(file, (OLD, OLD + 1)))
    assert not folders._copy("feed.csv")
    assert (file.exists(), in_hand(folders)) == (True, [])


def test_a_folder_that_is_named_like_a_file_on_its_way_out_is_left_alone(
    folders: WorkFolders, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folders.drop.path / ".repoint-1-2-0123abcd-feed.csv"
    folder.mkdir()
    folders.restore()
    assert (folder.is_dir(), capsys.readouterr().err) == (True, "")


# --- who may reach them -----------------------------------------------------------------------------------------------


def test_a_work_folder_inside_the_watched_one_is_refused_though_a_link_leads_there(tmp_path: Path, drop: Path) -> None:
    (tmp_path / "elsewhere").symlink_to(drop)
    with (
        pytest.raises(Failed, match="outside the watched one") as failed,
        work_folders.opened(drop, tmp_path / "elsewhere" / "work"),
    ):
        pass
    assert failed.value.code == 2
    assert list(drop.iterdir()) == []


def test_a_work_folder_that_is_refused_is_closed(tmp_path: Path, drop: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work").chmod(0o750)
    before = open_descriptors()
    with pytest.raises(Failed, match="nobody else may enter"), work_folders.opened(drop, tmp_path / "work"):
        pass
    assert open_descriptors() == before


@pytest.mark.parametrize(("mode", "is_open"), [(0o755, False), (0o1777, False), (0o777, True), (0o775, True)])
def test_a_folder_above_in_which_others_can_rename_is_warned_of(
    tmp_path: Path, drop: Path, capsys: pytest.CaptureFixture[str], mode: int, *, is_open: bool
) -> None:
    tmp_path.chmod(mode)
    with work_folders.opened(drop, None):
        assert ("others may write to" in capsys.readouterr().err) == is_open


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone gives a folder to another user")
def test_a_folder_above_that_belongs_to_another_user_is_warned_of_and_a_work_folder_refused(
    tmp_path: Path, drop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.chown(tmp_path, 12_345, -1)
    with work_folders.opened(drop, None) as folders:
        assert "others may write to" in capsys.readouterr().err
        os.chown(folders.root.path, 12_345, -1)
    with pytest.raises(Failed, match="a folder of our own"), work_folders.opened(drop, None):
        pass


# --- the files of a watcher -------------------------------------------------------------------------------------------


def test_the_oldest_file_is_the_first(watch: Watch) -> None:
    for at, name in enumerate(("c", "a", "b")):
        upload(watch.folders, name, at=OLD + at)
    assert drop_folder._in_hand(watch) == ["c", "a", "b"]


def test_a_file_in_hand_is_closed_to_others_and_held_by_one_at_a_time(watch: Watch) -> None:
    upload(watch.folders, "feed.csv").chmod(0o644)
    before = open_descriptors()
    (name,) = drop_folder._in_hand(watch)
    for _ in range(2):
        with drop_folder._held(watch, name) as descriptor:
            assert descriptor is not None
            assert stat.S_IMODE(os.fstat(descriptor).st_mode) == 0o600
            with drop_folder._held(watch, name) as second:
                assert second is None
    assert open_descriptors() == before


def test_a_file_that_could_not_be_moved_is_not_tried_before_it_is_due(watch: Watch) -> None:
    file = upload(watch.folders, "feed.csv")
    watch.refusals.add(watch.folders.drop.title("feed.csv"))
    assert drop_folder._in_hand(watch) == []
    assert file.exists()


async def test_a_file_that_fails_here_is_tried_again_later_and_the_others_go_on(
    watch: Watch, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tried: list[str] = []

    async def process(_: Watch, name: str, _descriptor: int) -> bool:
        tried.append(name)
        if name == "a":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return True

    monkeypatch.setattr(drop_folder, "_process", process)
    for name in ("a", "b"):
        upload(watch.folders, name)
    assert await drop_folder.run_once(watch) == 1
    assert "/a: No space left on device; it is tried again later\n" in capsys.readouterr().err
    assert (watch.refusals.is_due("a"), watch.refusals.is_due("b")) == (False, True)
    assert await drop_folder.run_once(watch) == 1
    assert tried == ["a", "b", "b"]


async def test_a_file_that_the_broker_takes_at_last_is_put_away_and_the_next_of_its_name_begins_with_short_waits(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch.feed, watch.keep = None, timedelta(days=1)
    summaries = [Summary(lines=1, unsent=1), Summary(lines=1, sent=1)]

    async def send(*_: object, **__: object) -> Summary:
        return summaries.pop(0)

    monkeypatch.setattr(feed_files, "send", send)
    upload(watch.folders, "feed.jsonl")
    assert await drop_folder.run_once(watch) == 0
    assert (in_hand(watch.folders), watch.refusals.is_due("feed.jsonl")) == (["feed.jsonl"], False)
    watch.refusals._of["feed.jsonl"] = (0.0, 64.0)
    assert await drop_folder.run_once(watch) == 1
    assert watch.folders.processed.names() == ["feed.jsonl"]
    watch.refusals.add("feed.jsonl")
    assert watch.refusals._of["feed.jsonl"][1] == 2.0


@pytest.mark.parametrize(
    ("written", "changed", "is_settled"),
    [(-6, -6, True), (-4, -4, False), (-6, -1, True), (3600, -6, True), (3600, -4, False)],
)
def test_a_file_is_whole_when_it_was_not_written_to_for_five_seconds(
    watch: Watch, written: float, changed: float, *, is_settled: bool
) -> None:
    """By the last change of its entry where the upload kept a time that lies ahead."""
    whole = Watch(watch.folders, None, watch.settings, "")
    now = time.time()
    state = SimpleNamespace(st_mtime=now + written, st_ctime=now + changed)
    assert drop_folder._is_settled(whole, cast(Any, state)) is is_settled


def test_a_file_that_has_lost_its_name_to_another_is_not_in_hand(watch: Watch) -> None:
    folder = watch.folders.in_hand
    folder.write("feed.csv", b"first")
    descriptor = folder.open("feed.csv")
    try:
        assert drop_folder._is_named(folder, "feed.csv", descriptor)
        folder.remove("feed.csv")
        assert not drop_folder._is_named(folder, "feed.csv", descriptor)
        folder.write("feed.csv", b"second")
        assert not drop_folder._is_named(folder, "feed.csv", descriptor)
    finally:
        os.close(descriptor)


def test_a_file_lets_others_have_their_turn_if_it_came_further_and_one_of_them_is_due(watch: Watch) -> None:
    upload(watch.folders, "long")
    folders = watch.folders
    assert folders.pick_up("long")
    folders.in_hand.write(
        checkpoint.beside("long"), b'{"feed": "vau", "size": 9, "modified": 1, "at": "2026-11-20", "offset": 5}'
    )
    assert not drop_folder._others_wait(watch, "long", 4)
    upload(folders, "short")
    assert drop_folder._others_wait(watch, "long", 4)
    assert not drop_folder._others_wait(watch, "long", 5)
    watch.refusals.add("short")
    assert not drop_folder._others_wait(watch, "long", 4)


def test_a_file_of_no_use_is_kept_though_files_with_full_numbers_are_not(watch: Watch) -> None:
    for name, summary in (("useless", Summary(is_blank=True)), ("sent", Summary(lines=1, sent=1))):
        watch.folders.in_hand.write(name, b"x")
        drop_folder._put_away(watch, name, summary)
    assert (watch.folders.failed.names(), watch.folders.processed.names()) == (["useless"], [])


async def test_files_that_are_kept_for_less_than_a_minute_are_removed_as_early(watch: Watch) -> None:
    watch.keep = timedelta(milliseconds=1)
    watch.folders.processed.write("feed.csv", b"x")
    watch.expired_at = time.monotonic()

    async def is_removed() -> bool:
        drop_folder._expire(watch)
        return watch.folders.processed.names() == []

    await until(is_removed, within=30)
