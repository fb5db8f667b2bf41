"""Evidence: what is kept of answers that did not accept a webhook."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from store.rows import ATTEMPT_EVIDENCE


class KeptAnswer(NamedTuple):
    """The masked answer to attempt `number` of a delivery."""

    delivery_id: int
    number: int
    attempted_at: datetime
    header_names: Sequence[str]
    body: str


_KEEP = text(f"{ATTEMPT_EVIDENCE.insert('attempt_evidence', 'answers')} ON CONFLICT DO NOTHING")


async def keep(connection: AsyncConnection, answers: Sequence[KeptAnswer]) -> None:
    """Keep answers. To keep the same ones again (the first COMMIT's answer was lost) changes nothing."""
    await connection.execute(_KEEP, {"answers": answers})
