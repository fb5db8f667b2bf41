"""Record batches that no client makes: put on a topic as they are, or damaged in the broker's own log."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import NoError, for_code
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from tests.parts.until import until

# Where the checksum stands in a batch, and from where on it covers it.
_CHECKSUM, _CHECKED_FROM = 17, 21
# Nothing else in a batch of tests has these in a row.
_PLAIN = b"@@@@"

Headers = Sequence[tuple[bytes, bytes | None]]


def batch(records: Sequence[tuple[bytes | None, Headers]], *, compression: int = 0) -> bytes:
    """A batch of (value, headers), whose headers' names may be any four bytes or more."""
    builder = DefaultRecordBatchBuilder(2, compression, False, -1, -1, -1, 1 << 20)  # noqa: FBT003
    replaced = []
    for offset, (value, headers) in enumerate(records):
        named = []
        for name, content in headers:
            assert len(name) >= len(_PLAIN)
            plain = (_PLAIN * len(name))[: len(name)]
            replaced.append((plain, name))
            named.append((plain.decode(), content))
        assert builder.append(offset, None, None, value, named) is not None
    written = bytearray(builder.build())
    for plain, name in replaced:
        at = written.index(plain)
        written[at : at + len(name)] = name
    return sealed(written)


def sealed(written: bytearray) -> bytes:
    """The batch with the checksum of what it holds."""
    written[_CHECKSUM:_CHECKED_FROM] = calc_crc32c(bytes(written[_CHECKED_FROM:])).to_bytes(4, "big")
    return bytes(written)


async def put(servers: str, topic: str, partition: int, *batches: bytes) -> None:
    """Each has reached the broker's log, in this order."""
    client = AIOKafkaClient(bootstrap_servers=servers)
    await client.bootstrap()
    try:
        client.add_topic(topic)
        await client.force_metadata_update()
        for one in batches:
            await until(partial(_is_put, client, topic, partition, one))
    finally:
        await client.close()


async def _is_put(client: AIOKafkaClient, topic: str, partition: int, batch: bytes) -> bool:
    """False where the partition, just made, has no leader yet. AssertionError where the broker refuses the batch."""
    request = ProduceRequest(
        transactional_id=None, required_acks=-1, timeout=10_000, topics=[(topic, [(partition, batch)])]
    )
    response = await client.send(client.get_random_node(), request)
    ((_, ((_, error_code, *_),)),) = response.topics
    error = for_code(error_code)
    assert error is NoError or error.retriable, error
    return error is NoError


def flip(log: Path, topic: str, partition: int, text: bytes) -> None:
    """Change one bit of `text` where it lies in the partition's log."""
    (segment,) = (log / f"{topic}-{partition}").glob("*.log")
    with segment.open("r+b") as file:
        at = file.read().index(text)
        file.seek(at)
        file.write(bytes([text[0] ^ 1]))
