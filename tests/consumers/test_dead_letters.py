"""What is kept of a message that nobody could read: all of it, but for card numbers."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from consumers.batch import take_in
from consumers.letters import LONGEST_BYTES, dead_letter
from domain.update import UpdateType
from store import dead_letters
from tests.consumers.harness import RETENTION, Harness, written
from tests.domain.build import reported

PAN = "4111111111111111"


async def test_headers_are_kept_as_they_came(harness: Harness) -> None:
    headers = [
        ("ce_id", b"vau-1"),
        ("ce_time", b"2026-11-20T09:14:13Z"),
        ("ce_id", b"twice"),
        ("empty", b""),
        ("none", None),
    ]
    await harness.take_in([harness.message(b"{", headers=headers), harness.message(b"[")])
    rows = await harness.rows("SELECT headers FROM dead_letters ORDER BY kafka_offset")
    assert [row.headers for row in rows] == [
        [["ce_id", "vau-1"], ["ce_time", "2026-11-20T09:14:13Z"], ["ce_id", "twice"], ["empty", ""], ["none", None]],
        [],
    ]


async def test_no_header_keeps_a_card_number_or_what_no_text_holds(harness: Harness) -> None:
    headers = [
        ("ce_subject", f"card {PAN[:4]} {PAN[4:8]} {PAN[8:12]} {PAN[12:]}".encode()),
        (f"x-{PAN}", b"\x00\xff"),
        ("utf-16", PAN.encode("utf-16-le")),
        ("\x00", json.dumps({"data_base64": "NDExMTExMTExMTExMTExMQ=="}).encode()),
    ]
    await harness.take_in([harness.message(b"{", headers=headers)])
    [(kept,)] = await harness.rows("SELECT CAST(headers AS text) FROM dead_letters")
    assert "4111" not in kept
    assert "NDExMTEx" not in kept
    assert [name for name, _ in json.loads(kept)] == ["ce_subject", "x-****************", "utf-16", "\\x00"]


@pytest.mark.parametrize("digit_ids", [frozenset(), frozenset({"vau"})])
async def test_a_message_that_cannot_be_used_is_masked_as_the_settings_say(
    harness: Harness, digit_ids: frozenset[str]
) -> None:
    """A token of digits stays what it is where `REPOINT_DIGIT_IDS` has its vendor."""
    update = written(reported(UpdateType.CLOSED, PAN, on=1, id="u"))
    ahead = datetime.now(UTC) + timedelta(days=400)
    unusable = [{**update, "type": "UNHEARD_OF"}, {**update, "occurredAt": ahead.isoformat()}]
    messages = [harness.message(content) for content in unusable]
    assert (await take_in(harness.engine, messages, RETENTION, digit_ids=digit_ids)).unreadable == 2
    assert [PAN in letter.body.decode() for letter in await harness.dead_letters()] == [bool(digit_ids)] * 2


async def test_one_that_the_database_refused_is_set_aside_with_its_headers(harness: Harness) -> None:
    async with harness.engine.begin() as connection:
        await dead_letters.keep(connection, [dead_letter(harness.message(b"{}", headers=[("ce_id", b"1")]), "refused")])
    [(kept,)] = await harness.rows("SELECT headers FROM dead_letters")
    assert kept == [["ce_id", "1"]]


# --- longer than a message may be ---------------------------------------------------------------------------------


async def test_a_message_longer_than_allowed_is_kept_as_it_begins_and_the_others_are_taken_in(harness: Harness) -> None:
    long = b'{"card": "' + PAN.encode() + b'", "x": "' + b"y" * LONGEST_BYTES + b'"}'
    await harness.take_in([harness.message(long), harness.message(b"{")])
    letter, other = await harness.dead_letters()
    assert letter.reason == f"message: expected at most {LONGEST_BYTES} bytes, unpacked, not {len(long)}"
    assert letter.body.startswith(b'{"card": "****************", "x": "yyyy')
    assert letter.body.decode().endswith(f"yyy… ({len(long)} bytes)")
    assert len(letter.body) < 5000
    assert other.reason.startswith("message: ")


async def test_a_message_as_long_as_allowed_is_looked_through(harness: Harness) -> None:
    body = b'{"x": "' + b"y" * (LONGEST_BYTES - 9) + b'"}'
    assert len(body) == LONGEST_BYTES
    await harness.take_in([harness.message(body)])
    (letter,) = await harness.dead_letters()
    assert letter.reason.startswith("id: ")
    assert len(letter.body) == LONGEST_BYTES


@pytest.mark.parametrize("at", range(4076, 4117, 4))
async def test_a_card_number_that_the_cut_goes_through_is_not_kept(harness: Harness, at: int) -> None:
    await harness.take_in([harness.message(b"x" * at + b" " + PAN.encode() + b" " + b"x" * LONGEST_BYTES)])
    (letter,) = await harness.dead_letters()
    assert b"4111" not in letter.body


async def test_keys_and_headers_count_and_are_cut_like_the_rest(harness: Harness) -> None:
    huge = f"{PAN} ".encode() + b"k" * LONGEST_BYTES
    headers = [("a" * LONGEST_BYTES, huge), *((f"h{n}", b"v") for n in range(1000))]
    await harness.take_in([harness.message(b"{}", key=huge), harness.message(b"{}", headers=headers)])
    by_key, by_headers = await harness.rows(
        "SELECT message_key AS key, CAST(headers AS text) AS headers FROM dead_letters ORDER BY kafka_offset"
    )
    assert by_key.key.startswith("****************")
    assert len(by_key.key) < 5000
    assert len(by_headers.headers) < 20_000
    assert PAN not in by_key.key + by_headers.headers


async def test_what_is_far_too_long_costs_no_more_than_what_is_too_long(harness: Harness) -> None:
    """90 MB, as 218 KB of lz4 can be: nothing is parsed, nothing looked through for card numbers but its beginning."""
    huge = b'{"a": "' + b"4111 1111 1111 1111 " * 4_500_000
    await harness.take_in([harness.message(huge)])
    (letter,) = await harness.dead_letters()
    assert len(letter.body) < 5000
