"""The corrected data of a Nacha notification of change: 29 characters, read by the change code.

    C01  account            C02  routing            C03  routing, account
    C04  name               C05  transaction        C06  account, transaction        C07  routing, account, transaction

Sources disagree where the transaction code stands in C06 and C07, and account numbers may have blanks inside. So the
data are read in several ways: by position, then C06 with the code alone behind the account's field, then by words. The
first reading counts in which every part is valid and nothing is left over; routing numbers must pass their checksum.
"""

import re
from collections.abc import Callable, Mapping

from domain.refusal import RefusalCode, Refused
from schemas.feeds.record import is_blank

Position = tuple[str, int, int]
"""A part of the corrected data: its name, its first character, and the character after its last."""

_LAYOUTS: Mapping[str, tuple[tuple[Position, ...], ...]] = {
    "C01": ((("account", 0, 17),),),
    "C02": ((("routing", 0, 9),),),
    "C03": ((("routing", 0, 9), ("account", 12, 29)),),
    "C04": ((("name", 0, 22),),),
    "C05": ((("transaction", 0, 2),),),
    "C06": ((("account", 0, 17), ("transaction", 20, 22)), (("account", 0, 27), ("transaction", 27, 29))),
    "C07": (
        (("routing", 0, 9), ("account", 9, 26), ("transaction", 26, 28)),
        (("routing", 0, 9), ("account", 9, 27), ("transaction", 27, 29)),
    ),
}
ROUTING_DIGITS = 9
_ROUTING_WEIGHTS = (3, 7, 1, 3, 7, 1, 3, 7)
_LONGEST_ACCOUNT = 17


def read_corrected(corrected: str, code: str) -> Mapping[str, str]:
    """The parts of the corrected data by name: `routing`, `account`, `transaction` or `name`.

    Raises:
        Refused: no reading has the parts that the code expects.
    """
    layouts = _LAYOUTS[code]
    readings = [_by_position(corrected, layout) for layout in layouts]
    for reading in (*readings, _with_code_apart(corrected, code), _by_words(corrected, layouts[0])):
        parts = {name: value.strip() for name, value in (reading or {}).items()}
        if parts and all(_IS_VALID[name](value) for name, value in parts.items()):
            return parts  # no two layouts fit the same data, and words only repeat what a layout has
    names = " and ".join(_DESCRIPTIONS[name] for name, _, _ in layouts[0])
    raise Refused(RefusalCode.UNEXPECTED_VALUE, "addenda 36-64", f"{names} for {code}")


def _by_position(corrected: str, layout: tuple[Position, ...]) -> Mapping[str, str] | None:
    remaining = list(corrected)
    for _, start, end in layout:
        remaining[start:end] = " " * (end - start)
    return None if "".join(remaining).strip() else {name: corrected[start:end] for name, start, end in layout}


_CODE_APART = re.compile(r"(?P<account>.*\S) {2,}(?P<transaction>\d\d) *", re.ASCII)


def _with_code_apart(corrected: str, code: str) -> Mapping[str, str] | None:
    """C06 with its code alone behind the account's field. The account may have single blanks inside."""
    match = _CODE_APART.fullmatch(corrected)
    if code != "C06" or match is None or match.start("transaction") < _LONGEST_ACCOUNT:
        return None
    return None if "  " in match["account"].strip() else match.groupdict()


def _by_words(corrected: str, layout: tuple[Position, ...]) -> Mapping[str, str] | None:
    """Parts that blanks separate; a routing number ends after nine digits.

    A code inside the account's field is not read: it may be the end of an account number with a blank inside.
    """
    names = [name for name, _, _ in layout]
    words = [corrected[:9], *corrected[9:].split()] if names[0] == "routing" else corrected.split()
    if len(words) != len(names) or "name" in names:
        return None
    if names[-1] == "transaction" and len(names) > 1 and not corrected[layout[-2][2] :].strip():
        return None
    return dict(zip(names, words, strict=True))


def is_routing(value: str) -> bool:
    """Whether a value is nine digits that pass the ABA's checksum. Zeros pass it, too, but are no bank's number."""
    if len(value) != ROUTING_DIGITS or not are_digits(value) or is_blank(value):
        return False
    return (weigh(value[:8]) + int(value[8])) % 10 == 0


def weigh(eight: str) -> int:
    """The ABA's weighted sum of a routing number's first eight digits."""
    return sum(weight * int(digit) for weight, digit in zip(_ROUTING_WEIGHTS, eight, strict=True))


def is_account(value: str) -> bool:
    """Whether a value is an account number of at most 17 characters."""
    return len(value) <= _LONGEST_ACCOUNT and is_written_as_account(value)


def is_written_as_account(value: str) -> bool:
    """Whether a value has digits and letters, and at some banks blanks and dashes. Zeros alone are no account."""
    return value.isascii() and value.replace(" ", "").replace("-", "").isalnum() and not is_blank(value)


def are_digits(value: str) -> bool:
    """Whether all characters of a value are ASCII digits."""
    return value.isascii() and value.isdecimal()


def _is_transaction(value: str) -> bool:
    return re.fullmatch("[23][234789]", value) is not None


_IS_VALID: Mapping[str, Callable[[str], bool]] = {
    "routing": is_routing,
    "account": is_account,
    "transaction": _is_transaction,
    "name": bool,
}
_DESCRIPTIONS = {
    "routing": "a routing number",
    "account": "an account number",
    "transaction": "a transaction code",
    "name": "a name",
}
