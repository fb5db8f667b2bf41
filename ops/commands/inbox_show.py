"""`repoint inbox show`: one vendor update, with what a person needs to judge it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, NamedTuple

import typer
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from domain.decide import ChangedWallet, WalletChange
from domain.erasure import Deleted
from domain.judgement import Obstacle
from domain.merge import Merged
from domain.resolve import Replaced
from domain.undo import Restored
from domain.update import Outcome
from domain.wallet import Method, Wallet, WalletId
from ops import parts, terminal
from ops.terminal import AsJson, Failed
from schemas.feeds import FEEDS
from schemas.inbox_view import (
    ChoiceView,
    ForeseenChangeView,
    HolderView,
    InboxUpdateView,
    NearMissView,
    ReportedCredentialView,
)
from schemas.payment_method import write_details
from schemas.views import InboxView, MethodView
from store import connectivity, inbox_update, near_misses
from store.inbox_update import InboxUpdate
from store.near_misses import NearMiss
from wallets import judging
from wallets.judging import Answer, Discard, Judgement, Release


class _Shown(NamedTuple):
    """An update, its near misses, and what each choice would do."""

    update: InboxUpdate
    near_misses: Sequence[NearMiss]
    choices: Sequence[tuple[Answer, Judgement | Obstacle]]


def show(
    inbox_id: Annotated[int, typer.Argument(metavar="ID", help="The number of its row (`repoint inbox list`).")],
    *,
    as_json: AsJson = False,
) -> None:
    """Show one vendor update: what it waits for, what it reported, the wallets that it may be about, and the choices.

    These are the wallets that know one of its credentials, and those of the customer that it names; 20 at most. Of a
    parked update, payment methods are shown that it may have meant. Of each choice it says what `release` or `discard`
    would do.
    """

    async def work(engine: AsyncEngine) -> _Shown | None:
        async with connectivity.snapshot(engine) as connection:
            update = await inbox_update.find(connection, inbox_id)
            return None if update is None else await _look(connection, update)

    shown = parts.on_database(parts.settings_of_a_command(), work)
    if shown is None:
        raise Failed(f"there is no update {inbox_id}")
    view = _update_view(shown)
    if as_json:
        terminal.write_json(view.as_json())
    else:
        _write(view)


async def _look(connection: AsyncConnection, update: InboxUpdate) -> _Shown:
    outcome = update.judged.verdict.outcome
    if outcome not in (Outcome.PARKED, Outcome.QUARANTINED):
        return _Shown(update, (), ())
    misses = await near_misses.find(connection, update, FEEDS) if outcome is Outcome.PARKED else ()
    choices = [
        (answer, await judging.foresee(connection, update.judged, answer, update.wallets))
        for answer in _answers(update)
    ]
    return _Shown(update, misses, choices)


def _answers(update: InboxUpdate) -> list[Answer]:
    """What a person can be expected to choose: a wallet that the update may be about, all of them, or none."""
    waits = update.judged.update
    about = [
        wallet.id
        for wallet in update.wallets
        if wallet.merged_into is None and (waits.merge_into or not wallet.knows().isdisjoint(waits.keys))
    ]
    return [*(Release(to=wallet_id) for wallet_id in about), Release(accept=True), Discard()]


# --- views ----------------------------------------------------------------------------------------------------------


def _update_view(shown: _Shown) -> InboxUpdateView:
    update = shown.update
    old, new = set(update.old_keys), {credential.key for credential in update.reported}
    return InboxUpdateView(
        **InboxView.of(update.row).model_dump(),
        old_keys=update.old_keys,
        customers={role: dict(identities) for role, identities in update.customers.items()},
        reported=tuple(ReportedCredentialView.of(credential) for credential in update.reported),
        wallets=tuple(_holder_view(wallet, old, new) for wallet in update.wallets),
        near_misses=tuple(NearMissView.of(miss) for miss in shown.near_misses),
        choices=tuple(_choice_view(answer, foreseen) for answer, foreseen in shown.choices),
    )


def _holder_view(wallet: Wallet, old: set[str], new: set[str]) -> HolderView:
    return HolderView(
        wallet_id=wallet.id,
        merged_into=wallet.merged_into,
        merchant_ids=wallet.merchants,
        identities=dict(sorted(wallet.customer.identities)),
        payment_methods=tuple(MethodView.of(method) for method in wallet.methods),
        knows_old=tuple(method.id for method in wallet.methods if method.keys & old),
        knows_new=tuple(method.id for method in wallet.methods if method.keys & new),
    )


def _choice_view(answer: Answer, foreseen: Judgement | Obstacle) -> ChoiceView:
    if isinstance(foreseen, Obstacle):
        return ChoiceView(
            choice=_spelt_answer(answer),
            obstacle=foreseen.value,
            outcome=None,
            reason=None,
            changes=(),
            facts_taken_back=(),
        )
    return ChoiceView(
        choice=_spelt_answer(answer),
        obstacle=None,
        outcome=foreseen.verdict.outcome,
        reason=foreseen.verdict.reason,
        changes=tuple(view for wallet in foreseen.changed for view in _changes(wallet)),
        facts_taken_back=tuple(f"{fact.old.key} → {fact.new.key}" for fact in foreseen.forgotten),
    )


def _spelt_answer(answer: Answer) -> str:
    if isinstance(answer, Discard):
        return "discard"
    return " ".join(["release", *(["--to", answer.to] if answer.to else []), *(["--accept"] if answer.accept else [])])


def _changes(wallet: ChangedWallet) -> Iterator[ForeseenChangeView]:
    existing = {method.id for method in wallet.before.methods}
    for change in wallet.changes:
        yield _change_view(wallet.after.id, change, existing)


def _change_view(wallet_id: WalletId, change: WalletChange, existing: set[str]) -> ForeseenChangeView:
    if isinstance(change, Replaced):
        becomes_id = change.new.id if change.new.id in existing else None
        return _foreseen(wallet_id, "REPLACED", change.old.id, becomes_id, change.new, links=len(change.links))
    if isinstance(change, Merged):
        return _foreseen(wallet_id, "MERGED", change.method.id, change.method.id, change.method)
    if isinstance(change, Restored):
        return _foreseen(wallet_id, "RESTORED", change.method.id, None, change.method, links=len(change.links))
    if isinstance(change, Deleted):
        return _foreseen(wallet_id, "DELETED", change.method.id, None, change.method)
    return _foreseen(wallet_id, "UPDATED", change.before.id, change.after.id, change.after)


def _foreseen(
    wallet_id: WalletId, change: str, method_id: str, becomes_id: str | None, becomes: Method, *, links: int = 0
) -> ForeseenChangeView:
    return ForeseenChangeView.model_validate(
        {
            "wallet_id": wallet_id,
            "change": change,
            "payment_method_id": method_id,
            "becomes_id": becomes_id,
            "becomes": write_details(becomes.type, becomes.details) | {"status": becomes.status},
            "links_moved": links,
        }
    )


# --- text -----------------------------------------------------------------------------------------------------------


def _write(view: InboxUpdateView) -> None:
    for name, value in InboxView.of(view).as_json().items():
        terminal.write_line(f"{name:<14}{terminal.printable('-' if value is None else str(value))}")
    for key in view.old_keys:
        terminal.write_line(f"{'old':<14}{terminal.printable(key)}")
    for role, identities in view.customers.items():
        terminal.write_line(f"{role:<14}{_spelt(identities)}")
    for credential in view.reported:
        shown = (credential.reason, credential.method_type, credential.brand, credential.last4)
        terminal.write_line(f"{'new':<14}{terminal.printable('  '.join([credential.key, *filter(None, shown)]))}")
    _write_wallets(view.wallets)
    _write_near_misses(view.near_misses)
    _write_choices(view.choices)


def _write_wallets(wallets: Sequence[HolderView]) -> None:
    if not wallets:
        terminal.write_line("\nno wallet knows one of its credentials, or is of its customer")
    for wallet in wallets:
        merged = "" if wallet.merged_into is None else f"  merged into {wallet.merged_into}"
        terminal.write_line(f"\nwallet {wallet.wallet_id}{merged}  {_spelt(wallet.identities)}")
        terminal.write_line(f"merchants {terminal.printable(', '.join(wallet.merchant_ids) or 'none')}")
        terminal.write_table(
            ("payment method", "type", "status", "last4", "knows"),
            [
                (method.id, method.type.value, method.status.value, method.details.get("last4"),
                 ", ".join(_known(method.id, wallet)) or None)
                for method in wallet.payment_methods
            ],
        )  # fmt: skip


def _write_near_misses(misses: Sequence[NearMissView]) -> None:
    if misses:
        terminal.write_line("\nnear misses")
        terminal.write_table(
            ("wallet", "payment method", "type", "last4", "because"),
            [
                (miss.wallet_id, miss.payment_method.id, miss.payment_method.type.value,
                 miss.payment_method.details.get("last4"), miss.because)
                for miss in misses
            ],
        )  # fmt: skip


def _write_choices(choices: Sequence[ChoiceView]) -> None:
    if choices:
        terminal.write_line("\nchoices")
    for choice in choices:
        becomes = " ".join(filter(None, (choice.outcome, choice.reason)))
        terminal.write_line(f"{choice.choice}: {choice.obstacle or becomes}")
        for change in choice.changes:
            shown = [str(change.becomes[name]) for name in ("cardBrand", "last4", "status") if change.becomes.get(name)]
            successor = "" if change.change != "REPLACED" else f" by {change.becomes_id or 'a new one'}"
            links = f", {terminal.counted(change.links_moved, 'link')} moved" if change.links_moved else ""
            terminal.write_line(
                f"  {change.change} {change.payment_method_id}{successor} ({', '.join(shown)}){links}"
                f" in wallet {change.wallet_id}"
            )
        for fact in choice.facts_taken_back:
            terminal.write_line(f"  takes back {terminal.printable(fact)}")


def _known(method_id: str, wallet: HolderView) -> list[str]:
    known = {"old": wallet.knows_old, "new": wallet.knows_new}
    return [name for name, ids in known.items() if method_id in ids]


def _spelt(identities: Mapping[str, str]) -> str:
    return terminal.printable("  ".join(f"{name}={value}" for name, value in identities.items()))
