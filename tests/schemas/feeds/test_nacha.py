"""Nacha notifications of change, code by code, and the file that they come in."""

from pathlib import Path

import pytest

from domain.update import Credential, Reason, Update, UpdateType
from schemas.feeds import nacha, nacha_file
from schemas.feeds.feed import Code, Edge
from tests.parts.refusals import refusal_text
from tests.schemas.feeds.reading import EDGE, FINGERPRINTS, refusal, update

OLD_ROUTING, OLD_ACCOUNT = "091000019", "44-5678 901"
NEW_ROUTING, NEW_ACCOUNT = "021000021", "1234 567890"
TRACE, TRACED = "121042880000012", "tok_checking"
BATCH = "5200FOOD SHOP                           1419871234CORPAYMENT         261119   1091000010000001"
SAMPLE = Path(__file__).parents[3] / "examples" / "feeds" / "nacha.txt"


def bank_account(routing: str, account: str) -> Credential:
    """Under its fingerprint, and where there are blanks in it also under the one from before they were left out."""
    return Credential(*(f":{value}" for value in FINGERPRINTS.of_bank_account(routing, account).values()))


OLD = bank_account(OLD_ROUTING, OLD_ACCOUNT)


def notice(code: str, corrected: str, *, batch: str = BATCH, original: str = OLD_ROUTING[:8]) -> dict[str, str]:
    entry = f"621121042882{OLD_ACCOUNT:17}{0:010}{'customer 17':15}{'ACCOUNT HOLDER':22}  1091000010000001"
    addenda = f"798{code}{TRACE}{'':6}{original}{corrected:29}{'':15}091000010000001"
    return {"batch": batch, "entry": entry, "addenda": addenda}


def read(code: str, corrected: str, edge: Edge = EDGE) -> Update:
    return update("nacha", notice(code, corrected), edge)


@pytest.mark.parametrize(
    ("code", "corrected", "routing", "account", "account_type"),
    [
        ("C01", NEW_ACCOUNT, OLD_ROUTING, NEW_ACCOUNT, None),
        ("C02", NEW_ROUTING, NEW_ROUTING, OLD_ACCOUNT, None),
        ("C03", f"{NEW_ROUTING}   {NEW_ACCOUNT}", NEW_ROUTING, NEW_ACCOUNT, None),
        ("C06", f"{NEW_ACCOUNT:17}   27", OLD_ROUTING, NEW_ACCOUNT, "CHECKING"),
        ("C07", f"{NEW_ROUTING}{NEW_ACCOUNT:17}37", NEW_ROUTING, NEW_ACCOUNT, "SAVINGS"),
    ],
)
def test_a_corrected_number_is_another_account(
    code: str, corrected: str, routing: str, account: str, account_type: str | None
) -> None:
    report = read(code, corrected)
    assert (report.type, report.old, report.reason) == (UpdateType.NUMBER_REPLACED, OLD, Reason.BANK_CHANGE)
    assert report.new.credential == bank_account(routing, account)
    assert report.new.last4 == account.replace(" ", "")[-4:]
    assert report.new.details.get("account_type") == account_type
    assert str(report.stamp.occurred_at.date()) == "2026-11-19"


def test_c04_is_another_name_and_c05_another_kind_of_account() -> None:
    name, kind = read("C04", "NEW NAME"), read("C05", "37")
    assert (name.type, name.old, name.new.details) == (UpdateType.DETAILS_UPDATED, OLD, {"holder_name": "NEW NAME"})
    assert (kind.type, kind.old, kind.new.details) == (UpdateType.DETAILS_UPDATED, OLD, {"account_type": "SAVINGS"})


@pytest.mark.parametrize(
    ("code", "corrected", "account"),
    [
        ("C01", f"{'123456':>29}", "123456"),
        ("C03", f"{NEW_ROUTING}{'1234 567890':>20}", "1234 567890"),
        ("C03", f"{NEW_ROUTING} 1234567890", "1234567890"),
        ("C06", "1234567890                 27", "1234567890"),
        ("C06", "1234 567890                27", "1234 567890"),
        ("C06", "1234567890            27", "1234567890"),
        ("C06", "123456789 111            22", "123456789 111"),
        ("C06", "123456789 111      22", "123456789 111"),
        ("C06", "1234-5678 9       27", "1234-5678 9"),
        ("C07", f"{NEW_ROUTING}1234567890        27", "1234567890"),
        ("C07", f"{NEW_ROUTING}1234 567890       27", "1234 567890"),
    ],
)
def test_data_that_stand_elsewhere_are_read_all_the_same(code: str, corrected: str, account: str) -> None:
    routing = OLD_ROUTING if code in {"C01", "C06"} else NEW_ROUTING
    assert read(code, corrected).new.credential == bank_account(routing, account)


@pytest.mark.parametrize(
    ("code", "corrected"),
    [
        ("C01", ""),
        ("C01", "1234567890 1234567890"),
        ("C01", "0" * 17),
        ("C01", "0000 000000"),
        ("C02", "021000022"),
        ("C02", "02100002"),
        ("C02", "000000000"),
        ("C03", f"{NEW_ROUTING} 1234 567890"),
        ("C03", "021000022   1234567890"),
        ("C03", "000000000   1234567890"),
        ("C03", f"{NEW_ROUTING}   {'0' * 17}"),
        ("C04", ""),
        ("C05", "99"),
        ("C06", "1234567 27"),
        ("C06", "1234567  27"),
        ("C06", "123456789 111  22"),
        ("C06", "12345678  9 111          22"),
        ("C06", "123456789 111            99"),
        ("C07", f"{NEW_ROUTING}123 456789  22"),
        ("C06", f"{NEW_ACCOUNT:17}"),
        ("C07", f"{NEW_ROUTING}1234567 27"),
        ("C07", f"{NEW_ROUTING}{'1' * 18}27"),
    ],
)
def test_data_that_cannot_be_read_in_one_way_only_are_refused(code: str, corrected: str) -> None:
    assert refusal("nacha", notice(code, corrected)).startswith("addenda 36-64: expected a")


@pytest.mark.parametrize("code", [code for code in nacha.CODES if code.update_type is None], ids=lambda code: code.code)
def test_what_is_no_change_of_an_account_is_refused_with_its_meaning(code: Code) -> None:
    assert refusal("nacha", notice(code.code, "whatever")) == f"addenda 4-6: {code.code} means {code.meaning}"


@pytest.mark.parametrize("code", ["C15", "C60", "R01", "   "])
def test_an_unknown_code_is_refused(code: str) -> None:
    assert refusal("nacha", notice(code, "1")).startswith("addenda 4-6: ")


def test_a_known_trace_names_the_account() -> None:
    by_token = Edge(EDGE.at, FINGERPRINTS, {TRACE: {"token": TRACED}})
    assert read("C05", "37", by_token).old == Credential(f"nacha:{TRACED}", OLD.key)
    assert read("C05", "37", Edge(EDGE.at, None, {TRACE: {"token": TRACED}})).old == Credential(f"nacha:{TRACED}")
    by_fingerprint = Edge(EDGE.at, FINGERPRINTS, {TRACE: {"fingerprint": "v1:00"}})
    assert read("C05", "37", by_fingerprint).old == Credential(":v1:00")


def test_c08_is_known_by_its_trace_alone() -> None:
    entry = f"6210910000190007             {0:010}{'DE89 3704 0044':35}    1091000010000001"
    batch = BATCH[:4] + "IATCOR" + BATCH[10:]
    record = notice("C08", f"{'DEUTDEFF':29}", batch=batch) | {"entry": entry}
    report = update("nacha", record, Edge(EDGE.at, FINGERPRINTS, {TRACE: {"token": TRACED}}))
    assert (report.type, report.old) == (UpdateType.NUMBER_REPLACED, Credential(f"nacha:{TRACED}"))
    assert report.new.credential == bank_account("DEUTDEFF", "DE89 3704 0044")
    assert refusal("nacha", record, Edge(EDGE.at, FINGERPRINTS)).startswith("addenda 7-21: ")
    assert refusal("nacha", notice("C08", "021000021")).startswith("addenda 4-6: ")
    assert refusal("nacha", notice("C02", "021000021", batch=batch)).startswith("entry 40-74: ")


ABROAD = "5220IATCOR          FF3               DE1419871234CORPAYMENT   USDEUR000000   1091000010000002"
IBAN = "DE89 3704 0044 0532 0130 00"


def international(
    code: str, corrected: str, bank: str = "COBADEFFXXX", country: str = "DE", batch: str = ABROAD
) -> dict[str, str]:
    """With the 714 that names the bank, where there is one."""
    entry = f"6210910000190007             {0:010}{IBAN:35}    1091000010000001"
    record = notice(code, f"{corrected:29}"[:29], batch=batch) | {"entry": entry}
    record["addenda"] = record["addenda"][:35] + f"{corrected:35}" + record["addenda"][70:]
    receiving = f"714{'Some Bank':35}02{bank:34}{country:3}{'':10}0000001"
    return record | ({"receiving": receiving} if bank else {})


def test_an_account_abroad_is_at_the_bank_of_714() -> None:
    old = bank_account("COBADEFFXXX", IBAN)
    report = update("nacha", international("C01", "DE02 1203 0000 0000 2020 51"))
    assert (report.type, report.old, report.reason) == (UpdateType.NUMBER_REPLACED, old, Reason.BANK_CHANGE)
    assert report.new.credential == bank_account("COBADEFFXXX", "DE02 1203 0000 0000 2020 51")
    assert (report.new.last4, report.stamp.occurred_at) == ("2051", EDGE.at)
    report = update("nacha", international("C08", "DEUTDEFF"))
    assert (report.old, report.new.credential) == (old, bank_account("DEUTDEFF", IBAN))
    name, kind = update("nacha", international("C04", "NEW NAME")), update("nacha", international("C05", "37"))
    assert (name.old, name.new.details) == (old, {"holder_name": "NEW NAME"})
    assert (kind.old, kind.new.details) == (old, {"account_type": "SAVINGS"})


@pytest.mark.parametrize("bank", ["", "091000019"])
def test_an_account_of_an_international_payment_in_the_united_states_is_at_the_original_bank(bank: str) -> None:
    batch = ABROAD.replace("DE1419871234", "US1419871234")
    report = update("nacha", international("C01", "9722-C3", bank, "US", batch))
    assert (report.old, report.new.credential) == (
        bank_account(OLD_ROUTING, IBAN),
        bank_account(OLD_ROUTING, "9722-C3"),
    )
    report = update("nacha", international("C02", NEW_ROUTING, bank, "US", batch))
    assert report.new.credential == bank_account(NEW_ROUTING, IBAN)
    report = update("nacha", international("C06", f"{'1234567890':17}   27", bank, "US", batch))
    assert report.new.credential == bank_account(OLD_ROUTING, "1234567890")
    assert report.new.details == {"account_type": "CHECKING"}


def test_an_account_abroad_is_told_by_its_trace_alone_where_nothing_names_its_bank() -> None:
    traced = Edge(EDGE.at, FINGERPRINTS, {TRACE: {"token": TRACED}})
    assert update("nacha", international("C04", "NEW NAME", ""), traced).old == Credential(f"nacha:{TRACED}")
    assert refusal("nacha", international("C04", "NEW NAME", "")).startswith("addenda 7-21: ")
    assert refusal("nacha", international("C01", "12345", ""), traced).startswith("addenda 714: ")
    assert refusal("nacha", international("C01", "0" * 35)).startswith("addenda 36-70: ")
    assert refusal("nacha", international("C01", "12345", "BAD BANK")).startswith("addenda 714 41-74: ")
    assert refusal("nacha", international("C08", "021000022")).startswith("addenda 36-70: ")
    assert refusal("nacha", international("C01", "12345") | {"receiving": "714"}).startswith("receiving: ")


def test_zeros_are_no_account_and_no_bank() -> None:
    record = notice("C05", "37")
    assert refusal("nacha", notice("C05", "37", original="00000000")).startswith("addenda 28-35: ")
    filled = record["entry"].replace(f"{OLD_ACCOUNT:17}", "0" * 17)
    assert refusal("nacha", record | {"entry": filled}).startswith("entry 13-29: ")
    entry = f"6210910000190007             {0:010}{'DE89 3704 0044':35}    1091000010000001"
    international = notice("C08", "0" * 11, batch=BATCH[:4] + "IATCOR" + BATCH[10:]) | {"entry": entry}
    assert refusal("nacha", international, Edge(EDGE.at, FINGERPRINTS, {TRACE: {"token": TRACED}})).startswith(
        "addenda 36-70: "
    )


def test_nothing_is_known_without_a_key_or_a_trace() -> None:
    assert "fingerprint key" in refusal("nacha", notice("C05", "37"), Edge(EDGE.at))
    traced = Edge(EDGE.at, None, {TRACE: {"token": TRACED}})
    assert "REPOINT_FINGERPRINT_KEY" in refusal("nacha", notice("C01", "123456"), traced)


def test_a_broken_field_is_named() -> None:
    assert refusal("nacha", notice("C05", "37") | {"entry": "6"}).startswith("entry: ")
    assert refusal("nacha", notice("C05", "37", original="0910000X")).startswith("addenda 28-35: ")
    assert refusal("nacha", notice("C05", "37", batch=BATCH[:69] + "269919" + BATCH[75:])).startswith("batch 70-75: ")


@pytest.mark.parametrize("date", ["      ", "000000"])
def test_an_effective_date_of_blanks_or_zeros_is_none(date: str) -> None:
    assert update("nacha", notice("C05", "37", batch=BATCH[:69] + date + BATCH[75:])).stamp.occurred_at == EDGE.at


# --- the file -----------------------------------------------------------------------------------------------------


def cut(lines: list[str]) -> list[tuple[int, str]]:
    """For each piece its line, and what is wrong, or the change code."""
    return [
        (piece.number, refusal_text(piece) or (piece.record or {})["addenda"][3:6])
        for piece in nacha_file.records(lines)
    ]


@pytest.fixture(scope="module")
def lines() -> list[str]:
    return SAMPLE.read_text(encoding="ascii").splitlines(keepends=True)


def test_a_file_is_cut_into_its_notifications_and_all_else_is_passed_over(lines: list[str]) -> None:
    assert [code for _, code in cut(lines)] == ["C01", "C02", "C03", "C04", "C05", "C06", "C07", "C08"]
    assert [number for number, _ in cut(lines)] == [3, 5, 7, 9, 11, 13, 15, 19]
    assert cut([line.rstrip("\n") + "\r\n" for line in lines]) == cut(lines)


def test_a_file_is_known_by_its_header(lines: list[str]) -> None:
    assert [nacha_file.begins(line.rstrip("\n")) for line in lines] == [True] + [False] * (len(lines) - 1)


def test_a_line_at_fault_is_named_and_the_others_are_read(lines: list[str]) -> None:
    assert cut([*lines[:2], lines[2][:90] + "\n", *lines[3:]])[:3] == [
        (3, "line 3: expected 94 characters"),
        (4, "line 4: expected an entry before an addenda record"),
        (5, "C02"),
    ]
    assert cut([*lines[:3], *lines[4:]])[:2] == [(3, "line 3: expected an addenda record after the entry"), (4, "C02")]
    assert cut([lines[0], *lines[2:]])[0] == (2, "line 2: expected a batch header before an entry")
    assert cut([*lines[:2], "X" + lines[2][1:]])[0] == (3, "line 3: expected a record type of 1, 5, 6, 7, 8 or 9")
    assert cut(lines[:4])[-1] == (4, "line 4: the file ends inside a batch")
    assert (17, "line 17: expected the control of the batch before") in cut([*lines[:16], *lines[17:]])
    assert (17, "line 17: expected a batch header before its control") in cut([*lines[:17], *lines[16:]][1:])


def test_reading_can_begin_between_batches(lines: list[str]) -> None:
    reader, begin = nacha_file.RecordReader(), []
    for number, line in enumerate(lines, 1):
        list(reader.add(number, line.rstrip("\n")))
        begin += [number] if reader.between_batches else []
    assert begin[:3] == [1, 17, 21]
    assert [code for _, code in cut(lines[17:])] == ["C08"]


@pytest.mark.parametrize("line", ["batch", "entry", "addenda"])
@pytest.mark.parametrize("change", ["type", "longer", "shorter"])
def test_a_line_of_another_type_or_length_is_named(line: str, change: str) -> None:
    broken = notice("C04", "NEW NAME")
    written = broken[line]
    broken[line] = {"type": "9" + written[1:], "longer": written + " ", "shorter": written[:-1]}[change]
    assert refusal("nacha", broken).startswith(f"{line}: expected a record of 94 characters of type ")


def test_the_country_of_714_goes_before_that_of_the_batch() -> None:
    american = ABROAD.replace("DE1419871234", "US1419871234")
    at_home = update("nacha", international("C01", "12345", "091000019", "US", ABROAD))
    abroad = update("nacha", international("C01", "12345", "COBADEFFXXX", "DE", american))
    assert at_home.old == bank_account(OLD_ROUTING, IBAN)
    assert abroad.old == bank_account("COBADEFFXXX", IBAN)


def test_c08_names_a_bank_with_a_routing_number_too_and_needs_714_or_the_trace() -> None:
    report = update("nacha", international("C08", NEW_ROUTING))
    assert report.new.credential == bank_account(NEW_ROUTING, IBAN)
    american = ABROAD.replace("DE1419871234", "US1419871234")
    assert refusal("nacha", international("C08", NEW_ROUTING, "", "", american)).startswith("addenda 7-21: ")
