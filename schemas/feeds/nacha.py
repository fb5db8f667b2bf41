"""Nacha notifications of change: COR batches, an entry detail (6) with an addenda record 98 for each account.

    entry detail    13-29 account number · 80-94 trace
    addenda 98      4-6 change code · 7-21 original trace · 28-35 original RDFI · 36-64 corrected data · 80-94 trace
    batch header    5-10 `IATCOR` for international · 39-40 country · 51-53 `COR` · 70-75 effective date, YYMMDD

The positions are those of moov-io/ach and webtocash.com (Nacha's text). `nacha_corrected` reads the corrected data.

The old account is the original RDFI of the addenda, with its check digit added, and the entry's account number. An
entry that goes back has, as its own routing number, that of the bank it goes back to. The original trace may be known
as that of a payment with a known credential; then that credential names the account.

An international entry (IAT) has its account number in 40-74, and 710 to 716 may come before its 798:

    addenda 714     41-74 the bank that has the account · 75-77 its country
    addenda 798     36-70 corrected data of C01 and C08

For a bank in the United States the original RDFI is the bank, as in any other entry. For a bank elsewhere the original
RDFI is only the gateway, and 714 names the bank. C08 is for international entries alone. Its account is at the bank of
714, or it is that of a known trace.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from domain.refusal import RefusalCode, Refused
from domain.update import Reason
from domain.update import UpdateType as Type
from schemas.feeds.card import table, type_of
from schemas.feeds.feed import Code, Edge, Feed, Layout
from schemas.feeds.nacha_corrected import (
    ROUTING_DIGITS,
    are_digits,
    is_account,
    is_routing,
    is_written_as_account,
    read_corrected,
    weigh,
)
from schemas.feeds.nacha_lines import LENGTH
from schemas.feeds.record import Record, UpdateFields, is_blank, update

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

# A transaction code's first digit. The second distinguishes credits from debits, payments from prenotifications.
_ACCOUNT_TYPES = {"2": "CHECKING", "3": "SAVINGS"}


class _BankAccount(NamedTuple):
    """The account of an entry; `routing` is None where nothing names its bank."""

    routing: str | None
    account: str


def adapt(record: Record, edge: Edge) -> Iterable[UpdateFields]:
    batch, entry, addenda = _line(record, "batch", "5"), _line(record, "entry", "6"), _line(record, "addenda", "7")
    if addenda[1:3] != "98":
        raise Refused(RefusalCode.UNEXPECTED_VALUE, "addenda 2-3", "98, a notification of change")
    code = addenda[3:6]
    update_type = type_of(_CODES, code, "addenda 4-6")
    is_international = batch[4:10] == "IATCOR"
    if code == "C08" and not is_international:
        raise Refused(RefusalCode.UNEXPECTED_VALUE, "addenda 4-6", "C08 in international batches, and nowhere else")
    if is_international:
        corrected = _international_corrected(addenda, code)
        account = _international_account(record, batch, entry, addenda, code)
    else:
        corrected, account = read_corrected(addenda[35:64], code), _domestic_account(entry, addenda)
    old = _old(addenda, edge, account, is_international=is_international)
    new: UpdateFields = {"methodType": "BANK_ACCOUNT", "accountType": None, "nameOnAccount": corrected.get("name")}
    if "transaction" in corrected:
        new["accountType"] = _ACCOUNT_TYPES[corrected["transaction"][0]]
    if update_type is Type.NUMBER_REPLACED:
        routing = corrected.get("routing", account.routing)
        if routing is None:
            raise Refused(RefusalCode.UNEXPECTED_VALUE, "addenda 714", "the bank that has the account")
        new |= edge.bank_account(routing, corrected.get("account", account.account), "addenda 36-64")
    yield update(update_type, old, new, at=_date(batch, edge), reason=Reason.BANK_CHANGE)


def _line(record: Record, name: str, record_type: str) -> str:
    line = record.get(name)
    if not isinstance(line, str) or len(line) != LENGTH or line[0] != record_type:
        raise Refused(RefusalCode.WRONG_FORMAT, name, f"a record of {LENGTH} characters of type {record_type}")
    return line


def _date(batch: str, edge: Edge) -> str | None:
    """The effective date of the batch, its entries in their order; some banks fill it with blanks or zeros."""
    date = batch[69:75]
    if is_blank(date):
        return None
    try:
        return edge.in_order(datetime.strptime(date, "%y%m%d").replace(tzinfo=UTC), "batch 70-75")
    except ValueError:
        raise Refused(RefusalCode.WRONG_FORMAT, "batch 70-75", "a date as YYMMDD") from None


# --- the old account ----------------------------------------------------------------------------------------------


def _old(addenda: str, edge: Edge, account: _BankAccount, *, is_international: bool) -> UpdateFields:
    """The credential of the payment with the original trace, or else that of the account's numbers."""
    traced = (edge.traces or {}).get(addenda[6:21].strip())
    if not traced and account.routing is None:
        code = addenda[3:6]
        raise Refused(
            RefusalCode.UNKNOWN_ACCOUNT,
            "addenda 7-21",
            f"the original trace is not known, and nothing else names the account for {code}",
        )
    if edge.fingerprints is None and not traced:
        raise Refused(
            RefusalCode.UNKNOWN_ACCOUNT,
            "addenda 7-21",
            "the original trace is not known, nor is there a fingerprint key for the account",
        )
    numbers: UpdateFields = {}
    if edge.fingerprints is not None and account.routing is not None:
        field = "entry 40-74" if is_international else "entry 13-29"
        numbers = edge.bank_account(account.routing, account.account, field)
    if traced and "fingerprint" in traced:
        numbers = {}
    return {**numbers, **(traced or {}), "methodType": "BANK_ACCOUNT"}


def _domestic_account(entry: str, addenda: str) -> _BankAccount:
    routing, account = _original_rdfi(addenda), entry[12:29].strip()
    if not is_account(account):
        raise Refused(RefusalCode.WRONG_FORMAT, "entry 13-29", "an account number")
    return _BankAccount(routing, account)


def _international_account(record: Record, batch: str, entry: str, addenda: str, code: str) -> _BankAccount:
    """The account of an international entry, of up to 35 characters, at the bank that 714 names."""
    account = entry[39:74].strip()
    if entry[16:29].strip() or not is_written_as_account(account):
        raise Refused(RefusalCode.WRONG_FORMAT, "entry 40-74", "an account number, and blanks in 17-29")
    receiving = None if record.get("receiving") is None else _line(record, "receiving", "7")
    country, bank = ("", "") if receiving is None else (receiving[74:77].strip(), receiving[40:74].strip())
    if country not in ("", "US") and not is_blank(bank):
        return _BankAccount(_bank(bank, "addenda 714 41-74"), account)
    if (country or batch[38:40]) == "US" and (code != "C08" or receiving is not None):
        return _BankAccount(_original_rdfi(addenda), account)
    return _BankAccount(None, account)


def _international_corrected(addenda: str, code: str) -> Mapping[str, str]:
    """The corrected data of an international entry, which has six characters more for them."""
    corrected = addenda[35:70].strip()
    if code == "C08":
        return {"routing": _bank(corrected, "addenda 36-70")}
    if code == "C01":
        if not is_written_as_account(corrected):
            raise Refused(RefusalCode.WRONG_FORMAT, "addenda 36-70", "an account number for C01")
        return {"account": corrected}
    return read_corrected(addenda[35:64], code)


def _bank(number: str, field: str) -> str:
    """The number of a bank in any country; a number of nine digits is American, and must pass the ABA's checksum."""
    is_american = len(number) == ROUTING_DIGITS and are_digits(number)
    if not (number.isascii() and number.isalnum()) or is_blank(number) or (is_american and not is_routing(number)):
        raise Refused(RefusalCode.WRONG_FORMAT, field, "the number of a bank")
    return number


def _original_rdfi(addenda: str) -> str:
    """The nine digits of a bank's routing number: the addenda has eight, without the check digit."""
    eight = addenda[27:35]
    if not are_digits(eight) or is_blank(eight):
        raise Refused(
            RefusalCode.UNEXPECTED_VALUE, "addenda 28-35", "the routing number of the bank that the entry went to"
        )
    return eight + str(-weigh(eight) % 10)


FEED = Feed(
    name="nacha",
    title="Nacha notifications of change",
    adapt=adapt,
    recognises=lambda record: {"batch", "entry", "addenda"} <= record.keys(),
    codes=CODES,
    layout=Layout.ACH,
    carries_numbers=True,
)
