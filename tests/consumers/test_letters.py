"""What a dead letter holds of its message: masked, storable as text, and cut where the message is too long."""

from collections.abc import Sequence
from hashlib import blake2b

import pytest
from aiokafka import ConsumerRecord

from consumers.letters import Message, dead_letter, message_size, shortened_letter, too_long_reason

PAN = b"4111111111111111"
MASKED = "****************"


def message(
    value: bytes | None = b"{", *, key: bytes | None = None, headers: Sequence[tuple[str, bytes | None]] = ()
) -> Message:
    return ConsumerRecord("updates", 2, 7, 0, 0, key, value, None, -1, -1, tuple(headers))


def test_a_letter_has_its_message_s_place_and_all_that_it_held() -> None:
    letter = dead_letter(message(b"{", key=b"vau:A", headers=[("ce_id", b"1"), ("none", None)]), "no JSON")
    assert (letter.topic, letter.partition, letter.offset, letter.reason) == ("updates", 2, 7, "no JSON")
    assert (letter.key, letter.body, letter.headers) == ("vau:A", b"{", [("ce_id", "1"), ("none", None)])
    assert dead_letter(message(None), "").key is None
    assert dead_letter(message(None), "").body == b""


def test_a_letter_is_the_same_one_by_what_is_kept_of_its_body_alone() -> None:
    """Read again, perhaps by a version that refuses it for another reason, it is kept once."""
    digest = dead_letter(message(PAN), "first").digest
    assert digest == blake2b(MASKED.encode(), digest_size=16).digest()
    assert dead_letter(message(PAN, key=b"k"), "second").digest == digest
    assert dead_letter(message(b"{"), "first").digest != digest


@pytest.mark.parametrize("letter", [dead_letter, shortened_letter])
def test_card_numbers_are_masked_wherever_they_stand(letter: type) -> None:
    kept = letter(message(PAN, key=PAN, headers=[(f"x-{PAN.decode()}", PAN)]), f"what is {PAN.decode()}")
    assert (kept.key, kept.reason) == (MASKED, f"what is {MASKED}")
    assert kept.headers == [(f"x-{MASKED}", MASKED)]
    assert kept.body.decode().startswith(MASKED)


def test_digits_that_the_settings_call_ids_stay_in_the_body_alone() -> None:
    body = b'{"vendor": "vau", "old": {"token": "' + PAN + b'"}}'
    kept = dead_letter(message(body, key=PAN, headers=[("x", PAN)]), "refused", frozenset({"vau"}))
    assert kept.body == body
    assert (kept.key, kept.headers) == (MASKED, [("x", MASKED)])


@pytest.mark.parametrize("letter", [dead_letter, shortened_letter])
def test_a_message_without_a_key_or_a_header_without_a_value_is_kept_so(letter: type) -> None:
    kept = letter(message(headers=[("x", None), ("y", b"")]), "refused")
    assert (kept.key, kept.headers) == (None, [("x", None), ("y", "")])


@pytest.mark.parametrize("letter", [dead_letter, shortened_letter])
def test_what_no_text_holds_is_escaped(letter: type) -> None:
    kept = letter(message(key=b"k\0", headers=[("h\0\udcff", b"v\0")]), "r\0\udcff")
    assert kept.key == "k\\x00"
    assert kept.headers == [("h\\x00\\udcff", "v\\x00")]
    assert kept.reason == "r\\x00\\udcff"


def test_a_reason_is_one_line_of_a_list() -> None:
    assert len(dead_letter(message(), "r" * 1000).reason) == 1000
    assert len(dead_letter(message(), "r" * 1001).reason) == 1000


def test_keys_and_the_names_and_contents_of_headers_count() -> None:
    assert message_size(message(b"12345", key=b"123", headers=[("12", b"1234567"), ("1", None)])) == 18
    assert message_size(message(None)) == 0
    assert too_long_reason(1_048_577) == "message: expected at most 1048576 bytes, unpacked, not 1048577"


def test_of_what_is_too_long_the_beginning_is_kept() -> None:
    headers = [(f"h{number}", b"v" * 5000) for number in range(20)]
    kept = shortened_letter(message(b"x" * 5000, key=b"k" * 4096, headers=headers), "too long")
    assert kept.key == "k" * 4096
    assert [name for name, _ in kept.headers] == [f"h{number}" for number in range(16)]
    assert {content for _, content in kept.headers} == {"v" * 4096}
    assert kept.body.decode() == "x" * 4096 + "… (5000 bytes)"
    assert shortened_letter(message(key=b"k" * 4609), "").key == "k" * 4096
    assert shortened_letter(message(b"x" * 4096), "").body.decode() == "x" * 4096 + "… (4096 bytes)"


@pytest.mark.parametrize("size", [4095, 4096, 4097, 4200, 4607, 4608, 4609, 9000])
def test_as_much_is_kept_of_a_text_that_is_little_longer(size: int) -> None:
    text = b"".join(b"%05d," % number for number in range(1500))[:size]
    kept = shortened_letter(message(text, key=text, headers=[(text.decode(), text)]), "too long")
    beginning = text[:4096].decode()
    assert (kept.key, kept.headers) == (beginning, [(beginning, beginning)])
    assert kept.body.decode() == f"{beginning}… ({size} bytes)"


@pytest.mark.parametrize("shown", range(4, 16))
def test_a_card_number_that_the_cut_goes_through_is_masked(shown: int) -> None:
    """`shown` digits are before the cut of the stored text, or before that of the searched text."""
    for cut in (4096, 4608):
        text = (b"-" * (cut - shown) + PAN).ljust(5000, b"-")
        kept = shortened_letter(message(text, key=text, headers=[(text.decode(), text)]), "too long")
        beginning = ("-" * (cut - shown) + MASKED)[:4096]
        assert kept.key == beginning
        assert kept.headers == [(beginning, beginning)]
        assert kept.body.decode() == beginning + "… (5000 bytes)"
