"""What vendors reported is read back as it was written, every part of it."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.knowledge import CardFace, CredentialState, Dated, Fact, Knowledge
from domain.update import Credential, NewCredential, Reason, Scope, Stamp
from domain.wallet import Expiry, MethodStatus, MethodType
from store import knowledge

SCOPE: Scope = (("enterpriseId", "e1"), ("metadata.patientId", "Zoë"))
KEEP = timedelta(days=1)


def stamp(number: int) -> Stamp:
    """A stamp of its own, to the microsecond."""
    return Stamp(datetime(2026, 1, number, 1, 2, 3, 456789, tzinfo=UTC), f"vendor-{number}", f"u{number}")


STATES = {
    "all": CredentialState(
        Dated(MethodStatus.SUSPENDED, stamp(1)),
        Dated(Expiry(2031, 2), stamp(2)),
        {"holder_name": Dated("Zoë", stamp(3)), "manufacturer_card": Dated(False, stamp(4))},  # noqa: FBT003
        {
            CardFace("vau", "1111", "VISA", Expiry(2030, 1)): stamp(5),
            CardFace("mdes", "1111", None, Expiry(2030, 1)): stamp(6),
        },
    ),
    "status": CredentialState(Dated(MethodStatus.CLOSED, stamp(1))),
    "expiry": CredentialState(None, Dated(Expiry(2031, 12), stamp(2))),
    "details": CredentialState(details={"zip_code": Dated("12345", stamp(3))}),
    "cards": CredentialState(cards={CardFace("vau", "1111", "VISA", Expiry(2030, 1)): stamp(5)}),
}
NEW = Credential("vau:B", ":b")
FACTS = {
    "all": Fact(
        Credential("vau:A", ":a"),
        NEW,
        stamp(1),
        Reason.LOST_OR_STOLEN,
        SCOPE,
        MethodType.BANK_ACCOUNT,
        NewCredential(NEW, "2222", "VISA", Expiry(2029, 3), "par", {"holder_name": "Zoë", "extra": [1]}),
        Dated(Expiry(2032, 4), stamp(2)),
    ),
    "least": Fact(Credential("vau:A"), Credential("vau:B"), stamp(1), reported=NewCredential(Credential("vau:B"))),
}


async def read_back(engine: AsyncEngine, key: str, *written: Knowledge) -> Knowledge:
    """What is known of `key` when all of it was written, one after another; nothing of it stays."""
    read = Knowledge()
    async with engine.connect() as connection:
        for each in written:
            await knowledge.save(connection, each, frozenset(), keep=KEEP, keep_unknown=KEEP)
        await knowledge.load(connection, [key], read)
    return read


def reporting_state(state: CredentialState, scope: Scope) -> Knowledge:
    reported = Knowledge()
    reported.add_state("vau:A", scope, state)
    reported.reported_states.add(("vau:A", scope))
    return reported


def reporting_fact(fact: Fact) -> Knowledge:
    reported = Knowledge()
    reported.add_fact(fact)
    reported.reported_facts.add(fact.id)
    return reported


async def test_a_state_is_read_as_it_was_written(engine: AsyncEngine) -> None:
    for scope in ((), SCOPE):
        for state in STATES.values():
            read = await read_back(engine, "vau:A", reporting_state(state, scope))
            assert read.states == {"vau:A": {scope: state}}


async def test_a_fact_is_read_as_it_was_written_by_each_name_of_its_old_credential(engine: AsyncEngine) -> None:
    for fact in FACTS.values():
        for key in fact.old.keys:
            read = await read_back(engine, key, reporting_fact(fact))
            assert list(read.facts.values()) == [fact]
        for key in fact.new.keys:
            assert not (await read_back(engine, key, reporting_fact(fact))).facts


async def test_what_is_reported_anew_takes_the_place_of_what_was(engine: AsyncEngine) -> None:
    former, state = (reporting_state(STATES[name], SCOPE) for name in ("all", "status"))
    assert (await read_back(engine, "vau:A", former, state)).states == {"vau:A": {SCOPE: STATES["status"]}}
    fact = FACTS["all"]._replace(later=None, stamp=stamp(7), reason=Reason.EXPIRED)
    read = await read_back(engine, "vau:A", reporting_fact(FACTS["all"]), reporting_fact(fact))
    assert list(read.facts.values()) == [fact]


async def test_facts_lead_on_from_either_name_to_every_name_and_never_back(engine: AsyncEngine) -> None:
    further = Fact(Credential("vau:X", ":b"), Credential("vau:C"), stamp(2))
    async with engine.connect() as connection:
        for fact in (FACTS["all"], further):
            await knowledge.save(connection, reporting_fact(fact), frozenset(), keep=KEEP, keep_unknown=KEEP)
        everything = {"vau:A", ":a", "vau:B", ":b", "vau:X", "vau:C"}
        assert await knowledge.reach(connection, ["vau:A"]) == everything
        assert await knowledge.reach(connection, [":a"]) == everything
        assert await knowledge.reach(connection, ["vau:B"]) == {"vau:B"}
        assert await knowledge.reach(connection, [":b", "vau:Q"]) == {":b", "vau:X", "vau:C", "vau:Q"}


async def test_nothing_is_kept_for_a_shorter_time_because_a_wallet_knows_it(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        for reported in (reporting_fact(FACTS["all"]), reporting_state(STATES["status"], ())):
            await knowledge.save(connection, reported, frozenset(), keep=KEEP, keep_unknown=10 * KEEP)
        kept = text(
            "SELECT kept_until - now() FROM credentials UNION ALL SELECT kept_until - now() FROM replacement_facts"
        )
        for keep, expected in ((KEEP, 10 * KEEP), (20 * KEEP, 20 * KEEP)):
            await knowledge.keep_longer(connection, ["vau:A"], keep=keep)
            assert list(await connection.scalars(kept)) == [expected, expected]
        # a wallet knows the credential by its fingerprint alone
        await knowledge.keep_longer(connection, [":a"], keep=30 * KEEP)
        assert list(await connection.scalars(kept)) == [20 * KEEP, 30 * KEEP]
