"""The reports of facts and of credential states that were reported again, one by one (see `domain.retraction`)."""

from collections.abc import Collection

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.knowledge import Knowledge
from domain.retraction import Reports, TakenBack
from domain.wallet import Key
from store.knowledge_rows import (
    fact_report_digest,
    read_fact_report,
    read_state_report,
    state_report_digest,
    write_fact_report,
    write_scope,
    write_state_report,
)
from store.rows import FACT_ID, FACT_REPORT, STATE_REPORT

# A report that is there is whole. The knowledge may lack a part of it that another report took the place of.
_ADD_FACTS = text(f"{FACT_REPORT.insert('fact_reports', 'reports')} ON CONFLICT DO NOTHING")
_ADD_STATES = text(f"{STATE_REPORT.insert('state_reports', 'reports')} ON CONFLICT DO NOTHING")


async def add(connection: AsyncConnection, knowledge: Knowledge) -> None:
    """Write the reports of what was reported again since `knowledge` was loaded. Their facts and states are saved."""
    facts = [
        write_fact_report(report)
        for _, reports in sorted(knowledge.fact_reports.items())
        for report in reports.values()
    ]
    if facts:
        await connection.execute(_ADD_FACTS, {"reports": facts})
    states = [
        write_state_report(key, scope, stamp, report)
        for (key, scope), reports in sorted(knowledge.state_reports.items())
        for stamp, report in reports.items()
    ]
    if states:
        await connection.execute(_ADD_STATES, {"reports": states})


_FACTS = text(f"""
    SELECT {FACT_REPORT.selected}
    FROM fact_reports
    WHERE old_key = ANY(ARRAY(
        SELECT old_key FROM replacement_facts
        WHERE old_key = ANY(CAST(:keys AS text[])) OR old_alias = ANY(CAST(:keys AS text[]))))
""")
_STATES = text(f"SELECT {STATE_REPORT.selected} FROM state_reports WHERE key = ANY(CAST(:keys AS text[]))")


async def load(connection: AsyncConnection, keys: Collection[Key]) -> Reports:
    """The reports of the facts that lead from `keys`, and of the states of `keys`."""
    reports = Reports()
    for row in await connection.execute(_FACTS, {"keys": list(keys)}):
        reports.add_fact(read_fact_report(row))
    for row in await connection.execute(_STATES, {"keys": list(keys)}):
        reports.add_state(*read_state_report(row))
    return reports


# A fact that is forgotten takes its reports with it.
_FORGET_FACTS = text(f"""
    DELETE FROM replacement_facts AS fact
    USING {FACT_ID.array("facts")} AS gone
    WHERE fact.old_key = ANY(CAST(:keys AS text[]))
      AND fact.old_key = gone.old_key AND fact.new_key = gone.new_key AND fact.scope = gone.scope
""")
_FORGET_FACT_REPORTS = text("DELETE FROM fact_reports WHERE digest = ANY(CAST(:digests AS bytea[]))")
_FORGET_STATE_REPORTS = text("DELETE FROM state_reports WHERE digest = ANY(CAST(:digests AS bytea[]))")


async def forget(connection: AsyncConnection, taken_back: TakenBack) -> None:
    """Delete the reports that were taken back, and the facts that no report is left of.

    What is left of other facts and states is saved as what was reported (`store.knowledge.save`).
    """
    if taken_back.forgotten:
        ids = [fact.id for fact in taken_back.forgotten]
        facts = [FACT_ID.row(old, new, write_scope(scope)) for old, new, scope in ids]
        await connection.execute(_FORGET_FACTS, {"facts": facts, "keys": [old for old, _, _ in ids]})
    fact_reports = [fact_report_digest(*report) for report in taken_back.fact_reports]
    if fact_reports:
        await connection.execute(_FORGET_FACT_REPORTS, {"digests": fact_reports})
    state_reports = [state_report_digest(*report) for report in taken_back.state_reports]
    if state_reports:
        await connection.execute(_FORGET_STATE_REPORTS, {"digests": state_reports})
