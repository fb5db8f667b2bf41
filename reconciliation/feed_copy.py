"""A vendor's file, compared with the inbox page after page: each update is known, missing, or a contradiction."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncEngine

from domain.reconciliation import FeedUpdateState, feed_update_state
from store.reconciliation import feed_updates


class FeedUpdate(NamedTuple):
    """An update on line `line` of the file, and the digest of its content."""

    line: int
    vendor: str
    update_id: str
    digest: bytes


class ComparedUpdate(NamedTuple):
    """The state of an update, and the row of the inbox that has its id."""

    line: int
    vendor: str
    update_id: str
    state: FeedUpdateState
    inbox_id: int | None


async def compare(engine: AsyncEngine, updates: Sequence[FeedUpdate]) -> list[ComparedUpdate]:
    """Compare each update with the inbox, and with those before it in the page.

    What another page has is not known until a worker has taken it in: it is sent twice, which the worker recognises.
    """
    names = {(update.vendor, update.update_id) for update in updates}
    async with engine.begin() as connection:
        originals = await feed_updates.originals(connection, names)
    return _compared(updates, {name: (row.inbox_id, row.digest) for name, row in originals.items()})


def _compared(
    updates: Sequence[FeedUpdate], originals: dict[tuple[str, str], tuple[int | None, bytes]]
) -> list[ComparedUpdate]:
    compared = []
    for line, vendor, update_id, digest in updates:
        inbox_id, known_digest = originals.setdefault((vendor, update_id), (None, digest))
        is_first = inbox_id is None and known_digest is digest
        state = feed_update_state(digest, None if is_first else known_digest)
        compared.append(ComparedUpdate(line, vendor, update_id, state, inbox_id))
    return compared
