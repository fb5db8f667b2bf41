"""What is kept of a record that no update can be made of: never a number, however it was written."""

import base64
import json
import re

import pytest

from domain.refusal import Refusal, RefusalCode
from schemas import intake
from schemas.canonical import UNREADABLE_HEADER
from schemas.feeds import FEEDS
from schemas.feeds.feed import Feed
from schemas.mistakes import RefusedPart, dead_letters

NUMBER = "4539578763621486"
GROUPS = re.findall(r"\d{4}", NUMBER)
CARRYING = [feed for feed in FEEDS.values() if feed.carries_numbers]
OTHER = Refusal(RefusalCode.UNEXPECTED_VALUE, "code", "another")


def digits(kept: bytes) -> str:
    return re.sub(r"\\u00a0|\D", "", kept.decode())


@pytest.mark.parametrize("feed", CARRYING, ids=lambda feed: feed.name)
@pytest.mark.parametrize("between", ["", " ", "  ", "-", " - ", "\t", "\u00a0", ".", "/", "x", ",", "\\u00a0", "|"])
def test_no_number_is_kept_whatever_stands_between_its_digits(feed: Feed, between: str) -> None:
    for written in (between.join(GROUPS), between.join(GROUPS)[:-1] + "x", between.join(NUMBER)):
        for body in (f'{{"number": "{written}", "code": "U"}}', f"{written},2612,,,U,N", f'"{written}'):
            kept = intake.refused(feed, body.encode(), OTHER)
            assert not re.search(r"\d{5}", digits(kept.value)), kept.value
            assert dict(kept.headers)[UNREADABLE_HEADER] == b"code: expected another"


def test_digits_written_as_escapes_are_digits() -> None:
    body = json.dumps({"number": NUMBER}).replace("4", "\\u0034")
    assert not digits(intake.refused(FEEDS["vau"], body.encode(), OTHER).value)


def test_what_is_no_number_is_kept() -> None:
    kept = intake.refused(FEEDS["vau"], b'{"serviceIdentifier": "U", "newExpirationDate": "2612"}', OTHER)
    assert b'"serviceIdentifier": "U"' in kept.value
    assert b"2612" in kept.value


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("before", range(60))
def test_no_number_is_kept_in_base64_whose_lines_end_within_it(before: int, end: str) -> None:
    planted = b"/" + NUMBER.encode() + b"?" + NUMBER.encode()
    letters = base64.b64encode(b"x" * before + planted + b"y" * 30).decode()
    lines = [letters[at : at + 60] for at in range(0, len(letters), 60)]
    kept = intake.refused(FEEDS["braintree"], json.dumps({"bt_payload": end.join(lines), "kind": "x"}).encode(), OTHER)
    found = json.loads(kept.value)
    assert found["kind"] == "x"
    decoded = base64.b64decode(re.sub(r"[^A-Za-z0-9+/=]", "", found["bt_payload"]) + "==")
    assert NUMBER[:12].encode() not in decoded
    assert NUMBER[4:].encode() not in decoded


def test_a_single_refused_part_is_the_dead_letter_even_if_its_record_is_shorter() -> None:
    refusal = Refusal(RefusalCode.WRONG_FORMAT, "name", "an id")
    part = RefusedPart(2, {"name": "x"}, refusal)
    assert dead_letters(b"[]", [part], 2) == [(b'{"name": "x"}', refusal)]


def test_a_message_has_a_million_bytes_at_most() -> None:
    assert intake.refused(FEEDS["stripe"], b"x" * 1_000_000, OTHER).value == b"x" * 1_000_000
    assert intake.refused(FEEDS["stripe"], b"x" * 1_000_001, OTHER).value == b"x" * 1_000_000
