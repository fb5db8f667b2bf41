"""Moments are read in UTC, whatever the time zone of the machine is."""

import time
from collections.abc import Iterator

import pytest

from schemas.feeds.fields import epoch, instant


@pytest.fixture(params=["UTC0", "JST-9", "PST8"])
def _machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patched:
        patched.setenv("TZ", request.param)
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("_machine")
@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2026-11-20T09:14:13", "2026-11-20T09:14:13+00:00"),
        ("2026-11-20T09:14:13Z", "2026-11-20T09:14:13+00:00"),
        ("2026-11-20T09:14:13+09:00", "2026-11-20T00:14:13+00:00"),
        ("2026-11-20T09:14:13.123456789", "2026-11-20T09:14:13.123456+00:00"),
        ("2026-11-20", "2026-11-20T00:00:00+00:00"),
    ],
)
def test_a_timestamp_without_a_zone_is_in_utc(written: str, read: str) -> None:
    assert instant(written, "at") == read


@pytest.mark.usefixtures("_machine")
def test_seconds_since_1970_are_counted_in_utc() -> None:
    assert epoch(1763716454, "created") == "2025-11-21T09:14:14+00:00"
