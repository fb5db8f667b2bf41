"""Which feed a file is of is seen from the file."""

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from ops import edge, open_file
from ops.terminal import Failed
from schemas.feeds import FEEDS
from tests.producers.topic.test_records import CYBERSOURCE, JPMORGAN, JPMORGANS_OTHER

CANONICAL = b'{"id": "1", "vendor": "v", "type": "CLOSED", "occurredAt": "2026-11-20T00:00:00Z", "old": {"token": "t"}}'
SAMPLES = Path(__file__).parents[2] / "examples" / "feeds"


async def detect(file: Path) -> str | None:
    with open_file.opened(file) as opened:
        return await edge.detect(opened)


@pytest.mark.parametrize("name", FEEDS)
async def test_every_sample_is_known_as_what_it_is(name: str) -> None:
    (sample,) = SAMPLES.glob(f"{name}.*")
    assert await detect(sample) == name


OBJECTS = [name for name in FEEDS if (SAMPLES / f"{name}.jsonl").exists()]


@pytest.mark.parametrize("name", [*OBJECTS, "canonical"])
async def test_a_printed_document_is_known_as_what_is_in_it(tmp_path: Path, name: str) -> None:
    lines = [CANONICAL] if name == "canonical" else (SAMPLES / f"{name}.jsonl").read_bytes().splitlines()
    objects = [json.loads(line) for line in lines]
    for document in (objects, objects[0]):
        printed = json.dumps(document, indent=2)
        for text in (printed, printed.replace("\n", " ", 1), "\ufeff\n" + printed.replace("\n", "\r\n")):
            (tmp_path / "feed").write_text(text, newline="")
            assert await detect(tmp_path / "feed") == name


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (JPMORGAN, "jpmorgan"),
        (JPMORGANS_OTHER.read_bytes(), "jpmorgan"),
        (b"\xef\xbb\xbf" + JPMORGANS_OTHER.read_bytes(), "jpmorgan"),
        (CYBERSOURCE, "cybersource"),
        (CANONICAL, "canonical"),
        (b"a,b\n1,2\n", None),
        (b"", None),
        (b"\xff\xfe", None),
    ],
    ids=[
        "jpmorgan",
        "jpmorgan's other",
        "jpmorgan's other, marked",
        "cybersource",
        "canonical",
        "rows",
        "nothing",
        "no text",
    ],
)
async def test_files_as_they_are_delivered_are_known_too(tmp_path: Path, content: bytes, name: str | None) -> None:
    (tmp_path / "feed").write_bytes(content)
    assert await detect(tmp_path / "feed") == name


def table(tmp_path: Path, content: bytes) -> Path:
    (tmp_path / "traces.csv").write_bytes(content)
    return tmp_path / "traces.csv"


def test_credentials_are_read_by_the_trace_of_their_payment(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbftrace,token,fingerprint,note\n 021000020000001 ,acct-1,,x\n2,,v1:ab,\n3,acct-3,v1:cd,\n"
    assert edge.traces(table(tmp_path, content)) == {
        "021000020000001": {"token": "acct-1"},
        "2": {"fingerprint": "v1:ab"},
        "3": {"token": "acct-3", "fingerprint": "v1:cd"},
    }
    assert edge.traces(None) is None


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", ":1: expected the columns trace, and token or fingerprint"),
        (b"trace,note\n1,x\n", ":1: expected the columns trace, and token or fingerprint"),
        (b"token,fingerprint\na,b\n", ":1: expected the columns trace, and token or fingerprint"),
        (b"trace,token\n1,\xff\n", ": expected UTF-8"),
    ],
)
def test_a_file_that_is_no_table_of_traces_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    file = table(tmp_path, content)
    with pytest.raises(Failed) as caught:
        edge.traces(file)
    assert str(caught.value) == f"{file}{problem}"


def test_a_moment_without_a_zone_is_utc() -> None:
    assert edge.of(None, datetime(2026, 11, 20)).at == datetime(2026, 11, 20, tzinfo=UTC)  # noqa: DTZ001 - the example
    in_berlin = datetime(2026, 11, 20, tzinfo=timezone(timedelta(hours=1)))
    assert edge.of(None, in_berlin).at == in_berlin
