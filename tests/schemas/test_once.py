"""A key that stands twice in an object: nobody knows which value is meant, so it is refused by its name, masked."""

import json
from concurrent.futures import ThreadPoolExecutor
from io import BufferedReader, BytesIO
from typing import cast

import pytest

from domain.refusal import Refused
from producers.topic import ingest
from producers.topic.stream import FeedLine
from schemas import once
from schemas.canonical import parse
from schemas.feeds import FEEDS
from schemas.feeds.feed import Feed, Fetch, Layout
from schemas.feeds.reading import parse_json, read, read_answer
from tests.acceptance.lines import replaced
from tests.schemas.feeds.reading import EDGE
from tests.schemas.feeds.test_every_feed import samples

PAN = "4539578763621486"
OF_JSON = [feed for feed in FEEDS.values() if feed.layout is not Layout.ACH]


def repeated(written: str, key: str) -> str:
    """`written` with the first `"key": …` of it twice."""
    before, name, after = written.partition(f'"{key}": ')
    assert name
    return f'{before}"{key}": null, "{key}": {after}'


@pytest.mark.parametrize("feed", OF_JSON, ids=lambda feed: feed.name)
def test_a_record_with_a_key_twice_is_refused_by_its_name_wherever_it_stands(feed: Feed) -> None:
    for record in samples(feed):
        written = json.dumps(record)
        for key in {name for name in _keys(record) if f'"{name}": ' in written}:
            with pytest.raises(Refused) as reason:
                read(feed, parse_json(repeated(written, key)), EDGE)
            assert str(reason.value) == f"record: expected each key of an object once, and not {key} twice"


def _keys(value: object) -> list[str]:
    if isinstance(value, dict):
        return [*value, *(name for inner in value.values() for name in _keys(inner))]
    return [name for inner in value for name in _keys(inner)] if isinstance(value, list) else []


async def lines(feed: str, content: str) -> list[FeedLine]:
    stream = cast(BufferedReader, BytesIO(content.encode()))
    return [line async for line in ingest.read_feed(FEEDS[feed], stream, EDGE)]


async def test_of_a_file_such_a_record_alone_is_refused_in_lines_and_in_a_document() -> None:
    first, second, third = (json.dumps(record) for record in samples(FEEDS["vgs"])[:3])
    spoiled = repeated(second, "event")
    for content in (f"{first}\n{spoiled}\n{third}", f"[{first},\n{spoiled},\n{third}]"):
        found = await lines("vgs", content)
        assert [line.refusal_text is None for line in found] == [True, False, True]
        assert found[1].refusal_text == "record: expected each key of an object once, and not event twice"


def test_an_answer_with_a_key_twice_is_refused() -> None:
    answer = parse_json('{"storedPaymentMethods": [], "storedPaymentMethods": []}')
    with pytest.raises(Refused, match=r"^record: .* and not storedPaymentMethods twice$"):
        read_answer(FEEDS["adyen"], Fetch("x", {"token": "t"}), answer, EDGE)


def test_a_message_with_a_key_twice_is_unreadable() -> None:
    written = json.dumps(replaced(1))
    for key in ("type", "token", "occurredAt"):
        with pytest.raises(Refused, match=rf"^message: expected each key of an object once, and not {key} twice$"):
            parse(repeated(written, key).encode())
    inside = json.dumps({"specversion": "1.0", "id": "e", "time": "2026-11-20T09:14:13Z", "data": replaced(1)})
    with pytest.raises(Refused, match=r"not token twice$"):
        parse(repeated(inside, "token").encode())


async def test_a_line_in_canonical_form_with_a_key_twice_is_refused() -> None:
    content = repeated(json.dumps(replaced(1)), "type").encode()
    [line] = [line async for line in ingest.read_updates(cast(BufferedReader, BytesIO(content)))]
    assert line.refusal_text == "message: expected each key of an object once, and not type twice"


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("type", "type"),
        (PAN, "*" * 16),
        ("4539-5787 6362.1486", "****-**** ****.****"),
        (f"card{PAN[:12]}", f"card{'*' * 12}"),
        ("\x1b[31m\n", "?[31m?"),
        ("k" * 100_000, "k" * 40 + "…"),
        ("", ""),
    ],
)
def test_a_key_is_shown_without_numbers_and_short(key: str, shown: str) -> None:
    name = json.dumps(key)
    one, plain, other = once.loads(
        f'[{{"a": [{{{name}: 1, {name}: 2}}]}}, {{"a": {{}}}}, [[{{{name}: 1, {name}: 2}}]]]'
    )
    assert [once.repeated_key(value) for value in (one, plain, other[0][0])] == [shown, None, shown]


def test_equal_keys_of_different_objects_are_no_repetition() -> None:
    for value in (once.loads('{"a": {"a": [{"a": 1}, {"a": 2}]}}'), *once.loads('[{"a": 1}, {"a": 2}, 1, []]')):
        assert once.repeated_key(value) is None


def test_threads_that_read_at_a_time_do_not_take_each_others_repeated_keys_for_their_own() -> None:
    """What one thread finds is no matter of another's."""
    outer, inner = '{"a": 1, "a": 2}', '{"b": 1}'
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(once.loads, [f"[{', '.join([text] * 2_000)}]" for text in (outer, inner) * 40]))
    assert [{once.repeated_key(each) for each in value} for value in found] == [{"a"}, {None}] * 40
