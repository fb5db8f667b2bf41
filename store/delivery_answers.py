"""One delivery with its attempts, and what is kept of the answers to those that failed."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from store.attempts import ATTEMPTS_OF_IDS
from store.status import Attempt, DeliveryWithAttempts


@dataclass(frozen=True, slots=True)
class Answer:
    """A row of `attempt_evidence`."""

    header_names: Sequence[str]
    body: str


@dataclass(frozen=True, slots=True)
class AnsweredAttempt(Attempt):
    """An attempt, and what is kept of its answer."""

    answer: Answer | None = None


_DELIVERY = text("""
    SELECT delivery.id, event.id, event.name, event.merchant_id, endpoint_id, CAST(event.wallet_id AS text),
           CAST(event.payment_method_id AS text), event.sequence, delivery.status, due_at, delivery.created_at,
           finished_at
    FROM (
        SELECT id, event_id, endpoint_id, wallet_id, status, due_at, created_at, NULL AS finished_at
        FROM deliveries WHERE id = :id
        UNION ALL
        SELECT id, event_id, endpoint_id, wallet_id, status, NULL, created_at, finished_at
        FROM delivery_history WHERE id = :id) AS delivery
    JOIN events AS event ON event.id = event_id
""")
_ATTEMPTS = text(f"""
    SELECT attempt.number, outcome, status_code, took_ms, attempt.attempted_at, header_names, body
    FROM {ATTEMPTS_OF_IDS} AS attempt
    LEFT JOIN attempt_evidence AS evidence
           ON evidence.delivery_id = attempt.delivery_id AND evidence.number = attempt.number
          AND evidence.delivery_id = ANY(CAST(:ids AS bigint[]))
    ORDER BY attempt.number
""")


async def find(connection: AsyncConnection, delivery_id: int) -> DeliveryWithAttempts | None:
    """The delivery, live or finished; None if no delivery has this number. Two statements: give them a snapshot."""
    row = (await connection.execute(_DELIVERY, {"id": delivery_id})).one_or_none()
    if row is None:
        return None
    attempts = [
        AnsweredAttempt(*(*attempt, None if body is None else Answer(tuple(header_names), body)))
        for *attempt, header_names, body in await connection.execute(_ATTEMPTS, {"ids": [delivery_id]})
    ]
    return DeliveryWithAttempts(*(*row, tuple(attempts)))
