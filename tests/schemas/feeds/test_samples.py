"""What each record of the sample files reports, field by field: a field that an adapter loses or swaps shows here.

`reported/` has a file for each feed with a line for each update: the record's number in the sample, the type of the
update and of the method, the old credential, the new one and the card's face, and what else the update has. `#4111…`
and `#(routing|account)` stand for the fingerprint of that number. An update has a moment or an id here only where its
record has one.
"""

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from domain.update import Credential, NewCredential, Reason, Update
from schemas.canonical import parse
from schemas.feeds import FEEDS
from schemas.feeds.feed import Edge, Feed, Fetch, Irrelevant
from schemas.feeds.reading import read_answer, reports
from tests.schemas.feeds.answering import ANSWERS
from tests.schemas.feeds.reading import EDGE, fingerprint
from tests.schemas.feeds.test_every_feed import each_feed, samples

EXPECTED = Path(__file__).with_name("reported")
_NUMBER = re.compile(r"#(?:\((.+?)\)|([0-9]+))")
_FILLED_IN_ID = re.compile(r"[a-z-]+-[0-9a-f]{32}")


def expected(feed: Feed) -> list[str]:
    lines = (EXPECTED / f"{feed.name}.txt").read_text(encoding="utf-8").splitlines()
    return [_NUMBER.sub(lambda number: fingerprint(number[1] or number[2]), line) for line in lines]


def reported(feed: Feed) -> Iterator[str]:
    for number, record in enumerate(samples(feed), 1):
        edge = EDGE.at_row(number)
        result = reports(feed, record, edge)
        if isinstance(result, Irrelevant):
            yield f"{number} irrelevant: {result.kind}"
            continue
        for report in result:
            if not isinstance(report, Fetch):
                yield f"{number} {written(feed, report, edge)}"
                continue
            yield f"{number} to be fetched"
            if report.body is None:
                for answer in read_answer(feed, report, ANSWERS[feed.name], edge):
                    yield f"{number} answer: {written(feed, answer, edge)}"


def written(feed: Feed, report: dict[str, object], edge: Edge) -> str:
    update = parse(json.dumps(report).encode()).update
    words = [update.type.value, "-" if update.method_type is None else update.method_type.value]
    assert update.old is not None
    words.append(names(update.old))
    words += new_words(update.new)
    if update.reason is not Reason.REISSUED:
        words.append(update.reason.value)
    words += when_and_which(update, edge)
    assert update.stamp.vendor == ("adyen" if feed.name == "adyen-rtau" else feed.name)
    assert update.scope == ()
    return " ".join(words)


def new_words(new: NewCredential) -> list[str]:
    words = [] if new.credential is None else ["->", names(new.credential)]
    expiry = None if new.expiry is None else f"{new.expiry.month:02}/{new.expiry.year}"
    words += [word for word in (new.last4, new.brand, expiry, new.par) if word is not None]
    return [*words, *(f"{name}={value}" for name, value in sorted(new.details.items()))]


def names(credential: Credential) -> str:
    return "+".join(credential.keys)


def when_and_which(update: Update, edge: Edge) -> list[str]:
    at, id_ = update.stamp.occurred_at, update.stamp.update_id
    undated = at == EDGE.at + timedelta(microseconds=edge.row)
    words = [] if undated else [f"at {at:%Y-%m-%dT%H:%M:%S.%f}"]
    return words if _FILLED_IN_ID.fullmatch(id_) else [*words, f"id {id_}"]


@each_feed
def test_its_samples_report_what_stands_in_its_file(feed: Feed) -> None:
    assert list(reported(feed)) == expected(feed)


def test_each_file_is_of_a_feed() -> None:
    assert {file.stem for file in EXPECTED.iterdir()} == FEEDS.keys()
