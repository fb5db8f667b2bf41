"""Mastercard Automatic Billing Updater, pull API (Mastercard's OpenAPI).

The specification names `accountNumber` and `expiryDate` in its schema, `number` and `expiry` in its examples. The
adapter reads both. Dates are MMYY. CONTACT is "contact the issuer" here, and no code reports a closed account.

Assumed: the answer names only the account as it is now. So a record is the answer, with the account of the request
under `request`, in either spelling.
"""

from collections.abc import Callable, Iterable

from domain.refusal import RefusalCode, Refused
from domain.update import UpdateType as Type
from schemas.feeds.card import Field, table, type_of, update_by_number
from schemas.feeds.feed import Code, Edge, Feed
from schemas.feeds.fields import mmyy
from schemas.feeds.record import Record, UpdateFields, is_blank, object_at, optional_object

CODES = (
    Code("ACCOUNT_UPDATE", "account number changed", Type.NUMBER_REPLACED),
    Code("EXPIRY", "expiration date changed", Type.EXPIRY_UPDATED),
    Code("CONTACT", "contact the issuer", Type.CONTACT_CARDHOLDER),
    Code("VALID", "matches, nothing changed", Type.NO_CHANGE),
    Code("UNKNOWN", "no match", Type.NO_MATCH),
    Code("NON_PARTICIPATING", "issuer does not participate", Type.NO_MATCH),
)
_CODES = table(CODES)


def adapt(record: Record, edge: Edge) -> Iterable[UpdateFields]:
    update_type = type_of(_CODES, record.get("responseIndicator"), "responseIndicator")
    request, account = object_at(record, "request"), optional_object(record, "account")
    expiries = _spellings(account, "expiryDate", "expiry", "account")
    yield update_by_number(
        update_type,
        edge,
        old=_agreed(_spellings(request, "accountNumber", "number", "request"), edge.card),
        new=_agreed(_spellings(account, "accountNumber", "number", "account"), edge.card),
        expiry=lambda: mmyy(*_agreed(expiries, mmyy)),
        expiry_field=expiries[0].name,
    )


def _spellings(account: Record, schema: str, example: str, path: str) -> tuple[Field, ...]:
    """The fields of an account under the schema's spelling, the example's, or both; never an empty tuple."""
    by_schema, by_example = (Field(account.get(name), f"{path}.{name}") for name in (schema, example))
    filled = tuple(field for field in (by_schema, by_example) if not is_blank(field.value))
    return filled or (by_example if example in account else by_schema,)


def _agreed(spellings: tuple[Field, ...], read: Callable[[object, str], UpdateFields]) -> Field:
    """The first field, if a second one reads the same."""
    first, *alternatives = spellings
    for second in alternatives:
        if read(*first) != read(*second):
            raise Refused(RefusalCode.CONTRADICTION, first.name, f"the same as {second.name}")
    return first


FEED = Feed(
    name="abu-pull",
    title="Mastercard Automatic Billing Updater, pull API",
    adapt=adapt,
    recognises=lambda record: "responseIndicator" in record and "request" in record,
    codes=CODES,
    carries_numbers=True,
)
