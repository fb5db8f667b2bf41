"""Lines of one kind: ten of a time are written, the others are counted, and the count is written."""

import asyncio
from typing import Any

import pytest

from loops.limited_log import EVERY_SECONDS, MOST_LINES, LimitedLog
from tests.parts.until import until

Line = tuple[str, dict[str, Any]]


@pytest.fixture
def lines() -> list[Line]:
    return []


def log(lines: list[Line], every: float = 60, **fields: object) -> LimitedLog:
    return LimitedLog(lambda event, **own: lines.append((event, own)), "refused", lines=2, every=every, **fields)


async def test_what_is_not_written_is_counted_and_the_count_is_written_with_what_to_type(lines: list[Line]) -> None:
    limited = log(lines, list="repoint list")
    for number in range(5):
        limited.write(number=number, events=1 + number)
    assert lines == [("refused", {"number": 0}), ("refused", {"number": 1})]
    limited.close()
    assert lines[2:] == [("refused: more of them", {"more": 3 + 4 + 5, "within_seconds": 60, "list": "repoint list"})]
    limited.close()
    limited.write(number=6)
    assert lines[3:] == [("refused", {"number": 6})]
    limited.close()
    assert len(lines) == 4


async def test_the_count_is_written_when_the_time_is_over_and_then_lines_are_written_again(lines: list[Line]) -> None:
    limited = log(lines, every=0.2)
    for _ in range(3):
        limited.write()

    async def is_counted() -> bool:
        return len(lines) == 3

    await until(is_counted)
    assert lines[2] == ("refused: more of them", {"more": 1, "within_seconds": 0.2})
    limited.write()
    await asyncio.sleep(0.4)
    assert lines[3:] == [("refused", {})]
    limited.close()


def test_ten_lines_a_minute_are_written() -> None:
    assert (MOST_LINES, EVERY_SECONDS) == (10, 60)
