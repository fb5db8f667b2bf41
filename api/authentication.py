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
    content_type: str = JSON


@dataclass(frozen=True, slots=True)
class SignedHeader:
    """HMAC-SHA256 of the body in a header, alone or among `name=value` parts.

    `decode_key` makes the key from the secret, `encode` the text of a signature. `separator` splits the header into
    parts. Parts named `mac_part` hold a signature. The part named `prefix_part` is signed with the body, a dot
    between them. It is a time if it has `ticks_per_second`.
    """

    header: str
    decode_key: Callable[[str], bytes]
    encode: Callable[[bytes], str]
    separator: str | None = None
    mac_part: str = ""
    prefix_part: str = ""
    ticks_per_second: int | None = None

    def proves(self, posted: PostedRequest, secret: str, now: float) -> bool:
        value = posted.headers.get(self.header, "")
        content, signatures = posted.body, [value]
        if self.separator is not None:
            texts = value.split(self.separator, _MOST_SIGNATURES)[:_MOST_SIGNATURES]
            parts = [part.strip().partition("=") for part in texts]
            signatures = [text for name, _, text in parts if name == self.mac_part]
            prefix = next((text for name, _, text in parts if name == self.prefix_part), "")
            if self.ticks_per_second is not None and not _is_recent(prefix, self.ticks_per_second, now):
                return False
            content = _bytes(prefix) + b"." + content
        expected = self.encode(hmac.digest(self.decode_key(secret), content, hashlib.sha256))
        return any(_same(expected, signature) for signature in signatures)

    def secret_problem(self, secret: str) -> str | None:
        try:
            key = self.decode_key(secret)
        except ValueError:
            return "expected the key as the vendor shows it"
        return None if len(key) >= _SHORTEST_SECRET else f"expected a key of {_SHORTEST_SECRET} bytes or more"

    def challenge(self, feed: str) -> str:
        return f'HMAC-SHA256 realm="{feed}", header="{self.header}"'

    def expected(self, posted: PostedRequest) -> str:
        name = self.prefix_part
        content = f"`{name}` of the header, a dot and the body" if name else "the body"
        form = "" if self.separator is None else f", as {name}=…{self.separator}{self.mac_part}=…"
        age = "" if self.ticks_per_second is None else f", not older than {WINDOW_SECONDS // 60} minutes"
        missing = "" if self.header in posted.headers else "; the request has no such header"
        return f"expected the header {self.header}: HMAC-SHA256 of {content}{form}{age}{missing}"


@dataclass(frozen=True, slots=True)
class SignedForm:
    """Braintree's scheme: `bt_signature` is `public key|HMAC-SHA1 of bt_payload`, one for each key, joined by `&`.

    The secret is `public key:private key`.
    """

    def proves(self, posted: PostedRequest, secret: str, _now: float) -> bool:
        public, _, private = secret.partition(":")
        key = hashlib.sha1(private.encode()).digest()  # noqa: S324  Braintree's scheme
        payload = posted.form.get("bt_payload", "").encode()
        texts = posted.form.get("bt_signature", "").split("&", _MOST_SIGNATURES)[:_MOST_SIGNATURES]
        pairs = [text.partition("|") for text in texts]
        # Braintree's client checks both: a form may lose the end of the last line
        expected = [hmac.new(key, content, hashlib.sha1).hexdigest() for content in (payload, payload + b"\n")]
        return any(
            _same(digest, signature) & _same(public, name) for name, _, signature in pairs for digest in expected
        )

    def secret_problem(self, secret: str) -> str | None:
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
        token = credentials.strip()
        if kind.lower() == "basic":
            token = _decode_basic(token)
        elif kind.lower() != "bearer":
            token = posted.query.get("token", "") if self.in_query else ""
        return _same(secret, token)

    def secret_problem(self, secret: str) -> str | None:
        return None if len(secret) >= _SHORTEST_SECRET else f"expected {_SHORTEST_SECRET} characters or more"

    def challenge(self, feed: str) -> str:
        return f'Bearer realm="{feed}", Basic realm="{feed}"'

    def expected(self, posted: PostedRequest) -> str:
        in_query = ", or ?token=… of the URL" if self.in_query else ""
        missing = "" if "Authorization" in posted.headers else "; the request has no such header"
        return f"expected the header Authorization: Bearer, or Basic, with this feed's secret{in_query}{missing}"


def _decode_base64(secret: str) -> bytes:
    return b64decode(secret, validate=True)


def _encode_base64(digest: bytes) -> str:
    return b64encode(digest).decode()


_CYBERSOURCE = SignedHeader(
    "v-c-signature",
    _decode_base64,
    _encode_base64,
    ";",
    mac_part="sig",
    prefix_part="t",
    ticks_per_second=1000,
)

SCHEMES: Mapping[str, SignedHeader | SignedForm | SharedSecret] = {
    "adyen": SignedHeader("HmacSignature", bytes.fromhex, _encode_base64),
    # Google and Apple send no header of ours. The program that decrypts Google's message must verify it.
    "apple-pay": SharedSecret(in_query=True),
    "braintree": SignedForm(),
    "checkout": SignedHeader("Cko-Signature", str.encode, bytes.hex),
    "cybersource": _CYBERSOURCE,
    "gocardless": SignedHeader("Webhook-Signature", str.encode, bytes.hex),
    "google-pay": SharedSecret(in_query=True),
    "nmi": SignedHeader("Webhook-Signature", str.encode, bytes.hex, ",", mac_part="s", prefix_part="t"),
    "stripe": SignedHeader(
        "Stripe-Signature", str.encode, bytes.hex, ",", mac_part="v1", prefix_part="t", ticks_per_second=1
    ),
    "visa-tms": _CYBERSOURCE,
}
"""By feed. Adyen's real-time updater uses a shared secret: its signature does not cover the fields that are read."""

_DEFAULT_SCHEME = SharedSecret()


def proves(feed: str, posted: PostedRequest, secrets: Sequence[str], now: float) -> bool:
    """Whether one of the feed's `secrets` (two while they rotate) authenticates `posted` at the Unix time `now`."""
    scheme = SCHEMES.get(feed, _DEFAULT_SCHEME)
    return any(scheme.proves(posted, secret, now) for secret in secrets)


def secret_problem(feed: str, secret: str) -> str | None:
    """Why the feed cannot use `secret`, without the secret itself; None if it can."""
    return SCHEMES.get(feed, _DEFAULT_SCHEME).secret_problem(secret)


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


def _is_recent(time: str, ticks_per_second: int, now: float) -> bool:
    is_time = re.fullmatch(r"\d{1,16}", time, re.ASCII) is not None
    return is_time and abs(int(time) / ticks_per_second - now) <= WINDOW_SECONDS


def _decode_basic(credentials: str) -> str:
    try:
        return b64decode(credentials, validate=True).decode()
    except ValueError:  # no base64, no ASCII, or no UTF-8 inside
        return ""


def _same(expected: str, offered: str) -> bool:
    return hmac.compare_digest(_bytes(expected), _bytes(offered))


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")
