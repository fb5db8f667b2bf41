"""Mastercard Automatic Billing Updater, pull API (Mastercard's OpenAPI).

The specification says `accountNumber` and `expiryDate` in its schema, `number` and `expiry` in its examples: both are
read. Dates are MMYY. CONTACT is "contact the issuer" here, and no code says that an account was closed.

Assumed: the answer names only the account as it is now, so a record is the answer with the account that was asked
about under `request`, spelled in either way.
"""

from collections.abc import Callable, Iterable

from domain.update import UpdateType as Type
from schemas.feeds.card import Said, by_number, table, type_of
from schemas.feeds.feed import Code, Edge, Feed, Message, Record, Refused, inside, is_blank, mmyy, part

CODES = (
    Code("ACCOUNT_UPDATE", "account number changed", Type.NUMBER_REPLACED),
    Code("EXPIRY", "expiration date changed", Type.EXPIRY_UPDATED),
    Code("CONTACT", "contact the issuer", Type.CONTACT_CARDHOLDER),
    Code("VALID", "matches, nothing changed", Type.NO_CHANGE),
    Code("UNKNOWN", "no match", Type.NO_MATCH),
    Code("NON_PARTICIPATING", "issuer does not participate", Type.NO_MATCH),
)
_MEANING = table(CODES)


def adapt(record: Record, edge: Edge) -> Iterable[Message]:
    kind = type_of(_MEANING, record.get("responseIndicator"), "responseIndicator")
    asked, account = inside(record, "request"), part(record, "account")
    expires = _either(account, "expiryDate", "expiry", "account")
    yield by_number(
        kind,
        edge,
        old=_check(_either(asked, "accountNumber", "number", "request"), edge.card),
        new=_check(_either(account, "accountNumber", "number", "account"), edge.card),
        expiry=lambda: mmyy(*_check(expires, mmyy)),
        expires=expires[0].field,
    )


def _either(account: Record, schema: str, example: str, path: str) -> tuple[Said, ...]:
    """What the account says under the one spelling, or the other, or both."""
    said = [Said(account.get(name), f"{path}.{name}") for name in (schema, example)]
    return tuple(each for each in said if not is_blank(each.value)) or (said[1] if example in account else said[0],)


def _check(said: tuple[Said, ...], read: Callable[[object, str], Message]) -> Said:
    """The first, if the other one reads the same."""
    first, *other = said
    if other and read(*first) != read(*other[0]):
        raise Refused(f"{first.field}: expected the same as {other[0].field}")
    return first


FEED = Feed(
    name="abu-pull",
    title="Mastercard Automatic Billing Updater, pull API",
    adapt=adapt,
    recognises=lambda record: "responseIndicator" in record and "request" in record,
    codes=CODES,
    carries_numbers=True,
)
