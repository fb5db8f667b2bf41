"""`repoint dead-letters list|show|replay|discard`."""

import re
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from domain.refusal import Refused
from ops import kafka, parts, terminal
from ops.actor import who
from ops.commands.options import moment
from ops.settings import Settings
from ops.terminal import AsJson, DryRun, Failed, Limit
from producers.topic import ingest, stream
from producers.topic.stream import FeedLine
from schemas import intake, thin
from schemas.canonical import UNREADABLE_HEADER
from schemas.digit_ids import DigitIds
from schemas.intake import TopicMessage
from schemas.views import DeadLetterView
from store import audit, connectivity, dead_letters
from store.audit import Act
from store.dead_letters import DeadLetterRow, LetterSelection, MaskedHeaders, Range

app = typer.Typer(help="Messages that no update could be made of.", no_args_is_help=True)

Id = Annotated[int, typer.Argument(metavar="ID")]

_RANGE = re.compile(r"([0-9]{1,18})(?:-([0-9]{1,18}))?")


def _range(text: str) -> Range:
    match = _RANGE.fullmatch(text)
    if match is None or int(match[2] or match[1]) < int(match[1]):
        raise typer.BadParameter(f"{text!r}: expected the number of a dead letter, or two as in 12-40")
    return Range(int(match[1]), int(match[2] or match[1]))


# Letters of one request to the broker, and of one transaction.
_REPLAYED_AT_ONCE, _DISCARDED_AT_ONCE = 200, 10_000

# A masked card number: thirteen stars or more, perhaps in groups.
_MASKED = re.compile(r"\*(?:[^\w*]?\*){12,}")


@app.command("list")
def list_(
    *,
    status: Annotated[
        Literal["OPEN", "REPLAYED", "DISCARDED", "ANY"],
        typer.Option(help="Only letters of this status.", case_sensitive=False),
    ] = "OPEN",
    after: Annotated[int, typer.Option(metavar="ID", help="Only letters after this one.")] = 0,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """List dead letters, the oldest first."""

    async def work(engine: AsyncEngine) -> list[DeadLetterRow]:
        async with connectivity.snapshot(engine) as connection:
            wanted = None if status == "ANY" else status
            return await dead_letters.page(connection, status=wanted, after=after, limit=limit)

    views = [DeadLetterView.of(letter) for letter in parts.on_database(parts.settings_of_a_command(), work)]
    if as_json:
        terminal.write_json([view.as_json() for view in views])
        return
    terminal.write_table(
        ("id", "received", "partition", "offset", "status", "reason"),
        [(view.id, view.received_at, view.partition, view.offset, view.status, view.reason) for view in views],
    )


@app.command()
def show(letter_id: Id, *, as_json: AsJson = False) -> None:
    """Show one dead letter whole: headers and body as they were received, card numbers masked."""

    async def work(engine: AsyncEngine) -> tuple[DeadLetterRow, MaskedHeaders, bytes]:
        async with connectivity.snapshot(engine) as connection:
            return await _find(connection, letter_id)

    letter, headers, body = parts.on_database(parts.settings_of_a_command(), work)
    shown = DeadLetterView.of(letter).as_json()
    if as_json:
        text = body.decode(errors="backslashreplace")
        terminal.write_json({**shown, "headers": headers, "body": text})
        return
    for name, value in shown.items():
        terminal.write_line(f"{name:<11}{terminal.printable(str(value))}")
    for name, value in headers:
        terminal.write_line(f"{'header':<11}{terminal.printable(f'{name}: {value}')}")
    terminal.write_line(f"\n{_visible(body)}")


Reason = Annotated[str | None, typer.Option(metavar="TEXT", help="Only letters with this text in their reason.")]
Since = Annotated[
    datetime | None,
    typer.Option(metavar="MOMENT", parser=moment, help="Only letters received then or later; UTC without a zone."),
]
Before = Annotated[
    datetime | None,
    typer.Option(metavar="MOMENT", parser=moment, help="Only letters received before; UTC where no zone is named."),
]
Topic = Annotated[str | None, typer.Option(metavar="TOPIC", help="Only letters of this topic.")]


@app.command()
def replay(
    ids: Annotated[list[int] | None, typer.Argument(metavar="ID")] = None,
    *,
    body: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Send this file's content in place of the letter's."),
    ] = None,
    reason: Reason = None,
    since: Since = None,
    before: Before = None,
    topic: Topic = None,
    dry_run: DryRun = False,
) -> None:
    """Put dead letters on their topic again, and close them once the broker has them.

    Use it for letters that have become readable meanwhile, or with --body for a letter that was mended by hand. Headers
    are sent along, except those in which a card number was masked. An update that came through already is recognised by
    its vendor and id.

    With --reason, --since, --before and --topic it replays all open letters that these select, in their order, some at
    a time. Letters that cannot be replayed stay open and are counted. If it is interrupted, call it again.
    """
    settings = parts.settings_of_a_command()
    selection = _selection(None, reason, since, before, topic)
    if (ids is None) == (selection is None):
        raise typer.BadParameter("expected an ID, or --reason, --since, --before or --topic")
    if body is not None and (ids is None or len(ids) != 1):
        raise typer.BadParameter("expected one ID beside --body")
    servers = None if dry_run else parts.running_broker(settings)
    if selection is not None:
        _replay_selected(selection, servers, settings)
        return
    mended = None if body is None else body.read_bytes().strip()
    ids = list(dict.fromkeys(ids or ()))

    async def work(engine: AsyncEngine) -> None:
        async with connectivity.snapshot(engine) as connection:
            letters = [await _find(connection, letter_id) for letter_id in ids]
        lines = [_line(letter, headers, kept, mended, settings) for letter, headers, kept in letters]
        if servers is not None:
            await _send(lines, servers, settings)
            await _close(engine, ids, "REPLAYED", dry_run=False)

    parts.on_database(settings, work)
    terminal.write_line(f"{'would replay' if dry_run else 'replayed'} {_listed(ids)}")


def _replay_selected(selection: LetterSelection, servers: str | None, settings: Settings) -> None:
    """Replay the selected letters page after page; without `servers` only count them."""
    replayed, unusable = 0, 0

    async def work(engine: AsyncEngine) -> None:
        nonlocal replayed, unusable
        with terminal.progress("dead letters", None) as advance:
            async for ids in _pages(engine, selection, _REPLAYED_AT_ONCE):
                async with connectivity.snapshot(engine) as connection:
                    letters = [await _find(connection, letter_id) for letter_id in ids]
                lines = {letter.id: _try_line(letter, headers, kept, settings) for letter, headers, kept in letters}
                usable = {id_: line for id_, line in lines.items() if line is not None}
                if servers is not None and usable:
                    await _send(list(usable.values()), servers, settings)
                    async with connectivity.transaction(engine, dry_run=False) as connection:
                        closed = await dead_letters.close(connection, list(usable), "REPLAYED")
                        await audit.record(connection, [_act("replayed", closed)])
                replayed, unusable = replayed + len(usable), unusable + len(lines) - len(usable)
                for _ in ids:
                    advance(1)

    parts.on_database(settings, work)
    verb = "would replay" if servers is None else "replayed"
    stay = f", {unusable:,} stay open: they cannot be replayed as they are" if unusable else ""
    terminal.write_line(f"{verb} {terminal.counted(replayed, 'dead letter')}{stay}")


def _try_line(letter: DeadLetterRow, headers: MaskedHeaders, body: bytes, settings: Settings) -> FeedLine | None:
    """The message to send; None for a letter that would only become another one, or that was closed meanwhile."""
    try:
        return _line(letter, headers, body, None, settings)
    except Failed:
        return None


async def _pages(engine: AsyncEngine, selection: LetterSelection, size: int) -> AsyncIterator[list[int]]:
    """The ids of the selected letters that were there when it began, some at a time.

    A letter that is replayed may come back as another one.
    """
    after = 0
    async with connectivity.snapshot(engine) as connection:
        last = await dead_letters.last_id(connection)
    while True:
        async with connectivity.snapshot(engine) as connection:
            ids = await dead_letters.select(connection, selection, after=after, last=last, limit=size)
        if not ids:
            return
        yield ids
        after = ids[-1]


def _act(action: str, ids: Sequence[int]) -> Act:
    """What the audit has of letters that were closed together."""
    chosen = {"count": len(ids), "from": min(ids, default=None), "to": max(ids, default=None)}
    return Act(who(), f"dead letters {action}", "dead letters", after=chosen)


def _selection(
    ranges: list[Range] | None, reason: str | None, since: datetime | None, before: datetime | None, topic: str | None
) -> LetterSelection | None:
    """What the options select; None if there is none of them, and no range."""
    if reason is not None and not reason.strip():
        raise typer.BadParameter("--reason: expected a text")
    if ranges is None and reason is None and since is None and before is None and topic is None:
        return None
    return LetterSelection(ranges, reason, since, before, topic)


@app.command()
def discard(
    ranges: Annotated[
        list[Range] | None, typer.Argument(metavar="ID", parser=_range, help="Numbers, or ranges of them as 12-40.")
    ] = None,
    *,
    reason: Reason = None,
    since: Since = None,
    before: Before = None,
    topic: Topic = None,
    dry_run: DryRun = False,
) -> None:
    """Close dead letters for good. They stay on record.

    Letters that are named by their numbers alone must all be open. From ranges, and by --reason, --since, --before and
    --topic, the open letters are closed, some at a time: if it is interrupted, call it again.
    """
    selection = _selection(ranges or None, reason, since, before, topic)
    if selection is None:
        raise typer.BadParameter("expected an ID, a range such as 12-40, --reason, --since, --before or --topic")
    ids = [] if ranges is None else [numbers.first for numbers in ranges if numbers.first == numbers.last]
    if ranges and len(ids) == len(ranges) and selection == LetterSelection(ranges):
        ids = list(dict.fromkeys(ids))
        close = partial(_close, ids=ids, status="DISCARDED", dry_run=dry_run)
        parts.on_database(parts.settings_of_a_command(), close)
        terminal.write_line(f"{'would discard' if dry_run else 'discarded'} {_listed(ids)}")
        return

    async def work(engine: AsyncEngine) -> int:
        count = 0
        async for page in _pages(engine, selection, _DISCARDED_AT_ONCE):
            async with connectivity.transaction(engine, dry_run=dry_run) as connection:
                closed = await dead_letters.close(connection, page, "DISCARDED")
                await audit.record(connection, [_act("discarded", closed)])
            count += len(closed)
        return count

    count = parts.on_database(parts.settings_of_a_command(), work)
    terminal.write_line(f"{'would discard' if dry_run else 'discarded'} {terminal.counted(count, 'dead letter')}")


async def _find(connection: AsyncConnection, letter_id: int) -> tuple[DeadLetterRow, MaskedHeaders, bytes]:
    letter = await dead_letters.find(connection, letter_id)
    if letter is None:
        raise Failed(f"there is no dead letter {letter_id}")
    return letter


def _line(
    letter: DeadLetterRow, headers: MaskedHeaders, body: bytes, mended: bytes | None, settings: Settings
) -> FeedLine:
    """The message to send. Raises Failed for a letter that would only become another dead letter."""
    if letter.status != "OPEN":
        raise Failed(f"dead letter {letter.id} was {letter.status.lower()} before; nothing was replayed")
    unmasked = [header for header in headers if not _is_masked(header)]
    sent_body = body if mended is None else mended
    if _MASKED.search(sent_body.decode(errors="replace")) or (mended is None and len(unmasked) < len(headers)):
        raise Failed(
            f"dead letter {letter.id} held a card number, which was masked for good; nothing was replayed:"
            " put a token in its place and send that with --body FILE"
        )
    read = _thin if letter.topic == settings.kafka_thin_topic else ingest.read_update
    sent_headers = [(name, None if value is None else value.encode()) for name, value in unmasked]
    line = read(letter.id, sent_body, sent_headers, digit_ids=settings.digit_ids)
    if line.refusal_text is not None:
        raise Failed(
            f"dead letter {letter.id} would not be readable now either: {line.refusal_text}; nothing was replayed:"
            " mend it and send that with --body FILE"
        )
    return line


def _thin(number: int, body: bytes, headers: intake.MessageHeaders, *, digit_ids: DigitIds) -> FeedLine:
    """The line of a thin event, which its vendor is asked about once more."""
    try:
        event = thin.parse(body, headers, digit_ids)
    except Refused as reason:
        return FeedLine(number, 0, (), str(reason))
    return FeedLine(number, 0, (TopicMessage(event.digest.hex().encode(), body, headers, thin=True),))


def _is_masked(header: tuple[str, str | None]) -> bool:
    """Whether a card number was masked in the header, or the header says that the body has one."""
    name, value = header
    return name == UNREADABLE_HEADER or bool(_MASKED.search(f"{name}: {value}"))


async def _send(lines: Sequence[FeedLine], servers: str, settings: Settings) -> None:
    async def feed_lines() -> AsyncIterator[FeedLine]:
        for line in lines:
            yield line

    sent = await stream.send(
        feed_lines(),
        bootstrap_servers=servers,
        topic=settings.kafka_topic,
        thin_topic=settings.kafka_thin_topic,
        security=kafka.security(settings),
    )
    if sent.refused:
        letters = terminal.counted(sent.lines, "dead letter")
        why = sent.first_refusal or "too long for it"
        raise Failed(f"the broker did not take {sent.refused} of {letters}: {why}; none was closed")


async def _close(engine: AsyncEngine, ids: Sequence[int], status: str, *, dry_run: bool) -> None:
    async with connectivity.transaction(engine, dry_run=dry_run) as connection:
        for letter_id in ids:
            await _find(connection, letter_id)
        closed = await dead_letters.close(connection, ids, status)
        closed_before = sorted(set(ids).difference(closed))
        if closed_before:
            raise Failed(f"{_listed(closed_before)}: expected a dead letter that is open; nothing was changed")


def _visible(body: bytes) -> str:
    return "\n".join(terminal.printable(line) for line in body.decode(errors="backslashreplace").splitlines())


def _listed(ids: Sequence[int]) -> str:
    return ", ".join(map(str, ids))
