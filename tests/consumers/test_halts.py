"""Partitions that stand still are named: those at a corrupt batch, and those behind an open transaction."""

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from consumers.halts import Halts, OpenTransactions
from consumers.records import Corrupt

WRONG = Corrupt(7, 9, "the checksum of a record batch is wrong")
UNPACKED = Corrupt(3, 4, "a record batch is of format 1")


def metric(name: str, topic: str, partition: int) -> float | None:
    return REGISTRY.get_sample_value(name, {"topic": topic, "partition": str(partition)})


# --- halts --------------------------------------------------------------------------------------------------------


def test_a_halted_partition_is_named_with_the_command_that_passes_its_batch() -> None:
    halts = Halts("halts-named")
    assert halts.reason() is None
    with capture_logs() as logs:
        halts.halt(2, WRONG)
    assert 2 in halts
    assert 1 not in halts
    assert halts.items() == [(2, WRONG)]
    assert metric("repoint_partition_halted", "halts-named", 2) == 1
    assert logs == [
        {
            "event": "partition halted",
            "log_level": "error",
            "topic": "halts-named",
            "partition": 2,
            "offset": 7,
            "end": 9,
            "reason": "the checksum of a record batch is wrong",
            "skip": "repoint topics skip halts-named 2 7 --reason …",
        }
    ]
    assert halts.reason() == (
        "partition 2 of halts-named is halted at offset 7: the checksum of a record batch is wrong"
        " (`repoint topics skip halts-named 2 7 --reason …` passes it)"
    )


def test_all_halted_partitions_are_named_in_their_order() -> None:
    halts = Halts("halts-many")
    halts.halt(2, WRONG)
    halts.halt(0, UNPACKED)
    reason = halts.reason()
    assert reason is not None
    assert [part.split(" of ")[0] for part in reason.split("; ")] == ["partition 0", "partition 2"]


def test_what_is_released_is_halted_no_more_and_the_others_are() -> None:
    halts = Halts("halts-released")
    halts.halt(0, UNPACKED)
    halts.halt(2, WRONG)
    halts.release([2, 5])
    assert halts.items() == [(0, UNPACKED)]
    assert [metric("repoint_partition_halted", "halts-released", partition) for partition in (0, 2, 5)] == [1, 0, None]
    halts.release_all()
    assert halts.items() == []
    assert halts.reason() is None
    assert metric("repoint_partition_halted", "halts-released", 0) == 0


def test_a_halt_is_logged_once_a_minute_and_another_one_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("loops.waiting.time.monotonic", lambda: now[0])
    halts = Halts("halts-reminded")
    with capture_logs() as logs:
        halts.remind()
        halts.halt(2, WRONG)
        now[0] += 59
        halts.remind()
        halts.halt(0, UNPACKED)
        now[0] += 60
        halts.remind()
        halts.release_all()
        now[0] += 60
        halts.remind()
    assert [line["partition"] for line in logs] == [2, 2, 0, 2, 0]


# --- open transactions --------------------------------------------------------------------------------------------


def held(topic: str, partition: int) -> float | None:
    return metric("repoint_partition_held_messages", topic, partition)


def test_what_a_transaction_holds_is_counted_while_it_is_open() -> None:
    transactions = OpenTransactions("held-counted")
    transactions.look([(0, 10, 10), (1, 4, 9)])
    assert (held("held-counted", 0), held("held-counted", 1)) == (0, 5)
    transactions.look([(0, 10, 12), (1, 9, 9)])
    assert (held("held-counted", 0), held("held-counted", 1)) == (2, 0)


def test_a_stable_offset_that_is_ahead_of_the_high_watermark_holds_nothing() -> None:
    """The two come with different answers of the broker."""
    transactions = OpenTransactions("held-ahead")
    with capture_logs() as logs:
        for _ in range(4):
            transactions.look([(0, 12, 10)])
    assert held("held-ahead", 0) == 0
    assert logs == []


def test_a_partition_of_another_member_is_not_held_for_this_one() -> None:
    transactions = OpenTransactions("held-gone")
    transactions.look([(0, 4, 9), (1, 4, 9)])
    transactions.look([(1, 4, 9)])
    assert (held("held-gone", 0), held("held-gone", 1)) == (0, 5)
    transactions.look(())
    assert held("held-gone", 1) == 0


def test_a_transaction_is_named_when_it_is_open_at_the_third_look(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("loops.waiting.time.monotonic", lambda: now[0])
    transactions = OpenTransactions("held-named")
    with capture_logs() as logs:
        transactions.look([(1, 4, 9)])
        transactions.look([(1, 4, 10)])
        assert logs == []
        transactions.look([(1, 4, 11)])
        transactions.look([(1, 4, 12)])
        now[0] += 60
        transactions.look([(1, 4, 13)])
    assert logs[0] == {
        "event": "partition held by an open transaction",
        "log_level": "warning",
        "topic": "held-named",
        "partition": 1,
        "last_stable_offset": 4,
        "high_watermark": 11,
    }
    assert [line["high_watermark"] for line in logs] == [11, 13]


def test_one_transaction_after_another_is_no_open_one() -> None:
    transactions = OpenTransactions("held-moving")
    with capture_logs() as logs:
        for stable in range(8):
            transactions.look([(1, stable, 20)])
        transactions.look([(1, 7, 20)])
        transactions.look([(1, 20, 20)])
        transactions.look([(1, 7, 20)])
    assert logs == []
