"""Durations as people write them, in settings, options and files: `250ms`, `5s`, `2m`, `72h`, `800d`."""

import re
from datetime import timedelta

_UNITS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}


def duration(text: str) -> timedelta:
    """Read `250ms`, `5s`, `2m`, `72h` or `800d`. Raises ValueError for anything else."""
    match = re.fullmatch(r"\s*(\d{1,6})(ms|s|m|h|d)\s*", text, re.ASCII)
    if match is None:
        raise ValueError("expected a duration such as 250ms, 5s, 2m, 72h or 800d")
    return int(match[1]) * _UNITS[match[2]]


def spell(length: timedelta) -> str:
    """Write a duration of whole milliseconds as `duration` reads it, in the largest unit that divides it."""
    unit = next(unit for unit in reversed(_UNITS) if not length % _UNITS[unit])
    return f"{length // _UNITS[unit]}{unit}"
