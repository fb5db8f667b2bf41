"""Dead letters are discarded by their ids, by a text in their reason and by when they came; closed ones stay closed."""

from datetime import UTC, datetime
from hashlib import blake2b

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from store import dead_letters
from store.dead_letters import DeadLetter, LetterSelection, Range

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
_SET_TIMES = text("UPDATE dead_letters SET received_at = CAST(:noon AS timestamptz) + id * interval '1 hour'")


async def keep(connection: AsyncConnection, *reasons: str) -> None:
    """Letters from id 1 on, received an hour apart, the first one at 13:00."""
    letters = [
        DeadLetter("updates", 0, offset, blake2b(reason.encode(), digest_size=16).digest(), reason, None, b"{}")
        for offset, reason in enumerate(reasons)
    ]
    await dead_letters.keep(connection, letters)
    await connection.execute(_SET_TIMES, {"noon": NOON})


@pytest.mark.parametrize(
    ("selection", "closed"),
    [
        (LetterSelection([Range(1, 2)]), [1, 2]),
        (LetterSelection([Range(4, 9_000), Range(2, 2)]), [2, 4]),
        (LetterSelection([Range(1, 2), Range(2, 3)]), [1, 2]),
        (LetterSelection(reason="expected JSON"), [1, 4]),
        (LetterSelection(reason="%"), []),
        (LetterSelection(before=NOON.replace(hour=14)), [1]),
        (LetterSelection([Range(2, 4)], "JSON", before=NOON.replace(hour=17)), [4]),
        (LetterSelection(since=NOON.replace(hour=14)), [2, 4]),
        (LetterSelection(since=NOON.replace(hour=13), before=NOON.replace(hour=14)), [1]),
        (LetterSelection(topic="updates"), [1, 2, 4]),
        (LetterSelection(topic="thin"), []),
        (LetterSelection([]), []),
    ],
)
async def test_the_open_letters_are_selected_in_their_order(
    engine: AsyncEngine, selection: LetterSelection, closed: list[int]
) -> None:
    async with engine.begin() as connection:
        await keep(connection, "message: expected JSON", "id: required", "id: expected", "message: expected JSON, too")
        await dead_letters.close(connection, [3], "REPLAYED")
        last = await dead_letters.last_id(connection)
        assert await dead_letters.select(connection, selection, last=last, limit=10) == closed
        assert await dead_letters.select(connection, selection, last=last, limit=1) == closed[:1]
        assert await dead_letters.select(connection, selection, last=1, limit=10) == [id_ for id_ in closed if id_ == 1]
        if closed:
            assert await dead_letters.select(connection, selection, after=closed[0], last=last, limit=10) == closed[1:]
