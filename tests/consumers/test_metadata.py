"""What Kafka's Metadata request asks, byte for byte, and what is read of its answers."""

import struct
from typing import Any
from uuid import UUID

import pytest

from consumers.metadata import TopicRequest, read_topic

METADATA = 3
ID = UUID("00112233-4455-6677-8899-aabbccddeeff")


def request(newest: int) -> Any:
    """As it is sent to a broker that knows the versions up to `newest`."""
    return TopicRequest("updates").prepare({METADATA: (0, newest)})


def answer(newest: int, content: bytes) -> Any:
    return request(newest).RESPONSE_TYPE.decode(content)


def test_a_topic_is_asked_about_by_its_name_and_is_not_made() -> None:
    asked = request(12)
    assert (asked.API_KEY, asked.API_VERSION) == (METADATA, 12)
    # an array of one: no id, the name, no tags; then: do not make it, no operations, no tags
    assert asked.encode() == b"\x02" + bytes(16) + b"\x08updates\0" + b"\0\0\0"


def test_a_broker_without_ids_is_asked_in_an_older_way() -> None:
    asked = request(9)
    assert (asked.API_KEY, asked.API_VERSION) == (METADATA, 4)
    assert asked.encode() == struct.pack(">i", 1) + b"\0\x07updates" + b"\0"


@pytest.mark.parametrize(("named", "known"), [(ID, ID), (UUID(int=0), None)])
def test_an_answer_names_the_topic_s_id_and_the_leader_of_each_partition(named: UUID, known: UUID | None) -> None:
    def partition(number: int, leader: int) -> bytes:
        return struct.pack(">hiii", 0, number, leader, 5) + b"\x02" + struct.pack(">i", leader) + b"\x01\x01\0"

    content = b"".join([
        struct.pack(">i", 0),
        b"\x02" + struct.pack(">i", 1) + b"\x04b-1" + struct.pack(">i", 9092) + b"\0\0",  # a broker without a rack
        b"\x08cluster" + struct.pack(">i", 1),
        b"\x02" + struct.pack(">h", 0) + b"\x08updates" + named.bytes + b"\0",
        b"\x03" + partition(0, 4) + partition(1, -1),
        struct.pack(">i", -(1 << 31)) + b"\0\0",
    ])  # fmt: skip
    assert read_topic(answer(12, content)) == (0, known, {0: 4, 1: -1})


def test_an_older_answer_has_no_id() -> None:
    def partition(number: int, leader: int) -> bytes:
        return struct.pack(">hiiiii", 0, number, leader, 1, leader, 0)

    content = b"".join([
        struct.pack(">ii", 0, 0),
        b"\0\x07cluster" + struct.pack(">ii", 1, 1),
        struct.pack(">h", 3) + b"\0\x07updates\0" + struct.pack(">i", 2) + partition(0, 4) + partition(1, 5),
    ])  # fmt: skip
    assert read_topic(answer(4, content)) == (3, None, {0: 4, 1: 5})
