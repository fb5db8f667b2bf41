"""What a vendor reported in a span of time, page by page; and that it was taken back."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.update import Stamp
from domain.wallet import Key
from store.rows import REPORTED_ID


class ReportSpan(NamedTuple):
    """The replacements that `vendor` reported from `since` on and before `until`, by when they were received."""

    vendor: str
    since: datetime
    until: datetime


class ReportedFact(NamedTuple):
    """An update that reported a replacement."""

    inbox_id: int
    stamp: Stamp
    old_key: Key


# Rows are received in the order of their ids, but for transactions that were under way at the same time: a minute.
_AT_OR_AFTER = text("SELECT id, received_at FROM inbox WHERE id >= :id ORDER BY id LIMIT 1")
_LAST_ID = text("SELECT coalesce(max(id), 0) FROM inbox")
_BEFORE = text("SELECT CAST(:since AS timestamptz) - interval '1 minute'")


async def bounds(connection: AsyncConnection, since: datetime) -> tuple[int, int]:
    """The ids between which the rows from `since` on lie: greater than the first, up to the last."""
    last: int = (await connection.scalar(_LAST_ID)) or 0
    earliest = await connection.scalar(_BEFORE, {"since": since})
    low, high = 0, last
    while low < high:  # rows after `high` were received later
        middle = (low + high) // 2 + 1
        row = (await connection.execute(_AT_OR_AFTER, {"id": middle})).one_or_none()
        if row is None or row.received_at >= earliest:
            high = middle - 1
        else:
            low = max(middle, row.id)
    return low, last


# The primary key leads; a page has so many rows at most, of whatever vendor.
_PAGE = text("""
    SELECT id, occurred_at, vendor, update_id, old_key
    FROM inbox
    WHERE id > :after AND id <= :last AND vendor = :vendor AND original AND type = 'NUMBER_REPLACED'
      AND old_key IS NOT NULL AND received_at >= :since AND received_at < :until
      AND reason IS DISTINCT FROM 'RETRACTED'
    ORDER BY id LIMIT :limit
""")


async def page(
    connection: AsyncConnection, span: ReportSpan, *, after: int, last: int, limit: int
) -> list[ReportedFact]:
    """Those of the span with ids after `after` and up to `last`, in order; up to `limit`."""
    rows = await connection.execute(_PAGE, {**span._asdict(), "after": after, "last": last, "limit": limit})
    return [ReportedFact(id_, Stamp(at, vendor, update_id), key) for id_, at, vendor, update_id, key in rows]


_AMONG = text(f"""
    SELECT inbox.id, inbox.occurred_at, inbox.vendor, inbox.update_id, inbox.old_key
    FROM {REPORTED_ID.array("reports")} AS report
    CROSS JOIN LATERAL (
        SELECT id, occurred_at, vendor, update_id, old_key, received_at FROM inbox
        WHERE original AND vendor = report.vendor AND update_id = report.update_id
        OFFSET 0) AS inbox
    WHERE inbox.received_at >= :since AND inbox.received_at < :until
""")


async def among(connection: AsyncConnection, span: ReportSpan, stamps: Collection[Stamp]) -> list[ReportedFact]:
    """The updates of the span that have one of these stamps."""
    reports = [
        REPORTED_ID.row(vendor=stamp.vendor, update_id=stamp.update_id)
        for stamp in stamps
        if stamp.vendor == span.vendor
    ]
    rows = await connection.execute(_AMONG, {"reports": reports, "since": span.since, "until": span.until})
    return [ReportedFact(id_, Stamp(at, vendor, update_id), key) for id_, at, vendor, update_id, key in rows]


_RETRACTED = text("""
    WITH waits AS (DELETE FROM parked_updates WHERE inbox_id = ANY(CAST(:ids AS bigint[]))),
    further AS (DELETE FROM unfinished_updates WHERE inbox_id = ANY(CAST(:ids AS bigint[])))
    UPDATE inbox SET outcome = 'IGNORED', reason = 'RETRACTED' WHERE id = ANY(CAST(:ids AS bigint[]))
""")


async def record(connection: AsyncConnection, updates: Sequence[ReportedFact]) -> None:
    """Give the updates the outcome of what was taken back: they wait for nothing any more."""
    await connection.execute(_RETRACTED, {"ids": sorted(update.inbox_id for update in updates)})


_WITHOUT_REPORTS = text("""
    SELECT count(*) FROM replacement_facts
    WHERE old_key = ANY(CAST(:keys AS text[])) AND NOT reports_kept AND vendor = :vendor
      AND update_id = ANY(CAST(:update_ids AS text[]))
""")


async def without_reports(connection: AsyncConnection, vendor: str, updates: Sequence[ReportedFact]) -> int:
    """How many facts of these updates are from before all reports were kept: others may have reported them."""
    values = {
        "keys": [update.old_key for update in updates],
        "vendor": vendor,
        "update_ids": [update.stamp.update_id for update in updates],
    }
    count: int = await connection.scalar(_WITHOUT_REPORTS, values) or 0
    return count
