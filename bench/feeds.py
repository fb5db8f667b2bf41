"""Feeds: a vendor's file onto the topic by `repoint ingest`, and the least that any program must do for it.

The least is to read the CSV and to send each row, as JSON, with aiokafka's own `send`: no fingerprints, no canonical
form, no look for card numbers, no checkpoint. Both are processes of their own, measured from their start to their end,
and both wait until every message is acknowledged by the same broker. Peak memory is that of the process.
"""

import asyncio
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import NamedTuple

from aiokafka import AIOKafkaProducer

from bench import topics
from testbed.kafka import Broker

TOPIC = "bench-feeds"
REPOINT, BARE = "repoint ingest --format vau", "bare CSV and send"
_NAMES = (
    "oldCardholderAccountNumber,oldExpirationDate,newCardholderAccountNumber,newExpirationDate,serviceIdentifier,"
    "previouslySentFlag"
)
_MIB = 1024  # ru_maxrss is in KiB


@dataclass(frozen=True)
class FeedsSize:
    """`rounds` of a file of `few` rows by each, in turns; then one of `many`."""

    few: int
    many: int
    rounds: int


class Run(NamedTuple):
    """Rows a second, microseconds of CPU a row, and MiB at the most."""

    name: str
    rows: int
    rate: float
    cpu: float
    memory: float

    def __str__(self) -> str:
        return (
            f"{self.name:30} {self.rows:9,} rows {self.rate:8.0f}/s   CPU {self.cpu:6.1f} us each"
            f"   at most {self.memory:5.0f} MiB"
        )


async def compare(broker: Broker, size: FeedsSize) -> None:
    """Print what each run took, the median of their ratios, and the memory for few rows and for many."""
    with tempfile.TemporaryDirectory() as folder:
        few, many = (_file(Path(folder), rows) for rows in (size.few, size.many))
        async with topics.temporary(broker, TOPIC):
            pairs = [(_bare(broker, few, size.few), _repoint(broker, few, size.few)) for _ in range(size.rounds)]
            whole = _bare(broker, many, size.many), _repoint(broker, many, size.many)
    of_few, of_many = pairs[-1][1], whole[1]
    rate = median(mine.rate / theirs.rate for theirs, mine in pairs)
    cpu = median(mine.cpu / theirs.cpu for theirs, mine in pairs)
    print(f"feeds: {rate:.2f} of the rate of {BARE}, {cpu:.1f} times its CPU (Kafka: {broker.origin})")
    print(f"feeds, {size.many:,} rows: {of_many.rate / whole[0].rate:.2f} of its rate;",
          f"at most {of_many.memory:.0f} MiB, {of_few.memory:.0f} MiB for {size.few:,} rows")  # fmt: skip


def _file(folder: Path, rows: int) -> Path:
    file = folder / f"{rows}.csv"
    with file.open("w", encoding="ascii") as stream:
        stream.write(_NAMES + "\n")
        for row in range(rows):
            code = "AAAEC"[row % 5]
            new = f"4001{row:012}" if code == "A" else ""
            stream.write(f"4000{row:012},2612,{new},{'' if code == 'C' else '2911'},{code},N\n")
    return file


def _repoint(broker: Broker, file: Path, rows: int) -> Run:
    settings = {
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
        "KAFKA_BOOTSTRAP_SERVERS": broker.servers,
        "KAFKA_TOPIC": TOPIC,
        "FINGERPRINT_KEY": f"v1:{'00' * 32}",
    }
    return _measured(REPOINT, ("ops.cli", "ingest", "--format", "vau", str(file)), settings, rows)


def _bare(broker: Broker, file: Path, rows: int) -> Run:
    return _measured(BARE, ("bench.feeds", str(file), broker.servers), {}, rows)


def _measured(name: str, module: tuple[str, ...], settings: dict[str, str], rows: int) -> Run:
    environment = os.environ | {f"REPOINT_{key}": value for key, value in settings.items()}
    begun = time.perf_counter()
    process = subprocess.Popen(  # noqa: S603 - our own modules
        [sys.executable, "-m", *module], env=environment, stdout=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{name} ended with {process.returncode}")
    run = Run(name, rows, rows / seconds, (used.ru_utime + used.ru_stime) / rows * 1e6, used.ru_maxrss / _MIB)
    print(run, flush=True)
    return run


async def _send_bare(file: Path, servers: str) -> None:
    async with AIOKafkaProducer(
        bootstrap_servers=servers, acks="all", enable_idempotence=True, compression_type="lz4", linger_ms=20
    ) as producer:
        with file.open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                key = row["oldCardholderAccountNumber"].encode()
                await producer.send(TOPIC, json.dumps(row).encode(), key)
        await producer.flush()


if __name__ == "__main__":
    asyncio.run(_send_bare(Path(sys.argv[1]), sys.argv[2]))
