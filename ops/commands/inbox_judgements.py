"""`repoint inbox release|discard`: a person's judgement of an update that waits."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random

from domain.judgement import Obstacle
from ops import parts, terminal
from ops.actor import who
from ops.commands.options import masked, uuid
from ops.retention import retention
from ops.settings import Settings
from ops.terminal import AsJson, DryRun, Failed
from schemas.inbox_view import JudgedUpdateView
from store import audit, connectivity
from store.audit import AuditRow
from store.failures import Failure, failure
from store.knowledge import Contended
from wallets import judging
from wallets.judging import Answer, Author, Discard, Judgement, Release

Id = Annotated[int, typer.Argument(metavar="ID", help="The number of its row (`repoint inbox list`).", max=2**63 - 1)]
Reason = Annotated[str, typer.Option(callback=masked, metavar="TEXT", help="Why, for the audit.")]


def release(
    inbox_id: Id,
    *,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="WALLET", parser=uuid, help="It is about this wallet. Of a merge: into this one of the wallets."
        ),
    ] = None,
    accept: Annotated[
        bool,
        typer.Option("--accept", help="It is right for every wallet that knows its credential, whatever the conflict."),
    ] = False,
    reason: Reason,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Apply an update that is QUARANTINED: the wallets change, and merchants are told, as by any update.

    `repoint inbox show` says what each choice would do. The reason, the wallets and your name go into the audit. An
    update that was released so before is left alone.
    """
    if to is None and not accept:
        raise typer.BadParameter("expected --to WALLET or --accept")
    _judge(inbox_id, Release(to, accept), reason, dry_run=dry_run, as_json=as_json)


def discard(inbox_id: Id, *, reason: Reason, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Have an update that is QUARANTINED or PARKED never apply. Its row stays, with your reason in the audit.

    What it alone reported is not known any more. What other updates reported as well stays.
    """
    _judge(inbox_id, Discard(), reason, dry_run=dry_run, as_json=as_json)


def _judge(inbox_id: int, answer: Answer, reason: str, *, dry_run: bool, as_json: bool) -> None:
    if not reason.strip():
        raise typer.BadParameter("expected a reason", param_hint="--reason")
    settings = parts.settings_of_a_command()
    author = Author(who(), reason)

    async def work(engine: AsyncEngine) -> JudgedUpdateView:
        return await _in_transaction(engine, inbox_id, answer, author, settings, dry_run=dry_run)

    view = parts.on_database(settings, work)
    if as_json:
        terminal.write_json(view.as_json())
        return
    terminal.write_line(_line(view, answer, dry_run=dry_run))


def _is_contended(error: BaseException) -> bool:
    return failure(error) is Failure.CONTENDED


async def _in_transaction(
    engine: AsyncEngine, inbox_id: int, answer: Answer, author: Author, settings: Settings, *, dry_run: bool
) -> JudgedUpdateView:
    """Judge it in one transaction, again where a worker was in the way."""
    within_reach: frozenset[str] = frozenset()
    # as jobs of reconciliation: a worker holds the credentials for some milliseconds
    retrying = AsyncRetrying(
        retry=retry_if_exception(_is_contended), stop=stop_after_attempt(20), wait=wait_random(0, 0.5), reraise=True
    )
    async for attempt in retrying:
        with attempt:
            try:
                async with connectivity.transaction(engine, dry_run=dry_run) as connection:
                    judged = await judging.judge(
                        connection, inbox_id, answer, author, retention(settings), within_reach=within_reach
                    )
                    if not isinstance(judged, Judgement):
                        return await _judged_before(connection, inbox_id, answer, judged)
                    return _view(judged)
            except Contended as error:
                within_reach |= error.keys
                raise
    raise AssertionError("an attempt returns or raises")


async def _judged_before(
    connection: AsyncConnection, inbox_id: int, answer: Answer, obstacle: Obstacle | None
) -> JudgedUpdateView:
    """The former judgement, if it was this one. Raises Failed if it was not."""
    if obstacle is None:
        raise Failed(f"there is no update {inbox_id}")
    former = await audit.acts(connection, subject=judging.subject(inbox_id), limit=1)
    if obstacle is not Obstacle.NOT_WAITING or not former:
        raise Failed(f"update {inbox_id} stays as it is: {obstacle.value}")
    act = former[0]
    after = act.after or {}
    if act.action != judging.action(answer) or (isinstance(answer, Release) and not _is_same(answer, after)):
        raise Failed(f"update {inbox_id} stays as it is: {_spelt(act)}")
    terminal.remark(f"update {inbox_id}: {_spelt(act)}")
    return JudgedUpdateView(
        id=inbox_id,
        outcome=after["outcome"],
        reason=after["reason"],
        done_before=True,
        wallet_ids=tuple(after["wallets"]),
        events=after["events"],
        facts_taken_back=after["factsTakenBack"],
    )


def _is_same(answer: Release, after: Mapping[str, Any]) -> bool:
    return (answer.to, answer.accept) == (after["to"], after["accept"])


def _spelt(act: AuditRow) -> str:
    to = (act.after or {}).get("to")
    return f"{act.action}{f' to {to}' if to else ''} by {act.actor} at {terminal.moment(act.at)}"


def _view(judged: Judgement) -> JudgedUpdateView:
    return JudgedUpdateView(
        id=judged.update.update.inbox_id,
        outcome=judged.verdict.outcome,
        reason=judged.verdict.reason,
        done_before=False,
        wallet_ids=tuple(wallet.after.id for wallet in judged.changed),
        events=judged.events,
        facts_taken_back=len(judged.forgotten),
    )


def _line(view: JudgedUpdateView, answer: Answer, *, dry_run: bool) -> str:
    verb = "discard" if isinstance(answer, Discard) else "release"
    done = f"would {verb}" if dry_run else f"{verb}ed" if verb == "discard" else "released"
    done = f"{done} before" if view.done_before else done
    becomes = " ".join(filter(None, (view.outcome, view.reason)))
    changes = f"{terminal.counted(len(view.wallet_ids), 'wallet')}, {terminal.counted(view.events, 'event')}"
    back = f", {terminal.counted(view.facts_taken_back, 'fact')} taken back" if view.facts_taken_back else ""
    return f"{done} update {view.id}: {becomes} ({changes}{back})"
