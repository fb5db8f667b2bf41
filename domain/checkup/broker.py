"""The topics on Kafka and the groups that read them.

check     fault
───────   ──────────────────────────────────────────────────────────────────────────────────────────────────────────
topics    missing; a partition without a leader, or with too few replicas in sync to be written to; a topic that is
          compacted, or that keeps its messages for less than a day
groups    nobody reads the topic although it has unread messages; messages have waited for an hour; messages were
          removed before they were read; a corrupt batch that a person must have skipped
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from domain.checkup.diagnosis import Diagnosis, Level, span, verdict

UNREAD_WARNING, UNREAD_FAULT = timedelta(minutes=5), timedelta(hours=1)
"""Messages that have waited for so long are a warning, and a fault."""

# A lost database is rebuilt from the topic, and a weekend must not empty it.
_SHORT_RETENTION, _SHORTEST_RETENTION = timedelta(days=7), timedelta(days=1)
# The loss of one broker of three loses nothing.
_REPLICAS = 3
# The longest message that the program reads.
_MESSAGE_BYTES = 1024 * 1024
_CREATE = "repoint topics create"


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition: whether it has a leader, its replicas, and how many of them are in sync."""

    number: int
    led: bool
    replicas: int
    in_sync: int


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic, its settings by Kafka's names (None: the broker does not tell us), and the number of brokers."""

    name: str
    partitions: Sequence[Partition]
    settings: Mapping[str, str] | None
    brokers: int


@dataclass(frozen=True, slots=True)
class GroupState:
    """A group that reads a topic.

    `unread` messages wait, `waited` and `waited_long` of them for UNREAD_WARNING and UNREAD_FAULT; `removed` messages
    were gone from the topic before the group read them. `corrupt` are the partitions whose next batch cannot be read,
    with its offset.
    """

    group: str
    topic: str
    partitions: int
    members: int
    unread: int
    waited: int
    waited_long: int
    removed: int
    corrupt: Sequence[tuple[int, int]] = ()


def missing_topic(name: str, *, is_needed: bool) -> Diagnosis:
    """Judge a topic that is not there; one that no feed needs is a warning."""
    level = Level.FAULT if is_needed else Level.WARNING
    return verdict("topics", name, level, "a topic of this name", "is not there", command=_CREATE)


def topic(state: TopicState) -> Iterator[Diagnosis]:
    """Judge a topic: its partitions and replicas, and its settings."""
    problems = [*_partitions(state), *_settings(state)]
    yield from problems
    if not problems:
        count = len(state.partitions)
        measured = f"{count} partition{'' if count == 1 else 's'}, all in sync"
        yield Diagnosis("topics", state.name, Level.OK, "led, in sync, and kept for long", measured)


def _partitions(state: TopicState) -> Iterator[Diagnosis]:
    describe = f"kafka-topics.sh --describe --topic {state.name}"
    if leaderless := [partition.number for partition in state.partitions if not partition.led]:
        measured = f"none for {_numbers(leaderless)}"
        yield Diagnosis("topics", state.name, Level.FAULT, "a leader of each partition", measured, describe)
    least = int((state.settings or {}).get("min.insync.replicas", "1"))
    if unwritable := [partition.number for partition in state.partitions if partition.in_sync < least]:
        measured = f"fewer for {_numbers(unwritable)}: nothing can be written"
        expected = f"{least} replicas in sync (min.insync.replicas)"
        yield Diagnosis("topics", state.name, Level.FAULT, expected, measured, describe)
    elif behind := [partition.number for partition in state.partitions if partition.in_sync < partition.replicas]:
        measured = f"not those of {_numbers(behind)}"
        yield Diagnosis("topics", state.name, Level.WARNING, "all replicas in sync", measured, describe)
    wanted = min(_REPLICAS, state.brokers)
    fewest = min((partition.replicas for partition in state.partitions), default=wanted)
    if fewest < wanted:
        measured = f"{fewest} of a partition"
        command = "kafka-reassign-partitions.sh --help"
        yield Diagnosis("topics", state.name, Level.WARNING, f"{wanted} replicas", measured, command)


def _numbers(partitions: Collection[int]) -> str:
    """`partition 3`, or `partitions 0, 2, 4`."""
    return f"partition{'' if len(partitions) == 1 else 's'} {', '.join(map(str, sorted(partitions)))}"


def _settings(state: TopicState) -> Iterator[Diagnosis]:
    settings = state.settings or {}
    if state.settings is None:
        command = f"kafka-acls.sh --add --operation DescribeConfigs --topic {state.name} --allow-principal NAME"
        yield Diagnosis("topics", state.name, Level.WARNING, "the right DESCRIBE_CONFIGS", "lacks it", command)
    if "compact" in settings.get("cleanup.policy", "delete"):
        measured = "compact: all updates of a credential but its latest are removed"
        yield _setting(state.name, Level.FAULT, "cleanup.policy=delete", measured)
    milliseconds = int(settings.get("retention.ms", "-1"))
    kept = timedelta(milliseconds=milliseconds)
    if milliseconds >= 0 and kept < _SHORT_RETENTION:
        level = Level.FAULT if kept < _SHORTEST_RETENTION else Level.WARNING
        expected = f"retention.ms={timedelta(days=28) // timedelta(milliseconds=1)}"
        yield _setting(state.name, level, expected, f"messages are kept for {span(kept.total_seconds())}")
    if int(settings.get("max.message.bytes", _MESSAGE_BYTES)) < _MESSAGE_BYTES:
        measured = f"{settings['max.message.bytes']}: longer messages are refused"
        yield _setting(state.name, Level.WARNING, f"max.message.bytes={_MESSAGE_BYTES + 12}", measured)


def _setting(name: str, level: Level, expected: str, measured: str) -> Diagnosis:
    command = f"kafka-configs.sh --alter --entity-type topics --entity-name {name} --add-config {expected}"
    return verdict("topics", name, level, expected, measured, command=command)


def group(state: GroupState) -> Iterator[Diagnosis]:
    """Judge a group: its members, its lag, and what it can never read."""
    subject = f"{state.group} on {state.topic}"
    run = "repoint run --role consume"
    if state.removed:
        measured = f"{state.removed:,} were removed before"
        command = f"kafka-consumer-groups.sh --describe --group {state.group}"
        yield Diagnosis("groups", subject, Level.FAULT, "all messages are read", measured, command)
    for partition, offset in state.corrupt:
        command = f"repoint topics skip {state.topic} {partition} {offset} --reason TEXT"
        measured = f"the batch at offset {offset} of partition {partition} is corrupt"
        yield Diagnosis("groups", subject, Level.FAULT, "batches that can be read", measured, command)
    if not state.members:
        level = Level.FAULT if state.unread else Level.WARNING
        measured = f"no member, {state.unread:,} unread"
        yield verdict("groups", subject, level, "a member that reads", measured, command=run)
        return
    yield _lag(state, subject, run)
    if state.members > state.partitions:
        idle = state.members - state.partitions
        command = f"{_CREATE} --partitions {state.members}"
        measured = f"{state.partitions} for {state.members} members: {idle} have nothing to do"
        yield Diagnosis("groups", subject, Level.WARNING, "a partition for each member", measured, command)


def _lag(state: GroupState, subject: str, run: str) -> Diagnosis:
    level = Level.FAULT if state.waited_long else Level.WARNING if state.waited else Level.OK
    expected = f"read within {span(UNREAD_WARNING.total_seconds())}"
    late = state.waited_long or state.waited
    bound = UNREAD_FAULT if state.waited_long else UNREAD_WARNING
    measured = f"{state.members} member{'' if state.members == 1 else 's'}, {state.unread:,} unread"
    if late:
        measured += f", {late:,} of them for {span(bound.total_seconds())} or longer"
    return verdict("groups", subject, level, expected, measured, command=run)
