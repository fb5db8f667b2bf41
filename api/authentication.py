"""Who posted a feed: each vendor's own way to prove it, as a table.

Where a vendor signs what it sends, its signature is checked over the bytes as they came. Where the signature covers a
time, one older than five minutes is refused, so that a request that somebody recorded cannot be sent again later;
where it covers none, a repeated request tells nothing new (the inbox knows it). Vendors that do not sign send a secret
that both sides know. No comparison takes longer for being nearly right.

How Stripe, Adyen, GoCardless, Checkout.com, NMI and CyberSource sign is in their documentation, how Braintree does in
its own client. NMI's `t` is documented as a nonce, so nothing is concluded from it.
"""

import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from schemas.feeds.feed import Feed, Layout

WINDOW_SECONDS = 300
"""How old a signature may be, and how far ahead the vendor's clock; what Stripe's own clients take."""

# Characters of a secret, or bytes of a key. Both are guessed at from outside, as often as one likes.
# A vendor sends one for each of its keys, two while one replaces the other; each costs two comparisons.
_MOST_SIGNATURES = 20
_SHORTEST_SECRET = 16

JSON, CSV, FORM = "application/json", "text/csv", "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Posted:
    """A request: its headers whatever their case, the fields of its query and of its form, its bytes, and their type.

    A secret may be in any of them but the last, so its `repr` shows none.
    """

    headers: Mapping[str, str] = field(repr=False)
    query: Mapping[str, str] = field(repr=False)
    form: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    written_as: str = JSON


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
            written = value.split(self.separator, _MOST_SIGNATURES)[:_MOST_SIGNATURES]
            parts = [part.strip().partition("=") for part in written]
            offered = [text for name, _, text in parts if name == self.mark]
            first = next((text for name, _, text in parts if name == self.before), "")
            if self.ticks is not None and not _is_recent(first, self.ticks, now):
                return False
            signed = _bytes(first) + b"." + signed
        expected = self.written(hmac.digest(self.key(secret), signed, hashlib.sha256))
        return any(_same(expected, candidate) for candidate in offered)

    def problem(self, secret: str) -> str | None:
        try:
            key = self.key(secret)
        except ValueError:
            return "expected the key as the vendor shows it"
        return None if len(key) >= _SHORTEST_SECRET else f"expected a key of {_SHORTEST_SECRET} bytes or more"

    def challenge(self, feed: str) -> str:
        return f'HMAC-SHA256 realm="{feed}", header="{self.header}"'

    def expected(self, posted: Posted) -> str:
        signed = "the body" if not self.before else f"`{self.before}` of the header, a dot and the body"
        written = "" if self.separator is None else f", as {self.before}=…{self.separator}{self.mark}=…"
        recent = "" if self.ticks is None else f", not older than {WINDOW_SECONDS // 60} minutes"
        missing = "" if self.header in posted.headers else "; the request has no such header"
        return f"expected the header {self.header}: HMAC-SHA256 of {signed}{written}{recent}{missing}"


@dataclass(frozen=True, slots=True)
class SignedForm:
    """Braintree's: `bt_signature` is `public key|HMAC-SHA1 of bt_payload`, one for each key, joined by `&`.

    The secret is `public key:private key`.
    """

    def proves(self, posted: Posted, secret: str, _now: float) -> bool:
        public, _, private = secret.partition(":")
        key = hashlib.sha1(private.encode()).digest()  # noqa: S324  what Braintree does
        payload = posted.form.get("bt_payload", "").encode()
        pairs = posted.form.get("bt_signature", "").split("&", _MOST_SIGNATURES)[:_MOST_SIGNATURES]
        offered = [pair.partition("|") for pair in pairs]
        # the client's own check: the last line's end may have been lost on the way
        expected = [hmac.new(key, signed, hashlib.sha1).hexdigest() for signed in (payload, payload + b"\n")]
        return any(
            _same(digest, signature) & _same(public, name) for name, _, signature in offered for digest in expected
        )

    def problem(self, secret: str) -> str | None:
        public, _, private = secret.partition(":")
        if not public or not private:
            return "expected the public key, a colon and the private key"
        if len(private) < _SHORTEST_SECRET:
            return f"expected a private key of {_SHORTEST_SECRET} characters or more"
        return None

    def challenge(self, feed: str) -> str:
        return f'HMAC-SHA1 realm="{feed}", field="bt_signature"'

    def expected(self, posted: Posted) -> str:
        missing = "" if "bt_signature" in posted.form else "; the form has no such field"
        return f"expected the field bt_signature: public key, | and HMAC-SHA1 of bt_payload{missing}"


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
        return None if len(secret) >= _SHORTEST_SECRET else f"expected {_SHORTEST_SECRET} characters or more"

    def challenge(self, feed: str) -> str:
        return f'Bearer realm="{feed}", Basic realm="{feed}"'

    def expected(self, posted: Posted) -> str:
        in_query = ", or ?token=… of the URL" if self.in_query else ""
        missing = "" if "Authorization" in posted.headers else "; the request has no such header"
        return f"expected the header Authorization: Bearer, or Basic, with this feed's secret{in_query}{missing}"


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

_DEFAULT_SCHEME = Shared()


def proves(feed: str, posted: Posted, secrets: Sequence[str], now: float) -> bool:
    """Whether one of the feed's `secrets` (two, while one takes the other's place) proves `posted`, at Unix time."""
    scheme = SCHEMES.get(feed, _DEFAULT_SCHEME)
    return any(scheme.proves(posted, secret, now) for secret in secrets)


def problem(feed: str, secret: str) -> str | None:
    """What was expected of a secret in place of this one, without the secret; None where it can be used."""
    return SCHEMES.get(feed, _DEFAULT_SCHEME).problem(secret)


def challenge(feed: str) -> str:
    """The value of WWW-Authenticate: the schemes by which the feed's vendor proves itself, and in which header."""
    return SCHEMES.get(feed, _DEFAULT_SCHEME).challenge(feed)


def expected(feed: str, posted: Posted) -> str:
    """What would have proved that the vendor sent `posted`; nothing that it holds is in it."""
    return SCHEMES.get(feed, _DEFAULT_SCHEME).expected(posted)


def content_types(feed: Feed) -> tuple[str, ...]:
    """What the feed can be posted as; nothing, if it comes in files alone.

    A vendor that signs posts its webhooks and nothing else. Where a secret is sent along, whoever holds it may post
    the vendor's file as well.
    """
    scheme = SCHEMES.get(feed.name, _DEFAULT_SCHEME)
    if feed.layout is not Layout.RECORDS:
        return ()
    if isinstance(scheme, SignedForm):
        return (FORM,)
    return (JSON, CSV) if feed.is_table and isinstance(scheme, Shared) else (JSON,)


def _is_recent(stamp: str, ticks: int, now: float) -> bool:
    return re.fullmatch(r"\d{1,16}", stamp, re.ASCII) is not None and abs(int(stamp) / ticks - now) <= WINDOW_SECONDS


def _plain(credentials: str) -> str:
    try:
        return b64decode(credentials, validate=True).decode()
    except ValueError:  # no base64, no ASCII, or no UTF-8 inside
        return ""


def _same(expected: str, offered: str) -> bool:
    return hmac.compare_digest(_bytes(expected), _bytes(offered))


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")
