"""Pydantic's validation errors as refusals, in words of this program."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import TypeAlias

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from domain.refusal import Refusal, RefusalCode, Refused
from schemas.text import LAST4, LONGEST_NAME, VENDOR

_Path: TypeAlias = tuple[str | int, ...]

_TEXT, _INTEGER, _OBJECT = "a text", "an integer", "a JSON object"
_TIME, _DATE = "an ISO 8601 timestamp with a time zone", "a date such as 1980-01-31"

# By the type of an error. The names in braces are in the error's context.
_EXPECTED: Mapping[str, tuple[RefusalCode, str]] = {
    "missing": (RefusalCode.REQUIRED, "required"),
    "string_too_short": (RefusalCode.REQUIRED, "required"),
    "too_short": (RefusalCode.REQUIRED, "required, {min_length} at least"),
    "extra_forbidden": (RefusalCode.UNKNOWN_FIELD, "no field of this name"),
    "enum": (RefusalCode.UNEXPECTED_VALUE, "{expected}"),
    "string_too_long": (RefusalCode.TOO_LONG, "{max_length} characters at most"),
    "greater_than_equal": (RefusalCode.OUT_OF_RANGE, "{ge} or more"),
    "less_than_equal": (RefusalCode.OUT_OF_RANGE, "{le} or less"),
    "json_invalid": (RefusalCode.NOT_READABLE, "JSON"),
    "string_type": (RefusalCode.WRONG_TYPE, _TEXT),
    "string_unicode": (RefusalCode.WRONG_FORMAT, "a text in UTF-8"),
    "int_type": (RefusalCode.WRONG_TYPE, _INTEGER),
    "int_from_float": (RefusalCode.WRONG_TYPE, _INTEGER),
    "int_parsing_size": (RefusalCode.OUT_OF_RANGE, "a smaller integer"),
    "bool_type": (RefusalCode.WRONG_TYPE, "a boolean"),
    "list_type": (RefusalCode.WRONG_TYPE, "an array"),
    "dict_type": (RefusalCode.WRONG_TYPE, _OBJECT),
    "model_type": (RefusalCode.WRONG_TYPE, _OBJECT),
    "timezone_aware": (RefusalCode.WRONG_FORMAT, _TIME),
    "datetime_parsing": (RefusalCode.WRONG_FORMAT, _TIME),
    "datetime_from_date_parsing": (RefusalCode.WRONG_FORMAT, _TIME),
    "date_parsing": (RefusalCode.WRONG_FORMAT, _DATE),
    "date_from_datetime_parsing": (RefusalCode.WRONG_FORMAT, _DATE),
}

_PATTERNS = {
    LAST4: "1 to 4 letters, digits or stars",
    VENDOR: "a name without colons and white space that begins with no @",
}

_KEY = "[key]"
# The values of this object are a union; the path of an error in them ends with the union's branch.
_DETAILS = "details"


def refusals_of(error: ValidationError, *, root: str = "message") -> list[Refusal]:
    """The refusals of all errors, each with the path of its field and without the value.

    `root` is the field of an error that is of the whole input.
    """
    details = [(_path(detail["loc"]), detail) for detail in error.errors(include_url=False, include_input=False)]
    by_path = groupby(details, key=itemgetter(0))
    return [_refusal(path, [detail for _, detail in group], root) for path, group in by_path]


def _path(location: _Path) -> _Path:
    """The path of the field, without the branch of a union; for a wrong key, the path of its object."""
    if _KEY in location:
        return location[: location.index(_KEY) - 1]
    return location[:-1] if _DETAILS in location[:-2] else location


def _refusal(path: _Path, errors: Sequence[ErrorDetails], root: str) -> Refusal:
    field = ".".join(str(name)[:LONGEST_NAME] for name in path)
    refusals = [_of_error(error) for error in errors]
    # the branch of a union that has the value's type says more than the others
    refusal = next((branch for branch in refusals if branch.code is not RefusalCode.WRONG_TYPE), refusals[0])
    if refusal.code is RefusalCode.WRONG_TYPE and len(refusals) > 1:
        refusal = refusal._replace(expected=" or ".join(dict.fromkeys(branch.expected for branch in refusals)))
    return refusal.inside(field or ("" if refusal.field else root))


def _of_error(error: ErrorDetails) -> Refusal:
    """The refusal of an error, without its path. Checks of this program raise `Refused` or ValueError."""
    context = error.get("ctx", {})
    raised = context.get("error")
    if isinstance(raised, Refused):
        return raised.refusal
    if _KEY in error["loc"]:
        return Refusal(RefusalCode.UNKNOWN_FIELD, "", "names of 1 to 255 characters")
    if error["type"] == "string_pattern_mismatch":
        return Refusal(RefusalCode.WRONG_FORMAT, "", _PATTERNS.get(context["pattern"], "another form"))
    if error["type"] == "value_error":
        return Refusal(RefusalCode.WRONG_FORMAT, "", str(raised), str(raised))
    code, expected = _EXPECTED.get(error["type"], (RefusalCode.WRONG_TYPE, "another value"))
    return Refusal(code, "", expected.format_map(context).replace("'", ""))
