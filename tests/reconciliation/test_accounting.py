"""The job accounting: offsets that the group has passed and nobody recorded, and deliveries that are nowhere."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.reconciliation import Finding, FindingKind, JobName, Scope
from domain.update import UpdateType
from reconciliation import jobs
from reconciliation.accounting import PartitionOffsets, TopicLog, TopicOffsets, gaps
from store import skips, topics
from store.reconciliation.offsets import OffsetRange
from store.topics import Incarnation, Loss
from tests.consumers.harness import Harness
from tests.domain.build import method, replaced, reported, wallet
from tests.reconciliation.drift import KEPT, plant, run

TOPIC_ID = UUID(int=7)
UPDATES = Incarnation("updates", 0)


@dataclass
class Broker:
    """What a broker says of the topic: (first offset, committed offset) by partition, and its messages with a value."""

    partitions: dict[int, tuple[int, int | None]]
    messages: dict[int, list[int]] = field(default_factory=dict)
    topic_id: UUID | None = TOPIC_ID
    asked: list[tuple[int, OffsetRange]] = field(default_factory=list)

    @property
    def log(self) -> TopicLog:
        async def offsets() -> TopicOffsets:
            partitions = {number: PartitionOffsets(*partition) for number, partition in self.partitions.items()}
            return TopicOffsets("updates", self.topic_id, partitions)

        async def messages(partition: int, within: OffsetRange) -> Sequence[int]:
            self.asked.append((partition, within))
            return [offset for offset in self.messages.get(partition, ()) if within.start <= offset < within.end]

        return TopicLog(offsets, messages)


@pytest.fixture
async def harness(engine: AsyncEngine) -> Harness:
    """The messages 0 to 4 of partition 0 and 0 to 1 of partition 2, one of them unreadable."""
    harness = Harness(engine)
    await harness.import_wallets(wallet(method("A")))
    async with engine.begin() as connection:
        await topics.meet(connection, "updates", TOPIC_ID)
    for number in range(4):
        await harness.report(reported(UpdateType.CLOSED, f"X{number}", on=1, id=f"u{number}"))
    await harness.report(b"{")
    await harness.report(*(reported(UpdateType.CLOSED, f"Y{n}", on=1, id=f"y{n}") for n in range(2)), partition=2)
    return harness


async def account(harness: Harness, broker: Broker | None, since: datetime | None = None) -> list[Finding]:
    scope = Scope(repairs=True, since=since)
    log = None if broker is None else broker.log
    report = await jobs.reconcile(harness.engine, JobName.ACCOUNTING, KEPT, scope, log=log)
    found = [finding async for finding, _ in jobs.findings(harness.engine, report.run.id)]
    assert report.repaired == 0
    return found


async def test_offsets_that_have_an_outcome_or_a_letter_come_out(harness: Harness) -> None:
    broker = Broker({0: (0, 5), 1: (0, None), 2: (0, 2)})
    assert await account(harness, broker) == []
    assert broker.asked == []
    assert await account(harness, None) == []


async def test_messages_that_the_group_has_not_passed_are_no_finding(harness: Harness) -> None:
    assert await account(harness, Broker({0: (0, 3), 2: (0, 1)}, {0: list(range(20))})) == []


@pytest.mark.parametrize(
    ("lost", "committed", "where"),
    [
        ([2], 5, "1 message at offset 2"),
        ([1, 2], 5, "2 messages at offsets 1 to 2"),
        ([5, 6, 7], 8, "3 messages at offsets 5 to 7"),
    ],
    ids=["one in between", "two in between", "a reset to later"],
)
async def test_messages_without_an_outcome_are_named(
    harness: Harness, lost: list[int], committed: int, where: str
) -> None:
    await plant(
        harness, "DELETE FROM inbox WHERE partition = 0 AND kafka_offset = ANY(CAST(:lost AS bigint[]))", lost=lost
    )
    finding = (FindingKind.MESSAGE_WITHOUT_OUTCOME, "updates/0", f"an outcome of {where}", None)
    for _ in range(2):
        assert await account(harness, Broker({0: (0, committed), 2: (0, 2)}, {0: list(range(9))})) == [finding]


async def test_what_has_no_value_needs_no_outcome(harness: Harness) -> None:
    """Tombstones, markers of transactions, and what a compaction removed: the broker has no message there."""
    broker = Broker({0: (0, 9)}, {0: [0, 1, 2, 3, 4]})
    assert await account(harness, broker) == []
    assert broker.asked == [(0, OffsetRange(5, 9))]


async def test_what_was_lost_or_skipped_is_accounted_for(harness: Harness) -> None:
    async with harness.engine.begin() as connection:
        await topics.lose(connection, UPDATES, 0, start=5, end=7, reason=Loss.RETENTION)
        await skips.order(connection, UPDATES, 0, 8, "corrupt")
        await skips.obey(connection, UPDATES, 0, start=7, end=10)
    broker = Broker({0: (0, 12)}, {0: list(range(20))})
    assert await account(harness, broker) == [
        (FindingKind.MESSAGE_WITHOUT_OUTCOME, "updates/0", "an outcome of 2 messages at offsets 10 to 11", None)
    ]
    assert broker.asked == [(0, OffsetRange(10, 12))]


async def test_what_the_topic_has_not_any_more_is_not_asked_for(harness: Harness) -> None:
    await plant(harness, "DELETE FROM inbox WHERE partition = 0 AND kafka_offset IN (1, 2)")
    broker = Broker({0: (2, 5)}, {0: [2]})
    assert await account(harness, broker) == [
        (FindingKind.MESSAGE_WITHOUT_OUTCOME, "updates/0", "an outcome of 1 message at offset 2", None)
    ]
    assert broker.asked == [(0, OffsetRange(2, 3))]


async def test_what_retention_takes_before_it_is_read_is_found_until_a_worker_notes_it(harness: Harness) -> None:
    broker = Broker({0: (9, 5)})
    assert await account(harness, broker) == [
        (FindingKind.LOST_BEFORE_READ, "updates/0", "offset 5 to be read next", "it begins at 9")
    ]
    async with harness.engine.begin() as connection:
        await topics.lose(connection, UPDATES, 0, start=5, end=9, reason=Loss.RETENTION)
    assert await account(harness, broker) == []


async def test_a_group_that_was_set_before_it_read_anything_has_passed_messages(engine: AsyncEngine) -> None:
    harness = Harness(engine)
    async with engine.begin() as connection:
        await topics.meet(connection, "updates", TOPIC_ID)
    assert await account(harness, Broker({0: (3, 6)}, {0: [3, 4, 5, 6]})) == [
        (FindingKind.MESSAGE_WITHOUT_OUTCOME, "updates/0", "an outcome of 3 messages at offsets 3 to 5", None)
    ]


async def test_a_topic_that_was_made_anew_is_compared_once_a_worker_has_met_it(harness: Harness) -> None:
    broker = Broker({0: (0, 2)}, {0: [0, 1]}, topic_id=UUID(int=8))
    assert await account(harness, broker) == []
    async with harness.engine.begin() as connection:
        await topics.meet(connection, "updates", UUID(int=8))
    assert len(await account(harness, broker)) == 1


async def test_pages_go_on_from_partition_to_partition(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_PAGE", 2)
    await plant(harness, "DELETE FROM inbox WHERE (partition, kafka_offset) IN ((0, 2), (2, 1))")
    found = await account(harness, Broker({0: (0, 5), 2: (0, 3)}, {0: list(range(9)), 2: list(range(9))}))
    assert [(subject, expected) for _, subject, expected, _ in found] == [
        ("updates/0", "an outcome of 1 message at offset 2"),
        ("updates/2", "an outcome of 2 messages at offsets 1 to 2"),
    ]


async def test_only_offsets_since_a_time_are_compared(harness: Harness) -> None:
    await plant(harness, "DELETE FROM inbox WHERE partition = 0 AND kafka_offset = 1")
    await plant(
        harness,
        "UPDATE inbox SET received_at = received_at - interval '3 hours' WHERE kafka_offset < 2 AND partition = 0",
    )
    broker = Broker({0: (0, 5), 2: (0, 2)}, {0: list(range(9))})
    assert await account(harness, broker, datetime.now(UTC) - timedelta(hours=1)) == []
    assert len(await account(harness, broker, datetime.now(UTC) - timedelta(hours=4))) == 1


async def test_a_delivery_that_vanished_is_found_by_the_ledger(harness: Harness) -> None:
    await harness.report(replaced("A", "B", on=1))
    assert await account(harness, None) == []
    await plant(harness, "DELETE FROM deliveries WHERE endpoint_id = 'pharmacy'")
    assert await account(harness, None) == [(FindingKind.DELIVERIES_UNACCOUNTED, "deliveries", "4 live", "2 live")]


async def test_the_job_repairs_nothing(harness: Harness) -> None:
    await harness.report(replaced("A", "B", on=1))
    await plant(harness, "DELETE FROM deliveries WHERE endpoint_id = 'pharmacy'")
    [(finding, is_repaired)] = (await run(harness, JobName.ACCOUNTING)).findings
    assert isinstance(finding, Finding)
    assert not is_repaired


@pytest.mark.parametrize(
    ("covered", "expected"),
    [
        ([], [(0, 10)]),
        ([(0, 10)], []),
        ([(3, 4), (6, 8)], [(0, 3), (4, 6), (8, 10)]),
        ([(6, 8), (3, 4), (3, 7)], [(0, 3), (8, 10)]),
        ([(2, 9), (3, 4)], [(0, 2), (9, 10)]),
        ([(-5, 2), (9, 20)], [(2, 9)]),
    ],
)
def test_gaps_are_what_no_range_covers(covered: list[tuple[int, int]], expected: list[tuple[int, int]]) -> None:
    assert list(gaps(OffsetRange(0, 10), [OffsetRange(*part) for part in covered])) == expected
