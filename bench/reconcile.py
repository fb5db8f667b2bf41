"""Reconciliation of files: a merchant's export of payment method ids, and a vendor's file against the inbox.

Each run is a process of its own, measured from its start to its end, on files of several lengths and one database. A
file of ten times the rows has ten times the differences: seconds and repairs should grow with it, memory should not.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from bench import ingest, load, topics
from domain.decide import Verdict
from domain.update import Outcome
from schemas.canonical import parse
from store import inbox
from store.inbox import Arrival
from testbed.kafka import Broker

TOPIC = "bench-reconcile"
MERCHANT = "m-0"
# One update in so many is not in the inbox.
_LACKING = 1000
_BATCH = 1000
_KIB_PER_MIB = 1024
# So often the peak of a process's memory is looked up, which goes with it.
_LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class ReconcileSize:
    """Files of so many `rows` each; in `wallets` wallets, `updates` updates replace methods."""

    rows: Sequence[int]
    wallets: int
    updates: int


class MeasuredFile(NamedTuple):
    """Seconds, MiB at the most, and the first line that the command wrote, with its repairs."""

    rows: int
    seconds: float
    memory: float
    summary: str

    def __str__(self) -> str:
        rate = self.rows / self.seconds
        return (
            f"{self.rows:9,} rows {self.seconds:7.1f} s {rate:8.0f}/s   at most {self.memory:4.0f} MiB   {self.summary}"
        )


async def compare(url: str, broker: Broker, size: ReconcileSize) -> None:
    """Print what each run took: the merchant's files, and then the vendor's."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with load.seeded(url, "bench_reconcile", size.wallets) as engine, topics.temporary(broker, TOPIC):
            await _merchant(engine, folder, size)
            await _fill_inbox(engine, max(size.rows))
            await _feed(engine, broker, folder, size)


# --- a merchant's export ------------------------------------------------------------------------------------------

_SHARE = text("""
    INSERT INTO wallet_merchants (wallet_id, merchant_id) SELECT id, :merchant FROM wallets ON CONFLICT DO NOTHING
""")
_EXPORT = 'SELECT id AS "paymentMethodId" FROM payment_methods ORDER BY id LIMIT {rows}'


async def _merchant(engine: AsyncEngine, folder: Path, size: ReconcileSize) -> None:
    """The merchant shares all wallets, exports their methods, and misses what is reported then."""
    async with engine.begin() as connection:
        await connection.execute(_SHARE, {"merchant": MERCHANT})
    exports = [await _export(engine, folder, rows) for rows in size.rows]
    await ingest.take_in(engine, load.polls(0, size.updates, size.wallets, ingest.LANES, ingest.POLLED))
    await load.analyze(engine)
    for rows, file in zip(size.rows, exports, strict=True):
        async with engine.begin() as connection:
            await connection.execute(text("DELETE FROM deliveries"))
        arguments = ("merchant", "--merchant", MERCHANT, "--file", str(file), "--emit")
        for again in ("", ", again"):
            print(f"merchant{again:8}", _measured(engine, arguments, {}, rows), flush=True)


async def _export(engine: AsyncEngine, folder: Path, rows: int) -> Path:
    file = folder / f"{rows}.csv"
    connection = await asyncpg.connect(engine.url.set(drivername="postgresql").render_as_string(hide_password=False))
    await connection.copy_from_query(_EXPORT.format(rows=rows), output=file, format="csv", header=True)
    await connection.close()
    return file


# --- a vendor's file ----------------------------------------------------------------------------------------------


async def _fill_inbox(engine: AsyncEngine, rows: int) -> None:
    """The inbox as it is after a file of so many rows, of which one in `_LACKING` was lost."""
    async with engine.begin() as connection:
        await connection.execute(text("TRUNCATE inbox CASCADE"))
    for arrivals in _arrivals(rows):
        async with engine.begin() as connection:
            decided = [(arrival, Verdict(Outcome.APPLIED), True) for arrival in arrivals]
            await inbox.record(connection, decided)
    await load.analyze(engine)


def _arrivals(rows: int) -> Iterator[list[Arrival]]:
    batch: list[Arrival] = []
    ids = set()
    for place, (_, body, _) in enumerate(load.updates(0, rows, rows)):
        update, digest = parse(body)
        if place % _LACKING != _LACKING // 2 and update.stamp.update_id not in ids:
            batch.append(Arrival(load.TOPIC, 0, place, digest, update))
        ids = {update.stamp.update_id}  # what comes twice comes one after the other
        if len(batch) == _BATCH:
            yield batch
            batch = []
    yield batch


async def _feed(engine: AsyncEngine, broker: Broker, folder: Path, size: ReconcileSize) -> None:
    settings = {"KAFKA_BOOTSTRAP_SERVERS": broker.servers, "KAFKA_TOPIC": TOPIC}
    for rows in size.rows:
        file = folder / f"{rows}.jsonl"
        with file.open("wb") as stream:
            for place, (_, body, _) in enumerate(load.updates(0, max(size.rows), max(size.rows))):
                if place == rows:
                    break
                stream.write(json.dumps(json.loads(body)).encode() + b"\n")
        print("feed            ", _measured(engine, ("feed", "canonical", str(file)), settings, rows), flush=True)


def _measured(engine: AsyncEngine, arguments: Sequence[str], settings: dict[str, str], rows: int) -> MeasuredFile:
    settings = {"DATABASE_URL": engine.url.render_as_string(hide_password=False), **settings}
    environment = os.environ | {f"REPOINT_{key}": value for key, value in settings.items()}
    with tempfile.TemporaryFile() as written, tempfile.TemporaryFile() as notes:
        begun = time.perf_counter()
        process = subprocess.Popen(  # noqa: S603 - our own modules
            [sys.executable, "-m", "ops.cli", "reconcile", *arguments],
            env=environment,
            stdout=written,
            stderr=notes,
        )
        memory = _peak(process)
        seconds = time.perf_counter() - begun
        if process.returncode:
            notes.seek(0)
            reason = notes.read().decode().strip().rpartition("\n")[2]
            raise RuntimeError(f"reconcile {arguments[0]} ended with {process.returncode}: {reason}")
        written.seek(0)
        summary = written.readline().decode().strip().partition(": ")[2]
    return MeasuredFile(rows, seconds, memory, summary)


def _peak(process: "subprocess.Popen[bytes]") -> float:
    """The MiB that a process had at the most, once it has ended. Its rusage has the memory of its parent, too."""
    status, peak = Path(f"/proc/{process.pid}/status"), 0
    while process.poll() is None:
        lines = status.read_text().splitlines()
        peak = max([peak, *(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))])
        time.sleep(_LOOK_SECONDS)
    return peak / _KIB_PER_MIB
