"""What is so of expiries in every feed: one that is misread would never go back, so what is unclear is refused."""

import pytest

from domain.refusal import Refused
from schemas.feeds import FEEDS
from schemas.feeds.feed import Feed, Fetch
from schemas.feeds.fields import expiry, mmyy, yymm
from schemas.feeds.reading import read
from schemas.feeds.record import UpdateFields
from tests.schemas.feeds.reading import EDGE, refusal
from tests.schemas.feeds.test_every_feed import samples


@pytest.mark.parametrize("written", ["1228", "12/28", "12-28", "12.28", "12 28", "12 / 28", "12/2028", "122028"])
def test_a_month_and_a_year_are_read_whatever_stands_between(written: str) -> None:
    assert mmyy(written, "exp") == {"expiryMonth": 12, "expiryYear": 2028}


@pytest.mark.parametrize("written", ["329", 329, "0329", "3/29", "3/2029", "32029", "032029", " 03/29 "])
def test_a_zero_in_front_may_have_got_lost(written: object) -> None:
    assert mmyy(written, "exp") == {"expiryMonth": 3, "expiryYear": 2029}


@pytest.mark.parametrize("written", ["2812", "28/12", "202812", "2028-12"])
def test_the_year_may_come_first(written: str) -> None:
    assert yymm(written, "exp") == {"expiryMonth": 12, "expiryYear": 2028}


@pytest.mark.parametrize("written", ["", " ", None, "0000", "00/00", "00/0000", "000000", 0])
def test_blanks_and_zeros_are_no_expiry(written: object) -> None:
    assert mmyy(written, "exp") == yymm(written, "exp") == {}


NO_EXPIRIES = (
    *("129.0", "329.0", "1228.0", "12.0", 329.0, 1228.0),  # what a spreadsheet makes of a number
    *("1/1/28", "12/1/28", "12/31/28", "1/1/2028", "2028-12-31"),  # a day, which none has
    *("12/8", "1/1", "12/208", "12/20281", "1", "12", "1220281", "12 2 8", "12//28", "12/28/", "/1228", "1-2-2-8"),
)


@pytest.mark.parametrize("written", NO_EXPIRIES)
def test_what_may_be_another_date_or_no_date_is_refused_and_not_shown(written: object) -> None:
    for read_expiry, shape in ((mmyy, "MMYY"), (yymm, "YYMM")):
        with pytest.raises(Refused) as reason:
            read_expiry(written, "exp")
        assert str(reason.value) == f"exp: expected an expiry as {shape}"


@pytest.mark.parametrize("year", ["28", "2028"])
@pytest.mark.parametrize("month", ["00", "13"])
def test_a_month_that_no_year_has_is_refused(month: str, year: str) -> None:
    for read_expiry, written in ((mmyy, f"{month}/{year}"), (yymm, f"{year}/{month}")):
        with pytest.raises(Refused, match="exp: expected a month from 1 to 12"):
            read_expiry(written, "exp")
    with pytest.raises(Refused, match="exp: expected a month"):
        expiry(month, year, "exp")


FIELDS = {
    "abu-batch": "newExpirationDate",
    "abu-push": "newExpirationDate",
    "braintree": "New Expiration Date",
    "discover": "updatedExpiration",
    "iats": "New Expiry",
    "paysafe": "New Expiry Date",
    "tabapay": "New Expiration Date",
    "vau": "newExpirationDate",
}


@pytest.mark.parametrize("written", NO_EXPIRIES)
@pytest.mark.parametrize("feed", FIELDS)
def test_such_a_date_in_a_record_is_refused(feed: str, written: object) -> None:
    records = [record for record, _ in expiry_years(FEEDS[feed]) if record[FIELDS[feed]]]
    assert records
    for record in records:
        assert refusal(feed, {**record, FIELDS[feed]: written}).startswith(f"{FIELDS[feed]}: ")


def new_card(report: UpdateFields | Fetch) -> UpdateFields:
    return {} if isinstance(report, Fetch) else report.get("new", {})


def expiry_years(feed: Feed) -> list[tuple[UpdateFields, int]]:
    """The feed's samples that tell an expiry, each with its year, or the latest of several."""
    by_record = [
        (record, [new_card(report).get("expiryYear", 0) for report in read(feed, record, EDGE)])
        for record in samples(feed)
    ]
    return [(record, max(years)) for record, years in by_record if any(years)]
