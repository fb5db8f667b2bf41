"""Nacha notifications of change: COR batches, an entry detail (6) with an addenda record 98 for each account.

    entry detail    13-29 account number · 80-94 trace
    addenda 98      4-6 change code · 7-21 original trace · 28-35 original RDFI · 36-64 corrected data · 80-94 trace
    batch header    5-10 `IATCOR` for international · 51-53 `COR` · 70-75 effective date, YYMMDD

The positions are moov-io/ach's and webtocash.com's (Nacha's text). Where a code goes in the corrected data of C06 and
C07 is not agreed on, and account numbers may have blanks inside. So the data are read by position, else with the code
at the very end, else by words, and taken as the first of these says if every part is what it should be and nothing is
left over: routing numbers must pass their checksum.

The old account is the original RDFI of the addenda, its check digit worked out, with the entry's account number: in an
entry that goes back, the entry's own routing number is that of the bank it goes back to. The original trace may be
known too, as that of a payment with a known credential; then that names the account.

C08 is for international payments alone: its entry does not say which bank the account was at, so the trace must.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from domain.update import Reason
from domain.update import UpdateType as Type
from schemas.feeds.card import table, type_of
from schemas.feeds.feed import Code, Edge, Feed, Layout, Message, Record, Refused, is_blank, optional, told

CODES = (
    Code("C01", "incorrect account number", Type.NUMBER_REPLACED),
    Code("C02", "incorrect routing number", Type.NUMBER_REPLACED),
    Code("C03", "incorrect routing number and account number", Type.NUMBER_REPLACED),
    Code("C04", "incorrect name", Type.DETAILS_UPDATED),
    Code("C05", "incorrect transaction code: checking is savings, or the other way round", Type.DETAILS_UPDATED),
    Code("C06", "incorrect account number and transaction code", Type.NUMBER_REPLACED),
    Code("C07", "incorrect routing number, account number and transaction code", Type.NUMBER_REPLACED),
    Code("C08", "incorrect routing number of an international payment", Type.NUMBER_REPLACED),
    Code("C09", "incorrect individual identification number, to be changed where entries are made", None),
    Code("C10", "incorrect company name, to be changed where entries are made", None),
    Code("C11", "incorrect company identification, to be changed where entries are made", None),
    Code("C12", "incorrect company name and identification, to be changed where entries are made", None),
    Code("C13", "addenda format error, to be changed where entries are made", None),
    Code("C14", "wrong entry class for an outbound international payment", None),
    Code("C61", "refused notification: misrouted", None),
    Code("C62", "refused notification: incorrect trace number", None),
    Code("C63", "refused notification: incorrect company identification", None),
    Code("C64", "refused notification: incorrect individual identification", None),
    Code("C65", "refused notification: incorrectly formatted corrected data", None),
    Code("C66", "refused notification: incorrect discretionary data", None),
    Code("C67", "refused notification: routing number not from the original entry", None),
    Code("C68", "refused notification: account number not from the original entry", None),
    Code("C69", "refused notification: incorrect transaction code", None),
)
_CODES = table(CODES)

LENGTH = 94

Part = tuple[str, int, int]
"""What stands in the corrected data, and from where to where."""

_LAYOUTS: Mapping[str, tuple[tuple[Part, ...], ...]] = {
    "C01": ((("account", 0, 17),),),
    "C02": ((("routing", 0, 9),),),
    "C03": ((("routing", 0, 9), ("account", 12, 29)),),
    "C04": ((("name", 0, 22),),),
    "C05": ((("transaction", 0, 2),),),
    "C06": ((("account", 0, 17), ("transaction", 20, 22)), (("account", 0, 27), ("transaction", 27, 29))),
    "C07": (
        (("routing", 0, 9), ("account", 9, 26), ("transaction", 26, 28)),
        (("routing", 0, 9), ("account", 9, 27), ("transaction", 27, 29)),
    ),
}
_LONGEST_ACCOUNT = 17
# What follows tells a credit from a debit, and a payment from its prenotification.
_ACCOUNT_TYPES = {"2": "CHECKING", "3": "SAVINGS"}
_ROUTING_DIGITS = 9
_ROUTING_WEIGHTS = (3, 7, 1, 3, 7, 1, 3, 7)


def adapt(record: Record, edge: Edge) -> Iterable[Message]:
    batch, entry, addenda = _line(record, "batch", "5"), _line(record, "entry", "6"), _line(record, "addenda", "7")
    if addenda[1:3] != "98":
        raise Refused("addenda 2-3: expected 98, a notification of change")
    code = addenda[3:6]
    kind = type_of(_CODES, code, "addenda 4-6")
    international = batch[4:10] == "IATCOR"
    if international != (code == "C08"):
        raise Refused("addenda 4-6: expected C08 in international batches, and nowhere else")
    if international:
        yield _international(entry, addenda, batch, edge)
        return
    said = _said(addenda[35:64], code)
    routing, account = _routing(addenda[27:35]), entry[12:29].strip()
    if not _is_account(account):
        raise Refused("entry 13-29: expected an account number")
    old = _old(addenda, edge, routing, account)
    new: Message = {"methodType": "BANK_ACCOUNT", "accountType": None, "nameOnAccount": said.get("name")}
    if "transaction" in said:
        new["accountType"] = _ACCOUNT_TYPES[said["transaction"][0]]
    if kind is Type.NUMBER_REPLACED:
        new |= edge.bank_account(said.get("routing", routing), said.get("account", account), "addenda 36-64")
    yield told(kind, old, new, at=_date(batch, edge), reason=Reason.BANK_CHANGE)


def _international(entry: str, addenda: str, batch: str, edge: Edge) -> Message:
    """C08: an account number of up to 35 characters in the entry, as many of a bank's number in the addenda."""
    routing, account = addenda[35:70].strip(), entry[39:74].strip()
    american = len(routing) == _ROUTING_DIGITS and _are_digits(routing)
    if not (routing.isascii() and routing.isalnum()) or is_blank(routing) or (american and not _is_routing(routing)):
        raise Refused("addenda 36-70: expected the number of a bank for C08")
    old = _by_trace(addenda, edge)
    if old is None:
        raise Refused("addenda 7-21: the original trace is not known, and nothing else names the account for C08")
    if not _is_written_as_account(account):
        raise Refused("entry 40-74: expected an account number")
    new = {**edge.bank_account(routing, account, "addenda 36-70"), "methodType": "BANK_ACCOUNT"}
    return told(Type.NUMBER_REPLACED, old, new, at=_date(batch, edge), reason=Reason.BANK_CHANGE)


def _line(record: Record, name: str, kind: str) -> str:
    line = record.get(name)
    if not isinstance(line, str) or len(line) != LENGTH or line[0] != kind:
        raise Refused(f"{name}: expected a record of {LENGTH} characters of type {kind}")
    return line


# --- the account it is about --------------------------------------------------------------------------------------


def _old(addenda: str, edge: Edge, routing: str, account: str) -> Message:
    traced = _by_trace(addenda, edge)
    if edge.fingerprints is None and traced is None:
        raise Refused("addenda 7-21: the original trace is not known, nor is there a fingerprint key for the account")
    numbers = {} if edge.fingerprints is None else edge.bank_account(routing, account, "entry 13-29")
    if traced is not None and "fingerprint" in traced:
        numbers = {}
    return {**numbers, **(traced or {}), "methodType": "BANK_ACCOUNT"}


def _by_trace(addenda: str, edge: Edge) -> Message | None:
    found = (edge.traces or {}).get(addenda[6:21].strip())
    return None if not found else {**found, "methodType": "BANK_ACCOUNT"}


def _routing(eight: str) -> str:
    """The nine digits of a bank's routing number, of the eight that stand where its check digit is left out."""
    if not _are_digits(eight) or is_blank(eight):
        raise Refused("addenda 28-35: expected the routing number of the bank that the entry went to")
    return eight + str(-_weighed(eight) % 10)


def _date(batch: str, edge: Edge) -> str | None:
    """The effective date of the batch, its entries in their order; some banks leave it blank."""
    said = optional(batch[69:75])
    if said is None:
        return None
    try:
        return edge.in_order(datetime.strptime(said, "%y%m%d").replace(tzinfo=UTC), "batch 70-75")
    except ValueError:
        raise Refused("batch 70-75: expected a date as YYMMDD") from None


# --- the corrected data -------------------------------------------------------------------------------------------


def _said(corrected: str, code: str) -> Mapping[str, str]:
    """What the corrected data say, by name."""
    layouts = _LAYOUTS[code]
    for reading in (*(_by_position(corrected, layout) for layout in layouts), _by_words(corrected, layouts[0])):
        said = {name: value.strip() for name, value in (reading or {}).items()}
        if said and all(_HOLDS[name](value) for name, value in said.items()):
            return said  # no two layouts fit the same data, and words only repeat what a layout says
    names = " and ".join(_NAMES[name] for name, _, _ in layouts[0])
    raise Refused(f"addenda 36-64: expected {names} for {code}")


def _by_position(corrected: str, layout: tuple[Part, ...]) -> Mapping[str, str] | None:
    rest = list(corrected)
    for _, start, end in layout:
        rest[start:end] = " " * (end - start)
    return None if "".join(rest).strip() else {name: corrected[start:end] for name, start, end in layout}


def _by_words(corrected: str, layout: tuple[Part, ...]) -> Mapping[str, str] | None:
    """A routing number has nine digits, whatever follows it; all else is told apart by blanks.

    A code in the account number's place may as well be the end of a number with a blank inside.
    """
    names = [name for name, _, _ in layout]
    words = [corrected[:9], *corrected[9:].split()] if names[0] == "routing" else corrected.split()
    if len(words) != len(names) or "name" in names:
        return None
    if names[-1] == "transaction" and len(names) > 1 and not corrected[layout[-2][2] :].strip():
        return None
    return dict(zip(names, words, strict=True))


def _is_routing(value: str) -> bool:
    """Nine digits that pass the ABA's checksum; zeros pass it, too, and are no bank's."""
    if len(value) != _ROUTING_DIGITS or not _are_digits(value) or is_blank(value):
        return False
    return (_weighed(value[:8]) + int(value[8])) % 10 == 0


def _weighed(eight: str) -> int:
    return sum(weight * int(digit) for weight, digit in zip(_ROUTING_WEIGHTS, eight, strict=True))


def _is_account(value: str) -> bool:
    return len(value) <= _LONGEST_ACCOUNT and _is_written_as_account(value)


def _is_written_as_account(value: str) -> bool:
    """Digits and letters at most banks; blanks and dashes inside at some. Zeros alone are nobody's account."""
    return value.isascii() and value.replace(" ", "").replace("-", "").isalnum() and not is_blank(value)


def _is_transaction(value: str) -> bool:
    return re.fullmatch("[23][234789]", value) is not None


def _are_digits(value: str) -> bool:
    return value.isascii() and value.isdecimal()


_HOLDS: Mapping[str, Callable[[str], bool]] = {
    "routing": _is_routing,
    "account": _is_account,
    "transaction": _is_transaction,
    "name": bool,
}
_NAMES = {
    "routing": "a routing number",
    "account": "an account number",
    "transaction": "a transaction code",
    "name": "a name",
}


# --- the file -----------------------------------------------------------------------------------------------------


class Piece(NamedTuple):
    """A record for `adapt`, or why there is none; `number` is that of the entry's line, or of the one at fault."""

    number: int
    record: Record | None
    problem: str | None = None


class Cutter:
    """Makes records of a file's lines, given one after another; it holds a batch header and an entry, no more.

    Entries of batches that are no notifications of change are passed over. Between batches another reader can begin.
    """

    def __init__(self) -> None:
        self._batch: str | None = None
        self._entry: tuple[int, str] | None = None
        self._number = 0

    @property
    def between_batches(self) -> bool:
        return self._batch is None

    def add(self, number: int, line: str) -> Iterator[Piece]:
        """What the line, without its end, completes; an empty one is left out. `number` is from 1."""
        self._number = number
        if not line.strip():
            return
        if len(line) != LENGTH:
            yield from self._close()
            if line[0] == "5":
                self._batch = None  # its entries are refused one by one: nobody knows what they are
            yield Piece(number, None, f"line {number}: expected {LENGTH} characters")
        elif line[0] == "6":
            yield from self._add_entry(number, line)
        elif line[0] == "7":
            yield from self._add_addenda(number, line)
        elif line[0] in "1589":
            yield from self._close()
            yield from self._turn(number, line)
        else:
            yield Piece(number, None, f"line {number}: expected a record type of 1, 5, 6, 7, 8 or 9")

    def end(self) -> Iterator[Piece]:
        """What is missing when there are no more lines."""
        yield from self._close()
        if self._batch is not None:
            yield Piece(self._number, None, f"line {self._number}: the file ends inside a batch")
            self._batch = None

    def _turn(self, number: int, line: str) -> Iterator[Piece]:
        if (line[0] == "8") is (self._batch is None):
            expected = "a batch header before its control" if line[0] == "8" else "the control of the batch before"
            yield Piece(number, None, f"line {number}: expected {expected}")
        self._batch = line if line[0] == "5" else None

    def _add_entry(self, number: int, line: str) -> Iterator[Piece]:
        yield from self._close()
        if self._batch is None:
            yield Piece(number, None, f"line {number}: expected a batch header before an entry")
        else:
            self._entry = number, line

    def _add_addenda(self, number: int, line: str) -> Iterator[Piece]:
        entry, self._entry = self._entry, None
        if self._batch is not None and self._batch[50:53] != "COR":
            return
        if self._batch is None or entry is None:
            yield Piece(number, None, f"line {number}: expected an entry before an addenda record")
        else:
            yield Piece(entry[0], {"batch": self._batch, "entry": entry[1], "addenda": line})

    def _close(self) -> Iterator[Piece]:
        """An entry of a notification that nothing follows."""
        entry, self._entry = self._entry, None
        if entry is not None and self._batch is not None and self._batch[50:53] == "COR":
            yield Piece(entry[0], None, f"line {entry[0]}: expected an addenda record after the entry")


def begins(line: str) -> bool:
    """Whether a file with this first line, without its end, is one of ACH records: a file header of priority 01."""
    return len(line) == LENGTH and line.startswith("101")


def records(lines: Iterable[str]) -> Iterator[Piece]:
    """The records of a whole file, as it is read."""
    cutter = Cutter()
    for number, line in enumerate(lines, 1):
        yield from cutter.add(number, line.rstrip("\r\n"))
    yield from cutter.end()


FEED = Feed(
    name="nacha",
    title="Nacha notifications of change",
    adapt=adapt,
    recognises=lambda record: {"batch", "entry", "addenda"} <= record.keys(),
    codes=CODES,
    layout=Layout.ACH,
    carries_numbers=True,
)
