"""Who posted a feed: each vendor's own way to prove it, as a table.

Where a vendor signs what it sends, its signature is checked over the bytes as they came. Where the signature covers a
time, one older than five minutes is refused, so that a request that somebody recorded cannot be sent again later;
where it covers none, a repeated request tells nothing new (the inbox knows it). Vendors that do not sign send a secret
that both sides know. No comparison takes longer for being nearly right.

How Stripe, Adyen, GoCardless, Checkout.com, NMI and CyberSource sign is in their documentation, how Braintree does in
its own client. NMI's `t` is documented as a nonce, so nothing is concluded from it.
"""

import binascii
import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

WINDOW_SECONDS = 300
"""How old a signature may be, and how far ahead the vendor's clock; what Stripe's own clients take."""

# A shared token is guessed at from outside, as often as one likes.
_SHORTEST_TOKEN = 16

_FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Posted:
    """A request: its headers whatever their case, the fields of its query and of its form, and its bytes."""

    headers: Mapping[str, str]
    query: Mapping[str, str]
    form: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Signed:
    """HMAC-SHA256 of the body in a header, alone or among `name=value` parts.

    `separator` cuts the header; `mark` is the part (there may be several) with the signature, `before` the one that is
    signed with the body, as `before.body`. Where that is a time, it ticks `ticks` times a second.
    """

    header: str
    key: Callable[[str], bytes]
    written: Callable[[bytes], str]
    separator: str | None = None
    mark: str = ""
    before: str = ""
    ticks: int | None = None

    def proves(self, posted: Posted, secret: str, now: float) -> bool:
        value = posted.headers.get(self.header, "")
        signed, offered = posted.body, [value]
        if self.separator is not None:
            parts = [part.strip().partition("=") for part in value.split(self.separator)]
            offered = [text for name, _, text in parts if name == self.mark]
            first = next((text for name, _, text in parts if name == self.before), "")
            if self.ticks is not None and not _is_recent(first, self.ticks, now):
                return False
            signed = _bytes(first) + b"." + signed
        expected = self.written(hmac.digest(self.key(secret), signed, hashlib.sha256))
        return any(_same(expected, each) for each in offered)

    def problem(self, secret: str) -> str | None:
        try:
            return None if self.key(secret) else "expected a key"
        except ValueError:
            return "expected the key as the vendor shows it"


@dataclass(frozen=True, slots=True)
class SignedForm:
    """Braintree's: `bt_signature` is `public key|HMAC-SHA1 of bt_payload`, one for each key, joined by `&`.

    The secret is `public key:private key`.
    """

    def proves(self, posted: Posted, secret: str, _now: float) -> bool:
        public, _, private = secret.partition(":")
        key = hashlib.sha1(private.encode()).digest()  # noqa: S324  what Braintree does
        payload = posted.form.get("bt_payload", "").encode()
        offered = [pair.partition("|") for pair in posted.form.get("bt_signature", "").split("&")]
        # the client's own check: the last line's end may have been lost on the way
        expected = [hmac.new(key, each, hashlib.sha1).hexdigest() for each in (payload, payload + b"\n")]
        return any(_same(each, signature) & _same(public, name) for name, _, signature in offered for each in expected)

    def problem(self, secret: str) -> str | None:
        public, _, private = secret.partition(":")
        return None if public and private else "expected the public key, a colon and the private key"


@dataclass(frozen=True, slots=True)
class Shared:
    """A secret that is sent along: a bearer token, or `user:password` of basic authentication.

    `in_query`: also as `?token=…` of the URL, for vendors that call a URL and add nothing to it. Proxies may log that.
    """

    in_query: bool = False

    def proves(self, posted: Posted, secret: str, _now: float) -> bool:
        kind, _, credentials = posted.headers.get("Authorization", "").partition(" ")
        offered = credentials.strip()
        if kind.lower() == "basic":
            offered = _plain(offered)
        elif kind.lower() != "bearer":
            offered = posted.query.get("token", "") if self.in_query else ""
        return _same(secret, offered)

    def problem(self, secret: str) -> str | None:
        return None if len(secret) >= _SHORTEST_TOKEN else f"expected {_SHORTEST_TOKEN} characters or more"


def _base64(secret: str) -> bytes:
    return b64decode(secret, validate=True)


def _in_base64(digest: bytes) -> str:
    return b64encode(digest).decode()


_CYBERSOURCE = Signed("v-c-signature", _base64, _in_base64, ";", mark="sig", before="t", ticks=1000)

SCHEMES: Mapping[str, Signed | SignedForm | Shared] = {
    "adyen": Signed("HmacSignature", bytes.fromhex, _in_base64),
    # Google and Apple add nothing of ours; what they send is verified by who decrypts it, or fetched from Apple
    "apple-pay": Shared(in_query=True),
    "braintree": SignedForm(),
    "checkout": Signed("Cko-Signature", str.encode, bytes.hex),
    "cybersource": _CYBERSOURCE,
    "gocardless": Signed("Webhook-Signature", str.encode, bytes.hex),
    "google-pay": Shared(in_query=True),
    "nmi": Signed("Webhook-Signature", str.encode, bytes.hex, ",", mark="s", before="t"),
    "stripe": Signed("Stripe-Signature", str.encode, bytes.hex, ",", mark="v1", before="t", ticks=1),
    "visa-tms": _CYBERSOURCE,
}
"""By feed. Adyen's real-time updater is not signed here: its signature does not cover what is read of it."""

_REST = Shared()


def proves(feed: str, posted: Posted, secrets: Sequence[str], now: float) -> bool:
    """Whether one of the feed's `secrets` (two, while one takes the other's place) proves `posted`, at Unix time."""
    scheme = SCHEMES.get(feed, _REST)
    return any(scheme.proves(posted, secret, now) for secret in secrets)


def problem(feed: str, secret: str) -> str | None:
    """What was expected of a secret in place of this one, without the secret; None where it can be used."""
    return SCHEMES.get(feed, _REST).problem(secret)


def content_type(feed: str) -> str:
    """What the vendor sends."""
    return _FORM if isinstance(SCHEMES.get(feed), SignedForm) else "application/json"


def _is_recent(stamp: str, ticks: int, now: float) -> bool:
    return re.fullmatch(r"\d{1,16}", stamp, re.ASCII) is not None and abs(int(stamp) / ticks - now) <= WINDOW_SECONDS


def _plain(credentials: str) -> str:
    try:
        return b64decode(credentials, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(_bytes(one), _bytes(other))


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")
