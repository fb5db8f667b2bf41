"""A line of a wallets file: what real exports hold is taken, and what cannot be is named, all of it, by its field."""

import json
from datetime import timedelta
from typing import Any

import pytest

from domain.refusal import Refused
from domain.wallet import Details, Expiry
from schemas.merchant import read_merchant
from schemas.payment_method import write_details
from schemas.wallet import read_line, read_wallet, write_wallet
from tests.acceptance.lines import wallet


def changed(**details: object) -> dict[str, Any]:
    """A wallet whose card has these details."""
    line = wallet(1)
    line["paymentMethods"][0]["details"] |= details
    return line


def faults(line: dict[str, Any]) -> tuple[str, ...]:
    with pytest.raises(Refused) as refused:
        read_wallet(json.dumps(line))
    assert refused.value.refusal == refused.value.refusals[0]
    return tuple(map(str, refused.value.refusals))


@pytest.mark.parametrize(
    ("details", "said"),
    [
        ({"zipCode": 2139}, "zipCode: expected a text"),
        ({"nameOnCard": 5}, "nameOnCard: expected a text"),
        ({"cardBrand": True}, "cardBrand: expected a text"),
        ({"accountType": 1}, "accountType: expected a text"),
        ({"bankName": ["x"]}, "bankName: expected a text"),
        ({"last4": 1234}, "last4: expected a text"),
        ({"manufacturerCard": "true"}, "manufacturerCard: expected a boolean"),
        ({"manufacturerCard": 1}, "manufacturerCard: expected a boolean"),
        ({"expiryMonth": 13}, "expiryMonth: expected 12 or less"),
        ({"expiryMonth": True}, "expiryMonth: expected an integer"),
        ({"expiryYear": 28}, "expiryYear: expected 1990 or more"),
    ],
)
def test_a_detail_of_another_type_is_named_by_its_field(details: dict[str, object], said: str) -> None:
    assert faults(changed(**details)) == (f"paymentMethods.0.details.{said}",)


def test_all_faults_of_a_line_are_named() -> None:
    line = changed(zipCode=2139, cardBrand=5) | {"merchants": []}
    line["customer"]["dateOfBirth"] = 315532800
    line["paymentLinks"][0]["kind"] = "NOTHING"
    assert [fault.partition(":")[0] for fault in faults(line)] == [
        "customer.dateOfBirth",
        "merchants",
        "paymentMethods.0.details.cardBrand",
        "paymentMethods.0.details.zipCode",
        "paymentLinks.0.kind",
    ]
    line = wallet(1)
    line["customer"] = {"metadata": {"tier": "gold"}}
    line["paymentLinks"][0] |= {"paymentMethodId": line["id"], "merchantId": "m-9"}
    assert [fault.partition(":")[0] for fault in faults(line)] == [
        "customer", "paymentLinks.0.paymentMethodId", "paymentLinks.0.merchantId",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "expiry",
    [
        {"expiryMonth": 0, "expiryYear": 0}, {"expiryMonth": 0}, {"expiryYear": 0}, {"expiryMonth": ""},
        {"expiryMonth": " ", "expiryYear": ""}, {"expiryMonth": None, "expiryYear": None},
    ],
)  # fmt: skip
def test_zeros_and_blanks_are_no_expiry(expiry: dict[str, object]) -> None:
    assert read_wallet(json.dumps(changed(**expiry))).methods[0].details.expiry is None


@pytest.mark.parametrize("missing", ["expiryMonth", "expiryYear"])
def test_half_an_expiry_is_still_a_fault_where_the_other_half_is_missing(missing: str) -> None:
    assert faults(changed(**{missing: None})) == (
        "paymentMethods.0.details: expected expiryMonth and expiryYear together",
    )
    assert read_wallet(json.dumps(changed())).methods[0].details.expiry == Expiry(2026, 12)


def test_blanks_are_nothing_where_nothing_may_be() -> None:
    line = changed(zipCode="", nameOnCard=" ", last4="")
    line["customer"]["hsid"] = ""
    line["paymentMethods"][0] |= {"nickname": "", "par": " ", "fingerprint": ""}
    (read,) = read_wallet(json.dumps(line)).methods
    assert (read.nickname, read.par, read.details.zip_code, read.details.holder_name, read.details.last4) == (None,) * 5
    assert read.keys == {"vau:tok_1"}


def test_a_key_that_stands_twice_is_refused() -> None:
    written = json.dumps(wallet(1)).replace('"nickname"', '"nickname": "other", "nickname"')
    with pytest.raises(Refused, match="nickname: expected once"):
        read_wallet(written)


def test_one_card_under_two_tokens_is_joined_and_read_back_as_written() -> None:
    line = wallet(1)
    first = line["paymentMethods"][0] | {"fingerprint": "fp"}
    again = first | {
        "id": "00000000-0000-0000-0000-0000000000aa", "credentials": [{"vendor": "vau", "token": "tok_again"}],
        "default": True, "nickname": "Again",
    }  # fmt: skip
    line["paymentMethods"] = [first | {"default": True}, again]
    line["paymentLinks"].append(
        line["paymentLinks"][0] | {"id": "00000000-0000-0000-0000-0000000000bb", "paymentMethodId": again["id"]}
    )
    read = read_line(json.dumps(line))
    assert read.doubles == ((1, 0),)
    (kept,) = read.wallet.live_methods
    assert (kept.id, kept.nickname, kept.default) == (first["id"], "Again", True)
    assert {each.method_id for each in read.wallet.links} == {first["id"]}
    assert read_line(write_wallet(read.wallet)) == (read.wallet, ())


def test_two_cards_that_share_a_credential_and_name_two_accounts_are_a_fault() -> None:
    line = wallet(1)
    first = line["paymentMethods"][0] | {"par": "P1"}
    line["paymentMethods"] = [
        first,
        first | {"id": "00000000-0000-0000-0000-0000000000aa", "par": "P2", "default": False},
    ]
    assert faults(line) == ("paymentMethods.1.par: expected that of paymentMethods.0, the same card",)


def test_two_different_cards_may_not_both_be_the_default() -> None:
    line = wallet(1)
    first = line["paymentMethods"][0]
    other = first | {
        "id": "00000000-0000-0000-0000-0000000000aa", "credentials": [{"vendor": "vau", "token": "tok_other"}],
    }  # fmt: skip
    line["paymentMethods"] = [first, other]
    assert faults(line) == (
        "paymentMethods: expected default on one method at most",
        "paymentMethods: expected subscriptionDefault on one method at most",
    )


def test_a_customer_has_so_many_identifiers_and_no_more() -> None:
    line = wallet(1)
    line["customer"] = {"enterpriseId": "e", "metadata": {str(n): "x" for n in range(31)}}
    assert len(read_wallet(json.dumps(line)).customer.metadata) == 31
    line["customer"]["hsid"] = "h"
    assert faults(line) == ("customer: expected at most 32 identifiers, metadata included",)


def test_what_names_a_credential_or_a_customer_has_so_many_bytes_and_no_more() -> None:
    line = wallet(1)
    method = line["paymentMethods"][0]
    longest, too_long = "\u4e00" * 85, "\u4e00" * 86
    method["credentials"] = [{"vendor": "vau", "token": longest, "fingerprint": longest}]
    line["customer"] = {"enterpriseId": longest, "hsid": longest, "metadata": {"patientId": longest, "note": too_long}}
    read_wallet(json.dumps(line))
    method["credentials"] = [{"vendor": "vau", "token": too_long, "fingerprint": too_long}]
    line["customer"] |= {"enterpriseId": too_long, "hsid": too_long}
    assert faults(line) == tuple(
        f"{field}: expected at most 255 bytes in UTF-8"
        for field in (
            *("customer.enterpriseId", "customer.hsid"),
            *("paymentMethods.0.credentials.0.token", "paymentMethods.0.credentials.0.fingerprint"),
        )
    )
    line = wallet(1)
    line["customer"]["metadata"] = {"patientId": too_long}
    assert faults(line) == ("customer.metadata.patientId: expected at most 255 bytes in UTF-8",)


M, N, O = ("00000000-0000-0000-0000-0000000000a" + end for end in "123")  # noqa: E741 - ids of methods
L = "00000000-0000-0000-0000-0000000000f1"


def methods(*more: dict[str, Any]) -> list[dict[str, Any]]:
    """Methods of different cards, without flags, each with its own changes."""
    first = wallet(1)["paymentMethods"][0]
    plain = {"default": False, "subscriptionDefault": False}
    return [
        first | plain | {"id": id_, "credentials": [{"vendor": "vau", "token": f"tok_{id_}"}]} | changes
        for id_, changes in zip((M, N, O), more, strict=False)
    ]


GONE = {"status": "DELETED"}


@pytest.mark.parametrize(
    ("of_methods", "of_links", "said"),
    [
        (({}, {"id": M}), (), "paymentMethods: expected every id once"),
        (
            (GONE | {"replacedBy": L}, {}),
            (),
            "paymentMethods.0.replacedBy: expected another payment method of this wallet",
        ),
        (
            ({}, GONE | {"replacedBy": N}),
            (),
            "paymentMethods.1.replacedBy: expected another payment method of this wallet",
        ),
        (
            (GONE | {"replacedBy": N}, GONE | {"replacedBy": O}, GONE | {"replacedBy": M}),
            (),
            "paymentMethods: expected replacedBy to lead to an end, not in a circle",
        ),
        (
            ({}, GONE | {"replacedBy": O}, GONE | {"replacedBy": N}),
            (),
            "paymentMethods: expected replacedBy to lead to an end, not in a circle",
        ),
        (
            ({}, GONE),
            ({}, {"paymentMethodId": N, "status": "PAUSED"}),
            "paymentLinks.1.paymentMethodId: expected a live payment method, for the link is PAUSED",
        ),
        (
            ({}, GONE),
            ({"paymentMethodId": N},),
            "paymentLinks.0.paymentMethodId: expected a live payment method, for the link is ACTIVE",
        ),
        (
            ({}, {}),
            ({"paymentMethodId": L},),
            "paymentLinks.0.paymentMethodId: expected a payment method of this wallet",
        ),
        (({}, {}), ({}, {"merchantId": "m-2"}), "paymentLinks.1.merchantId: expected a merchant of this wallet"),
        (({}, {}), ({"id": L}, {"id": L, "paymentMethodId": N}), "paymentLinks: expected every id once"),
        (({"default": True}, {"default": True}), (), "paymentMethods: expected default on one method at most"),
        (
            ({"subscriptionDefault": True}, {"subscriptionDefault": True}),
            (),
            "paymentMethods: expected subscriptionDefault on one method at most",
        ),
    ],
)
def test_a_wallet_that_contradicts_itself_is_named(
    of_methods: tuple[dict[str, Any], ...], of_links: tuple[dict[str, Any], ...], said: str
) -> None:
    assert faults(contents(of_methods, of_links)) == (said,)


@pytest.mark.parametrize(
    ("of_methods", "of_links"),
    [
        # a chain, in either order, and two methods that one has replaced
        ((GONE | {"replacedBy": N}, GONE | {"replacedBy": O}, {}), ()),
        (({}, GONE | {"replacedBy": M}, GONE | {"replacedBy": N}), ()),
        (({}, GONE | {"replacedBy": M}, GONE | {"replacedBy": M}), ()),
        # the customer removed what it was replaced by
        ((GONE | {"replacedBy": N}, GONE), ()),
        # a cancelled link stays on the method that it was cancelled on
        (({}, GONE | {"replacedBy": M}), ({"paymentMethodId": N, "status": "CANCELLED"},)),
        (({"default": True}, {"subscriptionDefault": True}), ({}, {"paymentMethodId": N, "status": "PAUSED"})),
    ],
)
def test_a_wallet_that_agrees_with_itself_is_read_and_written_as_it_was(
    of_methods: tuple[dict[str, Any], ...], of_links: tuple[dict[str, Any], ...]
) -> None:
    line = contents(of_methods, of_links)
    read = read_wallet(json.dumps(line))
    assert [(method.id, method.replaced_by) for method in read.methods] == [
        (method["id"], method["replacedBy"]) for method in line["paymentMethods"]
    ]
    assert read_line(write_wallet(read)) == (read, ())
    written = json.loads(write_wallet(read))
    assert [link["paymentMethodId"] for link in written["paymentLinks"]] == [
        link["paymentMethodId"] for link in line["paymentLinks"]
    ]


def contents(of_methods: tuple[dict[str, Any], ...], of_links: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    line = wallet(1)
    link = line["paymentLinks"][0] | {"paymentMethodId": M}
    ids = [f"00000000-0000-0000-0000-0000000000e{number}" for number in range(len(of_links))]
    links = [link | {"id": id_} | changes for id_, changes in zip(ids, of_links, strict=True)]
    return line | {"paymentMethods": methods(*of_methods), "paymentLinks": links}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"credentials": []}, "expected at least one credential, or a fingerprint"),
        ({"credentials": [{"vendor": "vau"}]}, "expected vendor and token together"),
        ({"credentials": [{"token": "t"}]}, "expected vendor and token together"),
        ({"credentials": [{}]}, "expected vendor and token, or fingerprint"),
        ({"credentials": [{"vendor": "a:b", "token": "t"}]}, "vendor"),
        ({"type": "GIFT_CARD"}, "expected a live method that is no gift card"),
        ({"type": "GIFT_CARD", "default": False}, "expected a live method that is no gift card"),
        ({"type": "GIFT_CARD", "subscriptionDefault": False}, "expected a live method that is no gift card"),
        ({"status": "DELETED"}, "expected a live method that is no gift card"),
        ({"status": "DELETED", "default": False}, "expected a live method that is no gift card"),
        ({"replacedBy": M}, "expected status DELETED beside it"),
        ({"default": "true"}, "default"),
        ({"id": "1"}, "expected a UUID"),
    ],
)
def test_a_method_that_cannot_be_is_named(changes: dict[str, Any], said: str) -> None:
    line = wallet(1)
    line["paymentMethods"][0] |= changes
    line["paymentLinks"] = []
    (fault,) = faults(line)
    assert fault.startswith("paymentMethods.0")
    assert said in fault


@pytest.mark.parametrize(
    "key",
    [
        *("pan", "cardNumber", "accountNumber", "iban", "CVV", "cvv2", "cvc", "cvc2", "CID", "SecurityCode", "pin"),
        *("track1", "track2"),
    ],
)
def test_a_detail_that_holds_a_secret_is_refused_by_its_name(key: str) -> None:
    (fault,) = faults(changed(**{key: "1"}))
    assert fault == f"paymentMethods.0.details.{key}: expected no such secret, nowhere"


@pytest.mark.parametrize("key", ["", "a\0", "x" * 256], ids=["empty", "NUL", "too long"])
def test_the_name_of_a_detail_is_one_that_can_be_stored(key: str) -> None:
    (fault,) = faults(changed(**{key: "1"}))
    assert fault == "paymentMethods.0.details: expected names of 1 to 255 characters, none of them NUL"


def test_a_missing_customer_identifier_is_named_as_the_setting_has_it() -> None:
    line = wallet(1) | {"customer": {"metadata": {"patientId": "1"}}}
    with pytest.raises(Refused, match=r"expected enterpriseId, hsid or metadata\.tier$"):
        read_wallet(json.dumps(line), ["enterpriseId", "hsid", "metadata.tier"])


def test_a_gift_card_has_the_details_of_a_card() -> None:
    line = wallet(1)
    line["paymentMethods"][0] |= {"type": "GIFT_CARD", "default": False, "subscriptionDefault": False}
    read = read_wallet(json.dumps(line)).methods[0]
    given = line["paymentMethods"][0]["details"]
    assert (read.details.last4, read.details.brand) == (given["last4"], given["cardBrand"])
    assert write_details(read.type, read.details).items() >= given.items()


def test_every_credential_of_a_method_is_one_of_its_names() -> None:
    line = wallet(1)
    line["paymentMethods"][0] |= {
        "credentials": [
            {"vendor": "vau", "token": "t1"},
            {"vendor": "mdes", "token": "t2", "fingerprint": "f2"},
            {"fingerprint": "f3"},
        ],
        "fingerprint": "f1",
    }
    read = read_wallet(json.dumps(line))
    assert read.methods[0].keys == {"vau:t1", "mdes:t2", ":f1", ":f2", ":f3"}
    (written,) = json.loads(write_wallet(read))["paymentMethods"]
    assert (written["fingerprint"], written["credentials"]) == (
        "f1",
        [
            {"vendor": "mdes", "token": "t2"},
            {"vendor": "vau", "token": "t1"},
            {"fingerprint": "f2"},
            {"fingerprint": "f3"},
        ],
    )


def test_an_expiry_that_was_filled_leaves_all_other_details_as_they_are() -> None:
    details = {"last4": "1111", "cardBrand": "VISA", "nameOnCard": "Jane Roe", "zipCode": "12345", "color": "red"}
    (read,) = read_wallet(json.dumps(changed(**details, expiryMonth=0, expiryYear=0))).methods
    assert read.details == Details("1111", "VISA", None, "Jane Roe", "12345", extra={"color": "red"})


def test_a_fingerprint_alone_names_a_method() -> None:
    line = wallet(1)
    line["paymentMethods"][0] |= {"credentials": [], "fingerprint": "f1"}
    assert read_wallet(json.dumps(line)).methods[0].keys == {":f1"}


def test_a_method_without_optional_fields_has_neither_flag_nor_details() -> None:
    line = wallet(1) | {"paymentLinks": []}
    bare = {"type": "CARD", "status": "ACTIVE", "fingerprint": "f1"}
    line["paymentMethods"] = [{"id": line["paymentMethods"][0]["id"]} | bare]
    (read,) = read_wallet(json.dumps(line)).methods
    assert (read.default, read.subscription_default, read.details, read.par) == (False, False, Details(), None)


def test_a_customer_has_every_name_of_the_line_and_a_merged_wallet_its_target() -> None:
    customer = {"enterpriseId": "e1", "hsid": "h1", "metadata": {"patientId": "p1", "tier": "gold"}}
    target = "00000000-0000-0000-0000-0000000000ff"
    line = wallet(1) | {"customer": customer, "mergedInto": target, "paymentMethods": [], "paymentLinks": []}
    read = read_wallet(json.dumps(line))
    assert read.customer.identities == {("enterpriseId", "e1"), ("hsid", "h1"), ("metadata.patientId", "p1")}
    assert (read.customer.metadata, read.merged_into) == ({"patientId": "p1", "tier": "gold"}, target)


@pytest.mark.parametrize("born", ["1980-01-31", "2000-02-29", None, ""])
def test_a_date_of_birth_is_a_date_or_not_known(born: str | None) -> None:
    line = wallet(1)
    line["customer"]["dateOfBirth"] = born
    read = read_wallet(json.dumps(line)).customer.date_of_birth
    assert (None if read is None else read.isoformat()) == (born or None)


@pytest.mark.parametrize("born", ["315532800", "1980-1-31", "19800131", "1980-01-31T00:00:00", "x1980-01-31"])
def test_another_form_of_a_date_of_birth_is_refused(born: str) -> None:
    line = wallet(1)
    line["customer"]["dateOfBirth"] = born
    assert faults(line) == ("customer.dateOfBirth: expected a date such as 1980-01-31",)


@pytest.mark.parametrize(("length", "refused"), [(1, False), (255, False), (256, True)])
def test_the_name_of_a_detail_may_be_so_long(length: int, *, refused: bool) -> None:
    line = changed(**{"n" * length: "x"})
    if refused:
        assert faults(line)[0].startswith("paymentMethods.0.details")
    else:
        assert read_wallet(json.dumps(line)).methods[0].details.extra == {"n" * length: "x"}


def test_details_that_its_type_does_not_know_are_written_as_they_were_read() -> None:
    line = changed(color="red", steps=3, chip=True, none=None)
    method = line["paymentMethods"][0]
    (written,) = json.loads(write_wallet(read_wallet(json.dumps(line))))["paymentMethods"]
    assert written["details"].items() >= {"color": "red", "steps": 3, "chip": True, "none": None}.items()
    assert written["details"].items() >= method["details"].items()


def test_what_a_method_has_beside_its_details_is_written_as_it_was_read() -> None:
    line = wallet(1) | {"paymentLinks": []}
    ids = [f"00000000-0000-0000-0000-0000000000d{number}" for number in (1, 2)]
    live = line["paymentMethods"][0] | {"id": ids[0], "par": "V0010013", "status": "CLOSED", "default": False}
    gone = live | {
        "id": ids[1], "credentials": [{"vendor": "vau", "token": "old"}], "par": "V0010014", "nickname": "Old",
        "status": "DELETED", "subscriptionDefault": False, "replacedBy": ids[0], "deletedReason": "LOST_OR_STOLEN",
    }  # fmt: skip
    line["paymentMethods"] = [live | {"subscriptionDefault": True, "nickname": "New"}, gone]
    written = json.loads(write_wallet(read_wallet(json.dumps(line))))["paymentMethods"]
    for before, after in zip(line["paymentMethods"], written, strict=True):
        assert after.items() >= {key: value for key, value in before.items() if key != "details"}.items()


MERCHANT = {
    "id": "m-1",
    "name": "Pharmacy",
    "endpoints": [
        {
            "id": "e-1",
            "url": "https://merchant.example/hook?a=1",
            "secret": "whsec_" + "A" * 32,
            "eventTypes": ["PAYMENT_METHOD_REPLACED", "PAYMENT_METHOD_DELETED"],
        }
    ],
}


@pytest.mark.parametrize("rate", [0.001, 5, 2.5, 100_000, None])
def test_an_endpoint_has_a_rate_and_a_retry_schedule_of_its_own(rate: float | None) -> None:
    (plain,) = MERCHANT["endpoints"]
    own = plain | {"maxPerSecond": rate, "retrySchedule": ["250ms", "5s", "2h"] * 10}  # type: ignore[operator]
    (endpoint,) = read_merchant(json.dumps(MERCHANT | {"endpoints": [own]})).endpoints
    assert endpoint.max_per_second == rate
    assert endpoint.retry_schedule == (timedelta(milliseconds=250), timedelta(seconds=5), timedelta(hours=2)) * 10
    for unset in (plain, own | {"retrySchedule": None, "maxPerSecond": None}):
        (endpoint,) = read_merchant(json.dumps(MERCHANT | {"endpoints": [unset]})).endpoints
        assert (endpoint.max_per_second, endpoint.retry_schedule) == (None, None)


def test_a_merchant_is_read_with_its_endpoints_and_shows_no_secret() -> None:
    read = read_merchant(json.dumps(MERCHANT))
    (endpoint,) = read.endpoints
    assert (read.id, read.name, endpoint.id, endpoint.url) == (
        "m-1", "Pharmacy", "e-1", "https://merchant.example/hook?a=1",
    )  # fmt: skip
    assert endpoint.secret == "whsec_" + "A" * 32
    assert endpoint.event_types == ("PAYMENT_METHOD_REPLACED", "PAYMENT_METHOD_DELETED")
    assert "whsec_" not in repr(read)
    assert read_merchant('{"id": "m-2", "name": "Gym"}').endpoints == ()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"id": ""}, "endpoints.0.id"),
        ({"url": "ftp://merchant.example/"}, "endpoints.0.url"),
        ({"secret": "A" * 32}, "endpoints.0.secret"),
        ({"secret": "whsec_AAAA"}, "endpoints.0.secret"),
        ({"eventTypes": []}, "endpoints.0.eventTypes"),
        ({"eventTypes": ["PAYMENT_METHOD_GONE"]}, "endpoints.0.eventTypes.0"),
        ({"maxPerSecond": 0}, "endpoints.0.maxPerSecond"),
        ({"maxPerSecond": -1}, "endpoints.0.maxPerSecond"),
        ({"maxPerSecond": 0.0009}, "endpoints.0.maxPerSecond"),
        ({"maxPerSecond": 100_001}, "endpoints.0.maxPerSecond"),
        ({"maxPerSecond": "5"}, "endpoints.0.maxPerSecond"),
        ({"maxPerSecond": True}, "endpoints.0.maxPerSecond"),
        ({"maxPerSecond": float("nan")}, "endpoints.0.maxPerSecond"),
        ({"retrySchedule": []}, "endpoints.0.retrySchedule"),
        ({"retrySchedule": ["5s"] * 31}, "endpoints.0.retrySchedule"),
        ({"retrySchedule": ["5s", "0s"]}, "endpoints.0.retrySchedule.1"),
        ({"retrySchedule": ["5 minutes"]}, "endpoints.0.retrySchedule.0"),
        ({"retrySchedule": "5s"}, "endpoints.0.retrySchedule"),
        ({"retrySchedule": [5]}, "endpoints.0.retrySchedule.0"),
    ],
)
def test_a_wrong_field_of_an_endpoint_is_named_without_its_value(changes: dict[str, Any], field: str) -> None:
    (endpoint,) = MERCHANT["endpoints"]
    with pytest.raises(Refused) as refused:
        read_merchant(json.dumps(MERCHANT | {"endpoints": [endpoint | changes]}))  # type: ignore[operator]
    (fault,) = map(str, refused.value.refusals)
    assert fault.startswith(f"{field}: ")
    assert "A" * 32 not in fault
