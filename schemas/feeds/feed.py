"""What a vendor's feed is: its adapter, its vocabulary, the form of its files, and where its records come in.

An adapter reads one record and gives the canonical updates that the record reports. It refuses a record that it cannot
use, by name: it never guesses at a code that is in no table. Numbers of cards and accounts become fingerprints here,
before anything else sees them.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import cache

from domain import pan
from domain.refusal import RefusalCode, Refused
from domain.update import UpdateType
from schemas.digit_ids import NO_DIGIT_IDS, DigitIds
from schemas.feeds.fields import SEPARATORS, required
from schemas.feeds.record import Record, UpdateFields
from schemas.fingerprint import Fingerprints


@dataclass(frozen=True, slots=True)
class Fetch:
    """What a thin event leaves to ask the vendor for; `record` is what `Feed.fetched` needs of the event.

    `path` is below the vendor's address. An event may name an address of its own, `https://…` at one of the vendor's
    hosts. Then `path` is that address, and the request carries no credentials. With a `body` it is a POST, else a GET.

    The answer is JSON for `Feed.fetched`. With `file_at` the answer is a file of this feed, reported at that time.
    """

    path: str = field(repr=False)
    record: Record
    body: Record | None = None
    file_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Irrelevant:
    """A record that, by the vendor's own catalogue, updates no payment method: counted, and not kept.

    `kind` is the entry of `Feed.irrelevant` that covers the record. It is never the vendor's text, so it can be a
    metric's label.
    """

    kind: str


def match_irrelevant(kinds: tuple[str, ...], value: object) -> Irrelevant | None:
    """The entry of `kinds` that covers `value`; `invoice.*` covers all values that begin with `invoice.`."""
    if not isinstance(value, str):
        return None
    names, prefixes = _names_and_prefixes(kinds)
    if value in names:
        return Irrelevant(value)
    if not value.startswith(prefixes):
        return None
    return Irrelevant(next(f"{prefix}*" for prefix in prefixes if value.startswith(prefix)))


@cache
def _names_and_prefixes(kinds: tuple[str, ...]) -> tuple[frozenset[str], tuple[str, ...]]:
    """Whole names, and the beginnings that families share. Cached: they are looked up for each record of a feed."""
    prefixes = tuple(kind.removesuffix("*") for kind in kinds if kind.endswith("*"))
    return frozenset(kind for kind in kinds if not kind.endswith("*")), prefixes


@dataclass(frozen=True, slots=True)
class Edge:
    """Where a record comes in: its time, its number, and what makes fingerprints and credentials of its numbers.

    `at` dates a record that has no date: it is the date of a file. `row` is the record's number; each part of a record
    that was split counts. `traces` finds the credential (`token` or `fingerprint`) of a payment by its trace number.
    `digit_ids` says where digits are ids (`schemas.digit_ids`).
    """

    at: datetime
    fingerprints: Fingerprints | None = None
    traces: Mapping[str, Mapping[str, str]] | None = None
    row: int = 0
    digit_ids: DigitIds = NO_DIGIT_IDS

    def at_row(self, row: int) -> "Edge":
        """The same edge for the record of this number; `dataclasses.replace` takes four times as long."""
        return Edge(self.at, self.fingerprints, self.traces, row, self.digit_ids)

    def in_order(self, moment: datetime, field: str) -> str:
        """`moment` in UTC, `row` microseconds later: of A→B and B→C in one file the second is later."""
        try:
            return (moment.astimezone(UTC) + timedelta(microseconds=self.row)).isoformat()
        except OverflowError:
            raise Refused(RefusalCode.OUT_OF_RANGE, field, "a time before the end of the year 9999") from None

    def card(self, number: object, field: str) -> UpdateFields:
        """The `fingerprint`, `formerFingerprint` and `last4` of a card number; blanks and dashes may group it."""
        digits = SEPARATORS.sub("", required(number, field))
        if not (digits.isascii() and digits.isdecimal() and pan.SHORTEST <= len(digits) <= pan.LONGEST):
            raise Refused(RefusalCode.WRONG_FORMAT, field, f"a card number of {pan.SHORTEST} to {pan.LONGEST} digits")
        return {**self._keyed(field).of_card(digits), "last4": digits[-4:]}

    def bank_account(self, routing: str, account: str, field: str) -> UpdateFields:
        """The `fingerprint`, `formerFingerprint` and `last4` of a bank account."""
        last4 = re.sub(r"[^0-9A-Za-z]", "", account)[-4:]
        return {**self._keyed(field).of_bank_account(routing, account), "last4": last4 or None}

    def _keyed(self, field: str) -> Fingerprints:
        if self.fingerprints is None:
            raise Refused(
                RefusalCode.MISSING_FINGERPRINT_KEY,
                field,
                "a full number needs a fingerprint key (REPOINT_FINGERPRINT_KEY)",
            )
        return self.fingerprints


class Layout(Enum):
    """How a file is divided into records. The first byte of a file shows whether it has rows or objects."""

    RECORDS = "JSON objects, one a line or in one document, or CSV with a line of names"
    ACH = "records of 94 characters (Nacha)"


@dataclass(frozen=True, slots=True)
class Rows:
    """Where a feed's CSV is unlike others, which begin with a line of names and have as many cells in each row.

    `names` are those of the columns, for a file that does not have them. Lines that match `ignored_lines` are no rows.
    A row may end before its last `optional_columns` columns.
    """

    names: tuple[str, ...] = ()
    ignored_lines: re.Pattern[bytes] | None = None
    optional_columns: int = 0


@dataclass(frozen=True, slots=True)
class Code:
    """One entry of a feed's vocabulary: the vendor's code and its meaning, and the type of update that it reports.

    A code without an `update_type` is refused, and the reason names its meaning.
    """

    code: str
    meaning: str
    update_type: UpdateType | None


@dataclass(frozen=True, slots=True)
class Feed:
    """A vendor's feed.

    `adapt` gives the canonical updates that a record reports, or the `Fetch` that finds out, or `Irrelevant`; it
    raises `Refused`. `recognises` says by a record's names, not its values, whether the record is of this feed.
    """

    name: str
    title: str
    adapt: Callable[[Record, Edge], Iterable[UpdateFields | Fetch | Irrelevant]]
    recognises: Callable[[Record], bool]
    codes: tuple[Code, ...]
    layout: Layout = Layout.RECORDS
    rows: Rows = Rows()
    is_table: bool = False
    """The vendor's file is CSV, and may be posted as CSV, too."""
    carries_numbers: bool = False
    """Records have full numbers of cards or accounts. In a refused record every long row of digits is masked."""
    fetched: Callable[[Record, Record, Edge], Iterable[UpdateFields | Irrelevant]] | None = None
    """Makes updates of the answer to a `Fetch`, given its `record` and the answer."""
    split: Callable[[Record], Sequence[Record]] | None = None
    """Splits a record about many cards. Each part is a record of the feed, and is not split further."""
    irrelevant: tuple[str, ...] = ()
    """Kinds of record that the vendor publishes and that update no payment method, as `match_irrelevant` reads them."""
    event_kind: Callable[[Record], object] | None = None
    """The value of a record that `irrelevant` lists kinds of. A record of such a kind is not given to `adapt`."""
