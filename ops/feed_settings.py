"""Settings of feeds: the secrets by which vendors are authenticated, and where vendors are asked about thin events.

Each setting is a JSON object by feed, or a file with one. An error names the feed, the field and what was expected,
never a value. A name that is no feed's is shown only where it cannot be a misplaced secret.
"""

import difflib
import json
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, SecretStr, ValidationError, model_validator

from api import authentication
from producers.egress import Network, parse_networks
from schemas.feeds import FEEDS
from schemas.url import read_url

# The new secret and the old one.
_SECRETS_AT_ONCE = 2
_PRINTABLE = re.compile(r"[ -~]+")


def feed_secrets(text: str) -> dict[str, tuple[str, ...]]:
    """Read each feed's secrets, from JSON or a file with it. Raises ValueError with every problem."""
    secrets_of_feeds, secrets, problems = _json_or_file(text), {}, []
    for feed, written in secrets_of_feeds.items():
        if feed not in FEEDS or not authentication.content_types(FEEDS[feed]):
            posted = [name for name in FEEDS if authentication.content_types(FEEDS[name])]
            problems.append(_unknown(feed, posted, "expected only feeds that `repoint feeds list` shows as posted"))
            continue
        candidates = written if isinstance(written, list) else [written]
        texts = tuple(secret for secret in candidates if isinstance(secret, str))
        if not 1 <= len(candidates) <= _SECRETS_AT_ONCE or len(texts) < len(candidates):
            problems.append(f"{feed}: expected a secret, or two while one takes the other's place")
            continue
        unusable = {authentication.secret_problem(feed, secret) for secret in texts} - {None}
        problems += [f"{feed}: {expected}" for expected in sorted(filter(None, unusable))]
        secrets[feed] = texts
    if problems:
        raise ValueError("; ".join(dict.fromkeys(problems)))
    return secrets


def feed_fetch(text: str) -> "dict[str, Asked]":
    """Read where each feed's vendor is asked. Raises ValueError with every problem."""
    asked_about = [name for name, feed in FEEDS.items() if feed.fetched is not None]
    asked, problems = {}, []
    for feed, where in _json_or_file(text).items():
        if feed not in asked_about:
            expected = "expected only feeds whose vendors are asked about their events"
            problems.append(_unknown(feed, asked_about, expected))
            continue
        try:
            asked[feed] = Asked.model_validate(where)
        except ValidationError as error:
            wrong = error.errors(include_url=False, include_context=False, include_input=False)
            problems += [f"{feed}: {_of_asked(detail['loc'], detail['type'], detail['msg'])}" for detail in wrong]
    if problems:
        raise ValueError("; ".join(dict.fromkeys(problems)))
    return asked


# Shorter than every secret, most of which have digits.
_MAY_BE_A_NAME = re.compile(r"[A-Za-z][A-Za-z_-]{0,14}")
_MOST_NEAR = 3


def _unknown(name: str, known: Sequence[str], expected: str) -> str:
    """`expected`, with the unknown name if it cannot be a misplaced secret, and known names close to it."""
    near = difflib.get_close_matches(name.lower(), known, n=_MOST_NEAR)
    shown = f"{name}: " if near or _MAY_BE_A_NAME.fullmatch(name) else ""
    return f"{shown}{expected}" + (f"; is it {' or '.join(near)}?" if near else "")


def _of_asked(place: tuple[int | str, ...], kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return f"expected only {', '.join(Asked.model_fields)}"
    if kind == "model_type":
        return "expected an object with url"
    if kind == "missing":
        return f"{place[0]}: required"
    expected = message.removeprefix("Value error, ").replace("Input should be", "expected")
    return f"{place[0]}: {expected}" if place else expected


def _asked_at(written: object) -> str:
    try:
        plain = "?" not in read_url(written if isinstance(written, str) else "").target
    except ValueError:
        plain = False
    if not plain:
        raise ValueError("expected https://host/path, without user, query or fragment")
    return str(written)


def _printable(written: object) -> object:
    """Check that a value can stand in a header."""
    if isinstance(written, str) and not _PRINTABLE.fullmatch(written):
        raise ValueError("expected printable ASCII")
    return written


def _allowed(written: Any) -> tuple[Network, ...]:  # noqa: ANN401  parsed JSON
    if isinstance(written, list) and all(isinstance(network, str) for network in written):
        try:
            return tuple(parse_networks(written))
        except ValueError:
            pass
    raise ValueError('expected networks such as ["10.1.0.0/16"]')


class Asked(BaseModel):
    """Where one feed's vendor is asked, and the credentials for it."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    url: Annotated[str, BeforeValidator(_asked_at)]
    bearer: Annotated[SecretStr, BeforeValidator(_printable)] | None = None
    user: Annotated[str, BeforeValidator(_printable)] | None = None
    password: Annotated[SecretStr, BeforeValidator(_printable)] | None = None
    allow: Annotated[tuple[Network, ...], BeforeValidator(_allowed)] = ()

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Self:
        if (self.user is None) != (self.password is None) or (self.bearer is not None and self.user is not None):
            raise ValueError("expected bearer, or user and password, or none")
        return self

    def authorization(self) -> str | None:
        """The value of the Authorization header; never logged."""
        if self.bearer is not None:
            return f"Bearer {self.bearer.get_secret_value()}"
        if self.user is None or self.password is None:
            return None
        return f"Basic {b64encode(f'{self.user}:{self.password.get_secret_value()}'.encode()).decode()}"


def _json_or_file(text: str) -> Mapping[str, object]:
    try:
        parsed = json.loads(text if text.lstrip().startswith("{") else Path(text).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        raise ValueError("expected a JSON object, or a file with one") from None
    if not isinstance(parsed, dict):
        raise ValueError("expected a JSON object, or a file with one")  # noqa: TRY004  it is the text that is wrong
    return parsed
