"""The reasons in an answer: counted by what was expected, and nothing of what was posted among them."""

from api.body import size
from api.feeds import _MOST_REASONS, _shown


def test_codes_that_nobody_knows_are_counted_together_and_not_repeated() -> None:
    reasons = {
        "id: required": 2,
        "type: EATEN is in no table of this feed": 3,
        "type: 4111 is in no table of this feed": 4,
        "old.type: EATEN is in no table of this feed": 1,
    }
    assert list(_shown(reasons).items()) == [
        ("type: expected a code of this feed", 7),
        ("id: required", 2),
        ("old.type: expected a code of this feed", 1),
    ]


def test_of_many_reasons_the_most_frequent_are_shown() -> None:
    reasons = {f"field{n}: required": n for n in range(1, 100)}
    shown = _shown(reasons)
    assert len(shown) == _MOST_REASONS == 20
    assert set(shown.values()) == set(range(80, 100))


def test_the_size_of_a_record_is_that_of_its_text_and_counting_ends_with_a_large_one() -> None:
    assert size({"a": "xyz", "bc": ["d", 1, None]}) == (1 + 2 + 2) + 3 + 3 + 1 + 8 + 8
    assert size("x" * 100) == 100
    assert size([["x" * 40_000]] * 1_000_000) < 2_000_000 + 100_000
