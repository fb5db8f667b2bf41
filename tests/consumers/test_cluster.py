"""What the brokers' errors mean, and when a topic is another one: told from the error or the ids alone."""

from typing import Any
from uuid import UUID

import pytest
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    InvalidTopicError,
    KafkaConnectionError,
    NodeNotReadyError,
    NotLeaderForPartitionError,
    RequestTimedOutError,
    StaleMetadata,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from consumers.cluster import Cluster, Topic, TopicMissing, TopicRemade, Trouble, trouble_of

FIRST, SECOND = UUID(int=1), UUID(int=2)


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (
            UnknownTopicOrPartitionError(),
            TopicMissing,
            "the topic updates is not there: `repoint topics create` makes it",
        ),
        (TopicAuthorizationFailedError(), Trouble, "the broker does not let us read the topic updates"),
        (GroupAuthorizationFailedError(), Trouble, "the broker does not let us join the group workers"),
        (InvalidTopicError(), Trouble, "updates is no name that the broker allows for a topic"),
        (KafkaConnectionError(), Trouble, "the broker cannot be reached"),
        (NodeNotReadyError(), Trouble, "the broker cannot be reached"),
        (RequestTimedOutError(), Trouble, "the broker cannot be reached"),
        (StaleMetadata(), Trouble, "the broker cannot be reached"),
        (TimeoutError(), Trouble, "the broker cannot be reached"),
        (ConnectionRefusedError(), Trouble, "the broker cannot be reached"),
        (NotLeaderForPartitionError(), Trouble, "the broker cannot be used: NotLeaderForPartitionError"),
        (KeyError(3), Trouble, "the broker cannot be used: KeyError"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_an_error_of_the_broker_is_named(error: Exception, kind: type[Trouble], text: str) -> None:
    named = trouble_of(error, "updates", "workers")
    assert (type(named), str(named)) == (kind, text)


def test_a_trouble_stays_what_it_is() -> None:
    remade = TopicRemade("updates")
    assert trouble_of(remade, "updates") is remade
    assert str(remade) == "the topic updates was made anew: it is read from its beginning"


@pytest.mark.parametrize(
    ("former", "present", "is_another"),
    [(FIRST, FIRST, False), (FIRST, SECOND, True), (None, FIRST, False), (FIRST, None, False), (None, None, False)],
)
async def test_a_topic_of_another_id_was_made_anew(
    former: UUID | None, present: UUID | None, *, is_another: bool
) -> None:
    """Brokers without ids cannot tell."""
    described = Topic("updates", present, {0: 1, 1: 2})

    class Described(Cluster):
        async def describe(self, topic: str) -> Topic:
            assert topic == "updates"
            return described

    asked = Described(bootstrap_servers="127.0.0.1:1").describe_again(Topic("updates", former, {0: 1}))
    if is_another:
        with pytest.raises(TopicRemade):
            await asked
    else:
        assert await asked is described


async def test_after_a_failure_the_connection_is_made_anew() -> None:
    """The next answer may come from another broker."""
    cluster = Cluster(bootstrap_servers="127.0.0.1:1")
    closed = []

    class Connection:
        async def close(self) -> None:
            closed.append(True)

    async def fails() -> Any:
        raise NotLeaderForPartitionError

    cluster._client = Connection()
    with pytest.raises(Trouble):
        await cluster._answer(fails(), "updates")
    assert closed == [True]
    assert cluster._client is None


async def test_a_partition_that_the_topic_does_not_have_is_a_trouble() -> None:
    """No broker is asked: the description of the topic has no leader of such a partition."""
    async with Cluster(bootstrap_servers="127.0.0.1:9") as cluster:
        with pytest.raises(Trouble, match="the broker cannot be used: KeyError"):
            await cluster.ends(Topic("updates", FIRST, {0: 1}), 3)
