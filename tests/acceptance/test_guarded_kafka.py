"""TLS and SASL: a feed goes in and is taken in through a broker that lets only us in."""

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from testbed import kafka as broker
from testbed.kafka import PASSWORD, USER, Guarded, apache_guarded
from tests.acceptance.lines import merchant, replaced, wallet
from tests.acceptance.program import Program
from tests.parts.until import until

TOPIC = "guarded"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    if shutil.which("openssl") is None:
        pytest.skip("there is no `openssl` here to make a certificate with")
    if (lacking := broker.missing()) is not None:
        pytest.skip(f"Apache Kafka cannot be started with TLS: {lacking}")
    with apache_guarded(tmp_path_factory.mktemp("guarded")) as guarded:
        asyncio.run(make_topic(guarded.servers["PLAINTEXT"]))
        yield guarded


async def make_topic(servers: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(TOPIC, num_partitions=1, replication_factor=1)])
    finally:
        await admin.close()


class Way(NamedTuple):
    protocol: str
    mechanism: str = ""

    def settings(self, guarded: Guarded) -> dict[str, str]:
        chosen = {
            "KAFKA_BOOTSTRAP_SERVERS": guarded.servers[self.protocol],
            "KAFKA_SECURITY_PROTOCOL": self.protocol,
            "KAFKA_TOPIC": TOPIC,
        }
        if self.protocol.endswith("SSL"):
            chosen["KAFKA_CA_FILE"] = str(guarded.certificate)
        if self.mechanism:
            chosen |= {
                "KAFKA_SASL_MECHANISM": self.mechanism,
                "KAFKA_SASL_USERNAME": USER,
                "KAFKA_SASL_PASSWORD": PASSWORD,
            }
        return chosen


@pytest.fixture
async def program(tmp_path: Path, database_url: str) -> Program:
    program = Program(tmp_path, DATABASE_URL=database_url, HTTP_PORT="0", LOG_FORMAT="json", LOG_LEVEL="DEBUG")
    (await program("merchants", "import", program.write("merchants.jsonl", merchant("m-1")))).well()
    (await program("wallets", "import", program.write("wallets.jsonl", wallet(1)))).well()
    return program


async def test_a_certificate_that_ends_soon_is_a_fault_to_the_doctor(guarded: Guarded, program: Program) -> None:
    """The broker's, which it shows, and that of the file by which it is trusted: both are good for two days."""
    way = Way("SASL_SSL", "PLAIN").settings(guarded)
    ended = await program("doctor", "--json", **way)
    assert ended.code == 1
    diagnoses = json.loads(ended.out)
    faults = {row["subject"]: row["found"] for row in diagnoses if row["check"] == "certificates"}
    assert faults.keys() == {way["KAFKA_BOOTSTRAP_SERVERS"], way["KAFKA_CA_FILE"]}
    assert all(found.startswith("ends in 1 d") for found in faults.values())
    assert [row["found"] for row in diagnoses if row["check"] == "broker"] == ["answers"]
    ended = await program("doctor", "--json", **{**way, "KAFKA_SASL_PASSWORD": "another"})
    assert [row["level"] for row in json.loads(ended.out) if row["check"] == "broker"] == ["fault"]


@pytest.mark.parametrize(
    "way",
    [
        Way("SSL"),
        Way("SASL_SSL", "PLAIN"),
        Way("SASL_SSL", "SCRAM-SHA-512"),
        Way("SASL_PLAINTEXT", "SCRAM-SHA-256"),
    ],
    ids=lambda way: " ".join(way).strip(),
)
async def test_a_feed_passes_through(guarded: Guarded, program: Program, way: Way) -> None:
    settings = way.settings(guarded) | {"KAFKA_GROUP": f"{way.protocol}-{way.mechanism}"}
    name = f"{way.protocol}-{way.mechanism}"
    feed = program.write("feed.jsonl", replaced(1, update_id=name))
    sent = (await program("ingest", "--format", "canonical", feed, **settings)).well()
    assert sent.out == "feed.jsonl: 1 of 1 line accepted, 1 update sent\n"
    async with program.going("run", "--role", "consume", **settings) as going:

        async def taken_in() -> bool:
            inbox = await program("inbox", "list", "--json")
            return name in [update["updateId"] for update in inbox.json()]

        await until(taken_in, within=60)
        assert await going.stop() == 0
    assert PASSWORD not in sent.err + "".join(going.lines)


@pytest.mark.parametrize(
    ("way", "changed"),
    [
        (Way("SASL_SSL", "PLAIN"), {"KAFKA_SASL_PASSWORD": "a wrong one"}),
        (Way("SASL_SSL", "SCRAM-SHA-512"), {"KAFKA_SASL_PASSWORD": "a wrong one"}),
        (Way("SSL"), {"KAFKA_CA_FILE": ""}),
    ],
    ids=["PLAIN", "SCRAM", "a stranger's certificate"],
)
async def test_who_is_not_let_in_is_told(guarded: Guarded, program: Program, way: Way, changed: dict[str, str]) -> None:
    settings = way.settings(guarded) | changed
    feed = program.write("feed.jsonl", replaced(1))
    ended = await program("ingest", "--format", "canonical", feed, **settings)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == (
        f"repoint: no broker at {guarded.servers[way.protocol]} lets us in"
        " (REPOINT_KAFKA_BOOTSTRAP_SERVERS, REPOINT_KAFKA_SECURITY_PROTOCOL)\n"
    )
    async with program.going("run", "--role", "consume", **settings) as going:
        await going.says("Unable connect")
        await going.says("waiting")
        assert await going.stop() == 0
    assert "a wrong one" not in "".join(going.lines)
