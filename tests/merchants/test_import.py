"""What a merchants file says of an endpoint beside its URL, its secret and its events."""

from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from tests.acceptance.lines import merchant
from tests.acceptance.program import Program
from tests.store.outbox import Outbox


async def test_the_rate_and_the_schedule_of_an_endpoint_are_stored_shown_and_taken_away(
    tmp_path: Path, engine: AsyncEngine, database_url: str
) -> None:
    program = Program(tmp_path, DATABASE_URL=database_url, EGRESS_ALLOW="127.0.0.0/8")
    line = merchant(url="http://127.0.0.1:9/")
    line["endpoints"][0] |= {"maxPerSecond": 0.1, "retrySchedule": ["5s", "30m", "2h"]}
    (await program("merchants", "import", program.write("merchants.jsonl", line))).well()
    [stored] = await Outbox(engine).execute(
        "SELECT max_per_second, CAST(retry_schedule AS text[]) AS schedule FROM endpoints"
    )
    assert (round(stored.max_per_second, 6), list(stored.schedule)) == (0.1, ["00:00:05", "00:30:00", "02:00:00"])
    [shown] = (await program("endpoints", "list", "--json")).json()
    [[again]] = [shown["endpoints"] for shown in (await program("merchants", "list", "--json")).json()]
    assert shown == again
    assert (shown["maxPerSecond"], shown["retrySchedule"]) == (0.1, ["5s", "30m", "2h"])
    del line["endpoints"][0]["maxPerSecond"]
    line["endpoints"][0]["retrySchedule"] = None
    (await program("merchants", "import", program.write("merchants.jsonl", line))).well()
    [shown] = (await program("endpoints", "list", "--json")).json()
    assert (shown["maxPerSecond"], shown["retrySchedule"]) == (None, None)
