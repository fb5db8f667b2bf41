"""What vendors send is understood or refused; nothing in between, and no refusal repeats what it was sent."""

import base64
import copy
import json
import string
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from domain.pan import contains_pan
from domain.refusal import Refused
from domain.update import Credential, NewCredential, Reason, Stamp, UpdateType
from domain.wallet import Expiry, MethodType
from schemas.canonical import UNREADABLE_HEADER, CanonicalUpdate, parse, update_in, with_identifiers
from schemas.masking import mask_message

PAN = "4111111111111111"


def replaced(**changes: Any) -> dict[str, Any]:
    """The message of design.md §4, changed."""
    return {
        "id": "vau-2026-11-20-000017",
        "vendor": "vau",
        "type": "NUMBER_REPLACED",
        "reason": "LOST_OR_STOLEN",
        "occurredAt": "2026-11-20T09:14:13.512Z",
        "old": {"token": "tok_A", "fingerprint": "fp_A", "methodType": "CARD"},
        "new": {
            "token": "tok_B",
            "fingerprint": "fp_B",
            "methodType": "CARD",
            "last4": "5678",
            "brand": "VISA",
            "expiryMonth": 12,
            "expiryYear": 2028,
            "par": "V0010013022298169667504231315",
        },
        "customer": {"enterpriseId": "e1"},
    } | changes


def merged(**changes: Any) -> dict[str, Any]:
    return {
        "id": "m1",
        "vendor": "crm",
        "type": "WALLET_MERGED",
        "occurredAt": "2026-11-20T09:14:13Z",
        "from": {"enterpriseId": "e1"},
        "into": {"hsid": "h2", "metadata": {"patientId": "rx-2"}},
    } | changes


def read(message: object, headers: Sequence[tuple[str, bytes | None]] = ()) -> CanonicalUpdate:
    return parse(json.dumps(message).encode(), headers)


def refusal(message: object, headers: Sequence[tuple[str, bytes | None]] = ()) -> str:
    with pytest.raises(Refused) as refused:
        parse(message if isinstance(message, bytes) else json.dumps(message).encode(), headers)
    return str(refused.value)


def changed(path: str, value: object) -> dict[str, Any]:
    """The message with the value at `path` (`new.last4`) set."""
    message = replaced()
    inner = message
    *above, last = path.split(".")
    for key in above:
        inner = inner[key]
    inner[last] = value
    return message


def without(path: str, message: dict[str, Any] | None = None) -> dict[str, Any]:
    left = copy.deepcopy(message or replaced())
    inner = left
    *above, last = path.split(".")
    for key in above:
        inner = inner[key]
    del inner[last]
    return left


# --- what is understood -------------------------------------------------------------------------------------------


def test_a_replacement_is_read_as_it_stands_on_the_page() -> None:
    update = read(replaced()).update
    assert update.stamp == Stamp(datetime(2026, 11, 20, 9, 14, 13, 512000, UTC), "vau", "vau-2026-11-20-000017")
    assert update.type is UpdateType.NUMBER_REPLACED
    assert update.reason is Reason.LOST_OR_STOLEN
    assert update.old == Credential("vau:tok_A", ":fp_A")
    assert update.new == NewCredential(
        Credential("vau:tok_B", ":fp_B"), "5678", "VISA", Expiry(2028, 12), "V0010013022298169667504231315"
    )
    assert update.method_type is MethodType.CARD
    assert update.scope == (("enterpriseId", "e1"),)


def test_what_may_be_left_out_may_be_left_out() -> None:
    small = {"id": "1", "vendor": "v", "type": "NUMBER_REPLACED", "occurredAt": "2026-11-20T09:14:13Z"}
    update = read(small | {"old": {"fingerprint": "f"}, "new": {"token": "t"}}).update
    assert update.old == Credential(":f")
    assert update.new == NewCredential(Credential("v:t"))
    assert (update.reason, update.method_type, update.scope) == (Reason.REISSUED, None, ())


@pytest.mark.parametrize("where", ["old", "new"])
@pytest.mark.parametrize("method_type", MethodType)
def test_the_method_type_counts_where_it_stands_alone(where: str, method_type: MethodType) -> None:
    message = changed(f"{where}.methodType", method_type.value)
    other = {"old": "new", "new": "old"}[where]
    assert read(without(f"{other}.methodType", message)).update.method_type is method_type


@pytest.mark.parametrize("type_", [each for each in UpdateType if each is not UpdateType.WALLET_MERGED])
def test_every_type_is_read(type_: UpdateType) -> None:
    assert read(replaced(type=type_.value)).update.type is type_


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_read(reason: Reason) -> None:
    assert read(replaced(reason=reason.value)).update.reason is reason


def test_only_a_number_replaced_needs_a_new_credential() -> None:
    for type_ in UpdateType:
        if type_ not in {UpdateType.NUMBER_REPLACED, UpdateType.WALLET_MERGED, UpdateType.EXPIRY_UPDATED}:
            assert read(without("new", replaced(type=type_.value))).update.new == NewCredential()


def test_details_are_read_under_each_of_their_names() -> None:
    told = {
        "nameOnCard": "Jo",
        "zipCode": "12345",
        "accountType": "SAVINGS",
        "bankName": "A Bank",
        "manufacturerCard": False,
    }
    assert read(replaced(type="DETAILS_UPDATED", new=told)).update.new.details == {
        "holder_name": "Jo",
        "zip_code": "12345",
        "account_type": "SAVINGS",
        "bank_name": "A Bank",
        "manufacturer_card": False,
    }
    for name in ("name", "nameOnCard", "nameOnAccount"):
        assert read(replaced(type="DETAILS_UPDATED", new={name: "Jo"})).update.new.details == {"holder_name": "Jo"}


def test_a_merge_names_two_customers_and_no_credential() -> None:
    update = read(merged()).update
    assert update.type is UpdateType.WALLET_MERGED
    assert update.old is None
    assert update.merge_from == (("enterpriseId", "e1"),)
    assert update.merge_into == (("hsid", "h2"), ("metadata.patientId", "rx-2"))
    assert update.reason is Reason.WALLET_MERGE


def test_unknown_keys_are_ignored_wherever_they_stand() -> None:
    message = replaced(extra={"deep": [1, {"x": None}]})
    message["old"]["colour"] = "blue"
    message["new"]["colour"] = 5
    message["customer"]["colour"] = [False]
    assert read(message) == read(replaced())


def test_an_instant_is_one_whatever_the_offset_it_is_written_with() -> None:
    assert read(replaced(occurredAt="2026-11-20T10:14:13.512+01:00")) == read(replaced())


def test_the_digest_tells_contents_apart_and_nothing_else() -> None:
    customer = {"metadata": {"a": "1", "b": "2"}}
    turned = {"metadata": {"b": "2", "a": "1"}}
    assert read(replaced(customer=customer)).digest == read(replaced(customer=turned)).digest
    assert read(dict(reversed(replaced().items()))).digest == read(replaced()).digest
    digests = {
        read(message).digest
        for message in (
            replaced(),
            replaced(id="another"),
            replaced(reason="EXPIRED"),
            replaced(customer=customer),
            changed("new.last4", "5679"),
            changed("old.token", "tok_C"),
            without("old.fingerprint"),
        )
    }
    assert len(digests) == 7


# --- CloudEvents --------------------------------------------------------------------------------------------------


def test_a_structured_cloudevent_is_its_data() -> None:
    event = {"specversion": "1.0", "id": "ce-1", "source": "/vau", "type": "x", "time": "2020-01-01T00:00:00Z"}
    assert read(event | {"data": replaced()}) == read(replaced())
    encoded = base64.b64encode(json.dumps(replaced()).encode()).decode()
    assert read(event | {"data_base64": encoded}) == read(replaced())


def test_a_cloudevent_s_id_and_time_serve_where_the_update_has_none() -> None:
    bare = without("occurredAt", without("id"))
    event = {"specversion": "1.0", "id": "ce-1", "time": "2026-11-20T09:14:13Z", "data": bare}
    expected = Stamp(datetime(2026, 11, 20, 9, 14, 13, tzinfo=UTC), "vau", "ce-1")
    assert read(event).update.stamp == expected
    headers = [("ce_specversion", b"1.0"), ("ce_id", b"ce-1"), ("ce_time", b"2026-11-20T09:14:13Z")]
    assert read(bare, headers).update.stamp == expected


def test_a_binary_cloudevent_is_its_body() -> None:
    headers = [("ce_specversion", b"1.0"), ("ce_id", b"ce-1"), ("ce_source", b"\xff"), ("ce_time", None)]
    assert read(replaced(), headers) == read(replaced())
    assert read(replaced(), [("traceparent", b"00-\xff"), ("empty", None)]) == read(replaced())


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ({"data_base64": "no base64!"}, "data_base64: expected base64 of UTF-8 JSON"),
        ({"data_base64": "größe"}, "data_base64: expected base64 of UTF-8 JSON"),
        ({"data_base64": "/w=="}, "data_base64: expected base64 of UTF-8 JSON"),
        ({"data_base64": "e30="}, "id: required"),
        ({"data_base64": "W10="}, "data: expected a JSON object"),
        ({"data_base64": None}, "data_base64: expected base64 of UTF-8 JSON"),
        ({"data_base64": 5}, "data_base64: expected base64 of UTF-8 JSON"),
        ({"data_base64": []}, "data_base64: expected base64 of UTF-8 JSON"),
        ({"data": "text"}, "data: expected a JSON object"),
        ({}, "data: expected a JSON object"),
    ],
)
def test_a_cloudevent_without_an_update_is_refused(event: dict[str, Any], reason: str) -> None:
    assert refusal({"specversion": "1.0"} | event) == reason


# --- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["id", "vendor", "type", "occurredAt"])
def test_what_is_required_is_missed_by_its_name(field: str) -> None:
    assert refusal(without(field)) == f"{field}: required"
    assert refusal(replaced(**{field: None})).startswith(f"{field}: ")


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (without("old"), "old: required"),
        (replaced(old={}), "old.token: required, or old.fingerprint"),
        (replaced(old={"methodType": "CARD"}), "old.token: required, or old.fingerprint"),
        (without("new"), "new.token: required for NUMBER_REPLACED, or new.fingerprint"),
        (replaced(new={"last4": "1234"}), "new.token: required for NUMBER_REPLACED, or new.fingerprint"),
        (replaced(type="EXPIRY_UPDATED", new={}), "new.expiryYear: required for EXPIRY_UPDATED"),
        (changed("new.expiryMonth", None), "new.expiryMonth: required beside the other half of the expiry"),
        (without("new.expiryYear"), "new.expiryYear: required beside the other half of the expiry"),
        (changed("new.methodType", "BANK_ACCOUNT"), "new.methodType: expected CARD, as in old.methodType"),
        (replaced(customer={}), "customer: expected a customer identifier (enterpriseId, hsid or metadata.*)"),
        (
            replaced(customer={"metadata": {}}),
            "customer: expected a customer identifier (enterpriseId, hsid or metadata.*)",
        ),
        (
            replaced(customer={"hsid": "h", "metadata": {str(n): "x" for n in range(32)}}),
            "customer: expected at most 32 identifiers, metadata included",
        ),
        (
            merged(**{"from": {"metadata": {str(n): "x" for n in range(5000)}}}),
            "from: expected at most 32 identifiers, metadata included",
        ),
        (
            merged(into={"metadata": {str(n): "x" for n in range(33)}}),
            "into: expected at most 32 identifiers, metadata included",
        ),
        (without("from", merged()), "from: expected a customer identifier (enterpriseId, hsid or metadata.*)"),
        (merged(into={}), "into: expected a customer identifier (enterpriseId, hsid or metadata.*)"),
    ],
)
def test_what_depends_on_something_else_says_on_what(message: dict[str, Any], reason: str) -> None:
    assert refusal(message) == reason


SECRET = "s3cr3t"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("id", ""),
        ("id", 17),
        ("id", "x" * 256),
        ("id", f"{SECRET}\0"),
        ("vendor", "v:x"),
        ("vendor", "@v"),
        ("vendor", "v x"),
        ("vendor", "v\n"),
        ("vendor", "v" * 65),
        ("type", SECRET),
        ("type", 3),
        ("reason", SECRET),
        ("occurredAt", 1763630053),
        ("occurredAt", "1763630053"),
        ("occurredAt", "2026-11-20"),
        ("occurredAt", "2026-11-20T09:14:13"),
        ("occurredAt", "2026-02-30T09:14:13Z"),
        ("occurredAt", "0000-01-01T00:00:00Z"),
        ("occurredAt", "0001-01-01T00:00:00+14:00"),
        ("occurredAt", "1969-12-31T23:59:59Z"),
        ("occurredAt", "2200-01-01T00:00:00Z"),
        ("occurredAt", "9999-12-31T23:59:59-14:00"),
        ("occurredAt", SECRET),
        ("old", SECRET),
        ("old", []),
        ("old.token", 4),
        ("old.token", ""),
        ("old.token", f"{SECRET}\0"),
        ("old.fingerprint", {"a": SECRET}),
        ("old.methodType", "CHEQUE"),
        ("new.last4", "12345"),
        ("new.last4", 1234),
        ("new.last4", "1 34"),
        ("new.last4", "12\n"),
        ("new.brand", False),
        ("new.expiryMonth", 0),
        ("new.expiryMonth", 13),
        ("new.expiryMonth", "12"),
        ("new.expiryMonth", 12.0),
        ("new.expiryMonth", True),
        ("new.expiryYear", 28),
        ("new.expiryYear", 99999),
        ("new.par", ["x"]),
        ("new.manufacturerCard", "false"),
        ("new.manufacturerCard", 0),
        ("customer", SECRET),
        ("customer.enterpriseId", 1),
        ("customer.hsid", ""),
        ("customer.metadata", {"patientId": 5}),
        ("customer.metadata", {"": "x"}),
        ("customer.metadata", {"patientId": f"{SECRET}\0"}),
        ("customer.metadata", [SECRET]),
    ],
)
def test_a_wrong_value_is_refused_by_its_field_and_not_repeated(path: str, value: object) -> None:
    reason = refusal(changed(path, value))
    field, _, expected = reason.partition(": ")
    assert field.startswith(path)
    assert len(expected) > 5
    assert SECRET not in reason
    assert str(value) not in reason or len(str(value)) < 3


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"5",
        b"{",
        b'{"id": }',
        b"\xff\xfe",
        b'{"id": "\xff"}',
        b'\xef\xbb\xbf{"id": "1"}',
        b"[" * 100_000,
        b'["\\u0041", ' + b"[" * 100_000,
        b'{"a\\u0041":' * 100_000,
        b'{"specversion": ' + b"9" * 5000 + b"}",
    ],
)
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    assert refusal(body).startswith("message: ")


def test_half_a_surrogate_pair_is_no_text() -> None:
    for path in ("id", "old.token", "new.brand", "customer.enterpriseId", "unknown"):
        assert "expected" in refusal(changed(path, "\ud800")) or "JSON" in refusal(changed(path, "\ud800"))
        refusal({"specversion": "1.0", "data": changed(path, "\ud800")}) if path != "unknown" else None
    assert refusal({"specversion": "1.0", "data": replaced(customer={"metadata": {"\ud800": "x"}})})


def test_what_was_marked_on_its_way_is_refused_with_the_words_it_was_marked_with() -> None:
    assert refusal(replaced(), [(UNREADABLE_HEADER, b"row 7: expected 5 columns")]) == "row 7: expected 5 columns"
    assert refusal(replaced(), [(UNREADABLE_HEADER, None)])


# --- card numbers -------------------------------------------------------------------------------------------------

ESCAPED = "".join(f"\\u{ord(digit):04x}" for digit in PAN)
FULL_WIDTH = "".join(chr(ord(digit) + 0xFEE0) for digit in PAN)


def in_cloudevent(body: bytes) -> bytes:
    return json.dumps({"specversion": "1.0", "data_base64": base64.b64encode(body).decode()}).encode()


@pytest.mark.parametrize(
    "hidden",
    [
        json.dumps(changed("old.token", PAN)),
        json.dumps(changed("new.token", "4111 1111 1111 1111")),
        json.dumps(changed("new.token", "4111-1111-1111-1111")),
        json.dumps(changed("new.par", f"PAN{PAN}")),
        json.dumps(changed("extra", int(PAN))),
        json.dumps(changed("extra", float(PAN))),
        json.dumps(changed("extra", [{"deep": f"card {PAN} exp 12/28"}])),
        json.dumps(changed("customer.metadata", {"card": PAN})),
        json.dumps(changed("customer.metadata", {PAN: "x"})),
        json.dumps(replaced(**{PAN: 1})),
        json.dumps(changed("extra", FULL_WIDTH)),
        json.dumps(changed("extra", FULL_WIDTH), ensure_ascii=False),
        json.dumps(changed("extra", "@@")).replace("@@", ESCAPED),
        json.dumps(changed("@@", 1)).replace("@@", ESCAPED),
        json.dumps({"specversion": "1.0", "subject": PAN, "data": replaced()}),
        json.dumps(changed("extra", "@@")).replace('"@@"', "4.539578763621486008e18"),
        json.dumps({"specversion": "1.0", "data": changed("old.token", PAN)}),
    ],
)
def test_a_card_number_is_refused_wherever_it_is_and_masked_in_what_is_kept(hidden: str) -> None:
    for body in (hidden.encode(), in_cloudevent(hidden.encode())):
        reason = refusal(body)
        assert reason.endswith(": expected no card number")
        assert not contains_pan(reason)
        assert PAN[:12] not in reason
        kept = mask_message(body)
        assert not contains_pan(kept)
        if '"data_base64"' in kept:
            inside = base64.b64decode(json.loads(kept)["data_base64"]).decode()
            assert not contains_pan(inside)
            assert "*" * 13 in inside or "**** ****" in inside or "****-****" in inside


@pytest.mark.parametrize("cut", range(4))
def test_a_card_number_in_broken_base64_is_masked_too(cut: int) -> None:
    whole = base64.b64encode(f'{{"card": "{PAN}", "more": "of it"'.encode()).decode().rstrip("=")
    body = f'{{"specversion": "1.0", "data_base64" : "{whole[: len(whole) - cut]}", '.encode()
    refusal(body)
    kept = mask_message(body)
    assert whole[:32] not in kept
    letters = kept.split('"')[-2]
    assert not contains_pan(base64.b64decode(letters + "===").decode(errors="replace"))


@pytest.mark.parametrize("stray", ["", "A", "AA", "AAA", "A---", "AA__", "AAA-"])
@pytest.mark.parametrize("before", ["", "x", "xx"])
def test_a_card_number_at_the_end_of_base64_is_masked_whatever_letters_follow(before: str, stray: str) -> None:
    letters = base64.b64encode(f"{before}{PAN}".encode()).decode().rstrip("=")
    kept = mask_message(json.dumps({"specversion": "1.0", "data_base64": letters + stray}).encode())
    inside = base64.b64decode(json.loads(kept)["data_base64"] + "===").decode(errors="replace")
    assert PAN[:13] not in inside
    assert not contains_pan(inside)


@pytest.mark.parametrize("number", [PAN, ESCAPED, FULL_WIDTH, f"{PAN[:4]}\\t{PAN[4:]}"])
@pytest.mark.parametrize(
    "escape",
    [
        lambda text: text.replace("N", r"\u004e").replace("M", r"\u004D"),
        lambda text: "".join(f"\\u{ord(letter):04x}" for letter in text),
        lambda text: text.replace("/", r"\/").replace("w", r"\n\tw"),
        lambda text: text,
    ],
)
@pytest.mark.parametrize("key", ["data_base64", r"data\u005fbase64", r"\u0064\u0061ta_base\u0036\u0034"])
def test_escapes_in_a_key_or_in_base64_keep_no_card_number(number: str, escape: Callable[[str], str], key: str) -> None:
    letters = base64.b64encode(f'{{"name": "/??{number}", "more": "of it?"}}'.encode()).decode()
    body = f'{{"specversion": "1.0", "{key}": "{escape(letters)}"}}'.encode()
    refusal(body)
    kept = json.loads(mask_message(body))["data_base64"]
    assert "*" * 4 in base64.b64decode(kept).decode()
    assert not contains_pan(base64.b64decode(kept).decode())


def test_what_holds_no_card_number_is_kept_as_it_came() -> None:
    body = in_cloudevent(json.dumps(replaced()).encode())
    assert mask_message(body).encode() == body
    assert mask_message(b"\xff\x00{") == "\\xff\x00{"


@pytest.mark.parametrize("text", [f"{PAN},", "4111 1111 1111 1111 ", f"g{PAN}"])
def test_a_message_full_of_card_numbers_is_masked_whole(text: str) -> None:
    """Half a megabyte: were the time to grow with the square of it, this would not end, and nor would the worker."""
    count = 500_000 // len(text)
    assert mask_message((text * count).encode()).count("*") == 16 * count


# --- anything at all ----------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([PAN, "CARD", "vau"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
PATHS = [
    *replaced(),
    *(f"old.{key}" for key in replaced()["old"]),
    *(f"new.{key}" for key in replaced()["new"]),
    "customer.enterpriseId",
    "customer.hsid",
    "customer.metadata",
]
MUTATIONS: st.SearchStrategy[Callable[[dict[str, Any]], object]] = st.one_of(
    st.tuples(st.sampled_from(PATHS), JSON).map(lambda pair: lambda message: _set(message, *pair)),
    st.sampled_from(PATHS).map(lambda path: lambda message: _unset(message, path)),
    st.tuples(st.text(max_size=8), JSON).map(lambda pair: lambda message: message.update([pair])),
    st.sampled_from(list(UpdateType)).map(lambda type_: lambda message: message.update(type=type_.value)),
)


def _set(message: dict[str, Any], path: str, value: object) -> None:
    *above, last = path.split(".")
    for key in above:
        inner = message.get(key)
        if not isinstance(inner, dict):
            return
        message = inner
    message[last] = value


def _unset(message: dict[str, Any], path: str) -> None:
    *above, last = path.split(".")
    for key in above:
        inner = message.get(key)
        if not isinstance(inner, dict):
            return
        message = inner
    message.pop(last, None)


def understood(body: bytes) -> CanonicalUpdate | str:
    """The update, or why it is unreadable."""
    try:
        return parse(body)
    except Refused as refused:
        return str(refused)


@given(st.lists(MUTATIONS, max_size=4), st.sampled_from([None, "data", "data_base64"]), st.booleans())
def test_any_message_is_understood_or_unreadable(
    mutations: list[Callable[[dict[str, Any]], object]],
    event: str | None,
    ascii_only: bool,  # noqa: FBT001 - Hypothesis names it
) -> None:
    message = replaced()
    for mutate in mutations:
        mutate(message)
    text = json.dumps(message, ensure_ascii=ascii_only)
    body = text.encode(errors="surrogatepass")
    if event == "data":
        body = b'{"specversion": "1.0", "id": "e", "data": ' + body + b"}"
    elif event == "data_base64":
        body = in_cloudevent(body)

    read = understood(body)

    if isinstance(read, str):
        assert ": " in read
        assert not contains_pan(read)
    else:
        update = read.update
        assert update.stamp.occurred_at.tzinfo is UTC
        assert update.type is UpdateType.WALLET_MERGED or update.old is not None
        # in an escape, \u00b4 before a number, the look may see one digit more than there is
        assert not contains_pan(json.dumps(message, ensure_ascii=False))
        for key in update.keys:
            key.encode()
            assert "\0" not in key
    assert not contains_pan(mask_message(body))


@given(st.binary(max_size=200) | st.text(alphabet=string.printable, max_size=200).map(str.encode))
@example(b'{"specversion": "1.0", "data_base64": "\\ud800"}')
def test_any_bytes_are_understood_or_unreadable(body: bytes) -> None:
    for headers in ([], [("ce_id", body), ("ce_time", None)]):
        with pytest.raises(Refused):
            parse(body, headers)
    mask_message(body).encode()


@pytest.mark.parametrize(
    "path",
    [
        *("old.token", "old.fingerprint", "old.formerFingerprint", "new.token", "new.fingerprint"),
        *("customer.enterpriseId", "customer.hsid"),
    ],
)
def test_an_identifier_has_so_many_bytes_and_no_more(path: str) -> None:
    read(changed(path, "\u4e00" * 85))
    assert refusal(changed(path, "\u4e00" * 85 + "x")) == f"{path}: expected at most 255 bytes in UTF-8"


def test_a_vendor_s_name_has_so_many_bytes_and_no_more() -> None:
    read(changed("vendor", "ü" * 32))
    assert refusal(changed("vendor", "ü" * 33)) == "vendor: expected at most 64 bytes in UTF-8"


TOO_MUCH = "customer: expected at most 2000 bytes in UTF-8, all identifiers together"
IDENTIFIERS = frozenset(f"metadata.{n}" for n in range(32))


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"1": "x" * 255}, None),
        ({"1": "ü" * 128}, "customer.metadata.1: expected at most 255 bytes in UTF-8"),
        # What identifies nobody stands in no index.
        ({"1": "x", "note": "ü" * 255}, None),
        (dict.fromkeys("123456", "x" * 255), None),
        (dict.fromkeys("12345678", "x" * 255), TOO_MUCH),
        # As JSON, in which it is kept, a control character has six bytes.
        ({"1": "\x01" * 255, "2": "\x01" * 255}, TOO_MUCH),
    ],
)
def test_what_names_a_customer_has_so_many_bytes_and_no_more(metadata: dict[str, str], reason: str | None) -> None:
    update = read(replaced(customer={"metadata": metadata})).update
    if reason is None:
        with_identifiers(update, IDENTIFIERS)
        return
    with pytest.raises(Refused) as refused:
        with_identifiers(update, IDENTIFIERS)
    assert str(refused.value) == reason


def test_a_customer_of_as_many_identifiers_as_allowed_is_read() -> None:
    customer = {"hsid": "h", "metadata": {f"{n:02}": "x" for n in range(31)}}
    assert len(read(replaced(customer=customer)).update.scope) == 32


BY_DEFAULT = frozenset({"enterpriseId", "hsid", "metadata.patientId"})


def test_a_merge_keeps_of_each_customer_the_names_that_identify_them() -> None:
    metadata = {"patientId": "rx-2", "tier": "gold"}
    update = with_identifiers(
        read(merged(**{"from": {"hsid": "h1", "metadata": {"tier": "gold"}}, "into": {"metadata": metadata}})).update,
        BY_DEFAULT,
    )
    assert update.merge_from == (("hsid", "h1"),)
    assert update.merge_into == (("metadata.patientId", "rx-2"),)
    assert update.scope == ()


@pytest.mark.parametrize("side", ["from", "into"])
def test_a_merge_of_a_customer_whom_nothing_identifies_is_refused(side: str) -> None:
    update = read(merged(**{side: {"metadata": {"tier": "gold"}}})).update
    with pytest.raises(Refused) as refused:
        with_identifiers(update, BY_DEFAULT)
    assert str(refused.value) == (f"{side}: expected a customer identifier (enterpriseId, hsid or metadata.patientId)")


def test_an_update_without_its_digest_is_read_and_refused_alike() -> None:
    written = json.dumps(replaced())
    assert update_in(written.encode()) == update_in(written.encode(), ours=True) == parse(written.encode()).update
    twice = written.replace('"vendor"', '"vendor": "other", "vendor"').encode()
    with pytest.raises(Refused, match="and not vendor twice"):
        update_in(twice)
    for ours in (True, False):
        with pytest.raises(Refused, match="card number"):
            update_in(json.dumps(replaced(id=PAN)).encode(), ours=ours)
