"""Discover's account updater, as GoToBilling passes it on (responses of source D).

O is an override: the issuer corrected an earlier update. At Visa the same letter is a cardholder who opted out, so
responses of the sources V and M are refused here. An override with another number than the account had reports the
number as it is now. Where A became B before, B becomes A again or A becomes C, whichever is reported last.

An override counts as later than all other records of its file, because it corrects what may stand in the same file. It
is five seconds later, so that the next file's updates still count. A record past five million would be later than that,
and is refused. So is an override that does not name the other number: it may undo a number or only an expiry, and a
person has to look.

Assumed: full numbers, and dates as MMYY (a YYMM date of these years has no month, so it is refused). Q was seen at
Discover, but its meaning there is not documented.
"""

from collections.abc import Iterable

from domain.refusal import RefusalCode, Refused
from domain.update import UpdateType as Type
from schemas.feeds.card import Field, table, type_of, update_by_number
from schemas.feeds.feed import Code, Edge, Feed
from schemas.feeds.fields import mmyy, text
from schemas.feeds.record import Record, UpdateFields

CODES = (
    Code("A", "account number changed", Type.NUMBER_REPLACED),
    Code("E", "expiration date changed", Type.EXPIRY_UPDATED),
    Code("C", "account closed", Type.CLOSED),
    Code("O", "override: the issuer corrected an earlier update", Type.NUMBER_REPLACED),
    Code("Q", "something that is not documented for Discover", None),
)
_CODES = table(CODES)
# A row is a microsecond later than the row before, so an override is five seconds later than its file.
_MOST_ROWS = 5_000_000


def adapt(record: Record, edge: Edge) -> Iterable[UpdateFields]:
    if text(record.get("responseSource"), "responseSource") != "D":
        raise Refused(RefusalCode.UNEXPECTED_VALUE, "responseSource", "D; the letters of V and M mean other things")
    update_type = type_of(_CODES, record.get("responseCode"), "responseCode")
    if edge.row > _MOST_ROWS:
        raise Refused(
            RefusalCode.TOO_MANY, "record", f"{_MOST_ROWS:,} in a file at most, or an override is not its last"
        )
    old = Field(record.get("originalAccount"), "originalAccount")
    new = Field(record.get("updatedAccount"), "updatedAccount")

    def expiry() -> UpdateFields:
        updated = mmyy(record.get("updatedExpiration"), "updatedExpiration")
        stays = update_type is Type.NUMBER_REPLACED and not updated  # blank where it has not changed
        return mmyy(record.get("originalExpiration"), "originalExpiration") if stays else updated

    at = None
    if text(record.get("responseCode"), "responseCode") == "O":
        if edge.card(*old) == edge.card(*new):
            raise Refused(RefusalCode.CONTRADICTION, "updatedAccount", "another number than originalAccount for O")
        at = edge.at_row(_MOST_ROWS + edge.row).in_order(edge.at, "occurredAt")
    yield update_by_number(update_type, edge, old=old, new=new, expiry=expiry, expiry_field="updatedExpiration", at=at)


FEED = Feed(
    name="discover",
    title="Discover account updater (by GoToBilling)",
    adapt=adapt,
    recognises=lambda record: "responseSource" in record and "originalAccount" in record,
    codes=CODES,
    is_table=True,
    carries_numbers=True,
)
