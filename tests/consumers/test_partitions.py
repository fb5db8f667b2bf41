"""Where each partition stands is known of this assignment alone: the next one begins at what is committed."""

from typing import Any, cast
from uuid import uuid4

import pytest
from aiokafka import ConsumerRecord, TopicPartition

from consumers.cluster import Topic
from consumers.partitions import Partitions
from store.topics import Incarnation

PLACE = TopicPartition("updates", 0)
# What is here asks neither the brokers nor the database.
NOBODY = cast(Any, None)


@pytest.fixture
def partitions() -> Partitions:
    return Partitions(
        NOBODY,
        ledger=NOBODY,
        cluster=NOBODY,
        halts=NOBODY,
        topic=Topic("updates", uuid4(), {0: 1}),
        incarnation=Incarnation("updates", 0),
        commit=NOBODY,
    )


def messages(*offsets: int) -> Any:
    return {
        PLACE: [ConsumerRecord("updates", 0, offset, 0, 0, None, b"{}", None, -1, 2, ()) for offset in offsets],
    }


def test_a_partition_stands_behind_the_last_message_that_it_gave(partitions: Partitions) -> None:
    partitions.note_positions(messages(3, 4, 7), is_current=True)
    assert partitions.positions == {PLACE: 8}


def test_what_a_former_assignment_gave_says_nothing_of_where_this_one_stands(partitions: Partitions) -> None:
    """It may not have been taken in: what is behind it would be skipped over where a batch cannot be read."""
    partitions.note_positions(messages(3), is_current=True)
    partitions.note_positions(messages(8, 9), is_current=False)
    assert partitions.positions == {}
