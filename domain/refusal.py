"""Refusals: why an input cannot be used, as values with a code.

An input is a message, a record of a feed, a line of a file, or a file. A refusal names the field and what was expected
there, never the value. Its text is made here and nowhere else; no code reads it back.
"""

from enum import Enum, unique
from typing import NamedTuple


@unique
class RefusalCode(Enum):
    """What is wrong with an input. The name is the code; the value is what it means, for the table in the documents."""

    # a field
    REQUIRED = "a field is missing, or blank"
    REQUIRED_HERE = "a field is missing which a record or line of this kind needs, or another field in its place"
    WRONG_TYPE = "a value has another type in JSON: a text in place of a number, an array in place of an object"
    WRONG_FORMAT = "a text is not written as expected: a date, a number, an id, a URL"
    UNEXPECTED_VALUE = "a value is none of those that are possible there"
    OUT_OF_RANGE = "a number or a time lies outside of its range"
    CONTRADICTION = "a field contradicts another one"
    UNKNOWN_FIELD = "a field does not exist, or must not be there"
    NO_SUCH_REFERENCE = "an id names nothing: a payment method, a merchant, a wallet"
    REPEATED = "a key of an object, an id, a flag or a column is there twice"
    MISSING_CUSTOMER_IDENTIFIER = "nothing in the customer identifies one (`REPOINT_CUSTOMER_IDENTIFIERS`)"
    CARD_NUMBER_REFUSED = "a field that is no card number's holds one"
    # a vendor's record
    UNKNOWN_CODE = "a code of the vendor's is in no table of its feed"
    NO_UPDATE = "a code of the vendor's means that there is no update: the vendor refused the inquiry, for example"
    UNKNOWN_ACCOUNT = "nothing in the record names an account that is known"
    MISSING_FINGERPRINT_KEY = "a full number cannot be replaced without `REPOINT_FINGERPRINT_KEY`"
    OTHER_FEED = "a record, a row or an event is not one of this feed"
    # the whole input
    NOT_TEXT = "bytes are no text in UTF-8: another encoding, compressed, or binary data"
    NOT_READABLE = "a text cannot be read as JSON, CSV, XML or base64"
    TOO_LONG = "a text, a line or a message has too many characters or bytes"
    TOO_MANY = "there are more values, columns, records or identifiers than are read"
    TOO_DEEP = "objects and arrays stand inside each other at too many levels"
    MISPLACED = "a line or a record stands where it cannot"
    INCOMPLETE = "a file ends too early"
    NOT_USABLE = "nothing in a file can be used"
    MARKED = "the sender marked the message as unreadable, and wrote the reason"
    # a line of a wallets file
    WALLET_EXISTS = "the wallet has been imported before, and an import changes none"


# Of these, `expected` is a phrase of its own: `required for a new expiry`.
_PHRASES = frozenset(
    (
        RefusalCode.REQUIRED,
        RefusalCode.REQUIRED_HERE,
        RefusalCode.NO_UPDATE,
        RefusalCode.UNKNOWN_ACCOUNT,
        RefusalCode.MISSING_FINGERPRINT_KEY,
        RefusalCode.INCOMPLETE,
        RefusalCode.NOT_USABLE,
        RefusalCode.MARKED,
    )
)


# Of these, `wording` shows a value: a code of the vendor's, a key of an object.
_WITH_VALUE = frozenset((RefusalCode.UNKNOWN_CODE, RefusalCode.REPEATED))


class Refusal(NamedTuple):
    """Why an input cannot be used: what is wrong, in which field, and what was expected there.

    `field` is the path of the field, as in `paymentMethods.0.credentials`; it is empty where there is none. `wording`
    replaces the phrase made of `expected`. Where it shows a value, an unknown code or a repeated key, it is for
    operators alone.
    """

    code: RefusalCode
    field: str
    expected: str
    wording: str = ""

    def __str__(self) -> str:
        """As operators see it: `field: expected …`."""
        phrase = self.wording or (self.expected if self.code in _PHRASES else f"expected {self.expected}")
        return f"{self.field}: {phrase}" if self.field else phrase

    def without_value(self) -> "Refusal":
        """As the sender sees it: an answer repeats nothing of what was sent."""
        return self._replace(wording="") if self.code in _WITH_VALUE else self

    def adding(self, remark: str) -> "Refusal":
        """The same with a remark at its end."""
        return self._replace(expected=f"{self.expected}{remark}", wording=self.wording and f"{self.wording}{remark}")

    def inside(self, field: str) -> "Refusal":
        """The same with the path from the outside: `field` has this refusal's input as its value."""
        return self._replace(field=".".join(filter(None, (field, self.field))))


class Refused(ValueError):
    """An input cannot be used. `refusals` are all that is known against it; the text is the first one's."""

    def __init__(self, code: RefusalCode, field: str, expected: str, wording: str = "") -> None:
        super().__init__(code, field, expected, wording)
        self.refusals: tuple[Refusal, ...] = (Refusal(code, field, expected, wording),)

    @classmethod
    def of(cls, *refusals: Refusal) -> "Refused":
        """The exception of one or more refusals that were made before."""
        refused = cls(*refusals[0])
        refused.refusals = refusals
        return refused

    @property
    def refusal(self) -> Refusal:
        """The first one."""
        return self.refusals[0]

    def __str__(self) -> str:
        return str(self.refusal)
