"""A key goes where every other client of Kafka sends it."""

from aiokafka.partitioner import DefaultPartitioner
from aiokafka.partitioner import murmur2 as theirs
from hypothesis import given
from hypothesis import strategies as st

from producers.topic.partition import murmur2, partition_of


@given(st.binary(max_size=80), st.integers(1, 50))
def test_a_key_goes_to_the_partition_that_others_choose(key: bytes, count: int) -> None:
    partitions = list(range(count))
    assert murmur2(key) == theirs(key) & 0xFFFFFFFF
    assert partition_of(key, partitions) == DefaultPartitioner()(key, partitions, partitions)


def test_what_has_no_key_goes_anywhere() -> None:
    assert {partition_of(None, [0, 1, 2]) for _ in range(200)} == {0, 1, 2}
