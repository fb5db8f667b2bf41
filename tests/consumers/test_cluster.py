"""What the brokers' errors mean, and when a topic is another one: told from the error or the ids alone."""

import asyncio
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
from aiokafka.protocol.fetch import FetchRequest_v11, FetchResponse_v4, FetchResponse_v10, FetchResponse_v11
from aiokafka.protocol.metadata import MetadataResponse_v4
from aiokafka.protocol.offset import OffsetRequest_v2, OffsetResponse_v1

from consumers.cluster import Cluster, FetchedBatches, Topic, TopicMissing, TopicRemade, Trouble, trouble_of

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


# --- what is asked, and what the answers hold ---------------------------------------------------------------------


class Client:
    """aiokafka's client with answers of the test's own; without one, it never answers. `asked` is (node, request)."""

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {}
        self.node: int | None = 1
        self.answers: list[Any] = []
        self.asked: list[tuple[int | None, Any]] = []
        self.closed = 0

    def __call__(self, **settings: Any) -> "Client":
        self.settings = settings
        return self

    async def bootstrap(self) -> None:
        pass

    async def close(self) -> None:
        self.closed += 1

    def get_random_node(self) -> int | None:
        return self.node

    async def send(self, node: int | None, request: Any) -> Any:
        self.asked.append((node, request))
        if not self.answers:
            await asyncio.Event().wait()
        return self.answers.pop(0)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    client = Client()
    monkeypatch.setattr("consumers.cluster.AIOKafkaClient", client)
    return client


def offset_answer(offset: int, error_code: int = 0) -> Any:
    return OffsetResponse_v1([("updates", [(1, error_code, -1, offset)])])


async def test_the_connection_is_made_as_the_settings_say(client: Client) -> None:
    client.answers = [offset_answer(3), offset_answer(9)]
    security = {"security_protocol": "SASL_SSL", "sasl_plain_username": "repoint"}
    async with Cluster(bootstrap_servers="kafka:9093", security=security) as cluster:
        assert await cluster.ends(Topic("updates", FIRST, {1: 4}), 1) == (3, 9)
    assert client.settings.items() >= ({"bootstrap_servers": "kafka:9093"} | security).items()
    asked = [request.build(OffsetRequest_v2).to_object() for _, request in client.asked]
    # the earliest (-2), then the latest (-1) that is committed
    assert [request["isolation_level"] for request in asked] == [1, 1]
    assert [request["topics"][0]["partitions"][0] for request in asked] == [
        {"partition": 1, "timestamp": -2},
        {"partition": 1, "timestamp": -1},
    ]
    # aiokafka would wait longer for a broker that does not answer
    assert client.settings["request_timeout_ms"] == 5000
    assert [node for node, _ in client.asked] == [4, 4]
    assert client.closed == 1


@pytest.mark.parametrize("leader", [-1, None])
async def test_nobody_is_asked_for_a_partition_without_a_leader(client: Client, leader: Any) -> None:
    """Aiokafka would log it each time."""
    async with Cluster(bootstrap_servers="kafka:9093") as cluster:
        with pytest.raises(Trouble, match="the broker cannot be reached"):
            await cluster.ends(Topic("updates", FIRST, {1: leader}), 1)
        with pytest.raises(Trouble, match="the broker cannot be reached"):
            await cluster.read(Topic("updates", FIRST, {1: leader}), 1, 0)
    assert client.asked == []


async def test_nobody_is_asked_about_a_topic_where_no_broker_is_known(client: Client) -> None:
    client.node = None
    async with Cluster(bootstrap_servers="kafka:9093") as cluster:
        with pytest.raises(Trouble, match="the broker cannot be reached"):
            await cluster.describe("updates")
    assert client.asked == []


async def test_a_broker_that_does_not_answer_counts_as_away(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumers.cluster._ANSWER_SECONDS", 0.1)
    topic = Topic("updates", FIRST, {1: 4})
    async with Cluster(bootstrap_servers="kafka:9093") as cluster, asyncio.timeout(20):
        for question in (cluster.describe("updates"), cluster.ends(topic, 1), cluster.read(topic, 1, 7)):
            with pytest.raises(Trouble, match="the broker cannot be reached"):
                await question
    assert client.closed == 3, "the next question has a connection of its own"


ABORTED = [(7, 3), (8, 4)]


@pytest.mark.parametrize(
    "answer",
    [
        FetchResponse_v4(0, [("updates", [(1, 0, 9, 8, ABORTED, b"batches")])]),
        FetchResponse_v10(0, 0, 0, [("updates", [(1, 0, 9, 8, 2, ABORTED, b"batches")])]),
        FetchResponse_v11(0, 0, 0, [("updates", [(1, 0, 9, 8, 2, ABORTED, -1, b"batches")])]),
    ],
    ids=["version 4", "version 10", "version 11"],
)
async def test_batches_are_read_from_an_answer_of_each_version(client: Client, answer: Any) -> None:
    client.answers = [answer]
    async with Cluster(bootstrap_servers="kafka:9093") as cluster:
        assert await cluster.read(Topic("updates", FIRST, {1: 4}), 1, 7) == FetchedBatches(
            b"batches", ((7, 3), (8, 4)), 9
        )
    ((node, request),) = client.asked
    asked = request.build(FetchRequest_v11).to_object()
    assert (node, asked["isolation_level"], asked["max_wait_time"]) == (4, 1, 0)
    (of_topic,) = asked["topics"]
    assert (of_topic["topic"], [(each["partition"], each["fetch_offset"]) for each in of_topic["partitions"]]) == (
        "updates",
        [(1, 7)],
    )


async def test_an_answer_without_batches_holds_none(client: Client) -> None:
    client.answers = [FetchResponse_v11(0, 0, 0, [("updates", [(1, 0, 9, 8, 2, None, -1, None)])])]
    async with Cluster(bootstrap_servers="kafka:9093") as cluster:
        assert await cluster.read(Topic("updates", FIRST, {1: 4}), 1, 7) == FetchedBatches(b"", (), 9)


async def test_what_a_partition_s_leader_refuses_is_a_trouble(client: Client) -> None:
    client.answers = [
        FetchResponse_v11(0, 0, 0, [("updates", [(1, 6, -1, -1, -1, None, -1, None)])]),
        offset_answer(3),
        offset_answer(-1, error_code=6),
        offset_answer(-1, error_code=29),
    ]
    topic = Topic("updates", FIRST, {1: 4})
    async with Cluster(bootstrap_servers="kafka:9093") as cluster:
        with pytest.raises(Trouble, match="the broker cannot be used: NotLeaderForPartitionError"):
            await cluster.read(topic, 1, 7)
        with pytest.raises(Trouble, match="the broker cannot be used: NotLeaderForPartitionError"):
            await cluster.ends(topic, 1)
        with pytest.raises(Trouble, match="the broker does not let us read the topic updates"):
            await cluster.ends(topic, 1)


@pytest.mark.parametrize(
    ("error_code", "kind", "text"),
    [(3, TopicMissing, "the topic updates is not there"), (29, Trouble, "the broker does not let us read the topic")],
)
async def test_what_a_broker_says_of_a_topic_that_cannot_be_described_is_a_trouble(
    client: Client, error_code: int, kind: type[Trouble], text: str
) -> None:
    client.answers = [MetadataResponse_v4(0, [], "cluster", 1, [(error_code, "updates", False, [])])]
    async with Cluster(bootstrap_servers="kafka:9093") as cluster:
        with pytest.raises(kind, match=text) as raised:
            await cluster.describe("updates")
    assert type(raised.value) is kind


async def test_a_topic_is_described_by_its_leaders_and_by_no_id_where_the_broker_has_none(client: Client) -> None:
    partitions = [(0, 0, 4, [4], [4]), (5, 1, -1, [4], [])]
    client.answers = [MetadataResponse_v4(0, [], "cluster", 1, [(0, "updates", False, partitions)])]
    async with Cluster(bootstrap_servers="kafka:9093") as cluster:
        assert await cluster.describe("updates") == Topic("updates", None, {0: 4, 1: -1})
