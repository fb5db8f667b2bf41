"""The reasons in an answer: counted by what was expected, and nothing of what was posted among them."""

import pytest

from api.body import estimate_size
from api.feeds import _MOST_REASONS, _count_reasons
from domain.refusal import Refusal, RefusalCode, Refused
from schemas.feeds.fields import refuse_code


def required(field: str) -> Refusal:
    return Refusal(RefusalCode.REQUIRED, field, "required")


def unknown_code(field: str, code: str) -> Refusal:
    with pytest.raises(Refused, match=f"^{field}: {code} is in no table of this feed$") as refused:
        refuse_code(code, field)
    return refused.value.refusal


def test_codes_that_nobody_knows_are_counted_together_and_not_repeated() -> None:
    refusals = {
        required("id"): 2,
        unknown_code("type", "EATEN"): 3,
        unknown_code("type", "4111"): 4,
        unknown_code("old.type", "EATEN"): 1,
    }
    assert list(_count_reasons(refusals).items()) == [
        ("type: expected a code of this feed", 7),
        ("id: required", 2),
        ("old.type: expected a code of this feed", 1),
    ]


def test_of_many_reasons_the_most_frequent_are_shown() -> None:
    shown = _count_reasons({required(f"field{n}"): n for n in range(1, 100)})
    assert len(shown) == _MOST_REASONS == 20
    assert set(shown.values()) == set(range(80, 100))


def test_the_size_of_a_record_is_that_of_its_text_and_counting_ends_with_a_large_one() -> None:
    assert estimate_size({"a": "xyz", "bc": ["d", 1, None]}) == (1 + 2 + 2) + 3 + 3 + 1 + 8 + 8
    assert estimate_size("x" * 100) == 100
    assert estimate_size([["x" * 40_000]] * 1_000_000) < 2_000_000 + 100_000
