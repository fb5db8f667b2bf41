"""`repoint reconcile feed`: a vendor's file against the inbox; what is missing goes onto the topic."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.update import Update
from tests.acceptance.program import Ended, Program
from tests.acceptance.test_feeds import KEY, everything
from tests.consumers.harness import Harness, written
from tests.domain.build import method, replaced, wallet

VAU = Path(__file__).parents[2] / "examples" / "feeds" / "vau.csv"

UPDATES = [replaced(f"A{n}", f"B{n}", on=n) for n in range(1, 5)]


@pytest.fixture
async def harness(engine: AsyncEngine) -> Harness:
    harness = Harness(engine)
    await harness.import_wallets(wallet(*(method(f"A{n}") for n in range(1, 5))))
    return harness


@pytest.fixture
def program(tmp_path: Path, database_url: str, kafka: str, topic: str) -> Program:
    return Program(
        tmp_path,
        DATABASE_URL=database_url,
        KAFKA_BOOTSTRAP_SERVERS=kafka,
        KAFKA_TOPIC=topic,
        FINGERPRINT_KEY=KEY,
    )


async def reconcile(program: Program, *lines: Update | dict[str, Any] | str, options: tuple[str, ...] = ()) -> Ended:
    """Reconcile a file of canonical updates."""
    shown = [json.dumps(written(line)) if isinstance(line, Update) else line for line in lines]
    return await program("reconcile", "feed", "canonical", program.write("updates.jsonl", *shown), *options)


def summary(ended: Ended) -> dict[str, int]:
    (report,) = json.loads(ended.out)
    counts: dict[str, int] = report["summary"]
    return {name: count for name, count in counts.items() if count}


async def test_what_the_inbox_lacks_is_ingested_once(
    program: Program, harness: Harness, kafka: str, topic: str
) -> None:
    await harness.report(*UPDATES[:2])
    dry = await reconcile(program, *UPDATES, options=("--dry-run", "--json"))
    assert (dry.code, summary(dry)) == (1, {"lines": 4, "known": 2, "missing": 2})
    assert "2 missing updates not sent\n" in dry.err
    assert json.loads(dry.out)[0]["updates"] == [
        {"line": n, "vendor": "vau", "updateId": f"vau-{n}", "state": "MISSING", "inboxId": None} for n in (3, 4)
    ]
    assert await everything(kafka, topic) == []
    done = (await reconcile(program, *UPDATES)).well()
    assert done.out.splitlines()[0] == "updates.jsonl: 4 lines, 2 known, 2 missing, 0 contradictions; 2 sent"
    sent = await everything(kafka, topic)
    assert sorted(json.loads(message.value or b"")["id"] for message in sent) == ["vau-3", "vau-4"]
    await harness.report(*(message.value or b"" for message in sent))
    again = (await reconcile(program, *UPDATES, options=("--json",))).well()
    assert (summary(again), json.loads(again.out)[0]["updates"]) == ({"lines": 4, "known": 4}, [])
    assert len(await everything(kafka, topic)) == 2


async def test_an_id_with_another_content_is_reported_and_not_sent(
    program: Program, harness: Harness, kafka: str, topic: str
) -> None:
    """Also where both are in the file, and the inbox has none."""
    await harness.report(UPDATES[0])
    ((inbox_id,),) = await harness.rows("SELECT id FROM inbox")
    other = [written(update) | {"reason": "EXPIRED"} for update in UPDATES[:2]]
    ended = await reconcile(program, other[0], UPDATES[1], UPDATES[1], other[1], options=("--json",))
    assert (ended.code, summary(ended)) == (
        1,
        {"lines": 4, "known": 1, "missing": 1, "contradictions": 2, "sent": 1},
    )
    assert [(row["line"], row["state"], row["inboxId"]) for row in json.loads(ended.out)[0]["updates"]] == [
        (1, "CONTRADICTION", inbox_id),
        (2, "MISSING", None),
        (4, "CONTRADICTION", None),
    ]
    assert "2 contradictions\n" in ended.err
    assert len(await everything(kafka, topic)) == 1


async def test_unusable_lines_are_named_and_become_no_dead_letters(
    program: Program, harness: Harness, kafka: str, topic: str
) -> None:
    ended = await reconcile(program, UPDATES[0], '{"id": "x"}')
    assert ended.code == 1
    assert "updates.jsonl:2: " in ended.err
    assert "1 unusable line\n" in ended.err
    assert [bool(message.headers) for message in await everything(kafka, topic)] == [False]


async def test_a_vendors_own_file_is_read_as_ingest_reads_it(
    program: Program, harness: Harness, kafka: str, topic: str
) -> None:
    """What `ingest` put onto the topic is known then."""
    (await program("ingest", "--format", "vau", str(VAU))).well()
    await harness.report(*(message.value or b"" for message in await everything(kafka, topic)))
    known = summary((await program("reconcile", "feed", "vau", str(VAU), "--json")).well())
    assert known["known"] > 0
    assert "missing" not in known
    await harness.rows("DELETE FROM parked_updates")
    await harness.rows("DELETE FROM inbox")
    missing = summary((await program("reconcile", "feed", "vau", str(VAU), "--json")).well())
    assert missing["missing"] == missing["sent"] == known["known"]


async def test_a_file_of_another_format_is_held_back(program: Program, harness: Harness) -> None:
    ended = await program("reconcile", "feed", "discover", str(VAU))
    assert (ended.code, "it looks like vau" in ended.err) == (1, True)
    assert (await program("reconcile", "feed", "nobody", str(VAU))).code == 2
