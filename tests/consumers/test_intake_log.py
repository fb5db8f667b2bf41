"""What the log says of messages that changed nothing and wait for a person."""

from typing import Any

from structlog.testing import capture_logs

from consumers.batch import take_in
from consumers.halving import BatchIntake
from domain.update import UpdateType
from loops.waiting import Waiting
from tests.consumers.harness import RETENTION, Harness
from tests.consumers.test_halving import a_row_too_long_for_its_index
from tests.domain.build import method, reported, wallet

CLOSED = UpdateType.CLOSED


async def test_quarantined_updates_and_dead_letters_are_written_with_their_places(harness: Harness) -> None:
    await harness.import_wallets(wallet(method("A0"), customer="e0"))
    intake = BatchIntake(harness.engine, RETENTION, take_in, Waiting("the test"))
    messages = [
        harness.message(reported(CLOSED, "A0", on=1, id="u 1"), partition=2, offset=7),
        harness.message(reported(CLOSED, "A0", on=2, id="u 1"), partition=2, offset=8),
        harness.message(b'{"id": 5}', partition=1, offset=3),
    ]
    with capture_logs() as lines:
        await intake.take_in(messages)
    quarantined, letter = lines
    assert quarantined == {
        "event": "update quarantined",
        "log_level": "warning",
        "vendor": "vau",
        "update": "u 1",
        "reason": "ID_REUSED",
        "topic": "updates",
        "partition": 2,
        "offset": 8,
        "list": "repoint inbox list --id 'u 1'",
    }
    reason = letter.pop("reason")
    assert (await harness.dead_letters())[0].reason == reason
    assert letter == {"event": "dead letter", "log_level": "warning", "topic": "updates", "partition": 1, "offset": 3}
    intake.close()


async def test_a_message_that_is_set_aside_is_written_too(harness: Harness) -> None:
    intake = BatchIntake(harness.engine, RETENTION, take_in, Waiting("the test"))
    with capture_logs() as lines:
        async with a_row_too_long_for_its_index(harness):
            await intake.take_in([harness.message(reported(CLOSED, "A0", on=1, id="slow"), offset=5)])
    assert [(line["offset"], line["reason"]) for line in lines if line["event"] == "dead letter"] == [
        (5, "the database refuses what was written: 54000 pk_credentials")
    ]
    intake.close()


async def test_of_many_ten_are_written_and_the_others_counted(harness: Harness) -> None:
    intake = BatchIntake(harness.engine, RETENTION, take_in, Waiting("the test"))
    with capture_logs() as lines:
        await intake.take_in([harness.message(b"{", partition=n % 3) for n in range(35)])
        intake.close()
    written: list[Any] = [line["event"] for line in lines]
    assert written == ["dead letter"] * 10 + ["dead letter: more of them"]
    assert (lines[-1]["more"], lines[-1]["list"]) == (25, "repoint dead-letters list")
