"""`v1a` signatures: another implementation's vector, the standard's text, and the example for merchants."""

import time
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook
from svix.webhooks import Webhook as SvixWebhook

from schemas.sealing import Key
from schemas.signature import secret, signature
from schemas.signing_keys import NO_SIGNING_KEYS, SigningKeys, public_key, sign

PAGE = Path(__file__).parents[2] / "docs" / "webhooks.md"
V1, V2 = (Key(version, digits * 32) for version, digits in (("v1", b"\x11"), ("v2", b"\x22")))
SECRET = secret(bytes(range(32)))


def test_a_signature_and_a_public_key_are_those_of_another_sender() -> None:
    """The vector of Svix's server, which the standard's own example of headers shows."""
    pair = b64decode("6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==")
    private = Ed25519PrivateKey.from_private_bytes(pair[:32])
    signed = b'msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}'
    assert public_key(private) == "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
    assert sign(private, signed) == (
        "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
    )


def test_a_pair_stays_the_same_for_ever() -> None:
    """Merchants keep the public key: a version that derived another one would lock them out."""
    [shown] = SigningKeys([V1]).public_keys("m-pharmacy/main")
    assert shown == ("v1", "whpk_WvZaEejliPVW73MtO9bVyYc7CSOal1nDLzjzz3pGSi0=")


@given(st.text(max_size=50), st.binary(max_size=300))
def test_each_key_signs_and_its_public_key_verifies_that_alone(endpoint_id: str, body: bytes) -> None:
    keys = SigningKeys([V1, V2])
    signatures = keys.signatures(endpoint_id, "evt_1", 1_700_000_000, body)
    assert len(signatures) == 2
    for number, (version, text) in enumerate(keys.public_keys(endpoint_id)):
        assert version == ("v1", "v2")[number]
        public = Ed25519PublicKey.from_public_bytes(b64decode(text.removeprefix("whpk_")))
        made = [b64decode(signature.removeprefix("v1a,")) for signature in signatures]
        public.verify(made[number], b"evt_1.1700000000." + body)
        with pytest.raises(InvalidSignature):
            public.verify(made[1 - number], b"evt_1.1700000000." + body)
        with pytest.raises(InvalidSignature):
            public.verify(made[number], b"evt_1.1700000000." + body + b" ")


def test_two_endpoints_have_no_pair_in_common() -> None:
    keys = SigningKeys([V1, V2])
    shown = [text for id_ in ("a", "b", "a ", "a\n", "") for _, text in keys.public_keys(id_)]
    assert len(set(shown)) == 10
    assert not NO_SIGNING_KEYS
    assert NO_SIGNING_KEYS.signatures("a", "evt_1", 1, b"") == []
    assert "11" * 8 not in f"{keys!r} {keys}"
    assert repr(keys) == "SigningKeys(['v1', 'v2'])"


def both(endpoint_id: str, body: bytes, at: int) -> dict[str, str]:
    """The headers of a request that is signed in both ways."""
    symmetric = signature([SECRET], "evt_1", at, body)
    asymmetric = SigningKeys([V1, V2]).signatures(endpoint_id, "evt_1", at, body)
    return {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(at),
        "webhook-signature": " ".join([symmetric, *asymmetric]),
    }


def test_libraries_that_do_not_know_the_version_verify_the_other_signature() -> None:
    headers = both("a", b"{}", int(time.time()))
    first, *others = headers["webhook-signature"].split(" ")
    for signatures in ([first, *others], [*others, first]):
        sent = headers | {"webhook-signature": " ".join(signatures)}
        Webhook(SECRET).verify(b"{}", sent)
        SvixWebhook(SECRET).verify(b"{}", sent)


def test_the_example_for_merchants_verifies_and_refuses() -> None:
    section = PAGE.read_text().partition("### With a public key")[2].partition("\n### ")[0]
    example: dict[str, Any] = {}
    exec(section.partition("```python\n")[2].partition("```")[0], example)  # noqa: S102 - our own page
    verify = example["verify"]
    headers = both("a", b'{"id": 1}', int(time.time()))
    for _, key in SigningKeys([V1, V2]).public_keys("a"):
        assert verify(key, headers, b'{"id": 1}')
        assert not verify(key, headers, b'{"id": 2}')
        assert not verify(key, headers | {"webhook-id": "evt_2"}, b'{"id": 1}')
        assert not verify(
            key, headers | {"webhook-signature": headers["webhook-signature"].split(" ")[0]}, b'{"id": 1}'
        )
        assert not verify(key, both("a", b'{"id": 1}', int(time.time()) - 400), b'{"id": 1}')
        assert not verify(key, headers | {"webhook-signature": "v1a,AAAA v1a,=a v1a v1,AAAA"}, b'{"id": 1}')
        assert verify(key, headers | {"webhook-signature": f"v1a,=a {headers['webhook-signature']}"}, b'{"id": 1}')
        assert not verify(key, both("b", b'{"id": 1}', int(time.time())), b'{"id": 1}')
