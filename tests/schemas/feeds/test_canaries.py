"""A card number in any form, alone in any field of any feed: nothing of it is left in what goes onto a topic."""

import json

import pytest

from domain.refusal import Refused
from schemas import intake
from schemas.feeds import FEEDS
from schemas.feeds.feed import Feed, Layout
from tests.parts.card_numbers import in_json
from tests.parts.thorough import sampled
from tests.producers.canaries import CANARY, FORMS, is_in, paths, planted
from tests.schemas.feeds.reading import EDGE
from tests.schemas.feeds.test_every_feed import samples


@pytest.mark.parametrize(
    "feed", [feed for feed in FEEDS.values() if feed.layout is Layout.RECORDS], ids=lambda feed: feed.name
)
def test_nothing_of_a_number_is_left_of_any_record(feed: Feed) -> None:
    planted_before: set[tuple[object, ...]] = set()
    for record in samples(feed):
        for number, path in enumerate(paths(record)):
            if path in planted_before:
                continue
            planted_before.add(path)
            # The number of the field among all that are tried: the next field takes the forms that this one does not.
            turn = len(planted_before)
            tried = {"plain": FORMS["plain"], **dict(sampled([*FORMS.items()], 8, turn=turn))}
            for name, form in tried.items():
                body = in_json(planted(record, number, form), ensure_ascii=number % 2 == 0)
                assert [text for text in texts(feed, body) if is_in(text)] == [], (path, name)
    assert planted_before


def texts(feed: Feed, body: str) -> list[str]:
    """All that goes onto a topic of a record, and the reason why it is refused."""
    try:
        result = intake.to_messages(feed, json.loads(body), EDGE)
    except Refused as refused:
        message = intake.refused(feed, body.encode(), refused.refusal)
        return [f"{message.key!r} {message.value.decode()} {message.headers}", str(refused)]
    messages = result if isinstance(result, list) else []
    return [f"{message.key!r} {message.value.decode()} {message.headers}" for message in messages]


def test_the_look_for_what_is_left_sees_every_form() -> None:
    assert [name for name, form in FORMS.items() if not is_in(in_json({"a": form}))] == []
    assert not is_in(in_json({"a": CANARY[:11], "b": "*" * 16}))
