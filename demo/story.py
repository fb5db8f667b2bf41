"""The lines that the demo prints: one fact a line, its subject in the first column."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from rich.console import Console
from rich.text import Text

from demo import receivers
from domain.update import Update
from domain.wallet import Key, Method, MethodId
from ops.commands.status import called
from store.accounting import Totals
from store.dead_letters import DeadLetterRow
from store.listings import InboxRow
from store.status import MethodHistory

Fact: TypeAlias = tuple[str, str]
"""A subject, and what is said of it."""

_SHORT = {
    "PAYMENT_METHOD_REPLACED": "REPLACED",
    "PAYMENT_METHOD_DELETED": "DELETED",
    "PAYMENT_METHOD_UPDATED": "UPDATED",
}
_DISABLING = 410

RIGHT, WRONG = "✓", "✗"


@dataclass(frozen=True, slots=True)
class Printer:
    """Writes facts to a console: in colours on a terminal, plain in a pipe."""

    console: Console

    def title(self, text: str) -> None:
        self.console.print(Text(f"\n{text}", style="bold"))

    def __call__(self, subject: str, text: str) -> None:
        line = Text(f"  {subject:<12}", style="cyan")
        line.append(text, style="default")
        line.highlight_words([RIGHT], "bold green")
        line.highlight_words([WRONG], "bold red")
        self.console.print(line)

    def all(self, facts: Iterable[Fact]) -> None:
        for subject, text in facts:
            self(subject, text)


def reported_by_vendor(update: Update) -> Fact:
    assert update.old is not None
    assert update.new.credential is not None
    reason = update.reason.value.replace("_", " ").lower()
    return "vendor", f"{_token(update.old.key)} is now {_token(update.new.credential.key)}: {reason}"


def _token(key: Key) -> str:
    vendor, _, token = key.partition(":")
    return f"{vendor}'s {token}"


def card_facts(before: Method, after: MethodHistory) -> Iterator[Fact]:
    """The old card and the card that replaced it."""
    assert after.current is not None
    successor = "the new card" if after.method.replaced_by == after.current.id else "another"
    yield "old card", f"{called(before)}  {after.method.status.value}, replaced by {successor}"
    yield (
        "new card",
        f"{called(after.current)}  {after.current.status.value}{_flags(after.current)}{_taken_over(after.current)}",
    )


def _flags(method: Method) -> str:
    return (", default" if method.default else "") + (", subscription default" if method.subscription_default else "")


def _taken_over(method: Method) -> str:
    known = [text for text in (method.details.holder_name, method.nickname and f"“{method.nickname}”") if text]
    return f", still {' and '.join(known)}" if known else ""


def link_facts(after: MethodHistory, names: Mapping[str, str]) -> Iterator[Fact]:
    assert after.current is not None
    for link in after.links:
        kind = link.kind.value.replace("_", " ").lower()
        where = "on the new card now" if link.method_id == after.current.id else "left on the old card"
        yield "link", f"{names[link.merchant_id]}'s {kind} {link.reference} ({link.status.value}): {where}"


def webhook(request: receivers.ReceivedWebhook, old: MethodId, names: Mapping[str, str]) -> Fact:
    """One request as the merchant received it."""
    name = _SHORT[str(request.event["name"])]
    about = "old card" if request.event["payload"]["paymentMethod"]["id"] == old else "new card"
    signed = f"signature {RIGHT}" if request.genuine else f"signature {WRONG}"
    columns = (f"{names[request.merchant]:<10}", f"#{request.event['sequence']}", f"{name:<8}", about, signed)
    return "webhook", "  ".join((*columns, _answer(request)))


def _answer(request: receivers.ReceivedWebhook) -> str:
    if request.answered == _DISABLING:
        return f"{_DISABLING}: endpoint disabled, its events are parked"
    first_time = request.accepted and request.attempt == 1
    return str(request.answered) + ("" if first_time else f" at attempt {request.attempt}")


def set_aside(letters: Iterable[DeadLetterRow], quarantined: Iterable[InboxRow]) -> Iterator[Fact]:
    """The dead letters and the quarantined updates, with their reasons."""
    for letter in letters:
        yield "dead letter", f"partition {letter.partition}, offset {letter.offset}: {letter.reason}"
    for received in sorted(quarantined, key=lambda row: (row.vendor, row.update_id)):
        yield "quarantined", f"{received.vendor}'s {received.update_id}: {received.reason}"


# --- the accounts -------------------------------------------------------------------------------------------------


def updates_balance(produced: int, accounts: Totals) -> Iterator[Fact]:
    yield "produced", f"{produced:>6}"
    for name, count in accounts.lines.items():
        # longer than its column
        yield {"lost before it was read": "lost"}.get(name, name), f"{count:>6}"
    yield "sum", f"{accounts.received:>6}  {_mark(accounts.received == produced)}"


def events_balance(accounts: Totals) -> Iterator[Fact]:
    finished = [accounts.deliveries.get(status, 0) for status in ("DELIVERED", "PARKED", "DEAD")]
    yield "events", f"{accounts.events:>6}"
    for name, count in zip(("delivered", "parked", "dead"), finished, strict=True):
        yield name, f"{count:>6}"
    yield "sum", f"{sum(finished):>6}  {_mark(sum(finished) == accounts.events)}"


def _mark(right: bool) -> str:  # noqa: FBT001 - one value, one mark
    return RIGHT if right else WRONG


def complaints(produced: int, accounts: Totals, requests: Iterable[receivers.ReceivedWebhook]) -> list[str]:
    """Every check of the accounts and requests that fails; empty if all hold."""
    received = list(requests)
    accepted = [request for request in received if request.accepted]
    bodies: dict[str, set[bytes]] = {}
    for request in received:
        bodies.setdefault(request.id, set()).add(request.body)
    finished = sum(accounts.deliveries.get(status, 0) for status in ("DELIVERED", "PARKED", "DEAD"))
    checks = {
        "the outcomes do not add up to what was produced": accounts.received == produced,
        "the deliveries do not add up to the events": finished == accounts.events == sum(accounts.deliveries.values()),
        "a signature was wrong": all(request.genuine for request in received),
        "one event came with two bodies": all(len(versions) == 1 for versions in bodies.values()),
        "merchants accepted other events than were delivered": len({request.id for request in accepted})
        == len(accepted)
        == accounts.deliveries.get("DELIVERED", 0),
        "a merchant got the events of a wallet out of order": _in_order(accepted),
    }
    return [complaint for complaint, holds in checks.items() if not holds]


def _in_order(accepted: Iterable[receivers.ReceivedWebhook]) -> bool:
    """Whether each merchant received the events of each wallet in the order of `sequence`."""
    latest: dict[tuple[str, str], int] = {}
    for request in accepted:
        line = (request.merchant, str(request.event["walletId"]))
        if request.event["sequence"] <= latest.get(line, 0):
            return False
        latest[line] = request.event["sequence"]
    return True
