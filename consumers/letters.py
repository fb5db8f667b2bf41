"""The dead letter of a message that cannot be used."""

from hashlib import blake2b
from typing import TYPE_CHECKING, TypeAlias

from domain import pan
from domain.refusal import Refusal, RefusalCode
from schemas.digit_ids import NO_DIGIT_IDS, DigitIds
from schemas.masking import mask_message
from store.dead_letters import DeadLetter

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord

Message: TypeAlias = "ConsumerRecord[bytes | None, bytes | None]"

LONGEST_BYTES = 1024 * 1024
"""Of an unpacked message with its key and headers: fifty times a vendor's longest update."""

# Of a longer message its beginning is stored: enough to recognise it. The search would miss a card number that the cut
# goes through. Therefore the end of the searched text is left out: 19 digits with separators, written as escapes.
_KEPT_BYTES = 4096
_CUT_BYTES = 512
_KEPT_HEADERS = 16


# A reason is one line of a list. A message that is marked as unreadable has its sender's reason.
_LONGEST_REASON = 1000


def message_size(message: Message) -> int:
    """The bytes of the message, unpacked."""
    headers = sum(len(name) + len(value or b"") for name, value in message.headers)
    return len(message.value or b"") + len(message.key or b"") + headers


def dead_letter(message: Message, reason: str, digit_ids: DigitIds = NO_DIGIT_IDS) -> DeadLetter:
    """The dead letter of a message: the whole of it, card numbers masked."""
    key = None if message.key is None else mask_message(message.key)
    headers = [(pan.mask(name), None if value is None else mask_message(value)) for name, value in message.headers]
    return _letter(message, reason, mask_message(message.value or b"", digit_ids), key, headers)


def too_long_reason(size: int) -> str:
    """Why a message of `size` bytes cannot be used."""
    return str(Refusal(RefusalCode.TOO_LONG, "message", f"at most {LONGEST_BYTES} bytes, unpacked, not {size}"))


def shortened_letter(message: Message, reason: str) -> DeadLetter:
    """The dead letter of a message that is too long to be searched: its beginning, card numbers masked."""
    value = message.value or b""
    key = None if message.key is None else _beginning(message.key)
    headers = [
        (_beginning(name.encode(errors="backslashreplace")), None if value is None else _beginning(value))
        for name, value in message.headers[:_KEPT_HEADERS]
    ]
    body = f"{_beginning(value)}… ({len(value)} bytes)"
    return _letter(message, reason, body, key, headers)


def _beginning(value: bytes) -> str:
    searched = value[: _KEPT_BYTES + _CUT_BYTES]
    masked = mask_message(searched)
    return masked[: len(masked) - max(len(searched) - _KEPT_BYTES, 0)]


def _letter(
    message: Message, reason: str, body: str, key: str | None, headers: list[tuple[str, str | None]]
) -> DeadLetter:
    written = body.encode()
    return DeadLetter(
        message.topic,
        message.partition,
        message.offset,
        blake2b(written, digest_size=16).digest(),
        _storable(pan.mask(reason[:_LONGEST_REASON])),
        None if key is None else _storable(key),
        written,
        [(_storable(name), None if value is None else _storable(value)) for name, value in headers],
    )


def _storable(text: str) -> str:
    """`text` without characters that PostgreSQL does not store: NUL, and half of a surrogate pair."""
    return text.replace("\0", "\\x00").encode(errors="backslashreplace").decode()
