"""A batch that cannot be taken in as a whole: what is too much for one transaction is found, and holds up nothing."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from consumers.batch import BatchResult, take_in
from consumers.halving import Allowance, BatchIntake, batches
from consumers.letters import Message
from domain.effort import MOST_CREDENTIALS, TooMuch
from domain.update import Outcome, UpdateType
from domain.wallet import Key
from loops.waiting import Waiting
from store.knowledge import Contended
from tests.consumers.harness import RETENTION, Harness
from tests.consumers.paused_worker import intake
from tests.consumers.test_statements import counted
from tests.domain.build import live, method, replaced, reported, wallet
from tests.parts.until import until
from wallets.loading import Limits

CLOSED = UpdateType.CLOSED
SHORT = Allowance(Limits(seconds=1), Limits(seconds=0.5), (Limits(seconds=1), Limits(seconds=1)))


def impatient(engine: AsyncEngine) -> BatchIntake:
    return BatchIntake(engine, RETENTION, take_in, Waiting("the test"), allowance=SHORT)


async def wallets_of(harness: Harness, count: int) -> None:
    await harness.import_wallets(*(wallet(method(f"A{n}"), customer=f"e{n}") for n in range(count)))


async def make_slow(harness: Harness, what: str) -> None:
    """From now on each update with the id `slow` does `what` while it is written."""
    await harness.rows(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN IF NEW.update_id = 'slow' THEN PERFORM {what}; END IF; RETURN NEW; END $$"
    )
    await harness.rows("CREATE TRIGGER slow BEFORE INSERT ON inbox FOR EACH ROW EXECUTE FUNCTION slow()")


async def make_fast(harness: Harness) -> None:
    await harness.rows("DROP FUNCTION slow CASCADE")


@asynccontextmanager
async def a_row_too_long_for_its_index(harness: Harness) -> AsyncIterator[None]:
    """Meanwhile each update with the id `slow` writes such a row, of 4,800 bytes that cannot be compressed."""
    await harness.rows(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.update_id = 'slow' THEN"
        " INSERT INTO credentials (key, kept_until)"
        " SELECT string_agg(md5(CAST(n AS text)), ''), now() FROM generate_series(1, 150) AS n;"
        " END IF; RETURN NEW; END $$"
    )
    await harness.rows("CREATE TRIGGER slow BEFORE INSERT ON inbox FOR EACH ROW EXECUTE FUNCTION slow()")
    try:
        yield
    finally:
        await make_fast(harness)


@pytest.mark.parametrize(
    ("what", "state"),
    [
        ("pg_sleep(60)", "57014"),
        # what the server ends besides: the transaction, and a request for more memory than there may be
        ("set_config('transaction_timeout', '200ms', true), pg_sleep(60)", "25P04"),
        ("array_fill(0, ARRAY[300000000])", "54000"),
    ],
    ids=["statement", "transaction", "size"],
)
async def test_what_is_too_much_is_set_aside_and_its_mates_are_applied(harness: Harness, what: str, state: str) -> None:
    await wallets_of(harness, 20)
    await make_slow(harness, what)
    try:
        messages = [
            harness.message(reported(CLOSED, f"A{n}", on=1, id=f"u{n}" if n != 7 else "slow")) for n in range(20)
        ]
        await impatient(harness.engine).take_in(messages)
    finally:
        await make_fast(harness)
    (letter,) = await harness.dead_letters()
    assert (letter.offset, letter.reason) == (7, f"it is too much for one transaction: {state}")
    assert [outcome for _, outcome, _ in await harness.outcomes()] == ["APPLIED"] * 19


async def test_a_row_too_long_for_its_index_is_refused_at_the_first_try(harness: Harness) -> None:
    """Another try would end the same: 200 of them took the worker three minutes."""
    await wallets_of(harness, 1)
    tries = []

    async def counted_take(engine: AsyncEngine, messages: Sequence[Message], *keeping: Any, **more: Any) -> BatchResult:
        tries.append(len(messages))
        return await take_in(engine, messages, *keeping, **more)

    intake = BatchIntake(harness.engine, RETENTION, counted_take, Waiting("test"))
    async with a_row_too_long_for_its_index(harness):
        await intake.take_in([harness.message(reported(CLOSED, "A0", on=1, id=each)) for each in ("slow", "u1")])
    assert tries == [2, 1, 1]
    (letter,) = await harness.dead_letters()
    assert (letter.offset, letter.reason) == (0, "the database refuses what was written: 54000 pk_credentials")
    assert [outcome for _, outcome, _ in await harness.outcomes()] == ["APPLIED"]


@pytest.mark.parametrize("digit_ids", [frozenset(), frozenset({"vau"})])
async def test_a_message_set_aside_is_masked_as_the_settings_say(harness: Harness, digit_ids: frozenset[str]) -> None:
    """A token of digits stays what it is where `REPOINT_DIGIT_IDS` has its vendor."""
    token = "4539578763621486"
    update = reported(CLOSED, token, on=1, id="slow")
    intake = BatchIntake(harness.engine, RETENTION, take_in, Waiting("test"), digit_ids=digit_ids)
    async with a_row_too_long_for_its_index(harness):
        await intake.take_in([harness.message(update)])
    (letter,) = await harness.dead_letters()
    assert (token in letter.body.decode()) == bool(digit_ids)


async def test_a_message_set_aside_is_kept_once_for_each_incarnation_of_its_topic(harness: Harness) -> None:
    """Of a topic made anew the same place is another's, and how far it was read is seen by its letters."""
    await wallets_of(harness, 1)
    await harness.rows("ALTER TABLE inbox ADD CONSTRAINT not_today CHECK (update_id <> 'slow')")
    intake = impatient(harness.engine)
    try:
        for intake.incarnation in (0, 0, 1, 1):
            await intake.take_in([harness.message(reported(CLOSED, "A0", on=1, id="slow"), offset=4)])
    finally:
        await harness.rows("ALTER TABLE inbox DROP CONSTRAINT not_today")
    letters = await harness.rows("SELECT incarnation, kafka_offset FROM dead_letters ORDER BY incarnation")
    assert [(letter.incarnation, letter.kafka_offset) for letter in letters] == [(0, 4), (1, 4)]


async def test_an_account_that_is_too_large_is_too_much(harness: Harness) -> None:
    """The update that would let a wallet know of them all is set aside; they themselves wait for a wallet."""
    await wallets_of(harness, 2)
    await harness.rows(
        "INSERT INTO replacement_facts (old_key, new_key, vendor, update_id, occurred_at, reason, kept_until)"
        " SELECT 'vau:B', 'vau:B-' || n, 'vau', 'u-' || n, now() + n * interval '1 s', 'REISSUED',"
        "        now() + interval '1 day'"
        " FROM generate_series(1, CAST(:count AS int)) AS n",
        count=MOST_CREDENTIALS,
    )
    messages = [
        harness.message(each) for each in (replaced("A0", "B", on=1, id="a"), replaced("A1", "C", on=1, id="b"))
    ]
    await intake(harness.engine).take_in(messages)
    (letter,) = await harness.dead_letters()
    assert letter.offset == 0
    assert (
        letter.reason == f"it is too much for one transaction: an account has more than {MOST_CREDENTIALS} credentials"
    )
    assert live(await harness.wallet("e0")).keys() == {"A0"}
    assert live(await harness.wallet("e1")).keys() == {"C"}


async def test_a_batch_about_more_wallets_than_allowed_is_too_much(harness: Harness) -> None:
    await harness.import_wallets(*(wallet(method(f"A{n}"), customer=f"e{n}") for n in range(3)))
    closings = [harness.message(reported(CLOSED, f"A{n}", on=1, id=f"u{n}")) for n in range(3)]
    limits = Limits(wallets=2)
    with pytest.raises(TooMuch, match="more than 2 wallets"):
        await take_in(harness.engine, closings, RETENTION, limits=limits)
    assert await harness.outcomes() == []
    assert (await take_in(harness.engine, closings[:2], RETENTION, limits=limits)).outcomes == {Outcome.APPLIED: 2}


async def test_a_credential_in_more_wallets_than_allowed_is_too_much_beside_another(harness: Harness) -> None:
    """On its own it is taken in: what is beyond the limit is left for later."""
    await harness.import_wallets(*(wallet(method("A", id=f"m-{n}"), customer=f"e{n}") for n in range(3)))
    closed, other = (harness.message(reported(CLOSED, name, on=1, id=name)) for name in ("A", "X"))
    limits = Limits(of_a_credential=2)
    with pytest.raises(TooMuch, match="a credential is in more than 2 wallets"):
        await take_in(harness.engine, [closed, other], RETENTION, limits=limits)
    assert (await take_in(harness.engine, [closed], RETENTION, limits=limits)).outcomes == {Outcome.APPLIED: 1}
    assert len(await harness.rows("SELECT * FROM unfinished_updates")) == 1


async def test_a_process_that_was_stopped_in_its_transaction_tries_again(harness: Harness) -> None:
    """To the server it was idle for too long; a single message is not set aside for that."""
    await wallets_of(harness, 1)
    stood_still = False

    async def stand_still(
        engine: AsyncEngine, messages: Sequence[Message], *retention: Any, **more: Any
    ) -> BatchResult:
        nonlocal stood_still
        if not stood_still:
            stood_still = True
            async with engine.begin() as connection:
                await connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = '100ms'")
                await asyncio.sleep(0.5)
                await connection.exec_driver_sql("SELECT 1")
        return await take_in(engine, messages, *retention, **more)

    await BatchIntake(harness.engine, RETENTION, stand_still, Waiting("the test")).take_in(
        [harness.message(reported(CLOSED, "A0", on=1))]
    )
    assert await harness.dead_letters() == []
    assert [outcome for _, outcome, _ in await harness.outcomes()] == ["APPLIED"]


async def test_what_others_hold_is_within_reach_of_every_further_try(harness: Harness) -> None:
    """Contended twice, by two credentials: the third try begins with both."""
    tries: list[AbstractSet[Key]] = []

    async def contend(
        engine: AsyncEngine, messages: Sequence[Message], *retention: Any, within_reach: AbstractSet[Key], **more: Any
    ) -> BatchResult:
        tries.append(within_reach)
        if len(tries) < 3:
            raise Contended({f"vau:{len(tries)}"})
        return await take_in(engine, messages, *retention, within_reach=within_reach, **more)

    await BatchIntake(harness.engine, RETENTION, contend, Waiting("the test")).take_in(
        [harness.message(reported(CLOSED, "A", on=1))]
    )
    assert tries == [set(), {"vau:1"}, {"vau:1", "vau:2"}]


def test_a_batch_has_so_many_messages_and_so_many_bytes(harness: Harness) -> None:
    small = [harness.message(b"{}") for _ in range(12)]
    assert [len(batch) for batch in batches(small, 5)] == [5, 5, 2]
    assert list(batches([], 5)) == []
    large = [harness.message(b"x" * 1_500_000) for _ in range(5)]
    assert [len(batch) for batch in batches([*small, *large], 500)] == [14, 2, 1]
    huge = [harness.message(b"x" * 9_000_000) for _ in range(2)]
    assert [message for batch in batches([*huge, *small], 500) for message in batch] == [*huge, *small]


async def test_a_chain_is_loaded_in_as_many_statements_however_long_it_is(harness: Harness) -> None:
    numbers = {}
    for name, length in (("s", 30), ("l", 300)):
        await harness.import_wallets(wallet(method(f"{name}0"), customer=name))
        links = [replaced(f"{name}{n}", f"{name}{n + 1}", on=n + 1, id=f"{name}{n}") for n in range(length)]
        await harness.report(*links[:0:-1])
        with counted(harness) as statements:
            await intake(harness.engine).take_in([harness.message(links[0])])
        numbers[name] = len(statements)
        assert live(await harness.wallet(name)).keys() == {f"{name}{length}"}
    assert numbers["s"] == numbers["l"]


async def test_what_no_message_can_be_at_fault_for_is_a_defect_and_a_few_of_them_stop_the_worker(
    harness: Harness,
) -> None:
    await wallets_of(harness, 8)
    await harness.rows("ALTER TABLE inbox ADD CONSTRAINT ck_of_tomorrow CHECK (update_id NOT LIKE 'new-%')")
    waiting = Waiting("the test")
    batch_intake = BatchIntake(harness.engine, RETENTION, take_in, waiting, allowance=SHORT)
    updates = [reported(CLOSED, f"A{n}", on=1, id=f"new-{n}" if n < 7 else "old") for n in range(8)]
    try:
        taking = asyncio.create_task(batch_intake.take_in([harness.message(update) for update in updates]))

        async def is_stopped() -> bool:
            return "5 open dead letters begin with DEFECT" in (waiting.missing or "")

        await until(is_stopped)
        letters = await harness.dead_letters()
        assert [letter.reason for letter in letters] == [
            "DEFECT: the database refuses what was written: 23514 ck_of_tomorrow"
        ] * 5
        await harness.rows("UPDATE dead_letters SET status = 'DISCARDED', closed_at = now()")
        await taking
    finally:
        await harness.rows("ALTER TABLE inbox DROP CONSTRAINT ck_of_tomorrow")
    assert len(await harness.dead_letters()) == 7
    assert await harness.outcome("old") == ("APPLIED", None)


async def test_a_value_that_the_encoding_lacks_is_no_defect(harness: Harness) -> None:
    await make_slow(harness, "convert_from('\\xff'::bytea, 'UTF8')")
    try:
        await impatient(harness.engine).take_in([harness.message(reported(CLOSED, "A", on=1, id="slow"))])
    finally:
        await make_fast(harness)
    (letter,) = await harness.dead_letters()
    assert letter.reason == "the database refuses what was written: 22021"
