"""One line of a file that a user writes: a JSON object of a fixed shape."""

from typing import TypeVar

from pydantic import ValidationError

from domain.refusal import RefusalCode, Refused
from schemas import once
from schemas.digit_ids import NO_DIGIT_IDS, DigitIds, pan_in_wallet
from schemas.method_line import Line
from schemas.validation import refusals_of

L = TypeVar("L", bound=Line)


def parse(shape: type[L], line: str, digit_ids: DigitIds = NO_DIGIT_IDS) -> L:
    """Read a line as `shape`. Fields of `digit_ids` may be digits.

    Raises:
        Refused: it is no JSON object of that shape, or holds a card number.
    """
    try:
        parsed = once.loads(line)
    except ValueError as error:
        raise Refused(RefusalCode.NOT_READABLE, "line", f"a JSON object ({error})") from None
    except RecursionError:
        raise Refused(RefusalCode.TOO_DEEP, "line", "a JSON object that is less deep") from None
    if key := once.repeated_key(parsed):
        raise Refused(RefusalCode.REPEATED, key, "once in its object")
    path = pan_in_wallet(parsed, digit_ids)
    if path is not None:
        raise Refused(RefusalCode.CARD_NUMBER_REFUSED, path, "no card number")
    try:
        return shape.model_validate(parsed)
    except ValidationError as error:
        raise Refused.of(*refusals_of(error, root="line")) from None
