"""`repoint topics create|skip|rewind`."""

from datetime import datetime, timedelta
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from ops import kafka, loop, parts, terminal
from ops.actor import who
from ops.commands.options import duration, masked, moment
from ops.rewind import Rewinding, RewoundPartition
from ops.terminal import AsJson, DryRun, Failed
from ops.topics import Action, Administration, TopicResult, Wanted
from schemas.views import CorruptBatchView, RewoundPartitionView, TopicView
from store import audit, connectivity, skips, topics
from store.audit import Act

app = typer.Typer(help="The topics on Kafka that updates come by.", no_args_is_help=True)

# Eight processes can share the updates; thin events are few.
_PARTITIONS, _THIN_PARTITIONS = 8, 2


@app.command()
def create(
    *,
    partitions: Annotated[
        int | None,
        typer.Option(min=1, max=10_000, help="Of the update topic: as many processes can share the work. [default: 8]"),
    ] = None,
    thin_partitions: Annotated[
        int | None, typer.Option(min=1, max=10_000, help="Of the topic of thin events. [default: 2]")
    ] = None,
    replicas: Annotated[
        int | None,
        typer.Option(min=1, max=100, help="Copies of each. [default: 3, or as many as there are brokers]"),
    ] = None,
    retention: Annotated[
        timedelta, typer.Option(parser=duration, help="How long messages are kept.", metavar="DURATION")
    ] = "28d",  # type: ignore[assignment] # parsed
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Make missing topics. A topic that exists keeps its settings; partitions are added where asked for."""
    settings = parts.settings_of_a_command()
    wanted = [
        Wanted(settings.kafka_topic, partitions or _PARTITIONS, partitions or 1),
        Wanted(settings.kafka_thin_topic, thin_partitions or _THIN_PARTITIONS, thin_partitions or 1),
    ]
    administration = Administration(parts.running_broker(settings), kafka.security(settings))
    results = loop.run(administration.create(wanted, replicas=replicas, retention=retention, dry_run=dry_run))
    if as_json:
        terminal.write_json([TopicView.of(result).as_json() for result in results])
        return
    for result in results:
        terminal.write_line(_line(result, dry_run=dry_run))


def _line(result: TopicResult, *, dry_run: bool) -> str:
    count = terminal.counted(result.partitions, "partition")
    if result.action is Action.NOTHING:
        return f"{result.name} is {result.action.value}, with {count}"
    done = f"would be {result.action.value}" if dry_run else result.action.value
    copies = "" if result.replicas is None else f", {terminal.counted(result.replicas, 'replica')} each"
    return f"{result.name} {done}: {count}{copies}"


@app.command()
def skip(
    topic: Annotated[str, typer.Argument(metavar="TOPIC")],
    partition: Annotated[int, typer.Argument(metavar="PARTITION", min=0)],
    offset: Annotated[int, typer.Argument(metavar="OFFSET", min=0)],
    *,
    reason: Annotated[str, typer.Option(callback=masked, help="Why; it stays on record.", metavar="TEXT")],
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Have the worker pass the corrupt record batch that holds OFFSET, and lose what is in it.

    The log, /readyz and repoint_partition_halted name the place. The worker that owns the partition obeys within
    seconds, counts what was lost, and reads on behind the batch.
    """
    if not reason.strip():
        raise typer.BadParameter("expected a reason", param_hint="--reason")
    settings = parts.settings_of_a_command()
    if topic not in (settings.kafka_topic, settings.kafka_thin_topic):
        read = f"{settings.kafka_topic} (REPOINT_KAFKA_TOPIC) or {settings.kafka_thin_topic} (REPOINT_KAFKA_THIN_TOPIC)"
        raise Failed(f"no worker reads the topic {topic}: expected {read}")
    administration = Administration(parts.running_broker(settings), kafka.security(settings))
    corrupt = loop.run(administration.corrupt_at(topic, partition, offset))
    if corrupt is None:
        raise Failed(f"offset {offset} of partition {partition} of {topic} can be read: there is nothing to skip")

    async def work(engine: AsyncEngine) -> None:
        async with connectivity.transaction(engine, dry_run=dry_run) as connection:
            of = await topics.latest(connection, topic)
            await skips.order(connection, of, partition, offset, reason)

    parts.on_database(settings, work)
    if as_json:
        batch = CorruptBatchView(topic=topic, partition=partition, offset=offset, end=corrupt.end, why=corrupt.reason)
        terminal.write_json(batch.as_json())
        return
    done = "would be skipped" if dry_run else "will be skipped by the worker that reads it"
    place = f"the batch of partition {partition} of {topic} that holds offset {offset} and ends before {corrupt.end}"
    terminal.write_line(f"{place} {done}: {corrupt.reason}")


@app.command()
def rewind(
    *,
    to: Annotated[
        datetime,
        typer.Option(metavar="MOMENT", parser=moment, help="A little before the backup was taken; UTC without a zone."),
    ],
    reason: Annotated[str, typer.Option(callback=masked, help="Why, for the audit.", metavar="TEXT")],
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Have both topics read again from a time on, after the database was restored from a backup.

    Stop all processes of role consume first. What the database has is recognised and not applied again.
    """
    if not reason.strip():
        raise typer.BadParameter("expected a reason", param_hint="--reason")
    settings = parts.settings_of_a_command()
    rewinding = Rewinding(parts.running_broker(settings), kafka.security(settings))
    groups = {
        settings.kafka_topic: settings.kafka_group,
        settings.kafka_thin_topic: kafka.thin_group(settings.kafka_group),
    }

    async def work(engine: AsyncEngine) -> list[RewoundPartition]:
        rewound: list[RewoundPartition] = []
        for topic, group in groups.items():
            rewound += await rewinding.rewind(topic, group, to, dry_run=dry_run) or ()
        if rewound and not dry_run:
            places = [[place.topic, place.partition, place.former, place.offset] for place in rewound]
            act = Act(who(), "topics rewound", terminal.moment(to) or "", reason, after={"partitions": places})
            async with connectivity.transaction(engine, dry_run=False) as connection:
                await audit.record(connection, [act])
        return rewound

    views = [RewoundPartitionView.of(place) for place in parts.on_database(settings, work)]
    if as_json:
        terminal.write_json([view.as_json() for view in views])
        return
    for view in views:
        messages = terminal.counted(view.former - view.offset, "message")
        verb = "would be read" if dry_run else "will be read"
        terminal.write_line(f"{view.topic} partition {view.partition}: {messages} {verb} again, from {view.offset} on")
    if not views:
        terminal.write_line(f"nothing was read since {terminal.moment(to)}")
