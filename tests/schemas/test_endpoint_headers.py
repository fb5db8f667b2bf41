"""Which headers an endpoint may have of its own, and that no refusal repeats a value."""

import json

import pytest

from domain.refusal import Refused
from schemas import endpoint_headers
from schemas.endpoint_headers import LONGEST_NAME, LONGEST_TOGETHER, LONGEST_VALUE, MOST_HEADERS, RESERVED, checked
from schemas.merchant import read_merchant
from tests.acceptance.lines import merchant

VALUE = "Bearer s3cret-s3cret"


def refusals(headers: object) -> list[str]:
    line = merchant()
    line["endpoints"][0]["headers"] = headers
    try:
        read_merchant(json.dumps(line))
    except Refused as refused:
        return list(map(str, refused.refusals))
    return []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": VALUE, "X-Tenant": "a"},
        {"x-api-key": '!#$%&\'*+-.^_`|~ "quoted" {json}; a=b, c'},
        {"X-Token": "a" * LONGEST_VALUE},
        {"n" * LONGEST_NAME: "a"},
        {f"X-{number}": "a" for number in range(MOST_HEADERS)},
    ],
)
def test_usual_headers_are_taken_as_they_are_written(headers: dict[str, str]) -> None:
    line = merchant()
    line["endpoints"][0]["headers"] = headers
    [endpoint] = read_merchant(json.dumps(line)).endpoints
    assert endpoint.headers == headers
    assert endpoint_headers.read(endpoint_headers.write(headers)) == headers
    assert "s3cret" not in repr(endpoint)


NAMES = [
    example
    for name in RESERVED
    for example in ([name.replace("*", end) for end in ("a", "length", "x-y")] if "*" in name else [name])
]


@pytest.mark.parametrize("name", NAMES)
def test_a_reserved_name_is_refused_in_any_case(name: str) -> None:
    for written in (name, name.upper(), name.title()):
        assert refusals({written: VALUE}) == [
            f"endpoints.0.headers.{written}: expected a header that is not reserved"
        ], written


@pytest.mark.parametrize("character", [*map(chr, range(0x20)), "\x7f", "\x80", "\xe9", "\u2028", "\u0130", "\ufeff"])
def test_no_value_and_no_name_has_a_control_character_or_one_outside_ascii(character: str) -> None:
    for value in (f"a{character}b", character, f"a\r\nX-Other: b{character}"):
        [refusal] = refusals({"X-Tenant": value})
        assert refusal == "endpoints.0.headers.X-Tenant: expected printable ASCII that begins and ends with no space"
    [refusal] = refusals({f"X-Ten{character}ant": VALUE})
    assert refusal.startswith("endpoints.0.headers: expected names of")


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"": "a"}, "endpoints.0.headers: expected names of 1 to 100 letters, digits and hyphens"),
        ({"X Tenant": "a"}, "endpoints.0.headers: expected names of"),
        ({"X-Tenant:": "a"}, "endpoints.0.headers: expected names of"),
        ({"n" * (LONGEST_NAME + 1): "a"}, "endpoints.0.headers: expected names of"),
        ({"X-Tenant": ""}, "endpoints.0.headers.X-Tenant: expected printable ASCII"),
        ({"X-Tenant": " a"}, "endpoints.0.headers.X-Tenant: expected printable ASCII"),
        ({"X-Tenant": "a "}, "endpoints.0.headers.X-Tenant: expected printable ASCII"),
        ({"X-Token": "s3cret" * LONGEST_VALUE}, "endpoints.0.headers.X-Token: expected 4,096 characters at most"),
        ({"x-tenant": "s3cret", "X-Tenant": "b"}, "endpoints.0.headers: expected each name once"),
        ({f"X-{n}": "s3cret" for n in range(MOST_HEADERS + 1)}, "endpoints.0.headers: expected 20 headers at most"),
        (
            {"X-1": "a" * LONGEST_VALUE, "X-2": "a" * (LONGEST_TOGETHER - LONGEST_VALUE)},
            "endpoints.0.headers: expected 6,144 characters at most in all",
        ),
        ({"X-Card": "4111 1111 1111 1111"}, "$.endpoints[0].headers.X-Card: expected no card number"),
        ({"X-Tenant": 5}, "endpoints.0.headers.X-Tenant: expected a text"),
        (["X-Tenant"], "endpoints.0.headers: expected a JSON object"),
    ],
)
def test_what_cannot_be_sent_is_refused_without_a_value(headers: object, expected: str) -> None:
    [refusal] = refusals(headers)
    assert refusal.startswith(expected)
    assert "s3cret" not in refusal
    assert "4111" not in refusal


@pytest.mark.parametrize(
    "name", ["Tenant", "Hosting", "Expect-Ct", "Upgrade-Insecure-Requests", "Contents", "Webhooks"]
)
def test_a_name_that_only_begins_like_a_reserved_one_may_be_set(name: str) -> None:
    assert checked({name: "x"}) == {name: "x"}


@pytest.mark.parametrize(("more", "refused"), [(0, False), (1, True)])
def test_names_and_values_together_have_a_limit(more: int, *, refused: bool) -> None:
    headers = {"aa": "x" * 4096, "bb": "x" * (2044 + more)}
    if refused:
        with pytest.raises(Refused, match="6,144 characters at most in all"):
            checked(headers)
    else:
        assert checked(headers) == headers
