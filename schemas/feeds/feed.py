"""What a vendor's feed is, and what an adapter has to work with.

An adapter reads one record, a JSON object or a row of a file by the names of its columns, and gives the canonical
updates (design.md §4) that it tells. A record that it cannot use it refuses by name: a code that is in no table is
never guessed at. Numbers of cards and accounts become fingerprints here, before anything else sees them.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from hashlib import blake2b
from typing import Any, TypeAlias
from urllib.parse import quote

from pydantic_core import PydanticSerializationError, to_json

from domain import pan
from domain.update import Reason, UpdateType
from schemas.fingerprint import Fingerprints

_BETWEEN_DIGITS = re.compile(r"[\s\-]")

Record: TypeAlias = Mapping[str, Any]
Message: TypeAlias = dict[str, Any]
"""A canonical update as JSON; without an `id` it is known by its content, without `occurredAt` by the feed's time."""


DEEPEST = 64
"""How many objects and arrays of a record may be in one another: vendors need ten. Python reads and writes some nine
hundred, but fewer the deeper in its own stack it is, so what could be read might not be written any more."""


class Refused(ValueError):
    """A record that no update can be made of; the text names the field and what was expected, never a value."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """What a thin event leaves to be asked for, with what `fetched` needs of the event as `record`.

    `path` is below the vendor's address; where the event names an address of its own it is that one, `https://…` at
    one of the vendor's hosts, and asked without credentials. It is a GET, or a POST where there is a `body`.

    The answer is JSON for `Feed.fetched`. With `file_at` it is a file of this feed instead, told at that time.
    """

    path: str
    record: Record
    body: Record | None = None
    file_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Edge:
    """Where a feed comes in: when, and what its numbers and traces are known by.

    `at` is when what the feed says was so, if its records do not say: a file's date. `row` is the record's number; of
    one that is cut each part counts. `traces` finds the credential (`token` or `fingerprint`) of a payment by its trace
    number.
    """

    at: datetime
    fingerprints: Fingerprints | None = None
    traces: Mapping[str, Mapping[str, str]] | None = None
    row: int = 0

    def of(self, row: int) -> "Edge":
        """The same for the record of this number; `dataclasses.replace` takes four times as long."""
        return Edge(self.at, self.fingerprints, self.traces, row)

    def in_order(self, moment: datetime, field: str) -> str:
        """`moment` in UTC, as many microseconds later as `row` says: of A→B and B→C in one file the second is later."""
        try:
            return (moment.astimezone(UTC) + timedelta(microseconds=self.row)).isoformat()
        except OverflowError:
            raise Refused(f"{field}: expected a time before the end of the year 9999") from None

    def card(self, number: object, field: str) -> Message:
        """A card by its number, as `fingerprint`, `formerFingerprint` and `last4`; digits may be spaced or dashed."""
        digits = _BETWEEN_DIGITS.sub("", text(number, field))
        if not (digits.isascii() and digits.isdecimal() and pan.SHORTEST <= len(digits) <= pan.LONGEST):
            raise Refused(f"{field}: expected a card number of {pan.SHORTEST} to {pan.LONGEST} digits")
        if not digits.strip("0"):
            raise Refused(f"{field}: expected a card number, and not zeros")
        return {**self._fingerprints(field).of_card(digits), "last4": digits[-4:]}

    def bank_account(self, routing: str, account: str, field: str) -> Message:
        """A bank account by its numbers, as `fingerprint`, `formerFingerprint` and `last4`."""
        last4 = re.sub(r"[^0-9A-Za-z]", "", account)[-4:]
        return {**self._fingerprints(field).of_bank_account(routing, account), "last4": last4 or None}

    def _fingerprints(self, field: str) -> Fingerprints:
        if self.fingerprints is None:
            raise Refused(f"{field}: a full number needs a fingerprint key (REPOINT_FINGERPRINT_KEY)")
        return self.fingerprints


class Layout(Enum):
    """How a file is cut into records. A row and an object are read alike; a file's first byte shows which it has."""

    RECORDS = "JSON objects, one a line or in one document, or CSV with a line of names"
    ACH = "records of 94 characters (Nacha)"


@dataclass(frozen=True, slots=True)
class Rows:
    """What is special about a feed's CSV. Otherwise a line of names comes first, and each row has as many cells.

    `names` are those of the columns, where the file does not say them. Lines that begin with `aside` are no rows and
    tell nothing. A row may end before its last `may_lack` columns; what is left has its name all the same.
    """

    names: tuple[str, ...] = ()
    aside: re.Pattern[bytes] | None = None
    may_lack: int = 0


@dataclass(frozen=True, slots=True)
class Code:
    """One entry of a feed's vocabulary: what the vendor says, and what we make of it (None: refused, by name)."""

    said: str
    meaning: str
    becomes: UpdateType | None


@dataclass(frozen=True, slots=True)
class Feed:
    """A vendor's feed.

    `adapt` gives the canonical updates that a record tells, or what must be fetched to know; it raises `Refused`.
    `recognises` says whether a record (its names, not its values) is of this feed. `fetched` makes updates of what a
    `Fetch` brought, given the event's record and the answer.
    """

    name: str
    title: str
    adapt: Callable[[Record, Edge], Iterable[Message | Fetch]]
    recognises: Callable[[Record], bool]
    codes: tuple[Code, ...]
    layout: Layout = Layout.RECORDS
    rows: Rows = Rows()
    carries_numbers: bool = False
    """Full numbers of cards or accounts come in with it; of a refused record every long row of digits is hidden."""
    fetched: Callable[[Record, Record, Edge], Iterable[Message]] | None = None
    split: Callable[[Record], Sequence[Record]] | None = None
    """Cuts a record that tells of many cards; a part is a record of the feed, and is not cut further."""


def parsed(written: str | bytes | bytearray) -> Any:
    """What JSON from outside says: records, in an array or not, or a record in an envelope.

    Raises:
        ValueError: it is no JSON, or deeper than records are.
    """
    try:
        found = json.loads(written)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    if _is_deeper(found, DEEPEST + 2):  # the array and the envelope
        raise ValueError(_TOO_DEEP)
    return found


def parts(feed: Feed, record: Record) -> Sequence[Record]:
    """What can be read each on its own, so that one part that must be refused does not take the others along.

    Raises:
        Refused: it cannot be cut.
    """
    if _is_deeper(record, DEEPEST):
        raise Refused(_TOO_DEEP)
    return [record] if feed.split is None else feed.split(record)


def read(feed: Feed, record: Record, edge: Edge) -> list[Message | Fetch]:
    """All that a record tells, each update under an id and dated.

    Raises:
        Refused: no update can be made of it, or of a part of it.
    """
    told = [each for part in parts(feed, record) for each in feed.adapt(part, edge)]
    return [_harmless(each) if isinstance(each, Fetch) else finished(feed, each, edge) for each in told]


def answered(feed: Feed, fetch: Fetch, answer: Record, edge: Edge) -> list[Message]:
    """All that the answer to `fetch` tells; at `edge.at`, when the event came, what is dated by neither.

    Raises:
        Refused: no update can be made of it.
    """
    assert feed.fetched is not None
    if _is_deeper(answer, DEEPEST):
        raise Refused(_TOO_DEEP)
    return [finished(feed, each, edge) for each in feed.fetched(fetch.record, answer, edge)]


_TOO_DEEP = f"record: expected {DEEPEST} levels of JSON at most"


def _is_deeper(value: object, levels: int) -> bool:
    inside_it = [value] if isinstance(value, (dict, list)) else []
    for _ in range(levels):
        inside_it = [
            inner
            for each in inside_it
            for inner in (each.values() if isinstance(each, dict) else each)
            if isinstance(inner, (dict, list))
        ]
        if not inside_it:
            return False
    return True


def _harmless(fetch: Fetch) -> Fetch:
    """What is to be fetched is kept until the vendor answers, and is asked of it: no card number goes there."""
    ours: Message = {"path": fetch.path, **{f"record.{name}": value for name, value in fetch.record.items()}}
    ours |= {f"body.{name}": value for name, value in (fetch.body or {}).items()}
    for name, value in ours.items():
        if pan.pan_in_json(value) is not None:  # further in, the names are the vendor's, and may be anything
            raise Refused(f"$.{name}: expected no card number")
    return fetch


def finished(feed: Feed, message: Message, edge: Edge) -> Message:
    """`message` under the feed's name; where the vendor gave no id or date, with ones that are the same every time."""
    whole = {"vendor": feed.name, **{name: value for name, value in message.items() if value is not None}}
    if "occurredAt" not in whole:
        whole["occurredAt"] = edge.in_order(edge.at, "occurredAt")
    if "id" not in whole:
        whole["id"] = f"{feed.name}-{blake2b(written(whole), digest_size=16).hexdigest()}"
    return whole


def written(message: Message) -> bytes:
    """As JSON.

    Raises:
        Refused: it has half a character, which no UTF-8 has.
    """
    try:
        return to_json(message)
    except PydanticSerializationError:
        raise Refused("record: expected UTF-8") from None


def told(
    type_: UpdateType,
    old: Message,
    new: Message | None = None,
    *,
    id: str | None = None,  # noqa: A002  as it stands in the message
    at: str | None = None,
    reason: Reason | None = None,
    customer: Message | None = None,
) -> Message:
    """A canonical update. Of `old` only what names it goes in, of `new` all that is known (None is left out)."""
    named = {name: old[name] for name in _NAMING if old.get(name) is not None}
    message: Message = {"id": id, "type": type_.value, "occurredAt": at, "old": named}
    if new is not None:
        message["new"] = {name: value for name, value in new.items() if value is not None}
    if reason is not None:
        message["reason"] = reason.value
    if customer is not None:
        message["customer"] = customer
    return message


_NAMING = ("token", "fingerprint", "formerFingerprint", "methodType")


# --- what stands in records ---------------------------------------------------------------------------------------


def text(value: object, field: str) -> str:
    """A string that says something, without blanks around it; a number's digits."""
    said = optional(value)
    if said is None:
        raise Refused(f"{field}: required")
    return said


def optional(value: object) -> str | None:
    """A string or number as text; None where there is nothing, or only blanks."""
    if isinstance(value, str):
        return value.strip() or None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def ungrouped(number: object) -> str:
    """A number without the blanks and dashes that its digits are grouped by."""
    return _BETWEEN_DIGITS.sub("", optional(number) or "")


def is_blank(number: object) -> bool:
    """Whether nothing is said: blanks alone, or the zeros that networks fill a field with."""
    return not ungrouped(number).strip("0")


def inside(record: Record, *path: str) -> Record:
    """The object at `path`, as `inside(event, "data", "object")`."""
    found: object = record
    for step, name in enumerate(path, 1):
        found = found.get(name) if isinstance(found, Mapping) else None
        if not isinstance(found, Mapping):
            raise Refused(f"{'.'.join(path[:step])}: expected an object")
    assert isinstance(found, Mapping)
    return found


def path(template: str, **values: object) -> str:
    """`template` with the values in it, each percent-encoded whole: none of them leads anywhere else."""
    said = {name: text(value, name) for name, value in values.items()}
    for name, value in said.items():
        if value in {".", ".."}:
            raise Refused(f"{name}: expected an id")
    return template.format(**{name: quote(value, safe="", errors="replace") for name, value in said.items()})


def scoped(vendor: str, value: object) -> str | None:
    """A vendor's own fingerprint of a card, told apart by its name from everybody else's; None where there is none."""
    said = optional(value)
    return None if said is None else f"{vendor}:{said}"


def part(record: Record, name: str) -> Record:
    """The object `name`, an empty one where it is missing."""
    return {} if record.get(name) is None else inside(record, name)


def objects(record: Record, field: str) -> list[Record]:
    """The objects of the array `field`; none where it is missing."""
    found = record.get(field)
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(each, Mapping) for each in found):
        raise Refused(f"{field}: expected an array of objects")
    return found


def each_alone(record: Record, field: str) -> list[Record]:
    """For `split`: the objects of the array `field`; what is none stays in an array of one, to be refused."""
    found = record.get(field)
    if found is not None and not isinstance(found, list):
        raise Refused(f"{field}: expected an array of objects")
    return [each if isinstance(each, Mapping) else {field: [each]} for each in found or ()]


def one_by_one(record: Record, *path: str) -> list[Record]:
    """For `split`: the record with each element alone of the array at `path`; whole, if there is none to be cut."""
    name, *further = path
    found = record.get(name)
    cut: Sequence[object] = []
    if further and isinstance(found, Mapping):
        cut = one_by_one(found, *further)
    elif not further and isinstance(found, list):
        cut = [[each] for each in found]
    return [{**record, name: each} for each in cut] or [record]


# A number that is mistyped passes no check, and still nearly is a card's, whatever stands between its digits. Of the
# codes that vendors have, none has more than six.
_LOOKS_LIKE_A_CODE = re.compile(r"(?!(?:[^0-9]*[0-9]){7})[A-Za-z0-9_.\-]{1,40}")


def code_of(table: Mapping[str, UpdateType], value: object, field: str) -> UpdateType:
    """What the vendor's `value` means; an unknown one is refused, and said, unless it could be anything."""
    said = text(value, field)
    if said in table:
        return table[said]
    shown = said if _LOOKS_LIKE_A_CODE.fullmatch(said) and not pan.contains_pan(said) else "what is there"
    raise Refused(f"{field}: {shown} is in no table of this feed")


_YEAR_FIRST = re.compile(r"(?P<year>\d{4}|\d{2})\s*[/\-.]?\s*(?P<month>\d{2})", re.ASCII)
_MONTH_FIRST = re.compile(r"(?P<month>\d{1,2})\s*[/\-.]?\s*(?P<year>\d{4}|\d{2})", re.ASCII)


def yymm(value: object, field: str) -> Message:
    """`expiryMonth` and `expiryYear` of a date such as `2812` or `202812`; nothing of blanks and zeros.

    What is short of a digit is refused: `210` may have lost a zero in front or anything else behind.
    """
    return _expiry(value, field, "YYMM", _YEAR_FIRST)


def mmyy(value: object, field: str) -> Message:
    """The same of `1228`, `12/28` or `12/2028`; a leading zero may have got lost in a spreadsheet (`329` is 03/29).

    What a spreadsheet made of it otherwise is refused: `129.0` or `12/1/28` could be read as years from now.
    """
    return _expiry(value, field, "MMYY", _MONTH_FIRST)


def _expiry(value: object, field: str, shape: str, pattern: re.Pattern[str]) -> Message:
    said = str(value) if isinstance(value, float) else optional(value) or ""  # 129.0 is no blank
    if not said.strip("0/-. "):
        return {}
    written = pattern.fullmatch(said)
    if written is None:
        raise Refused(f"{field}: expected an expiry as {shape}")
    return expiry(written["month"], written["year"], field)


def expiry(month: object, year: object, field: str) -> Message:
    """`expiryMonth` and `expiryYear` of numbers or digits; nothing of two blanks. A year of two digits is 20xx."""
    if optional(month) is None and optional(year) is None:
        return {}
    try:
        numbers = int(text(month, field)), int(text(year, field))
    except ValueError:
        raise Refused(f"{field}: expected a month and a year") from None
    if not 1 <= numbers[0] <= 12:  # noqa: PLR2004
        raise Refused(f"{field}: expected a month from 1 to 12")
    return {"expiryMonth": numbers[0], "expiryYear": numbers[1] + (2000 if numbers[1] < 100 else 0)}  # noqa: PLR2004


def instant(value: object, field: str) -> str:
    """An ISO 8601 timestamp, as the vendor wrote it but for what Python reads; without a zone it is UTC."""
    said = text(value, field)
    try:
        moment = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", said))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        raise Refused(f"{field}: expected an ISO 8601 timestamp") from None


def epoch(value: object, field: str) -> str:
    """A timestamp in seconds since 1970."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 4102444800:  # noqa: PLR2004
        raise Refused(f"{field}: expected a timestamp in seconds since 1970")
    return datetime.fromtimestamp(value, UTC).isoformat()


# As vendors write them, in small letters and without what stands between; the digits are CyberSource's card types. Of a
# network's products (Adyen's `visastandarddebit`) the network counts. Maestro comes first, for `mcmaestro` is one.
_BRANDS = tuple(
    (name, re.compile(written))
    for name, written in (
        ("MAESTRO", r"(mc|uk)?maestro.*|024|042"),
        ("VISA", r"vi?|visa.*|vpay|electron|001|031|033"),
        ("MASTERCARD", r"m|mc.*|master(card.*)?|002"),
        ("AMEX", r"ax|amex.*|americanexpress.*|003"),
        ("DISCOVER", r"di?|disc|discover.*|004"),
        ("DINERS", r"dc|diners.*|005"),
        ("JCB", r"jc|jcb.*|007"),
        ("UNIONPAY", r"cup(credit|debit|prepaid)?|(china)?unionpay.*|062"),
    )
)
# Which wallet it was paid with says nothing about the card.
_IN_WALLET = re.compile(r" (?:(?:amazon|android|apple|google|mobile|samsung) ?pay|vipps)$")


def brand(value: object) -> str | None:
    """One name for each card brand however it is written, so that two feeds' reissues can be seen to be one.

    One in no table is in capitals, with blanks between its words; None where there is none, or an unknown one.
    """
    said = _IN_WALLET.sub("", re.sub(r"[\s_\-]+", " ", (optional(value) or "").lower()).strip())
    if said in ("", "unknown"):
        return None
    written = said.replace(" ", "")
    return next((name for name, pattern in _BRANDS if pattern.fullmatch(written)), said.upper())


def last4(value: object) -> str | None:
    """The last four digits of a masked number; None where they are masked too."""
    said = optional(value)
    found = re.search(r"\d{4}$", said or "")
    return found[0] if found else None


def last4_required(value: object, field: str) -> str:
    """The same of a card that nothing else names; a number of zeros alone is a blank that was filled."""
    shown, digits = last4(value), re.sub(r"[^0-9]", "", optional(value) or "")
    if shown is None or (len(digits) > len(shown) and not digits.strip("0")):
        raise Refused(f"{field}: expected the new card's number, or the end of it, with its last four digits")
    return shown
