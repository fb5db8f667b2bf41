"""What is so of every feed: its samples are read, and whatever is broken is refused by name, with no number in it."""

import base64
import copy
import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.pan import contains_pan
from domain.refusal import Refused
from domain.update import UpdateType
from schemas import intake, thin
from schemas.canonical import parse
from schemas.feeds import FEEDS, nacha_file
from schemas.feeds.feed import Feed, Fetch, Layout
from schemas.feeds.reading import DEEPEST, parts, read, read_answer
from schemas.feeds.record import Record, UpdateFields
from tests.schemas.feeds.answering import ANSWERS
from tests.schemas.feeds.reading import EDGE, messages

SAMPLES = Path(__file__).parents[3] / "examples" / "feeds"
CANARY = "4539578763621486"


def samples(feed: Feed) -> list[dict[str, Any]]:
    """The records of the feed's sample file."""
    (file,) = SAMPLES.glob(f"{feed.name}.*")
    written = file.read_text(encoding="utf-8")
    if feed.layout is Layout.ACH:
        pieces = list(nacha_file.records(written.splitlines()))
        assert [piece.refusal for piece in pieces if piece.refusal is not None] == []
        return [dict(piece.record or {}) for piece in pieces]
    if file.suffix == ".csv":
        return list(csv.DictReader(io.StringIO(written)))
    return [json.loads(line) for line in written.splitlines() if line]


each_feed = pytest.mark.parametrize("feed", FEEDS.values(), ids=lambda feed: feed.name)


@each_feed
def test_its_samples_are_read_and_recognised_as_its_own(feed: Feed) -> None:
    for record in samples(feed):
        assert feed.recognises(record)
        assert [feed_.name for feed_ in FEEDS.values() if feed_.recognises(record)] == [feed.name]
        for report in read(feed, record, EDGE):
            if not isinstance(report, Fetch):
                parse(json.dumps(report).encode())


@each_feed
def test_its_samples_show_every_type_of_update_that_its_codes_can_become(feed: Feed) -> None:
    reports = [report for record in samples(feed) for report in read(feed, record, EDGE)]
    shown = {report["type"] for report in reports if not isinstance(report, Fetch)}
    if not any(isinstance(report, Fetch) for report in reports):
        assert shown >= {code.update_type.value for code in feed.codes if code.update_type is not None}


@each_feed
@given(data=st.data())
def test_a_broken_record_is_read_or_refused_by_name_and_tells_no_number(feed: Feed, data: st.DataObject) -> None:
    record = copy.deepcopy(data.draw(st.sampled_from(samples(feed))))
    for _ in range(data.draw(st.integers(1, 3))):
        place, key = data.draw(st.sampled_from(list(places(record)) or [(record, "x")]))
        place[key] = copy.deepcopy(data.draw(BROKEN))  # or it may come to hold itself
    assert_no_number_is_shown(lambda: read(feed, record, EDGE.at_row(1)))


@each_feed
def test_its_samples_tell_the_same_whole_and_part_by_part(feed: Feed) -> None:
    for record in samples(feed):
        cut = parts(feed, record)
        assert [report for part in cut for report in read(feed, part, EDGE)] == read(feed, record, EDGE)
        assert all(list(parts(feed, part)) == [part] and feed.recognises(part) for part in cut)


NEARLY = (
    "4111.1111.1111.1111",
    "4111_1111_1111_1111",
    "411111-111111-1111",
    "4111-1111-1111-1112",
    "-".join(CANARY),
    "x".join(CANARY),
    "123.4567",
)


@each_feed
@pytest.mark.parametrize("written", NEARLY)
def test_what_is_nearly_a_number_is_not_repeated_where_a_reason_says_what_was_there(feed: Feed, written: str) -> None:
    for record in samples(feed):
        for place, key in list(places(record)):
            was, place[key] = place[key], written
            assert written not in reason_of(feed, record)
            place[key] = was


@each_feed
@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59.999999", "9999-12-31T23:59:59.999999-14:00", "0001-01-01"])
def test_the_first_and_the_last_moment_there_are_end_nothing(feed: Feed, moment: str) -> None:
    for record in samples(feed):
        for place, key in list(places(record)):
            was, place[key] = place[key], moment
            with suppress(Refused):
                read(feed, record, EDGE.at_row(1))
            place[key] = was


def nested(levels: int) -> Any:
    """As many arrays in one another."""
    array: list[Any] = []
    for _ in range(levels - 1):
        array = [array]
    return array


# and nearly what `json.loads` reads at all, where the stack is empty
TOO_DEEP = (DEEPEST, 970)


@each_feed
@pytest.mark.parametrize("levels", TOO_DEEP)
def test_what_is_too_deep_is_refused_before_anything_reads_it(feed: Feed, levels: int) -> None:
    for record in samples(feed):
        for name in (*record, "other"):
            for value in (nested(levels), {"a": nested(levels - 1)}):
                assert reason_of(feed, {**record, name: value}) == "record: expected 64 levels of JSON at most"


def test_what_is_just_not_too_deep_goes_through_with_its_envelope() -> None:
    envelope = next(record for record in samples(FEEDS["google-pay"]) if "signedMessage" in record)
    key = nested(DEEPEST - 1)
    (event,) = messages(FEEDS["google-pay"], {**envelope, "intermediateSigningKey": key})
    body = thin.parse(event.value).fetch.body
    assert body is not None
    assert body["intermediateSigningKey"] == key


@pytest.mark.parametrize("levels", [DEEPEST + 2, 500, 970, 100_000])
def test_a_thin_event_that_is_too_deep_is_unreadable(levels: int) -> None:
    written = b'{"feed": "google-pay", "path": "decrypt", "record": {"a": %s}, "at": "2026-11-20T09:14:10Z"}'
    with pytest.raises(Refused, match=r"^message: "):
        thin.parse(written % (b"[" * levels + b"]" * levels))


def reason_of(feed: Feed, record: dict[str, Any]) -> str:
    """Why a record is refused, by the adapter or by the topic's schema; empty if it is not."""
    try:
        intake.to_messages(feed, record, EDGE)
    except Refused as reason:
        return str(reason)
    return ""


def test_the_names_inside_what_a_vendor_sent_are_not_repeated_either() -> None:
    envelope = next(record for record in samples(FEEDS["google-pay"]) if "signedMessage" in record)
    envelope["intermediateSigningKey"] = {NEARLY[3]: {"signedKey": CANARY}}
    assert reason_of(FEEDS["google-pay"], envelope) == "$.body.intermediateSigningKey: expected no card number"


CHANGES = {UpdateType.NUMBER_REPLACED, UpdateType.EXPIRY_UPDATED}


@each_feed
def test_a_broken_expiry_refuses_nothing_that_tells_no_expiry(feed: Feed) -> None:
    for record in samples(feed):
        reports = read(feed, record, EDGE)
        if any(isinstance(report, Fetch) or report["type"] in CHANGES for report in reports):
            continue
        for place, key in list(places(record)):
            if "exp" in str(key).lower() and not isinstance(place[key], (dict, list)):
                place[key] = "XX/XX"
        assert read(feed, record, EDGE) == reports


# where a record has an array of what is told of each on its own, and a sample that does
ARRAYS: dict[str, tuple[str, ...]] = {
    "bluesnap": ("account-update",),
    "checkout": ("data", "sources"),
    "cybersource": ("records",),
    "gocardless": ("events",),
    "mdes": ("encryptedPayload", "encryptedData", "tokens"),
    "nmi": ("event_body", "vault_updates"),
    "spreedly": ("transactions",),
    "visa-tms": ("payload",),
}


@pytest.mark.parametrize("broken", [None, [], {}, "x", 1], ids=repr)
@pytest.mark.parametrize("feed", [feed for feed in FEEDS.values() if feed.split], ids=lambda feed: feed.name)
def test_what_is_poison_in_an_array_takes_nothing_else_along(feed: Feed, broken: object) -> None:
    path = ARRAYS[feed.name]
    for record in samples(feed):
        array: Any = record
        for name in path:
            array = array.get(name) if isinstance(array, dict) else None
        if not isinstance(array, list) or not array:
            continue
        whole = [read_unless_refused(feed, part) for part in parts(feed, record)]
        array.insert(len(array) // 2, broken)
        array.append(broken)
        reports = [read_unless_refused(feed, part) for part in parts(feed, record)]
        assert [report for report in reports if report is not None] == whole
        assert reports.count(None) == 2
        return
    raise AssertionError(f"no sample has {path}")


def read_unless_refused(feed: Feed, part: Record) -> list[UpdateFields | Fetch] | None:
    try:
        return read(feed, part, EDGE)
    except Refused:
        return None


thin_feed = pytest.mark.parametrize(
    "feed", [feed for feed in FEEDS.values() if feed.fetched is not None], ids=lambda feed: feed.name
)


def fetches(feed: Feed) -> list[Fetch]:
    reports = [report for record in samples(feed) for report in read(feed, record, EDGE)]
    return [report for report in reports if isinstance(report, Fetch)]


@thin_feed
def test_its_samples_leave_something_to_fetch_and_the_answer_is_read(feed: Feed) -> None:
    assert fetches(feed)
    for fetch in fetches(feed):
        reports = read_answer(feed, fetch, ANSWERS[feed.name], EDGE)
        assert [parse(json.dumps(report).encode()) for report in reports]


@thin_feed
@pytest.mark.parametrize("levels", TOO_DEEP)
def test_an_answer_that_is_too_deep_is_refused_before_anything_reads_it(feed: Feed, levels: int) -> None:
    for name in (*ANSWERS[feed.name], "other"):
        with pytest.raises(Refused, match=r"^record: "):
            read_answer(feed, fetches(feed)[0], {**ANSWERS[feed.name], name: nested(levels)}, EDGE)


@thin_feed
@given(data=st.data())
def test_a_broken_answer_is_read_or_refused_by_name_and_tells_no_number(feed: Feed, data: st.DataObject) -> None:
    answer = copy.deepcopy(ANSWERS[feed.name])
    for _ in range(data.draw(st.integers(1, 3))):
        place, key = data.draw(st.sampled_from(list(places(answer)) or [(answer, "x")]))
        place[key] = copy.deepcopy(data.draw(BROKEN))
    assert_no_number_is_shown(lambda: read_answer(feed, fetches(feed)[0], answer, EDGE))


def assert_no_number_is_shown(read_reports: Callable[[], Sequence[UpdateFields | Fetch]]) -> None:
    """No reason shows a number, whether a record is read or refused; an update with one is refused by `parse`."""
    reasons = []
    try:
        for report in read_reports():
            if isinstance(report, Fetch):
                reasons.append(report.path)
            else:
                parse(json.dumps(report).encode())
    except Refused as reason:
        reasons.append(str(reason))
    assert not any(contains_pan(reason) for reason in reasons)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Everything in a record that can be replaced, as a container and a key in it."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from places(value[key])


NESTED = nested(DEEPEST + 1)
SPACED = "4539 5787 6362 1486"
BROKEN: st.SearchStrategy[object] = st.one_of(
    st.sampled_from(
        [
            None,
            "",
            " ",
            0,
            -1,
            True,
            [],
            {},
            [None],
            [{}],
            NESTED,
            "x",
            "\x00",
            "\ud800",
            "9" * 400,
            1e300,
            "0000",
            "1399",
            "2026-13-01",
            "9999-12-31T23:59:59.999999",
            CANARY,
            int(CANARY),
            SPACED,
            SPACED.replace(" ", "-"),
            f"https://example.test/cards/{CANARY}",
            base64.b64encode(CANARY.encode()).decode(),
            {"number": CANARY},
            [CANARY],
        ]
    ),
    st.text(max_size=20),
    st.integers(),
)


def test_which_vendors_files_are_tables() -> None:
    """These may be posted as CSV, too."""
    tables = {"abu-batch", "basis-theory", "discover", "iats", "jpmorgan", "paysafe", "tabapay", "vau"}
    assert {feed.name for feed in FEEDS.values() if feed.is_table} == tables
