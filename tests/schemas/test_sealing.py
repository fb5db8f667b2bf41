"""Sealed secrets: opened with the right key, for the right endpoint and kind, and shown nowhere."""

import traceback
from base64 import b64decode, b64encode

import pytest

from schemas.sealing import BUILT_IN, CannotOpen, Key, Keys, key_version

SECRET = "whsec_c2VjcmV0IG9mIGEgbWVyY2hhbnQ="
V1, V2 = Key("v1", bytes(range(32))), Key("v2", bytes(range(32, 64)))
OLD, NEW = Keys([V1]), Keys([V2, V1])


def test_what_is_sealed_opens_and_says_its_key_alone() -> None:
    sealed = OLD.seal(SECRET, "secret", "m/main")
    assert sealed.startswith("sealed:v1:")
    assert key_version(sealed) == "v1"
    assert OLD.open(sealed, "secret", "m/main") == SECRET
    assert SECRET.encode() not in b64decode(sealed.split(":")[2])


def test_sealing_again_gives_another_text() -> None:
    assert len({OLD.seal(SECRET, "secret", "m") for _ in range(100)}) == 100


def test_the_first_key_seals_and_all_open() -> None:
    assert NEW.current_version == "v2"
    assert NEW.open(OLD.seal(SECRET, "secret", "m"), "secret", "m") == SECRET
    sealed = NEW.seal("größer", "secret", "m")
    assert NEW.open(sealed, "secret", "m") == "größer"
    with pytest.raises(CannotOpen, match="there is no key of version v2"):
        OLD.open(sealed, "secret", "m")


def changed(sealed: str, at: int) -> str:
    data = bytearray(b64decode(sealed.rpartition(":")[2]))
    data[at] ^= 1
    return f"sealed:v1:{b64encode(data).decode()}"


SEALED = OLD.seal(SECRET, "secret", "m")


@pytest.mark.parametrize(
    ("sealed", "endpoint_id", "why"),
    [
        (SEALED, "n", "the key of version v1 does not open it"),
        (changed(SEALED, 0), "m", "the key of version v1 does not open it"),
        (changed(SEALED, 12), "m", "the key of version v1 does not open it"),
        (changed(SEALED, -1), "m", "the key of version v1 does not open it"),
        ("sealed:v1:", "m", "the key of version v1 does not open it"),
        ("sealed:v1:AAAA", "m", "the key of version v1 does not open it"),
        ("sealed:v1:not base64", "m", "the key of version v1 does not open it"),
        (Keys([Key("v1", bytes(32))]).seal(SECRET, "secret", "m"), "m", "the key of version v1 does not open it"),
        (SECRET, "m", "it is not sealed"),
    ],
    ids=range(9),  # the sealed texts are others in each process that collects the tests
)
def test_what_was_changed_or_moved_or_never_sealed_does_not_open(sealed: str, endpoint_id: str, why: str) -> None:
    with pytest.raises(CannotOpen) as refused:
        OLD.open(sealed, "secret", endpoint_id)
    assert str(refused.value) == why
    shown = "".join(traceback.format_exception(refused.value))
    assert SECRET not in shown
    assert sealed.rpartition(":")[2] not in shown or sealed == "sealed:v1:"


def test_a_key_and_keys_show_their_versions_alone() -> None:
    for shown in (repr(V1), str([V1]), repr(NEW), str(NEW), f"{BUILT_IN}"):
        assert V1.key.hex() not in shown
        assert "\\x01" not in shown
        assert "repoint-built-in" not in shown
    assert repr(NEW) == "Keys(['v2', 'v1'])"


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Key("v1", bytes(16))


def test_a_text_is_decrypted_once() -> None:
    keys = Keys([V1])
    for _ in range(3):
        keys.open(SEALED, "secret", "m")
    assert keys._open.cache_info().misses == 1
