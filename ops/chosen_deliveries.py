"""Deliveries that a command is about: how a person names them, and changes to them in parts."""

import re
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import NamedTuple
from uuid import UUID

import typer
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ops.actor import who
from ops.terminal import Failed
from schemas.signature import event_id
from store import audit, connectivity
from store.audit import Act
from store.selection import Selected, Selection

# The wallets of so many deliveries are locked until the commit, and take in no update meanwhile.
_AT_ONCE = 1000

_EVENT = re.compile(r"evt_([0-9a-f]{32})")


def read_name(text: str) -> int | UUID:
    """Read the number of a delivery, or the id of an event. Raises BadParameter."""
    if text.isascii() and text.isdigit() and len(text) < len(str(1 << 63)):
        return int(text)
    if event := _EVENT.fullmatch(text):
        return UUID(event[1])
    raise typer.BadParameter(f"{text!r}: expected the number of a delivery, or the id of an event (evt_…)")


def selection(names: Sequence[int | UUID]) -> Selection:
    """The deliveries with these numbers, and those of these events; without names all."""
    return Selection(
        ids=[name for name in names if isinstance(name, int)] if names else None,
        event_ids=[name for name in names if isinstance(name, UUID)] if names else None,
    )


def require_all(names: Sequence[int | UUID], deliveries: Sequence[Selected], expected: str) -> None:
    """Raise Failed if one of `names` is not among `deliveries`; `expected` says what was expected of it."""
    missing = set(names).difference(
        {delivery.id for delivery in deliveries}, {delivery.event_id for delivery in deliveries}
    )
    if missing:
        listed = ", ".join(sorted(str(name) if isinstance(name, int) else event_id(name) for name in missing))
        raise Failed(f"{listed}: expected {expected}")


class DeliveryChange(NamedTuple):
    """A change of deliveries by their ids, which returns how many it changed; and what the audit says of it."""

    change: Callable[[AsyncConnection, Collection[int]], Awaitable[int]]
    action: str
    reason: str | None = None


async def change_in_parts(engine: AsyncEngine, deliveries: Sequence[Selected], change: DeliveryChange) -> int:
    """Change the deliveries, some in a transaction. The audit names those that were chosen, by endpoint.

    Return the sum of what the changes returned.
    """
    count = 0
    for start in range(0, len(deliveries), _AT_ONCE):
        part = deliveries[start : start + _AT_ONCE]
        by_endpoint: dict[str, list[int]] = {}
        for delivery in part:
            by_endpoint.setdefault(delivery.endpoint_id, []).append(delivery.id)
        acts = [
            Act(who(), change.action, endpoint_id, change.reason, after={"chosen": ids})
            for endpoint_id, ids in by_endpoint.items()
        ]
        async with connectivity.transaction(engine, dry_run=False) as connection:
            count += await change.change(connection, [delivery.id for delivery in part])
            await audit.record(connection, acts)
    return count
