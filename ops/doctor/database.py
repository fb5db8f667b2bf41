"""The checks of the database: the server, the tables, and the work that they hold."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import TypeAlias, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from domain.checkup import server, tables, work
from domain.checkup.diagnosis import Diagnosis, Level, psql
from ops import retention, secret_keys
from ops.doctor import checks
from ops.doctor.checks import WITHIN_SECONDS
from ops.settings import Settings
from schemas.sealing import CannotOpen, Keys
from store import address, connectivity, endpoint_secrets
from store.checkup import server_state, table_state, work_state
from store.connectivity import Unusable
from store.endpoint_secrets import Sample
from store.engine import connect

T = TypeVar("T")

# For one statement: two or three make up a check.
_STATEMENT_SECONDS = 3.0
# Connections at a time.
_AT_ONCE = 4

DatabaseCheck: TypeAlias = Callable[[AsyncConnection], Awaitable[Iterable[Diagnosis]]]


async def examine(settings: Settings, url: str) -> list[Diagnosis]:
    """Check the database; nothing but the connection where there is none, and no tables that were not migrated."""
    name = address.read(url).name
    try:
        async with asyncio.timeout(WITHIN_SECONDS):
            schema = await connectivity.revisions(url)
    except (Unusable, TimeoutError) as error:
        measured = str(error) or f"no answer within {WITHIN_SECONDS:g} s"
        command = psql("SELECT 1")
        return [Diagnosis("database", name, Level.FAULT, "answers", measured, command)]
    engine = connect(url, pool_size=_AT_ONCE)
    wanted = {**_SERVER, **(_tables(settings) if schema.refusal is None else {})}
    try:
        diagnoses = await checks.run(
            {check: partial(_read, engine, of_database) for check, of_database in wanted.items()}, at_once=_AT_ONCE
        )
    finally:
        await engine.dispose()
    answers = Diagnosis("database", name, Level.OK, "answers", "answers")
    return [answers, tables.migration(schema), *diagnoses]


async def _read(engine: AsyncEngine, check: DatabaseCheck) -> Iterable[Diagnosis]:
    async with connectivity.brief_snapshot(engine, within=_STATEMENT_SECONDS) as connection:
        return await check(connection)


def _judged(
    measure: Callable[[AsyncConnection], Awaitable[T]], judge: Callable[[T], Iterable[Diagnosis]]
) -> DatabaseCheck:
    """A check of one measurement."""

    async def check(connection: AsyncConnection) -> Iterable[Diagnosis]:
        return judge(await measure(connection))

    return check


async def _clock(connection: AsyncConnection) -> Iterable[Diagnosis]:
    before = datetime.now(UTC)
    server_time = await server_state.clock(connection)
    here = before + (datetime.now(UTC) - before) / 2
    return [server.clock((here - server_time).total_seconds())]


async def _transactions(connection: AsyncConnection) -> Iterable[Diagnosis]:
    sees_all = await server_state.sees_all_sessions(connection)
    return server.transactions(await server_state.sessions(connection), sees_all=sees_all)


_SERVER: Mapping[str, DatabaseCheck] = {
    "database-settings": _judged(server_state.server, server.server),
    "clock": _clock,
    "transactions": _transactions,
    "prepared": _judged(server_state.prepared, server.prepared),
    "replication-slots": _judged(server_state.slots, server.slots),
    "xmin-horizon": _judged(server_state.holders, server.horizon),
    "dead-tuples": _judged(server_state.tables, server.dead_tuples),
}


def _opens(keys: Keys, sample: Sample) -> bool:
    try:
        keys.open(sample.sealed, sample.kind, sample.endpoint_id)
    except CannotOpen:
        return False
    return True


def _tables(settings: Settings) -> Mapping[str, DatabaseCheck]:
    """The checks that read the tables of this version."""
    keep = retention.keep(settings)

    async def rights(connection: AsyncConnection) -> Iterable[Diagnosis]:
        missing, owns = await table_state.rights(connection)
        return tables.rights(missing, owns=owns)

    async def kept(connection: AsyncConnection) -> Iterable[Diagnosis]:
        days = [await table_state.oldest_day(connection, parent, keep=time) for parent, time in keep.days.items()]
        tables_of_rows = [
            await table_state.knowledge(connection),
            await table_state.events(connection, keep=keep.events),
            await table_state.updates(connection, keep=keep.inbox),
            await table_state.dead_letters(connection, keep=keep.dead_letters),
        ]
        return tables.retention([*days, *tables_of_rows])

    async def identifiers(connection: AsyncConnection) -> Iterable[Diagnosis]:
        return [tables.identifiers(settings.identifiers, *await table_state.customer_names(connection))]

    async def secrets(connection: AsyncConnection) -> Iterable[Diagnosis]:
        keys = secret_keys.keys(settings)
        samples = await endpoint_secrets.samples(connection)
        return tables.secrets(
            [tables.SealedSecrets(sample.version, sample.number, opens=_opens(keys, sample)) for sample in samples]
        )

    return {
        "rights": rights,
        "partitions": _judged(partial(table_state.partitions, parents=list(keep.days)), tables.partitions),
        "retention": kept,
        "identifiers": identifiers,
        "secrets": secrets,
        "leases": _judged(work_state.leases, work.leases),
        "deliveries": _judged(work_state.deliveries, work.deliveries),
        "endpoints": _judged(work_state.restrained_endpoints, work.endpoints),
        "updates": _judged(partial(work_state.updates, parked_for=settings.parked_for), work.updates),
    }
