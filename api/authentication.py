"""Authentication of posted feeds: a table of each vendor's own scheme.

A vendor's signature is checked over the bytes as received. If the signature covers a time, a signature older than five
minutes is refused, so that a recorded request cannot be replayed. If it covers no time, a replayed request changes
nothing: the inbox knows its updates. Vendors that do not sign send a shared secret. All comparisons take constant time.

Stripe, Adyen, GoCardless, Checkout.com, NMI and CyberSource document their signatures. Braintree's is read from its
own client. NMI documents its `t` as a nonce, so its age is not checked.
"""

import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from schemas.feeds.feed import Feed, Layout

WINDOW_SECONDS = 300
"""Greatest age of a signature, and greatest lead of the vendor's clock; the tolerance of Stripe's own clients."""

# A vendor sends one signature for each of its keys: two while keys rotate. Each costs two comparisons.
_MOST_SIGNATURES = 20
# Characters of a secret, or bytes of a key: an attacker may guess without limit.
_SHORTEST_SECRET = 16

JSON, CSV, FORM = "application/json", "text/csv", "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class PostedRequest:
    """A request: its headers (case-insensitive), the fields of its query and form, its body, and the content type.

    `repr` shows the content type alone, because every other field may hold a secret.
    """

    headers: Mapping[str, str] = field(repr=False)
    query: Mapping[str, str] = field(repr=False)
    form: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    written_as: str = JSON


@dataclass(frozen=True, slots=True)
class SignedHeader:
    """HMAC-SHA256 of the body in a header, alone or among `name=value` parts.

    `separator` splits the header into parts. `mark` names the parts that hold a signature. `before` names the part that
    is signed with the body, as `before.body`. If that part is a time, it counts `ticks` a second.
    """

    header: str
    key: Callable[[str], bytes]
    written: Callable[[bytes], str]
    separator: str | None = None
    mark: str = ""
    before: str = ""
    ticks: int | None = None

    def proves(self, posted: PostedRequest, secret: str, now: float) -> bool:
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

    def expected(self, posted: PostedRequest) -> str:
        signed = "the body" if not self.before else f"`{self.before}` of the header, a dot and the body"
        written = "" if self.separator is None else f", as {self.before}=…{self.separator}{self.mark}=…"
        recent = "" if self.ticks is None else f", not older than {WINDOW_SECONDS // 60} minutes"
        missing = "" if self.header in posted.headers else "; the request has no such header"
        return f"expected the header {self.header}: HMAC-SHA256 of {signed}{written}{recent}{missing}"


@dataclass(frozen=True, slots=True)
class SignedForm:
    """Braintree's scheme: `bt_signature` is `public key|HMAC-SHA1 of bt_payload`, one for each key, joined by `&`.

    The secret is `public key:private key`.
    """

    def proves(self, posted: PostedRequest, secret: str, _now: float) -> bool:
        public, _, private = secret.partition(":")
        key = hashlib.sha1(private.encode()).digest()  # noqa: S324  Braintree's scheme
        payload = posted.form.get("bt_payload", "").encode()
        pairs = posted.form.get("bt_signature", "").split("&", _MOST_SIGNATURES)[:_MOST_SIGNATURES]
        offered = [pair.partition("|") for pair in pairs]
        # Braintree's client checks both: a form may lose the end of the last line
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

    def expected(self, posted: PostedRequest) -> str:
        missing = "" if "bt_signature" in posted.form else "; the form has no such field"
        return f"expected the field bt_signature: public key, | and HMAC-SHA1 of bt_payload{missing}"


@dataclass(frozen=True, slots=True)
class SharedSecret:
    """A shared secret in the request: a bearer token, or `user:password` of basic authentication.

    With `in_query` also `?token=…` of the URL, for vendors that send no header of ours. Proxies may log it.
    """

    in_query: bool = False

    def proves(self, posted: PostedRequest, secret: str, _now: float) -> bool:
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

    def expected(self, posted: PostedRequest) -> str:
        in_query = ", or ?token=… of the URL" if self.in_query else ""
        missing = "" if "Authorization" in posted.headers else "; the request has no such header"
        return f"expected the header Authorization: Bearer, or Basic, with this feed's secret{in_query}{missing}"


def _base64(secret: str) -> bytes:
    return b64decode(secret, validate=True)


def _in_base64(digest: bytes) -> str:
    return b64encode(digest).decode()


_CYBERSOURCE = SignedHeader("v-c-signature", _base64, _in_base64, ";", mark="sig", before="t", ticks=1000)

SCHEMES: Mapping[str, SignedHeader | SignedForm | SharedSecret] = {
    "adyen": SignedHeader("HmacSignature", bytes.fromhex, _in_base64),
    # Google and Apple send no header of ours. The program that decrypts Google's message must verify it.
    "apple-pay": SharedSecret(in_query=True),
    "braintree": SignedForm(),
    "checkout": SignedHeader("Cko-Signature", str.encode, bytes.hex),
    "cybersource": _CYBERSOURCE,
    "gocardless": SignedHeader("Webhook-Signature", str.encode, bytes.hex),
    "google-pay": SharedSecret(in_query=True),
    "nmi": SignedHeader("Webhook-Signature", str.encode, bytes.hex, ",", mark="s", before="t"),
    "stripe": SignedHeader("Stripe-Signature", str.encode, bytes.hex, ",", mark="v1", before="t", ticks=1),
    "visa-tms": _CYBERSOURCE,
}
"""By feed. Adyen's real-time updater uses a shared secret: its signature does not cover the fields that are read."""

_DEFAULT_SCHEME = SharedSecret()


def proves(feed: str, posted: PostedRequest, secrets: Sequence[str], now: float) -> bool:
    """Whether one of the feed's `secrets` (two while they rotate) authenticates `posted` at the Unix time `now`."""
    scheme = SCHEMES.get(feed, _DEFAULT_SCHEME)
    return any(scheme.proves(posted, secret, now) for secret in secrets)


def problem(feed: str, secret: str) -> str | None:
    """Why the feed cannot use `secret`, without the secret itself; None if it can."""
    return SCHEMES.get(feed, _DEFAULT_SCHEME).problem(secret)


def challenge(feed: str) -> str:
    """The value of WWW-Authenticate: the feed's schemes, and the header or field that each expects."""
    return SCHEMES.get(feed, _DEFAULT_SCHEME).challenge(feed)


def expected(feed: str, posted: PostedRequest) -> str:
    """The proof that was expected of the vendor, without any value of `posted`."""
    return SCHEMES.get(feed, _DEFAULT_SCHEME).expected(posted)


def content_types(feed: Feed) -> tuple[str, ...]:
    """The content types in which the feed can be posted; none if it comes only in files.

    A vendor that signs posts only its webhooks. With a shared secret, an operator may post the vendor's file as well.
    """
    scheme = SCHEMES.get(feed.name, _DEFAULT_SCHEME)
    if feed.layout is not Layout.RECORDS:
        return ()
    if isinstance(scheme, SignedForm):
        return (FORM,)
    return (JSON, CSV) if feed.is_table and isinstance(scheme, SharedSecret) else (JSON,)


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
