"""What is kept of an answer that did not accept a webhook: the names of its headers, the first KiB of its body, masked.

An answer may hold anything. Card numbers and secrets are masked. An answer that repeats something of the request is
dropped whole: no part of a webhook's body and nothing that signs one is kept in the database.
"""

import binascii
import codecs
import html
import json
import re
import time
from base64 import b64decode, urlsafe_b64decode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import unquote_plus

from domain import pan
from domain.secret_text import hide_secrets
from producers.webhooks.connections import MOST_OF_AN_EXCERPT
from producers.webhooks.sender import FailingAnswer

MOST_OF_A_BODY = 1024
"""Bytes of UTF-8 that are kept of a body."""

_REST = MOST_OF_AN_EXCERPT - MOST_OF_A_BODY

# An answer that was made for it takes a hundred times as long to mask as usual ones do; nothing else runs meanwhile.
_SHARE = 0.1
_SECONDS_AT_ONCE = 0.25

# What is shorter occurs in answers that repeat nothing.
_SHORTEST_VALUE = 6
# An answer may say which event or status it does not know, and the time is no secret.
_VOCABULARY_KEYS = {"name", "reason", "type", "status", "paymentMethodType", "kind", "cardBrand", "accountType"}
_VOCABULARY = re.compile(r"[A-Z_]+")
_NO_SECRETS = {"webhook-timestamp"}

_SIGNING_SECRETS = ("whsec_", "whsk_")
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
# An answer may say how it expects to be asked.
_SCHEMES = {"bearer", "digest"}
_WORDS = re.compile(r"[\s,;=\"]+")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{16,}")
_URL_SAFE = str.maketrans("+/", "-_")
_HEXADECIMAL = re.compile(r"(?:[0-9a-fA-F]{2}){16,}")


class Evidence(NamedTuple):
    """What is kept of a failing answer."""

    header_names: Sequence[str]
    body: str


class ReadingBudget:
    """The CPU time of a process that evidence may take: a tenth, and a quarter of a second at once."""

    def __init__(self) -> None:
        self._seconds = _SECONDS_AT_ONCE
        self._counted_at = time.monotonic()

    def is_left(self) -> bool:
        """Whether the next answer may be read."""
        now = time.monotonic()
        self._seconds = min(_SECONDS_AT_ONCE, self._seconds + (now - self._counted_at) * _SHARE)
        self._counted_at = now
        return self._seconds > 0

    def spend(self, seconds: float) -> None:
        """Note that reading an answer took so long."""
        self._seconds -= seconds


def evidence(answer: FailingAnswer, *, sent: Mapping[str, str], body: bytes, secrets: Sequence[str]) -> Evidence | None:
    """What is kept of `answer`; None if it repeats a header in `sent`, a value of the request's `body`, or a secret."""
    names = ", ".join(answer.header_names)
    text = _text(answer.excerpt)
    readings = [reading.lower() for reading in _readings(f"{names}: {text}")]
    values = [value.lower() for value in _values(sent, body, secrets)]
    if any(value in reading for reading in readings for value in values):
        return None
    masked = hide_secrets(pan.mask(text)).encode()
    # masking shortens: what the cut of the excerpt left of a card number may have come nearer
    most = MOST_OF_A_BODY if len(answer.excerpt) < MOST_OF_AN_EXCERPT else len(masked) - _REST
    kept = masked[: max(0, min(most, MOST_OF_A_BODY))].decode(errors="ignore")
    return Evidence([pan.mask(name) for name in answer.header_names], kept)


def _text(excerpt: bytes) -> str:
    """The excerpt as text. PostgreSQL has no NUL in a text."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    is_whole = len(excerpt) < MOST_OF_AN_EXCERPT
    return decoder.decode(excerpt, final=is_whole).replace("\0", "\N{REPLACEMENT CHARACTER}")


def _values(sent: Mapping[str, str], body: bytes, secrets: Sequence[str]) -> Iterator[str]:
    """Texts that an answer repeats of a request, and secrets that it must not hold."""
    yield from _SIGNING_SECRETS
    for secret in secrets:
        yield secret.rpartition("_")[2]
    for name, value in sent.items():
        if not name.startswith("webhook-"):
            yield from _words_of_header(value)
        elif name not in _NO_SECRETS:
            yield from (part.rpartition(",")[2] for part in value.split())
    try:
        yield from _strings(json.loads(body))
    except ValueError:  # no JSON
        yield body.decode(errors="replace")


def _words_of_header(value: str) -> Iterator[str]:
    """A header of the endpoint's own, its words, and the words in the base64 of `Basic …`: all that name something."""
    words = [value, *_WORDS.split(value)]
    scheme, _, credentials = value.partition(" ")
    if scheme.lower() == "basic":
        with suppress(binascii.Error):
            decoded = b64decode(credentials).decode(errors="replace")
            words += [decoded, decoded.partition(":")[2]]
    yield from (word for word in words if len(word) >= _SHORTEST_VALUE and word.lower() not in _SCHEMES)


def _strings(value: object, key: str = "", *, of_customer: bool = False) -> Iterator[str]:
    """The texts of parsed JSON that are long enough to name something; words that all events share are left out."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _strings(inner, name, of_customer=of_customer or name == "customer")
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner, key, of_customer=of_customer)
    elif isinstance(value, str) and len(value) >= _SHORTEST_VALUE:
        is_shared = not of_customer and key in _VOCABULARY_KEYS and _VOCABULARY.fullmatch(value) is not None
        if not is_shared:
            yield value


def _readings(text: str) -> Iterator[str]:
    """`text`, and what it is without the escapes of URLs, HTML and JSON, base64 and hexadecimal."""
    yield text
    plain = html.unescape(unquote_plus(text))
    yield _ESCAPE.sub(lambda escape: chr(int(escape[1], 16)), plain).replace("\\", "")
    joined = "".join(text.replace("\\/", "/").split())
    for run in _BASE64.findall(joined):
        written = run.translate(_URL_SAFE)
        for start in range(4):  # a word before it may have no gap
            whole = written[start : start + (len(run) - start) // 4 * 4]
            yield urlsafe_b64decode(whole).decode(errors="replace")
    for run in _HEXADECIMAL.findall(joined):
        yield binascii.unhexlify(run).decode(errors="replace")
