"""The bodies of all events, for docs/webhooks.md: rendered as merchants receive them, from the first example."""

import json
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from uuid import UUID

from domain.resolve import Replaced, Updated
from domain.update import Reason
from domain.wallet import Expiry
from schemas.event import EventName, announcements, endpoint_disabled, endpoint_test, render, render_notice
from schemas.payment_method import FIELDS, SECTION
from schemas.wallet import read_wallet

WALLETS = Path(__file__).parents[1] / "examples" / "wallets.jsonl"
MERCHANT = "m-pharmacy"
COLUMNS = 120


def replaced() -> str:
    """John Doe's lost card gives way to the next one, with the merchant's subscription."""
    return _fenced(EventName.REPLACED)


def deleted() -> str:
    """The lost card is gone."""
    return _fenced(EventName.DELETED)


def updated() -> str:
    """The next card gets another expiry."""
    return _fenced(EventName.UPDATED)


def disabled() -> str:
    """The server of an endpoint answered 410."""
    return _fenced(EventName.ENDPOINT_DISABLED)


def test() -> str:
    """A person asked for it."""
    return _fenced(EventName.ENDPOINT_TEST)


@cache
def bodies() -> dict[EventName, bytes]:
    """One body for each event, with the ids and times of an example."""
    wallet = read_wallet(WALLETS.read_text(encoding="utf-8").partition("\n")[0])
    lost = wallet.methods[0]
    details = lost.details._replace(last4="5678", expiry=Expiry(2028, 12))
    current = lost._replace(id="497f6eca-6276-4993-bfeb-53cbbbba6f08", details=details)
    tombstone = lost.tombstone(current.id, Reason.LOST_OR_STOLEN)
    links = tuple(link.on(current.id) for link in wallet.links if link.moves)
    renewed = current._replace(details=details._replace(expiry=Expiry(2032, 1)))
    wallet_changes = (Replaced(tombstone, current, Reason.LOST_OR_STOLEN, links), Updated(current, renewed))
    events = [event for event in announcements(wallet, wallet_changes) if event.merchant_id == MERCHANT]
    ids = (UUID(f"019a3f0b-5a7e-7c11-b0a4-c6fe2f7b9d{number:02}") for number in range(41, 44))
    times = (f"2026-11-20T09:14:{second}.020Z" for second in range(14, 17))
    return _notices() | {
        event.name: render(event, event_id, wallet.id, sequence, created_at)
        for sequence, (event, event_id, created_at) in enumerate(zip(events, ids, times, strict=True), 41)
    }


def _notices() -> dict[EventName, bytes]:
    """The bodies of the events that speak of no wallet's change."""
    ids = (UUID(f"019a3f0c5a7e7c11b0a4c6fe2f7b9d{number:02}") for number in (44, 45))
    at, oldest_at = "2026-11-21T18:30:02.417Z", datetime(2026, 11, 21, 18, 30, 1, 988_000, UTC)
    url = "https://hooks.pharmacy.example/repoint"
    payloads = {
        EventName.ENDPOINT_DISABLED: endpoint_disabled(
            "m-pharmacy/main", url, "answered 410 Gone", at, undelivered=12, oldest_at=oldest_at
        ),
        EventName.ENDPOINT_TEST: endpoint_test("m-pharmacy/main", url),
    }
    return {
        name: render_notice(name, id_, at, payload) for id_, (name, payload) in zip(ids, payloads.items(), strict=True)
    }


def details() -> str:
    """The keys of the details of each type of payment method."""
    rows = ["| `paymentMethodType` | Under | Keys, beside `type` and `status` |", "|---|---|---|"]
    for method_type, keys in FIELDS.items():
        rows.append(f"| `{method_type}` | `{SECTION[method_type]}` | {', '.join(f'`{key}`' for key in keys)} |")
    return "\n".join(rows)


def _fenced(name: EventName) -> str:
    return f"```json\n{_printed(json.loads(bodies()[name]))}\n```"


def _printed(value: object, indent: int = 0) -> str:
    """JSON, each object on one line if it fits there."""
    line = json.dumps(value, ensure_ascii=False)
    if len(line) + indent <= COLUMNS - 30 or not isinstance(value, dict):
        return line
    inner = " " * (indent + 2)
    items = [f"{inner}{json.dumps(key)}: {_printed(item, indent + 2)}" for key, item in value.items()]
    return "{\n" + ",\n".join(items) + "\n" + " " * indent + "}"
