"""Live deliveries that a person's command is about: what the commands for postponed and for cancelled ones share."""

from sqlalchemy import TextClause
from sqlalchemy.ext.asyncio import AsyncConnection

from store.selection import Selected, Selection


def chosen(condition: str) -> str:
    """The statement for the live deliveries of a selection that meet `condition`."""
    # an event's deliveries are found by their line and number: no index has their `event_id`
    return f"""
    SELECT id, event_id, endpoint_id
    FROM deliveries
    WHERE {condition}
      AND (CAST(:ids AS bigint[]) IS NULL OR id = ANY(CAST(:ids AS bigint[])) OR id = ANY(ARRAY(
          SELECT live.id
          FROM events
          JOIN endpoints ON endpoints.merchant_id = events.merchant_id
          CROSS JOIN LATERAL (
              SELECT id FROM deliveries
              WHERE endpoint_id = endpoints.id AND wallet_id = coalesce(events.wallet_id, events.id)
                AND sequence = coalesce(events.sequence, 0)
              OFFSET 0) AS live
          WHERE events.id = ANY(CAST(:event_ids AS uuid[])))))
      AND (CAST(:endpoint AS text) IS NULL OR endpoint_id = :endpoint)
      AND (CAST(:merchant AS text) IS NULL OR endpoint_id IN (SELECT id FROM endpoints WHERE merchant_id = :merchant))
    ORDER BY id
"""


async def select(connection: AsyncConnection, statement: TextClause, selection: Selection) -> list[Selected]:
    """The deliveries of the selection that `statement`, made by `chosen`, gives; `since` and `until` are not read."""
    wanted = {name: value for name, value in selection.parameters.items() if name not in {"since", "until"}}
    return [Selected._make(row) for row in await connection.execute(statement, wanted)]
