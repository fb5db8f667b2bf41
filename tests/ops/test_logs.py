"""Logs are JSON lines, and nothing secret is in them, wherever it stood."""

import io
import json
import logging
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.pan import pan_in_json
from ops import logs
from store.failures import DATABASE_ERRORS
from tests.domain.test_pan import JSON, pans

VISA = "4111111111111111"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """What was logged, as JSON lines; the process logs as before afterwards."""
    root = logging.getLogger()
    handlers, level, hook = root.handlers, root.level, sys.excepthook
    stream = io.StringIO()
    logs.configure(form="json", level="INFO", stream=stream)
    yield stream
    structlog.reset_defaults()
    logging.captureWarnings(capture=False)
    root.handlers, sys.excepthook = handlers, hook
    root.setLevel(level)


def read(text: str) -> None:
    raise ValueError(f"cannot read {text}")


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_log_is_one_json_line_with_its_time_level_and_name(stream: io.StringIO) -> None:
    structlog.get_logger("consumers").info("batch taken", updates=500, outcomes={"APPLIED": 499})
    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "process": os.getpid(),
        "event": "batch taken",
        "level": "info",
        "logger": "consumers",
        "updates": 500,
        "outcomes": {"APPLIED": 499},
    }


def test_every_line_has_the_process_and_its_number_among_the_children_of_one_parent(stream: io.StringIO) -> None:
    logs.configure(form="json", level="INFO", stream=stream, child=3)
    structlog.get_logger("ours").info("ended", process=5)
    logging.getLogger("theirs").warning("slow")
    assert [(line["process"], line["child"]) for line in lines(stream)] == [(5, 3), (os.getpid(), 3)]


def test_a_talkative_library_is_quieter_than_the_level_and_never_louder() -> None:
    root = logging.getLogger()
    handlers, level, hook = root.handlers, root.level, sys.excepthook
    try:
        for chosen, expected in (("DEBUG", "WARNING"), ("INFO", "WARNING"), ("ERROR", "ERROR")):
            logs.configure(form="json", level=chosen, stream=io.StringIO())
            assert logging.getLogger("aiokafka").level == getattr(logging, expected)
    finally:
        logs.configure(form="json", level="INFO", stream=io.StringIO())
        structlog.reset_defaults()
        logging.captureWarnings(capture=False)
        root.handlers, sys.excepthook = handlers, hook
        root.setLevel(level)


def test_an_interrupt_from_the_keyboard_is_no_line_of_the_log(
    stream: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert lines(stream) == []
    assert "KeyboardInterrupt" in capsys.readouterr().err
    sys.excepthook(RuntimeError, RuntimeError("lost"), None)
    assert [line["event"] for line in lines(stream)] == ["ended by an error"]


def test_a_line_of_kafkas_client_comes_once_a_minute(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: moment)
    client, others = logging.getLogger("aiokafka.cluster"), logging.getLogger("others")
    for moment in (1000.0, 1000.1, 1059.0, 1061.0):
        client.error("Topic %s not found in cluster metadata", moment)
        others.error("here")
    client.error("another line")
    said = [(line["logger"], line["event"]) for line in lines(stream)]
    assert [event for logger, event in said if logger == "aiokafka.cluster"] == [
        "Topic 1000.0 not found in cluster metadata",
        "Topic 1061.0 not found in cluster metadata",
        "another line",
    ]
    assert len(said) == 7


def test_a_coordinator_that_is_not_there_yet_is_no_error_until_it_has_lasted(
    stream: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: moment)
    client = logging.getLogger("aiokafka.consumer.group_coordinator")
    starts, away = (1000.0, 1000.1, 1001.0), (2000.0, 2005.0, 2009.9, 2010.1, 2040.0, 2070.2)
    for moment in (*starts, *away):
        client.error("Group Coordinator Request failed: %s", moment)
        if moment == starts[-1]:
            assert lines(stream) == []
    assert [line["event"].rpartition(" ")[2] for line in lines(stream)] == ["2010.1", "2070.2"]


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer {}",
        "b'authorization: basic  {}'",
        "GET /v1/feeds/apple-pay?token={} HTTP/1.1",
        "https://reports.example/day.csv?a=1&sig={}&b=2",
        "https://reports.example/day.csv?X=1&key={}",
        "https://reports.example/day.csv?Expires=1&Signature={}&b=2",
        "https://reports.example/day.csv?X-Amz-Date=1&X-Amz-Signature={}",
        "https://reports.example/day.csv?X-Amz-Security-Token={}&a=1",
        "https://reports.example/day.csv?X-Goog-Signature={}",
        "https://merchant.example/hooks?secret={}",
        "https://merchant.example/hooks?a=1&password={}",
        "https://merchant.example/hooks?access_token={}",
        "https://merchant.example/hooks?api_key={}",
    ],
)
def test_credentials_are_hidden_wherever_they_stand(stream: io.StringIO, text: str) -> None:
    said = text.format("s3cret-of-the-vendor")
    structlog.get_logger("api").warning(said, inside={"a": [said]})
    logging.getLogger("aiohttp.server").error("Error handling %s", said)
    assert "s3cret" not in stream.getvalue()
    assert stream.getvalue().count("***") == 3


def test_nothing_secret_is_logged_wherever_it_stands(stream: io.StringIO) -> None:
    log = structlog.get_logger("repoint").bind(endpoint=SECRET)
    log.info("card %s", VISA, card=VISA, number=int(VISA), grouped="4111-1111-1111-1111")
    log.info("nested", body={"a": [{"token": VISA, VISA: SECRET}]}, raw=VISA.encode(), object=ValueError(VISA))
    log.info("connecting", url="postgresql://repoint:hunter2@db/repoint")
    logging.getLogger("some.library").warning("sent %s to %s", VISA, "amqp://u:hunter2@host")
    try:
        read(f"{VISA} signed with {SECRET}")
    except ValueError:
        log.exception("failed")
        logging.getLogger("some.library").exception("failed")
    assert len(lines(stream)) == 6
    assert [line["event"] for line in lines(stream)[-2:]] == ["failed", "failed"]
    for line in lines(stream)[-2:]:
        assert "cannot read **************** signed with whsec_***" in line["exception"]
    for secret in (VISA, "4111", SECRET[6:], "hunter2"):
        assert secret not in stream.getvalue()


def test_a_warning_is_logged_like_anything_else(stream: io.StringIO) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn(f"about {VISA}", stacklevel=1)
    assert "about ****************" in lines(stream)[0]["event"]


def test_what_ends_the_process_is_logged_masked() -> None:
    program = f"""
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.pan import pan_in_json
from ops import logs
from store.failures import DATABASE_ERRORS
logs.configure(form="json", level="INFO")
raise RuntimeError("gave up on {VISA}")
"""
    ended = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert ended.returncode == 1
    line = json.loads(ended.stderr)
    assert line["event"] == "ended by an error"
    assert line["exception"].endswith("RuntimeError: gave up on ****************")
    assert VISA not in line["exception"].splitlines()[-1]


def test_libraries_tell_what_went_wrong_and_not_what_they_do(stream: io.StringIO) -> None:
    logging.getLogger("aiokafka.consumer.group_coordinator").info("joined")
    logging.getLogger("aiokafka.consumer.group_coordinator").error("left out")
    assert [line["event"] for line in lines(stream)] == ["left out"]


@given(JSON | st.lists(pans()))
def test_no_value_of_any_shape_shows_a_card_number(value: object) -> None:
    shown = logs.hidden(value)
    assert pan_in_json(shown) is None
    assert logs.hidden(shown) == shown


@given(st.text(), st.text("abc:/@?&=. ", max_size=30))
def test_a_password_in_a_url_is_never_shown(before: str, after: str) -> None:
    shown = logs.hidden(f"{before} postgresql://repoint:hunter2@{after}")
    assert "hunter2" not in str(shown)


def test_ordinary_values_are_logged_as_they_are() -> None:
    event = {
        "at": "2026-11-20T09:14:13.512Z",
        "id": "vau-2026-11-20-000017",
        "url": "https://merchant.example:8443/hooks?x=1",
        "took": 0.25,
        "ok": True,
        "none": None,
        "list": ["a", 1],
    }
    assert logs.hidden(event) == event


async def test_what_the_database_says_of_a_value_is_hidden(stream: io.StringIO, engine: AsyncEngine) -> None:
    """A constraint's DETAIL repeats the whole row, and the driver an argument that it cannot send."""
    private = "a body that a merchant is to be sent,\n in two lines"
    row = "INSERT INTO merchants (id, name) VALUES (:id, :name)"
    for statement, values in (
        (row, {"id": "m-1", "name": private}),
        (row, {"id": "m-1", "name": private}),  # the second time its key is there
        ("SELECT CAST(:name AS int)", {"name": private}),
        ("SELECT CAST(:name AS text[])", {"name": private}),
        ("SELECT CAST(CAST(:name AS text) AS int)", {"name": private}),
        ("SELECT CAST(CAST(:name AS text) AS text[])", {"name": private}),
        ("UPDATE merchants SET id = NULL WHERE name = :name", {"name": private}),
    ):
        try:
            async with engine.begin() as connection:
                await connection.execute(text(statement), values)
        except DATABASE_ERRORS:
            structlog.get_logger("store").exception("refused")
    said = stream.getvalue()
    assert len(lines(stream)) == 6
    assert "merchant is to be sent" not in said
    assert "in two lines" not in said
    for line in lines(stream):
        assert "***" in line["exception"]
        assert "Error" in line["exception"]
