"""How many values JSON from outside may have, seen by its commas and brackets before any value is made."""

import pytest

from schemas.feeds.reading import has_too_many_values, parse_json


@pytest.mark.parametrize("character", [",", "[", "{"])
@pytest.mark.parametrize(
    "kind", [str, str.encode, lambda text: bytearray(text.encode())], ids=["str", "bytes", "array"]
)
def test_commas_and_opening_brackets_count_as_values(character: str, kind: type) -> None:
    assert not has_too_many_values(kind(character * 100_000))
    assert has_too_many_values(kind(character * 100_001))
    assert has_too_many_values(kind("[" * 33_334 + "{" * 33_334 + "," * 33_333))
    assert not has_too_many_values(kind(']}:"' * 100_001))


def test_what_has_too_many_values_is_not_parsed() -> None:
    assert len(parse_json("[" + "0," * 99_998 + "0]")) == 99_999
    with pytest.raises(ValueError, match="expected 100,000 values at most"):
        parse_json("[" + "0," * 100_000 + "0]")
