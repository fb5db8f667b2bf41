"""From a measured value to its level: one row for each step."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from domain.checkup import broker, server, tables, work
from domain.checkup.broker import GroupState, Partition, TopicState
from domain.checkup.certificates import Certificate, certificate, latest
from domain.checkup.diagnosis import Diagnosis, Level, size, span
from domain.checkup.server import Holder, Prepared, ServerState, Session, Slot, TableRows
from domain.checkup.tables import Overdue, PartitionedTable, SealedSecrets
from domain.checkup.work import DeliveryWork, Leases, RestrainedEndpoint, UpdateWork
from domain.schema_revision import SchemaState

OK, WARNING, FAULT = Level.OK, Level.WARNING, Level.FAULT
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
DAY, GIB = 86_400, 1024**3

SAFE = {name: min(values) for name, (values, _) in server.SAFE_SETTINGS.items()}
SERVER = ServerState(170_002, replica=False, read_only=False, settings=SAFE, connections=10, most_connections=100,
                     frozen_age=1000)  # fmt: skip
TOPIC = TopicState("updates", [Partition(0, led=True, replicas=3, in_sync=3)],
                   {"cleanup.policy": "delete", "retention.ms": str(28 * DAY * 1000), "min.insync.replicas": "2"},
                   brokers=3)  # fmt: skip
GROUP = GroupState("repoint", "updates", partitions=8, members=2, unread=5, waited=0, waited_long=0, removed=0)
QUIET = UpdateWork(quarantined=0, parked_overdue=None, unfinished=None, open_letters=0, defects=0, fetch_overdue=None,
                   fetches_without_address=0, lost_within_a_day=0)  # fmt: skip


def partition(*, led: bool = True, replicas: int = 3, in_sync: int = 3) -> TopicState:
    return replace(TOPIC, partitions=[Partition(0, led, replicas, in_sync)])


def setting(name: str, value: str) -> TopicState:
    return replace(TOPIC, settings={**(TOPIC.settings or {}), name: value})


def ending(left: timedelta) -> Diagnosis:
    return certificate(Certificate("db:5432", NOW - timedelta(days=90), NOW + left), NOW)


VERDICTS: list[tuple[Level, str, Iterable[Diagnosis]]] = [
    # the server
    (OK, "database-version", server.server(SERVER)),
    (WARNING, "database-version", server.server(replace(SERVER, version=160_004))),
    (WARNING, "database-version", server.server(replace(SERVER, version=150_009))),
    (FAULT, "database-version", server.server(replace(SERVER, version=140_020))),
    (OK, "database-writable", server.server(SERVER)),
    (FAULT, "database-writable", server.server(replace(SERVER, replica=True))),
    (FAULT, "database-writable", server.server(replace(SERVER, read_only=True))),
    (OK, "database-settings", server.server(SERVER)),
    (OK, "database-settings", server.server(replace(SERVER, settings={**SAFE, "synchronous_commit": "local"}))),
    (FAULT, "database-settings", server.server(replace(SERVER, settings={**SAFE, "synchronous_commit": "off"}))),
    (FAULT, "database-settings", server.server(replace(SERVER, settings={**SAFE, "fsync": "off"}))),
    (FAULT, "database-settings", server.server(replace(SERVER, settings={**SAFE, "autovacuum": "off"}))),
    (FAULT, "database-settings", server.server(replace(SERVER, settings={**SAFE, "server_encoding": "LATIN1"}))),
    (OK, "connections", server.server(replace(SERVER, connections=79))),
    (WARNING, "connections", server.server(replace(SERVER, connections=80))),
    (FAULT, "connections", server.server(replace(SERVER, connections=95))),
    (OK, "wraparound", server.server(replace(SERVER, frozen_age=200_000_000))),
    (WARNING, "wraparound", server.server(replace(SERVER, frozen_age=500_000_000))),
    (FAULT, "wraparound", server.server(replace(SERVER, frozen_age=1_200_000_000))),
    (OK, "clock", [server.clock(1.9)]),
    (WARNING, "clock", [server.clock(-2)]),
    (FAULT, "clock", [server.clock(60)]),
    (FAULT, "clock", [server.clock(-3600)]),
    (OK, "transactions", server.transactions([])),
    (OK, "transactions", server.transactions([Session(1, "repoint", "active", 59)])),
    (WARNING, "transactions", server.transactions([Session(1, "", "idle in transaction", 60)])),
    (FAULT, "transactions", server.transactions([Session(1, "", "active", 5), Session(2, "", "active", 600)])),
    (WARNING, "transactions", server.transactions([], sees_all=False)),
    (OK, "prepared", server.prepared([])),
    (WARNING, "prepared", server.prepared([Prepared("x", 1)])),
    (FAULT, "prepared", server.prepared([Prepared("x", 600)])),
    (OK, "replication-slots", server.slots([])),
    (OK, "replication-slots", server.slots([Slot("standby", True, "reserved", 1024)])),  # noqa: FBT003
    (WARNING, "replication-slots", server.slots([Slot("standby", False, "reserved", 1024)])),  # noqa: FBT003
    (WARNING, "replication-slots", server.slots([Slot("standby", True, "extended", 2 * GIB)])),  # noqa: FBT003
    (FAULT, "replication-slots", server.slots([Slot("standby", True, "extended", 16 * GIB)])),  # noqa: FBT003
    (FAULT, "replication-slots", server.slots([Slot("standby", False, "lost", None)])),  # noqa: FBT003
    (OK, "xmin-horizon", server.horizon([])),
    (OK, "xmin-horizon", server.horizon([Holder("session", "1", 99_999)])),
    (WARNING, "xmin-horizon", server.horizon([Holder("session", "1", 5), Holder("session", "2", 100_000)])),
    (FAULT, "xmin-horizon", server.horizon([Holder("replication slot", "s", 1_000_000)])),
    (OK, "dead-tuples", server.dead_tuples([TableRows("deliveries", 0, 120_000)])),
    (OK, "dead-tuples", server.dead_tuples([TableRows("credentials", 100_000_000, 19_000_000)])),
    (WARNING, "dead-tuples", server.dead_tuples([TableRows("deliveries", 0, 250_000)])),
    (FAULT, "dead-tuples", server.dead_tuples([TableRows("deliveries", 900_000, 1_000_000)])),
    # the tables
    (OK, "migration", [tables.migration(SchemaState("0024", "0024"))]),
    (OK, "migration", [tables.migration(SchemaState("0026", "0024", "0024"))]),
    (FAULT, "migration", [tables.migration(SchemaState("0026", "0024", "0025"))]),
    (FAULT, "migration", [tables.migration(SchemaState(None, "0024"))]),
    (FAULT, "migration", [tables.migration(SchemaState("0023", "0024"))]),
    (OK, "rights", tables.rights({}, owns=True)),
    (WARNING, "rights", tables.rights({}, owns=False)),
    (FAULT, "rights", tables.rights({"events": ["DELETE"]}, owns=True)),
    (OK, "partitions", tables.partitions([PartitionedTable("attempts", 3)])),
    (WARNING, "partitions", tables.partitions([PartitionedTable("attempts", 2)])),
    (FAULT, "partitions", tables.partitions([PartitionedTable("attempts", 0)])),
    (OK, "retention", tables.retention([Overdue("attempts", None)])),
    (OK, "retention", tables.retention([Overdue("attempts", -5.0 * DAY)])),
    (OK, "retention", tables.retention([Overdue("attempts", 1.9 * DAY)])),
    (WARNING, "retention", tables.retention([Overdue("attempts", 2.0 * DAY)])),
    (FAULT, "retention", tables.retention([Overdue("attempts", 7.0 * DAY)])),
    (OK, "identifiers", [tables.identifiers({"hsid", "metadata.a"}, {"hsid"}, set())]),
    (OK, "identifiers", [tables.identifiers({"hsid", "metadata.a"}, {"hsid", "metadata.a"}, {"metadata.a"})]),
    (FAULT, "identifiers", [tables.identifiers({"hsid"}, {"hsid", "metadata.a"}, {"metadata.a"})]),
    (FAULT, "identifiers", [tables.identifiers({"hsid", "metadata.b"}, {"hsid"}, {"metadata.b", "metadata.c"})]),
    (OK, "secrets", tables.secrets([])),
    (OK, "secrets", tables.secrets([SealedSecrets("v1", 5, opens=True)])),
    (FAULT, "secrets", tables.secrets([SealedSecrets("v1", 5, opens=True), SealedSecrets("v2", 1, opens=False)])),
    # the work
    (OK, "leases", work.leases([Leases("deliveries", 0, 0, 60)])),
    (OK, "leases", work.leases([Leases("deliveries", 3, 59, 60)])),
    (WARNING, "leases", work.leases([Leases("deliveries", 3, 60, 60)])),
    (FAULT, "leases", work.leases([Leases("fetches", 3, 600, 60)])),
    (FAULT, "leases", work.leases([Leases("deliveries", 0, 0, DAY + 1)])),
    (OK, "deliveries", work.deliveries(DeliveryWork(None, 0))),
    (OK, "deliveries", work.deliveries(DeliveryWork(299, 0))),
    (WARNING, "deliveries", work.deliveries(DeliveryWork(300, 0))),
    (FAULT, "deliveries", work.deliveries(DeliveryWork(3600, 0))),
    (OK, "accounts", work.deliveries(DeliveryWork(None, 0))),
    (OK, "accounts", work.deliveries(DeliveryWork(None, None))),
    (FAULT, "accounts", work.deliveries(DeliveryWork(None, 1))),
    (FAULT, "accounts", work.deliveries(DeliveryWork(None, -1))),
    (OK, "endpoints", work.endpoints([])),
    (WARNING, "endpoints", work.endpoints([RestrainedEndpoint("e", True, "GONE", 7)])),  # noqa: FBT003
    (WARNING, "endpoints", work.endpoints([RestrainedEndpoint("e", False, None, 0)])),  # noqa: FBT003
    (OK, "updates", work.updates(QUIET)),
    (WARNING, "updates", work.updates(replace(QUIET, quarantined=1))),
    (OK, "updates", work.updates(replace(QUIET, parked_overdue=599))),
    (WARNING, "updates", work.updates(replace(QUIET, parked_overdue=600))),
    (FAULT, "updates", work.updates(replace(QUIET, parked_overdue=3600))),
    (FAULT, "updates", work.updates(replace(QUIET, unfinished=3600))),
    (OK, "dead-letters", work.updates(replace(QUIET, defects=4))),
    (WARNING, "dead-letters", work.updates(replace(QUIET, open_letters=1))),
    (FAULT, "dead-letters", work.updates(replace(QUIET, open_letters=5, defects=5))),
    (FAULT, "fetches", work.updates(replace(QUIET, fetch_overdue=3600))),
    (WARNING, "fetches", work.updates(replace(QUIET, fetches_without_address=1))),
    (OK, "losses", work.updates(QUIET)),
    (WARNING, "losses", work.updates(replace(QUIET, lost_within_a_day=12))),
    # Kafka
    (OK, "topics", broker.topic(TOPIC)),
    (OK, "topics", broker.topic(replace(TOPIC, partitions=[Partition(0, True, 1, 1)], brokers=1,  # noqa: FBT003
                                        settings={"min.insync.replicas": "1", "retention.ms": "-1"}))),
    (FAULT, "topics", [broker.missing_topic("updates", is_needed=True)]),
    (WARNING, "topics", [broker.missing_topic("thin", is_needed=False)]),
    (FAULT, "topics", broker.topic(partition(led=False))),
    (WARNING, "topics", broker.topic(partition(in_sync=2))),
    (FAULT, "topics", broker.topic(partition(in_sync=1))),
    (WARNING, "topics", broker.topic(partition(replicas=2, in_sync=2))),
    (WARNING, "topics", broker.topic(replace(TOPIC, settings=None))),
    (FAULT, "topics", broker.topic(setting("cleanup.policy", "compact,delete"))),
    (WARNING, "topics", broker.topic(setting("retention.ms", str(7 * DAY * 1000 - 1)))),
    (FAULT, "topics", broker.topic(setting("retention.ms", str(DAY * 1000 - 1)))),
    (WARNING, "topics", broker.topic(setting("max.message.bytes", "1000000"))),
    (OK, "topics", broker.topic(setting("max.message.bytes", "1048588"))),
    (OK, "groups", broker.group(GROUP)),
    (WARNING, "groups", broker.group(replace(GROUP, members=0, unread=0))),
    (FAULT, "groups", broker.group(replace(GROUP, members=0, unread=1))),
    (WARNING, "groups", broker.group(replace(GROUP, waited=1))),
    (FAULT, "groups", broker.group(replace(GROUP, waited=5, waited_long=1))),
    (FAULT, "groups", broker.group(replace(GROUP, removed=1))),
    (FAULT, "groups", broker.group(replace(GROUP, corrupt=((3, 17),)))),
    (WARNING, "groups", broker.group(replace(GROUP, members=9))),
    # certificates
    (OK, "certificates", [ending(timedelta(days=22))]),
    (WARNING, "certificates", [ending(timedelta(days=21))]),
    (FAULT, "certificates", [ending(timedelta(days=7))]),
    (FAULT, "certificates", [ending(timedelta(days=-1))]),
    (FAULT, "certificates", [certificate(Certificate("db", NOW + timedelta(days=1), NOW + timedelta(days=400)), NOW)]),
]  # fmt: skip


@pytest.mark.parametrize("row", range(len(VERDICTS)), ids=lambda row: f"{row} {VERDICTS[row][1]} {VERDICTS[row][0]}")
def test_the_gravest_level_of_a_check_is_that_of_what_was_measured(row: int) -> None:
    level, check, made = VERDICTS[row]
    diagnoses = [diagnosis for diagnosis in made if diagnosis.check == check]
    assert max((diagnosis.level for diagnosis in diagnoses), key=list(Level).index) is level
    for diagnosis in diagnoses:
        assert (diagnosis.command is None) == (diagnosis.level is OK)
        assert diagnosis.subject
        assert diagnosis.expected
        assert diagnosis.found


def test_endpoints_beyond_the_first_are_counted() -> None:
    many = [RestrainedEndpoint(f"e{number:02}", False, None, number) for number in range(13)]  # noqa: FBT003
    diagnoses = list(work.endpoints(many))
    assert [diagnosis.subject for diagnosis in diagnoses[:2]] == ["e12", "e11"]
    assert (len(diagnoses), diagnoses[-1].found) == (11, "3 more are disabled or fail")


def test_a_bundle_ends_when_its_last_certificate_does() -> None:
    certificates = [Certificate("f", NOW, NOW + timedelta(days=days)) for days in (1, 400, 30)]
    assert latest(certificates) is certificates[1]
    assert latest([]) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.25, "250 ms"), (59, "59 s"), (60, "1 min"), (3600, "1 h"), (11_100, "3 h 5 min"), (90_000, "1 d 1 h"),
     (86_400, "1 d")],
)  # fmt: skip
def test_a_length_of_time_has_its_two_largest_units(seconds: float, text: str) -> None:
    assert span(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(12, "12 bytes"), (1536, "1.5 KiB"), (GIB, "1.0 GiB"), (GIB * 4096, "4.0 TiB")]
)
def test_a_number_of_bytes_has_its_largest_unit(count: float, text: str) -> None:
    assert size(count) == text
