"""Messages with their card numbers masked, as dead letters keep them."""

import base64
import re

from domain import pan
from schemas import once
from schemas.digit_ids import NO_DIGIT_IDS, DigitIds, pan_in_thin_event, pan_in_update


def mask_message(body: bytes, digit_ids: DigitIds = NO_DIGIT_IDS) -> str:
    """Return the message as text with every card number masked, also inside a CloudEvent's base64.

    An update is unchanged if all its apparent card numbers are in fields that `digit_ids` names.
    """
    text = body.decode(errors="backslashreplace")
    if digit_ids and _has_only_ids(text, digit_ids):
        return text
    return pan.mask(_BASE64.sub(_mask_base64, text))


def _has_only_ids(text: str, digit_ids: DigitIds) -> bool:
    """Whether every apparent card number in an update or a thin event is an id."""
    try:
        message = once.loads(text)
        has_base64 = isinstance(message, dict) and "data_base64" in message
        update = once.loads(base64.b64decode(message["data_base64"], validate=True)) if has_base64 else None
    except (ValueError, TypeError, RecursionError):
        return False
    # Only the last value of a repeated key was searched.
    if once.repeated_key(message) is not None or once.repeated_key(update) is not None:
        return False
    return pan_in_update(message, digit_ids) is None or pan_in_thin_event(message, digit_ids) is None


# A key of eleven characters, each as it is or as an escape, and its value.
_BASE64 = re.compile(
    r"""(?P<key>"(?P<name>(?:[46_a-z]|\\u00[0-9a-fA-F]{2}){11})"\s*:\s*")(?P<value>(?:[^"\\]|\\.)*+)""", re.DOTALL
)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/]")


def _mask_base64(match: re.Match[str]) -> str:
    """Mask the card numbers inside the key's value, also if the base64 is malformed."""
    if _unescape(match["name"]) != "data_base64":
        return match[0]
    letters = _NOT_BASE64.sub("", _unescape(match["value"]))
    whole = letters if len(letters) % 4 != 1 else letters[:-1]
    text = base64.b64decode(whole + "===").decode(errors="backslashreplace")
    masked = pan.mask(text)
    return match[0] if masked is text else match["key"] + base64.b64encode(masked.encode()).decode()


def _unescape(text: str) -> str:
    """`text` without JSON's escapes. Of the escapes of one letter, only the slash is a letter of base64."""
    return _ESCAPE.sub(lambda escape: chr(int(escape[1], 16)) if escape[1] else escape[2].strip("bfnrt"), text)
