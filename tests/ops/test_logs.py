"""Logs are JSON lines, and nothing secret is in them, wherever it stood."""

import io
import json
import logging
import subprocess
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from domain.pan import pan_in_json
from ops import logs
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
        "event": "batch taken",
        "level": "info",
        "logger": "consumers",
        "updates": 500,
        "outcomes": {"APPLIED": 499},
    }


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
from domain.pan import pan_in_json
from ops import logs
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
