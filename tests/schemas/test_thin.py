"""Thin events on their topic: what is written is read back, and an event that comes again has the same digest."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from domain.refusal import Refused
from schemas import thin
from schemas.canonical import UNREADABLE_HEADER
from schemas.feeds.feed import Fetch

AT = datetime(2026, 11, 20, 9, 14, 13, 512000, tzinfo=UTC)
FETCH = Fetch("/tokens/t1?a=%2F", {"token": "t1"}, {"also": "this"}, datetime(2026, 11, 19, tzinfo=UTC))
WIRE: dict[str, Any] = {
    "feed": "adyen",
    "path": "/tokens/t1?a=%2F",
    "record": {"token": "t1"},
    "body": {"also": "this"},
    "fileAt": "2026-11-19T00:00:00+00:00",
    "at": "2026-11-20T09:14:13.512000+00:00",
}


def digest(wire: dict[str, Any]) -> bytes:
    return thin.parse(json.dumps(wire).encode()).digest


def test_an_event_is_written_field_by_field_and_read_back() -> None:
    written = thin.written("adyen", FETCH, AT)
    assert json.loads(written) == WIRE
    read = thin.parse(written)
    assert (read.feed, read.fetch, read.at, len(read.digest)) == ("adyen", FETCH, AT, 16)


def test_what_an_event_lacks_is_not_written() -> None:
    bare = Fetch("/x", {})
    assert json.loads(thin.written("adyen", bare, AT)) == {
        "feed": "adyen",
        "path": "/x",
        "record": {},
        "at": WIRE["at"],
    }
    assert thin.parse(thin.written("adyen", bare, AT)).fetch == bare


@pytest.mark.parametrize(
    ("field", "value"),
    [("feed", "stripe"), ("path", "/y"), ("record", {}), ("body", {}), ("body", None), ("fileAt", None)],
)
def test_another_request_has_another_digest(field: str, value: object) -> None:
    assert digest(WIRE | {field: value}) != digest(WIRE)


def test_the_same_request_that_comes_again_has_the_same_digest() -> None:
    later = WIRE | {"at": "2026-11-21T00:00:00Z", "record": dict(reversed(WIRE["record"].items()))}
    assert digest(later) == digest(WIRE)
    two = WIRE | {"record": {"a": 1, "b": 2}}
    assert digest(two) == digest(WIRE | {"record": {"b": 2, "a": 1}})


@pytest.mark.parametrize("length", [1, 4096])
def test_a_path_may_be_so_long(length: int) -> None:
    assert thin.parse(thin.written("adyen", replace(FETCH, path="x" * length), AT)).fetch.path == "x" * length


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"path": ""}, "path"),
        ({"path": "x" * 4097}, "path"),
        ({"feed": ""}, "feed"),
        ({"feed": None}, "feed"),
        ({"record": []}, "record"),
        ({"body": "x"}, "body"),
        ({"fileAt": "noon"}, "fileAt"),
        ({"at": None}, "at"),
        ({"at": "2026-11-20"}, "at"),
    ],
)
def test_a_wrong_field_is_named(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(Refused, match=f"^{field}: "):
        thin.parse(json.dumps(WIRE | changes).encode())


@pytest.mark.parametrize("value", [b"", b"[]", b"{", b"\xff", b"null"])
def test_what_is_no_event_is_refused(value: bytes) -> None:
    with pytest.raises(Refused):
        thin.parse(value)


def test_a_header_marks_an_event_as_unreadable() -> None:
    with pytest.raises(Refused, match="masked"):
        thin.parse(thin.written("adyen", FETCH, AT), [(UNREADABLE_HEADER, b"masked")])


def test_times_are_written_in_utc_and_half_a_surrogate_pair_as_an_escape() -> None:
    zone = timezone(timedelta(hours=2))
    fetch = replace(FETCH, record={"id": "\ud800é"}, file_at=datetime(2026, 11, 19, 1, tzinfo=zone))
    written = thin.written("adyen", fetch, AT.astimezone(zone))
    assert json.loads(written) == WIRE | {"record": {"id": "\ud800é"}, "fileAt": "2026-11-18T23:00:00+00:00"}
    assert b'"\\ud800\xc3\xa9"' in written
    assert AT.astimezone(zone).isoformat() not in written.decode()
