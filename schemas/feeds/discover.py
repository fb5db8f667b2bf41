"""Discover's account updater, as GoToBilling passes it on (responses of source D).

O is an override: the issuer corrected an earlier update. At Visa the same letter is a cardholder who opted out, so
responses of the sources V and M are refused here. An override that names another number than the account had is told
as what it is now: where A became B before, B becomes A again or A becomes C, whichever is told last. It counts as
later than everything else in its file, because it corrects what may stand in the same one; by so little that what is
told next counts. So records past five million are refused: they would be later still. An override that does not say to
which number is refused: it may undo an update, or only its expiry, and a person has to look.

Assumed: full numbers, and dates as MMYY (a YYMM date of these years has no month, so it is refused). Q was seen at
Discover, but nobody says what it means there.
"""

from collections.abc import Iterable

from domain.update import UpdateType as Type
from schemas.feeds.card import Said, by_number, table, type_of
from schemas.feeds.feed import Code, Edge, Feed, Message, Record, Refused, mmyy, text

CODES = (
    Code("A", "account number changed", Type.NUMBER_REPLACED),
    Code("E", "expiration date changed", Type.EXPIRY_UPDATED),
    Code("C", "account closed", Type.CLOSED),
    Code("O", "override: the issuer corrected an earlier update", Type.NUMBER_REPLACED),
    Code("Q", "something that is not documented for Discover", None),
)
_MEANING = table(CODES)
# A row is a microsecond later than the one before it, so an override is five seconds later than its file.
_MOST_ROWS = 5_000_000


def adapt(record: Record, edge: Edge) -> Iterable[Message]:
    if text(record.get("responseSource"), "responseSource") != "D":
        raise Refused("responseSource: expected D; the letters of V and M mean other things")
    kind = type_of(_MEANING, record.get("responseCode"), "responseCode")
    if edge.row > _MOST_ROWS:
        raise Refused(f"record: expected {_MOST_ROWS:,} in a file at most, or an override is not its last")
    old = Said(record.get("originalAccount"), "originalAccount")
    new = Said(record.get("updatedAccount"), "updatedAccount")

    def expiry() -> Message:
        until = mmyy(record.get("updatedExpiration"), "updatedExpiration")
        stays = kind is Type.NUMBER_REPLACED and not until  # blank where it has not changed
        return mmyy(record.get("originalExpiration"), "originalExpiration") if stays else until

    at = None
    if text(record.get("responseCode"), "responseCode") == "O":
        if edge.card(*old) == edge.card(*new):
            raise Refused("updatedAccount: expected another number than originalAccount for O")
        at = edge.of(_MOST_ROWS + edge.row).in_order(edge.at, "occurredAt")
    yield by_number(kind, edge, old=old, new=new, expiry=expiry, expires="updatedExpiration", at=at)


FEED = Feed(
    name="discover",
    title="Discover account updater (by GoToBilling)",
    adapt=adapt,
    recognises=lambda record: "responseSource" in record and "originalAccount" in record,
    codes=CODES,
    carries_numbers=True,
)
