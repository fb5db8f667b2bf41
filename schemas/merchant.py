"""Merchants files: one JSON object a line (design.md §6), and an endpoint as a line or a command describes it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, Field, Strict

from domain.wallet import MerchantId
from schemas import endpoint_headers
from schemas.duration import duration
from schemas.event import EventName
from schemas.file_line import parse
from schemas.method_line import Line
from schemas.signature import signing_key
from schemas.text import Text
from schemas.topic_url import is_topic_url, read_topic
from schemas.url import read_url


def _checked_secret(value: str) -> str:
    signing_key(value)
    return value


def _checked_url(value: str) -> str:
    if is_topic_url(value):
        read_topic(value)
    else:
        read_url(value)
    return value


def _duration(text: str) -> str:
    if not duration(text):
        raise ValueError("expected more than 0s")
    return text


# Slower than one in a quarter of an hour is a disabled endpoint; a dispatcher makes a few thousand a second.
_LEAST_PER_SECOND, _MOST_PER_SECOND = 0.001, 100_000
# The program's own schedule has nine.
_MOST_RETRIES = 30


class _EndpointJson(Line):
    id: Text
    url: Annotated[str, AfterValidator(_checked_url)]
    secret: Annotated[str, AfterValidator(_checked_secret), Field(repr=False)]
    event_types: Annotated[list[EventName], Field(min_length=1)]
    max_per_second: Annotated[float, Strict(), Field(ge=_LEAST_PER_SECOND, le=_MOST_PER_SECOND)] | None = None
    headers: Annotated[dict[str, str], AfterValidator(endpoint_headers.checked), Field(repr=False)] = Field(
        default_factory=dict
    )
    retry_schedule: (
        Annotated[list[Annotated[str, AfterValidator(_duration)]], Field(min_length=1, max_length=_MOST_RETRIES)] | None
    ) = None


class _MerchantJson(Line):
    id: Text
    name: Text
    endpoints: list[_EndpointJson] = Field(default_factory=list)


@dataclass(frozen=True, slots=True)
class EndpointLine:
    id: str
    url: str
    secret: str = field(repr=False)
    event_types: tuple[str, ...]
    max_per_second: float | None = None
    retry_schedule: tuple[timedelta, ...] | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class MerchantLine:
    id: MerchantId
    name: str
    endpoints: tuple[EndpointLine, ...]


def read_merchant(line: str) -> MerchantLine:
    """Read one line of a merchants file.

    Raises:
        Refused: it is no JSON object of the shape in design.md §6.
    """
    read = parse(_MerchantJson, line)
    return MerchantLine(read.id, read.name, tuple(map(_endpoint, read.endpoints)))


def read_endpoint(line: str) -> EndpointLine:
    """Read one endpoint, written as in a line of a merchants file. Raises Refused as `read_merchant`."""
    return _endpoint(parse(_EndpointJson, line))


def _endpoint(read: _EndpointJson) -> EndpointLine:
    return EndpointLine(
        read.id,
        read.url,
        read.secret,
        tuple(name.value for name in read.event_types),
        read.max_per_second,
        None if read.retry_schedule is None else tuple(map(duration, read.retry_schedule)),
        read.headers,
    )
