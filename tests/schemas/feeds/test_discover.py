"""Discover, code by code; O above all, which undoes."""

from dataclasses import replace
from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest

from domain.update import Credential, UpdateType
from domain.wallet import Expiry
from tests.domain.build import at_once, live, method, wallet
from tests.schemas.feeds.reading import EDGE, fingerprint, refusal, update

OLD, NEW = "6011111111111117", "6011000990139424"


def row(code: str, **changes: Any) -> dict[str, Any]:
    return {
        "id": "1001",
        "object": "cardUpdate",
        "originalAccount": OLD,
        "originalExpiration": "0526",
        "updatedAccount": NEW if code == "A" else "",
        "updatedExpiration": "0929" if code in "AE" else "",
        "responseCode": code,
        "responseSource": "D",
    } | changes


def test_a_is_a_new_number() -> None:
    report = update("discover", row("A"))
    assert (report.type, report.old) == (UpdateType.NUMBER_REPLACED, Credential(fingerprint(OLD)))
    assert report.new.credential == Credential(fingerprint(NEW))
    assert (report.new.last4, report.new.brand, report.new.expiry) == ("9424", "DISCOVER", Expiry(2029, 9))


def test_an_expiry_that_is_blank_has_stayed() -> None:
    assert update("discover", row("A", updatedExpiration="")).new.expiry == Expiry(2026, 5)


def test_e_is_a_new_expiry() -> None:
    report = update("discover", row("E"))
    assert (report.type, report.new.expiry) == (UpdateType.EXPIRY_UPDATED, Expiry(2029, 9))


def test_c_is_a_closed_account() -> None:
    assert update("discover", row("C")).type is UpdateType.CLOSED


def test_o_leads_back_from_the_wrong_number_and_counts_as_later_than_what_it_corrects() -> None:
    wrong = update("discover", row("A"))
    report = update("discover", row("O", originalAccount=NEW, updatedAccount=OLD))
    assert (report.type, report.old, report.new.credential) == (
        UpdateType.NUMBER_REPLACED,
        wrong.new.credential,
        wrong.old,
    )
    assert report.stamp > wrong.stamp
    assert report.stamp > update("discover", row("A"), replace(EDGE, row=5_000_000)).stamp


def test_of_two_overrides_in_a_file_the_second_counts_as_later() -> None:
    override = row("O", originalAccount=NEW, updatedAccount=OLD)
    first, second = (update("discover", override, EDGE.at_row(line)) for line in (1, 2))
    assert first.stamp.occurred_at < second.stamp.occurred_at


def test_a_file_too_long_for_an_override_to_be_its_last_is_refused_from_there_on() -> None:
    assert refusal("discover", row("A"), replace(EDGE, row=5_000_001)).startswith("record: ")


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_what_is_true_and_told_within_a_minute_of_an_override_counts_as_later(order: tuple[int, ...]) -> None:
    third = "6011601160116611"
    reports = [
        update("discover", row("A"), replace(EDGE, at=EDGE.at - timedelta(days=1))),
        update("discover", row("O", originalAccount=NEW, updatedAccount=OLD), replace(EDGE, row=4_999_999)),
        update("discover", row("A", updatedAccount=third), replace(EDGE, at=EDGE.at + timedelta(seconds=40), row=1)),
    ]
    before = wallet(method(fingerprint(OLD)))
    (current,) = live(at_once(before, *(reports[at] for at in order)).wallet)
    assert current == fingerprint(third)


@pytest.mark.parametrize("code", ["O", " O "])
@pytest.mark.parametrize("to", ["", None, OLD, "6011 1111 1111 1117"])
def test_o_that_names_no_other_number_is_left_to_a_person(code: str, to: str | None) -> None:
    assert refusal("discover", row(code, updatedAccount=to, updatedExpiration="0929")).startswith("updatedAccount: ")


def test_o_is_never_an_opt_out() -> None:
    assert update("discover", row("O", updatedAccount=NEW)).type is UpdateType.NUMBER_REPLACED


@pytest.mark.parametrize("source", ["V", "M", "", None])
def test_the_letters_of_other_networks_are_refused(source: str | None) -> None:
    assert refusal("discover", row("O", responseSource=source)).startswith("responseSource: ")


@pytest.mark.parametrize("code", ["Q", "N", "P", "V", "", "o", OLD])
def test_a_code_of_unknown_meaning_is_refused(code: str) -> None:
    reason = refusal("discover", row("A", responseCode=code))
    assert reason.startswith("responseCode: ")
    assert OLD not in reason


@pytest.mark.parametrize(
    ("code", "changes", "field"),
    [
        ("A", {"originalAccount": "XXXXXXXXXXXX1117"}, "originalAccount"),
        ("A", {"updatedAccount": ""}, "updatedAccount"),
        ("A", {"updatedExpiration": "2909"}, "updatedExpiration"),
        ("A", {"updatedExpiration": "", "originalExpiration": "2605"}, "originalExpiration"),
        ("E", {"updatedExpiration": ""}, "updatedExpiration"),
    ],
)
def test_a_broken_field_is_named(code: str, changes: dict[str, Any], field: str) -> None:
    assert refusal("discover", row(code, **changes)).startswith(f"{field}: ")
