"""The verdict on one measured value: ok, a warning or a fault, with what was expected and what to do next."""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_KIB = 1024


class Level(StrEnum):
    """A warning works today and may not tomorrow; a fault loses time, messages or safety now."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


class Diagnosis(NamedTuple):
    """What `check` says of `subject`. `command` is what a person types next, None where nothing is to be done."""

    check: str
    subject: str
    level: Level
    expected: str
    found: str
    command: str | None = None


def verdict(check: str, subject: str, level: Level, expected: str, measured: str, *, command: str) -> Diagnosis:
    """A diagnosis, whose command is left out where all is well."""
    return Diagnosis(check, subject, level, expected, measured, None if level is Level.OK else command)


class Bounds(NamedTuple):
    """From `warning` on a value is a warning, from `fault` on a fault."""

    warning: float
    fault: float

    def level(self, value: float) -> Level:
        """The level of a value that should be low."""
        if value >= self.fault:
            return Level.FAULT
        return Level.WARNING if value >= self.warning else Level.OK


def worst(diagnoses: Iterable[Diagnosis]) -> Level:
    """The gravest level among `diagnoses`; OK where there are none."""
    order = list(Level)
    return max((diagnosis.level for diagnosis in diagnoses), key=order.index, default=Level.OK)


def psql(statement: str) -> str:
    """The command that runs a statement on the database of the settings."""
    return f'psql "$REPOINT_DATABASE_URL" -c "{statement}"'


def span(seconds: float) -> str:
    """A length of time for people, in its two largest units: `3 h 5 min`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < _MINUTE:
        return f"{seconds:.0f} s"
    for unit, part, names in ((_DAY, _HOUR, ("d", "h")), (_HOUR, _MINUTE, ("h", "min"))):
        if seconds >= unit:
            whole, remainder = divmod(seconds, unit)
            return " ".join(
                [f"{whole:.0f} {names[0]}"] + ([f"{remainder // part:.0f} {names[1]}"] if remainder >= part else [])
            )
    return f"{seconds // _MINUTE:.0f} min"


def size(count: float) -> str:
    """A number of bytes for people: `1.5 GiB`."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < _KIB:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= _KIB
    return f"{count:.1f} TiB"
