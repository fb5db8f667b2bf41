"""One run over the stream: a database with the wallets, a consumer group, a receiver, and the children's lives."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

from aiokafka import AIOKafkaConsumer, TopicPartition
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine

from store.engine import connect
from testbed.postgres import Databases
from tests.crash.child import ProcessPlan
from tests.parts.receiver import Receiver
from tests.parts.until import until

# What a run takes on a quiet machine is a tenth of it.
_PATIENCE = 240


@dataclass(frozen=True)
class Fed:
    """A topic that holds the stream: where each message stands, and what the broker calls the shortest session."""

    servers: str
    topic: str
    places: frozenset[tuple[int, int]]
    session_timeout: float

    @property
    def ends(self) -> Mapping[TopicPartition, int]:
        """The offset after the last of each partition that has any."""
        ends: dict[TopicPartition, int] = {}
        for partition, offset in self.places:
            key = TopicPartition(self.topic, partition)
            ends[key] = max(offset + 1, ends.get(key, 0))
        return ends


@dataclass(frozen=True)
class Run:
    """What is common to the lives of one run."""

    fed: Fed
    database_url: str
    group: str
    engine: AsyncEngine
    receiver: Receiver
    consumer: "AIOKafkaConsumer[bytes | None, bytes | None]"
    """Asks for the group's offsets; it is no member."""

    def plan(self, name: str, *roles: Literal["consume", "deliver"], **more: Any) -> ProcessPlan:
        """`more` are further values of the `ProcessPlan`."""
        plan = ProcessPlan(
            name,
            roles,
            database_url=self.database_url,
            bootstrap_servers=self.fed.servers,
            topic=self.fed.topic,
            group=self.group,
            session_timeout=self.fed.session_timeout,
        )
        return replace(plan, **more)

    async def rows(self, statement: str, **values: object) -> list[Any]:
        async with self.engine.connect() as connection:
            return list(await connection.execute(text(statement), values))

    async def number(self, statement: str, **values: object) -> int:
        return int((await self.rows(statement, **values))[0][0])

    async def taken_in(self) -> int:
        return await self.number("SELECT (SELECT count(*) FROM inbox) + (SELECT count(*) FROM dead_letters)")

    async def committed(self) -> Mapping[TopicPartition, int]:
        """The group's offsets."""
        found = {partition: await self.consumer.committed(partition) for partition in self.fed.ends}
        return {partition: offset for partition, offset in found.items() if offset is not None}

    async def all_consumed(self) -> None:
        async def done() -> bool:
            return await self.taken_in() >= len(self.fed.places) and await self.committed() == self.fed.ends

        await until(done, within=_PATIENCE)

    async def all_delivered(self) -> None:
        """For when no events are added any more."""

        async def done() -> bool:
            return not await self.number("SELECT count(*) FROM deliveries")

        await until(done, within=_PATIENCE)

    async def left_by(self, name: str) -> None:
        """Until the database has noticed that the child of this name died."""
        await until(lambda: self._no_session(name, "%"))

    async def unlocked_by(self, name: str) -> None:
        """Until no session of the child of this name is in a transaction."""
        await until(lambda: self._no_session(name, "idle in transaction%"), within=_PATIENCE)

    async def holds_locks(self, name: str) -> bool:
        return not await self._no_session(name, "idle in transaction%")

    async def _no_session(self, name: str, state: str) -> bool:
        count = await self.number(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name = :name AND state LIKE :state",
            name=name,
            state=state,
        )
        return count == 0


async def copied(template: str, databases: Databases) -> str:
    """The URL of a new database like the one at `template`."""
    return await databases._new(f"TEMPLATE {make_url(template).database}")


@asynccontextmanager
async def run_on(url: str, fed: Fed) -> AsyncIterator[Run]:
    """A run on the database at `url`, by a consumer group of its own."""
    engine = connect(url)
    group = f"crash-{secrets.token_hex(6)}"
    consumer = AIOKafkaConsumer(bootstrap_servers=fed.servers, group_id=group, enable_auto_commit=False)
    consumer.assign(list(fed.ends))
    try:
        await consumer.start()
        async with Receiver() as receiver:
            async with engine.begin() as connection:
                await connection.execute(text("UPDATE endpoints SET url = :at || id"), {"at": receiver.url("/")})
            yield Run(fed, url, group, engine, receiver, consumer)
    finally:
        await asyncio.gather(consumer.stop(), engine.dispose())


@asynccontextmanager
async def run_from(template: str, databases: Databases, fed: Fed) -> AsyncIterator[Run]:
    """A run on a copy of the database at the URL `template`, which nobody is connected to."""
    url = await copied(template, databases)
    try:
        async with run_on(url, fed) as run:
            yield run
    finally:
        await databases.drop(url)
