"""Who posted: each vendor's signature as the vendor makes it, and everything else refused."""

import hashlib
import hmac
import time
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest
from multidict import CIMultiDict

from api import authentication
from api.authentication import SCHEMES, PostedRequest, SharedSecret, SignedHeader
from schemas.feeds import FEEDS

BODY = b'{"some": "event"}'
NOW = 1_790_000_000.0


def digest(key: bytes, *signed: bytes) -> "hmac.HMAC":
    return hmac.new(key, b".".join(signed), hashlib.sha256)


def posted(
    body: bytes = BODY, *, query: dict[str, str] | None = None, form: Any = None, **headers: str
) -> PostedRequest:
    named = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    return PostedRequest(named, query or {}, form or {}, body)


def stripe(secret: str, body: bytes = BODY, at: float = NOW) -> PostedRequest:
    stamp = str(int(at))
    return posted(body, stripe_signature=f"t={stamp},v1={digest(secret.encode(), stamp.encode(), body).hexdigest()}")


def adyen(secret: str, body: bytes = BODY, at: float = NOW) -> PostedRequest:
    return posted(body, hmacsignature=b64encode(digest(bytes.fromhex(secret), body).digest()).decode())


def gocardless(secret: str, body: bytes = BODY, at: float = NOW) -> PostedRequest:
    return posted(body, webhook_signature=digest(secret.encode(), body).hexdigest())


def checkout(secret: str, body: bytes = BODY, at: float = NOW) -> PostedRequest:
    return posted(body, cko_signature=digest(secret.encode(), body).hexdigest())


def nmi(secret: str, body: bytes = BODY, at: float = NOW) -> PostedRequest:
    signature = digest(secret.encode(), b"n0nce", body).hexdigest()
    return posted(body, webhook_signature=f"t=n0nce,s={signature}")


def cybersource(secret: str, body: bytes = BODY, at: float = NOW) -> PostedRequest:
    stamp = str(int(at * 1000))
    key = b64decode(secret)
    signature = b64encode(digest(key, stamp.encode(), body).digest()).decode()
    return posted(body, v_c_signature=f"t={stamp};keyId=bf44c857-b182-bb05-e053-34b8d30a7a72;sig={signature}")


def braintree(secret: str, body: bytes = BODY, at: float = NOW) -> PostedRequest:
    public, private = secret.split(":")
    letters = b64encode(body).decode()
    payload = "".join(f"{letters[at : at + 60]}\n" for at in range(0, len(letters), 60))
    key = hashlib.sha1(private.encode()).digest()  # noqa: S324  what Braintree does
    signature = hmac.new(key, payload.encode(), hashlib.sha1).hexdigest()
    form = {"bt_signature": f"another|{'0' * 40}&{public}|{signature}", "bt_payload": payload}
    return posted(urlencode(form).encode(), form=form)


def bearer(secret: str, body: bytes = BODY, at: float = NOW) -> PostedRequest:
    return posted(body, authorization=f"Bearer {secret}")


def basic(secret: str, body: bytes = BODY, at: float = NOW) -> PostedRequest:
    return posted(body, authorization=f"Basic {b64encode(secret.encode()).decode()}")


def in_query(secret: str, body: bytes = BODY, at: float = NOW) -> PostedRequest:
    return posted(body, query={"token": secret})


Sign = Callable[..., PostedRequest]
SIGNED: list[tuple[str, Sign, str, str]] = [
    ("stripe", stripe, "whsec_new_of_these_tests", "whsec_old_of_these_tests"),
    ("adyen", adyen, "AB" * 32, "cd" * 32),
    ("gocardless", gocardless, "gc-new-of-these-tests", "gc-old-of-these-tests"),
    ("checkout", checkout, "cko-new-of-these-tests", "cko-old-of-these-tests"),
    ("nmi", nmi, "CC8775A4CFD933614985209F6F68768B", "old-of-these-tests"),
    ("cybersource", cybersource, b64encode(b"new" * 9).decode(), b64encode(b"old" * 9).decode()),
    ("visa-tms", cybersource, b64encode(b"new" * 9).decode(), b64encode(b"old" * 9).decode()),
    ("braintree", braintree, "public:private-of-these-tests", "public-of-old:private-of-old-tests"),
    ("vgs", bearer, "a-token-of-vgs-now", "a-token-of-vgs-once"),
    ("adyen-rtau", basic, "user:a long password", "user:another password"),
    ("apple-pay", in_query, "in-the-url-of-apple", "in-the-url-before-it"),
    ("google-pay", in_query, "in-the-url-of-google", "in-the-url-before-it"),
]
each_scheme = pytest.mark.parametrize(("feed", "sign", "secret", "former"), SIGNED, ids=[one[0] for one in SIGNED])


@each_scheme
def test_what_the_vendor_signs_is_proved_with_either_secret_while_one_replaces_the_other(
    feed: str, sign: Sign, secret: str, former: str
) -> None:
    assert authentication.secret_problem(feed, secret) is None
    for used in (secret, former):
        assert authentication.proves(feed, sign(used), [secret, former], NOW)
    assert not authentication.proves(feed, sign(former), [secret], NOW)
    assert not authentication.proves(feed, sign(secret), [], NOW)


@each_scheme
def test_without_a_signature_or_with_somebody_elses_nothing_is_proved(
    feed: str, sign: Sign, secret: str, former: str
) -> None:
    assert not authentication.proves(feed, posted(), [secret], NOW)
    for name, other, of_other, _ in SIGNED:
        if (name, other) != (feed, sign) and of_other != secret:
            assert not authentication.proves(feed, other(of_other), [secret], NOW)


signing = pytest.mark.parametrize(
    ("feed", "sign", "secret"),
    [one[:3] for one in SIGNED if not isinstance(SCHEMES.get(one[0], SharedSecret()), SharedSecret)],
    ids=[one[0] for one in SIGNED if not isinstance(SCHEMES.get(one[0], SharedSecret()), SharedSecret)],
)


@signing
def test_a_changed_body_is_not_the_one_that_was_signed(feed: str, sign: Sign, secret: str) -> None:
    whole = sign(secret)
    form = {**whole.form, "bt_payload": b64encode(b"another").decode()} if whole.form else {}
    assert not authentication.proves(feed, PostedRequest(whole.headers, {}, form, BODY + b" "), [secret], NOW)


@pytest.mark.parametrize(
    ("feed", "sign", "secret"), [one[:3] for one in SIGNED if one[0] in {"stripe", "cybersource", "visa-tms"}]
)
def test_what_was_signed_long_ago_or_ahead_of_time_proves_nothing(feed: str, sign: Sign, secret: str) -> None:
    for age, taken in ((0, True), (299, True), (300, True), (301, False), (-300, True), (-301, False)):
        assert authentication.proves(feed, sign(secret, at=NOW - age), [secret], NOW) is taken


def test_of_several_signatures_of_stripe_one_is_enough() -> None:
    good = stripe("whsec_new_of_these_tests").headers["Stripe-Signature"]
    stamp, _, signature = good.partition(",")
    several = posted(stripe_signature=f"{stamp},v1={'0' * 64},{signature},v0=x")
    assert authentication.proves("stripe", several, ["whsec_new_of_these_tests"], NOW)
    assert not authentication.proves("stripe", posted(stripe_signature=signature), ["whsec_new_of_these_tests"], NOW)
    for stamp in ("t=", "t=now", "t=٣", f"t={'9' * 400}", "t=-1"):
        assert not authentication.proves("stripe", posted(stripe_signature=f"{stamp},{signature}"), ["x"], NOW)


def hmac_sha1(key: bytes, message: str) -> str:
    """As RFC 2104 defines it, for a key of at most 64 bytes."""
    inner, outer = (bytes(byte ^ pad for byte in key.ljust(64, b"\0")) for pad in (0x36, 0x5C))
    return sha1(outer + sha1(inner + message.encode()).digest()).hexdigest()


def sha1(content: bytes) -> "hashlib._Hash":
    return hashlib.sha1(content)  # noqa: S324  what Braintree does


def form(signature: str | None, payload: str | None) -> PostedRequest:
    fields = {"bt_signature": signature, "bt_payload": payload}
    return posted(form={name: value for name, value in fields.items() if value is not None})


def test_a_form_of_braintrees_is_signed_as_its_own_client_does() -> None:
    # the vector is in the tests of Braintree's client for Python
    assert hmac_sha1(sha1(b"secretKey").digest(), "hello world") == "d503d7a1a6adba1e6474e9ff2c4167f9dfdf4247"
    vector = form("mine|d503d7a1a6adba1e6474e9ff2c4167f9dfdf4247", "hello world")
    assert authentication.proves("braintree", vector, ["mine:secretKey"], NOW)
    payload = b64encode(BODY * 5).decode()
    signature = hmac_sha1(sha1(b"private").digest(), payload + "\n")
    for sent in (payload + "\n", payload):  # the end of the last line is signed, and may have been lost
        assert authentication.proves("braintree", form(f"mine|{signature}", sent), ["mine:private"], NOW)
        assert authentication.proves("braintree", form(f"other|x&mine|{signature}&", sent), ["mine:private"], NOW)


def test_a_form_of_braintrees_that_lacks_or_changes_a_part_proves_nothing() -> None:
    payload, key = b64encode(BODY).decode(), sha1(b"private").digest()
    signature = hmac_sha1(key, payload)
    assert authentication.proves("braintree", form(f"mine|{signature}", payload), ["mine:private"], NOW)
    for broken in (
        form(None, None),
        form(None, payload),
        form(f"mine|{signature}", None),
        form("", payload),
        form("mine|", payload),
        form(signature, payload),
        form(f"|{signature}", payload),
        form(f"other|{signature}", payload),
        form(f"mine|{signature.upper()}", payload),
        form(f"mine|{signature[:-1]}", payload),
        form(f"mine|{signature}|", payload),
        form(f"mine|{hmac_sha1(b'private', payload)}", payload),
        form(f"mine|{hmac_sha1(sha1(b'another').digest(), payload)}", payload),
        form(f"mine|{signature}", payload[:-1]),
        form(f"mine|{signature}", payload.swapcase()),
        form(f"mine|{signature}", payload + "\n"),
        form(f"mine|{signature}", " " + payload),
        form(f"mine|{signature}é\udcff", payload),
    ):
        assert not authentication.proves("braintree", broken, ["mine:private"], NOW)


@pytest.mark.parametrize(
    "value",
    ["", "Basic", "Basic !", "Basic /w==", "Digest x", "Bearer ", "Bearer\udcff", "ü", "Basic é", "Basic \udce9"],
)
def test_what_is_no_credential_proves_nothing(value: str) -> None:
    assert not authentication.proves("vgs", posted(authorization=value), ["a-token-of-vgs-now"], time.time())
    assert not authentication.proves("gocardless", posted(webhook_signature=value), ["gc"], time.time())


def test_of_many_signatures_the_first_twenty_are_looked_at() -> None:
    """A stranger's form of a megabyte must not hold the loop."""
    secret = next(secret for feed, _, secret, _ in SIGNED if feed == "braintree")
    whole = next(sign for feed, sign, _, _ in SIGNED if feed == "braintree")(secret)
    for before, proved in ((18, True), (19, False)):  # and another one stands before the right one
        signatures = "x|y&" * before + whole.form["bt_signature"]
        form = {**whole.form, "bt_signature": signatures}
        assert (
            authentication.proves("braintree", PostedRequest(whole.headers, {}, form, whole.body), [secret], NOW)
            is proved
        )


def test_of_many_signatures_in_a_header_the_first_parts_are_looked_at() -> None:
    secret = "whsec_new_of_these_tests"
    stamp, _, signature = stripe(secret).headers["Stripe-Signature"].partition(",")
    for before, proved in ((18, True), (19, False)):  # behind the time
        header = ",".join([stamp, *["v1=0"] * before, signature])
        assert authentication.proves("stripe", posted(stripe_signature=header), [secret], NOW) is proved


@pytest.mark.parametrize(
    ("feed", "shortest"),
    [
        ("adyen", "ab" * 16),
        ("cybersource", b64encode(b"sixteen letters!").decode()),
        ("braintree", "p:sixteen-letters!"),
        ("gocardless", "sixteen-letters!"),
        ("vgs", "sixteen-letters!"),
    ],
)
def test_a_secret_of_sixteen_is_long_enough_and_no_shorter_one(feed: str, shortest: str) -> None:
    assert authentication.secret_problem(feed, shortest) is None
    shorter = {"adyen": shortest[2:], "cybersource": b64encode(b"fifteen letters").decode()}.get(feed, shortest[:-1])
    assert authentication.secret_problem(feed, shorter) is not None
    # what stands before the colon is known to everybody
    assert authentication.secret_problem("braintree", "a-long-public-key:short") is not None


@pytest.mark.parametrize(
    ("feed", "secret", "problem"),
    [
        ("adyen", "no hexadecimal digits, though long enough", "expected the key as the vendor shows it"),
        ("cybersource", f"!{b64encode(b'sixteen letters!').decode()}", "expected the key as the vendor shows it"),
        ("cybersource", b64encode(b"fifteen letters").decode(), "expected a key of 16 bytes or more"),
        ("braintree", ":sixteen-letters!", "expected the public key, a colon and the private key"),
        ("braintree", "sixteen-letters!", "expected the public key, a colon and the private key"),
        ("braintree", "p:fifteen-letters", "expected a private key of 16 characters or more"),
        ("vgs", "fifteen-letters", "expected 16 characters or more"),
    ],
)
def test_a_secret_that_cannot_be_used_is_refused_by_what_was_expected(feed: str, secret: str, problem: str) -> None:
    assert authentication.secret_problem(feed, secret) == problem


def test_a_request_shows_only_its_content_type() -> None:
    """All else may hold a secret."""
    request = PostedRequest({"a": "hunter2"}, {"b": "hunter2"}, {"c": "hunter2"}, b"hunter2")
    assert repr(request) == "PostedRequest(content_type='application/json')"


def test_basic_credentials_are_base64_from_their_first_letter_to_the_last() -> None:
    secret = "user:a long password"
    encoded = b64encode(secret.encode()).decode()
    assert authentication.proves("adyen-rtau", posted(authorization=f"basic {encoded}"), [secret], NOW)
    for broken in (f"!{encoded}", f"{encoded[:4]}\n{encoded[4:]}", encoded + "!"):
        assert not authentication.proves("adyen-rtau", posted(authorization=f"Basic {broken}"), [secret], NOW)


def test_a_secret_in_the_url_opens_only_feeds_that_send_no_header_of_ours() -> None:
    secret = "in-the-url-of-this-one"
    shared = [feed for feed in FEEDS if isinstance(SCHEMES.get(feed, SharedSecret()), SharedSecret)]
    opened = {feed for feed in shared if authentication.proves(feed, posted(query={"token": secret}), [secret], NOW)}
    assert opened == {"apple-pay", "google-pay"}


def test_an_empty_secret_opens_nothing() -> None:
    for feed in FEEDS:
        assert authentication.secret_problem(feed, "") is not None


@pytest.mark.parametrize(
    ("feed", "secret"),
    [
        ("adyen", "no hex"),
        ("adyen", "ab" * 15),
        ("cybersource", "no base64!"),
        ("cybersource", b64encode(b"fifteen letters").decode()),
        ("braintree", "mine-alone"),
        ("braintree", "public:short"),
        ("stripe", "whsec_short"),
        ("vgs", "short"),
    ],
)
def test_a_secret_that_cannot_be_one_is_refused_without_being_repeated(feed: str, secret: str) -> None:
    expected = authentication.secret_problem(feed, secret)
    assert expected is not None
    assert secret not in expected


class Opaque(str):
    """A secret, or a signature, that ends the test where it is compared letter by letter."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        raise AssertionError("compared in a time that tells how far it is right")

    __hash__ = str.__hash__

    def partition(self, sep: str, /) -> tuple[str, str, str]:
        before, at, after = super().partition(sep)
        return Opaque(before), at, Opaque(after)


@each_scheme
def test_no_comparison_takes_longer_for_being_nearly_right(
    feed: str, sign: Sign, secret: str, former: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheme = SCHEMES.get(feed)
    if isinstance(scheme, SignedHeader):
        opaque = replace(scheme, encode=lambda digest: Opaque(scheme.encode(digest)))
        monkeypatch.setattr(authentication, "SCHEMES", {feed: opaque})
    assert authentication.proves(feed, sign(secret), [Opaque(former), Opaque(secret)], NOW)
    assert not authentication.proves(feed, sign(former), [Opaque(secret)], NOW)


@each_scheme
def test_who_is_not_proved_learns_the_header_and_the_scheme_and_nothing_of_the_request(
    feed: str, sign: Sign, secret: str, former: str
) -> None:
    name, _, rest = authentication.challenge(feed).partition(" ")
    assert name in {"HMAC-SHA256", "HMAC-SHA1", "Bearer"}
    assert rest.startswith(f'realm="{feed}"')
    carrier = {"HMAC-SHA1": "bt_signature", "Bearer": "Authorization"}.get(name) or rest.split('header="')[1][:-1]
    without, wrong = authentication.expected(feed, posted()), authentication.expected(feed, sign(former))
    assert carrier in without
    assert carrier in wrong
    assert without.endswith(("no such header", "no such field"))
    assert "no such" not in wrong or feed in {"apple-pay", "google-pay"}
    assert former not in wrong


def test_a_request_shows_no_secret_wherever_it_is_written_out() -> None:
    secret = "a-token-of-vgs-now"
    whole = PostedRequest(
        {"Authorization": f"Bearer {secret}"}, {"token": secret}, {"bt_signature": secret}, secret.encode()
    )
    assert secret not in f"{whole!r} {whole} {[whole]}"


def test_every_scheme_is_of_a_feed() -> None:
    assert SCHEMES.keys() <= FEEDS.keys()
