"""About how many subjects a run has, for its progress."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

# As of the latest ANALYZE. A count would take as long as the run; -1 was never analysed.
_ESTIMATE = text("SELECT reltuples FROM pg_class WHERE oid = to_regclass(:table)")
_SUBJECTS = text("SELECT count(*) FROM reconciliation_subjects WHERE run_id = :run_id")


async def of_table(connection: AsyncConnection, table: str) -> int | None:
    """About how many rows a table has; None if that is not known."""
    rows = await connection.scalar(_ESTIMATE, {"table": table})
    return int(rows) if rows is not None and rows > 0 else None


async def of_subjects(connection: AsyncConnection, run_id: int) -> int:
    """How many wallets a run is limited to."""
    wallets: int = (await connection.execute(_SUBJECTS, {"run_id": run_id})).scalar_one()
    return wallets
