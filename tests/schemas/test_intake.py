"""What is kept of a record that no update can be made of: never a number, however it was written."""

import json
import re

import pytest

from schemas import intake
from schemas.canonical import UNREADABLE_HEADER
from schemas.feeds import FEEDS
from schemas.feeds.feed import Feed

NUMBER = "4539578763621486"
GROUPS = re.findall(r"\d{4}", NUMBER)
CARRYING = [feed for feed in FEEDS.values() if feed.carries_numbers]


def digits(kept: bytes) -> str:
    return re.sub(r"\D", "", kept.decode())


@pytest.mark.parametrize("feed", CARRYING, ids=lambda feed: feed.name)
@pytest.mark.parametrize("between", ["", " ", "  ", "-", " - ", "\t", "\u00a0", ".", "/", "x", ",", "\\u00a0", "|"])
def test_no_number_is_kept_whatever_stands_between_its_digits(feed: Feed, between: str) -> None:
    for written in (between.join(GROUPS), between.join(GROUPS)[:-1] + "x", between.join(NUMBER)):
        for body in (f'{{"number": "{written}", "code": "U"}}', f"{written},2612,,,U,N", f'"{written}'):
            kept = intake.refused(feed, body.encode(), "code: expected another")
            assert not re.search(r"\d{5}", digits(kept.value)), kept.value
            assert dict(kept.headers)[UNREADABLE_HEADER] == b"code: expected another"


def test_digits_written_as_escapes_are_digits() -> None:
    body = json.dumps({"number": NUMBER}).replace("4", "\\u0034")
    assert not digits(intake.refused(FEEDS["vau"], body.encode(), "no").value)


def test_what_is_no_number_is_kept() -> None:
    kept = intake.refused(FEEDS["vau"], b'{"serviceIdentifier": "U", "newExpirationDate": "2612"}', "no")
    assert b'"serviceIdentifier": "U"' in kept.value
    assert b"2612" in kept.value
