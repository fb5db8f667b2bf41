"""Merchants verify with a library that is not ours; so do these tests."""

import hmac
import time
from base64 import b64encode
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from schemas.signature import event_id, secret, signature, signing_key
from store.ids import uuid7

KEYS = st.binary(min_size=24, max_size=64)


@given(KEYS, st.text())
def test_a_signature_verifies_over_the_exact_bytes(key: bytes, text: str) -> None:
    body = text.encode("utf-8", "replace")
    headers = sign([secret(key)], body)
    Webhook(secret(key)).verify(body, headers, json_parse=False)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret(key)).verify(body + b" ", headers, json_parse=False)


@given(KEYS, st.binary(max_size=300))
def test_a_signature_is_the_standard_librarys_hmac(key: bytes, body: bytes) -> None:
    expected = hmac.digest(key, b"evt_1.1700000000." + body, "sha256")
    assert signature([secret(key)], "evt_1", 1_700_000_000, body) == "v1," + b64encode(expected).decode()


@given(KEYS, KEYS)
def test_while_a_secret_rotates_the_old_and_the_new_one_verify(old: bytes, new: bytes) -> None:
    headers = sign([secret(new), secret(old)], b"{}")
    for key in (old, new):
        Webhook(secret(key)).verify(b"{}", headers)
    if b"\0" * 24 not in (old, new):
        with pytest.raises(WebhookVerificationError):
            Webhook(secret(b"\0" * 24)).verify(b"{}", headers)


@given(st.uuids())
def test_an_event_id_is_its_uuid_and_has_no_dot(id_: UUID) -> None:
    assert event_id(id_) == f"evt_{id_.hex}"
    assert "." not in event_id(id_)


@pytest.mark.parametrize(
    ("unusable", "why"),
    [
        ("c2VjcmV0", "whsec_"),
        ("whsec_not base64!", "base64"),
        (secret(b"x" * 23), "23"),
        (secret(b"x" * 65), "65"),
    ],
)
def test_an_unusable_secret_is_refused_without_being_told(unusable: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as raised:
        signing_key(unusable)
    assert unusable.removeprefix("whsec_") not in str(raised.value)


def sign(secrets: list[str], body: bytes) -> dict[str, str]:
    id_, now = event_id(uuid7()), int(time.time())
    return {
        "webhook-id": id_,
        "webhook-timestamp": str(now),
        "webhook-signature": signature(secrets, id_, now, body),
    }
