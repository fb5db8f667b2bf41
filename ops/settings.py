"""What can be set, each by one environment variable, read once at the start.

Functions further in get the values they need, never this object.
"""

import difflib
import os
import re
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from domain.delivery.schedule import RETRY_SCHEDULE
from domain.wallet import ALWAYS_IDENTIFY
from ops import database_service
from ops.feed_settings import Asked, feed_fetch, feed_secrets
from producers.egress import Network, networks
from schemas.feeds import FEEDS
from store import address

PREFIX = "REPOINT_"

# Read by the tests and not by the program, so not unknown to it.
_OF_THE_TESTS = PREFIX + "TEST_"

_UNITS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}

KEY_VERSION = re.compile(r"[A-Za-z0-9_-]{1,16}")

# No merchant is there: this machine, the link it is on, and where clouds hand out their keys. The last ones are ways
# to write an IPv4 address inside an IPv6 one, and so lead to all of the others.
_NEVER_MERCHANTS = [
    ip_network(text)
    for text in (
        "0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "168.63.129.16/32", "100.100.100.200/32",
        "::/127", "fe80::/10", "fd00:ec2::254/128",
        "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32",
    )
]  # fmt: skip

# A fast-forwarded schedule is for demos: in production it would lose a merchant's events to an hour's outage.
_SHORTEST_SCHEDULE = timedelta(hours=1)


# Brokers refuse a shorter one unless they are told otherwise; a longer one outlasts the time for a rebalance.
_SHORTEST_SESSION, _LONGEST_SESSION = timedelta(seconds=6), timedelta(seconds=60)


# Feeds with full numbers that may have none in a record: a token stands in its place, or a payment's trace names it.
_MAY_HAVE_NO_NUMBER = {"cybersource", "nacha", "worldpay"}


class SettingsError(Exception):
    """One line for every setting that is wrong: its name and what was expected. Values are never repeated."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def duration(text: str) -> timedelta:
    """Read `250ms`, `5s`, `2m`, `72h` or `800d`. Raises ValueError for anything else."""
    match = re.fullmatch(r"\s*(\d{1,6})(ms|s|m|h|d)\s*", text, re.ASCII)
    if match is None:
        raise ValueError("expected a duration such as 250ms, 5s, 2m, 72h or 800d")
    return int(match[1]) * _UNITS[match[2]]


def spell(length: timedelta) -> str:
    """Write a duration of whole milliseconds as `duration` reads it, in the largest unit that divides it."""
    unit = next(unit for unit in reversed(_UNITS) if not length % _UNITS[unit])
    return f"{length // _UNITS[unit]}{unit}"


def _database_url(url: str) -> str:
    whole = database_service.expanded(url)
    address.read(whole)  # raises ValueError, without repeating any of it
    return whole


def _durations(text: str) -> tuple[timedelta, ...]:
    return tuple(duration(part) for part in text.split(","))


def _networks(text: str) -> tuple[Network, ...]:
    try:
        return tuple(networks(part.strip() for part in text.split(",")))
    except ValueError:
        raise ValueError("expected networks such as 10.1.0.0/16, separated by commas") from None


def _identifiers(text: str) -> tuple[str, ...]:
    names = [part.strip() for part in text.split(",")]
    if not all(name in ALWAYS_IDENTIFY or re.fullmatch(r"metadata\.\S{1,246}", name) for name in names):
        raise ValueError("expected keys such as metadata.patientId, separated by commas")
    return tuple(dict.fromkeys(names))


def _servers(text: str) -> str:
    servers = [part.strip() for part in text.split(",")]
    for server in servers:
        host, _, port = server.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
            raise ValueError("expected host:port, or several separated by commas")
    return ",".join(servers)


def _topic(text: str) -> str:
    # Kafka's own rule for the names of topics and, for the sake of metrics, of our groups.
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", text):
        raise ValueError("expected up to 249 letters, digits, dots, underscores and dashes")
    return text


def _fingerprint_key(text: str) -> str:
    version, _, secret = text.partition(":")
    if not KEY_VERSION.fullmatch(version) or not re.fullmatch(r"(?:[0-9a-fA-F]{2}){16,}", secret):
        raise ValueError("expected VERSION:HEX, such as v1: and 64 hexadecimal digits (32 at least)")
    return text


# As in updates: no colon, which ends it in a credential's key.
_VENDOR = re.compile(r"[^:@\s][^:\s]{0,63}")


def _digit_ids(text: str) -> frozenset[str]:
    names = frozenset(name.strip() for name in text.split(","))
    if not all(_VENDOR.fullmatch(name) for name in names):
        raise ValueError("expected vendors' names and `customer`, separated by commas")
    return names


def _in_any_case(*names: str) -> BeforeValidator:
    """One of `names`, however its letters are written."""
    known = {name.casefold(): name for name in names}
    return _of_text(lambda text: known.get(text.strip().casefold(), text))


def _of_text(read: Callable[[str], object]) -> BeforeValidator:
    """Text is read; a default, which is a value already, passes."""
    return BeforeValidator(lambda value: read(value) if isinstance(value, str) else value)


def _more_than_nothing(length: timedelta) -> timedelta:
    if not length:
        raise ValueError("expected more than 0s")
    return length


Duration: TypeAlias = Annotated[timedelta, _of_text(duration), AfterValidator(_more_than_nothing)]
Schedule: TypeAlias = Annotated[tuple[timedelta, ...], NoDecode, _of_text(_durations), Field(max_length=50)]
Identifiers: TypeAlias = Annotated[tuple[str, ...], NoDecode, _of_text(_identifiers)]
DigitIds: TypeAlias = Annotated[frozenset[str], NoDecode, _of_text(_digit_ids)]
Networks: TypeAlias = Annotated[tuple[Network, ...], NoDecode, _of_text(_networks)]
DatabaseUrl: TypeAlias = Annotated[str, BeforeValidator(_database_url)]
Servers: TypeAlias = Annotated[str, BeforeValidator(_servers)]
Name: TypeAlias = Annotated[str, BeforeValidator(_topic)]
FingerprintKey: TypeAlias = Annotated[SecretStr, _of_text(_fingerprint_key)]
FeedFetch: TypeAlias = Annotated[Mapping[str, Asked] | None, NoDecode, _of_text(feed_fetch)]
FeedSecrets: TypeAlias = Annotated[Mapping[str, tuple[SecretStr, ...]] | None, NoDecode, _of_text(feed_secrets)]
Environment: TypeAlias = Annotated[Literal["development", "production"], _in_any_case("development", "production")]
Protocol: TypeAlias = Annotated[
    Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"],
    _in_any_case("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"),
]
Mechanism: TypeAlias = Annotated[
    Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"], _in_any_case("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
]
LogFormat: TypeAlias = Annotated[Literal["auto", "json", "console"], _in_any_case("auto", "json", "console")]
LogLevel: TypeAlias = Annotated[
    Literal["DEBUG", "INFO", "WARNING", "ERROR"], _in_any_case("DEBUG", "INFO", "WARNING", "ERROR")
]
Count: TypeAlias = Annotated[int, Field(ge=1)]


class Settings(BaseSettings):
    """All of them, checked. Made by `read`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="ignore")

    environment: Environment = Field(
        "development",
        description="`production` refuses embedded parts, misspelled settings and every unsafe value, at the start;"
        " `development` warns of misspelled ones.",
    )
    database_url: DatabaseUrl | None = Field(
        None,
        repr=False,
        description="The PostgreSQL that holds everything, as psql takes it; an embedded one starts where none is.",
    )
    kafka_bootstrap_servers: Servers | None = Field(
        None, description="The brokers to ask first; an embedded one starts where none is named."
    )
    kafka_topic: Name = Field(
        "vendor.payment-method-updates", description="Where vendor updates come from, and where `ingest` puts them."
    )
    kafka_thin_topic: Name = Field(
        "vendor.thin-events",
        description="Where events wait of which the vendor has to be asked what they are about.",
    )
    kafka_group: Name = Field(
        "repoint", description="The consumer group; all processes that share the work have the same."
    )
    kafka_session_timeout: Duration = Field(
        timedelta(seconds=20),
        description="How long the group waits for a process that was killed or hangs before others take its partitions"
        " over; shorter, and a busy one is taken for dead.",
    )
    kafka_security_protocol: Protocol = Field(
        "PLAINTEXT", description="How the brokers are spoken to, as Kafka calls it."
    )
    kafka_ca_file: Path | None = Field(
        None, description="PEM certificates of who signed the brokers'; those that this machine trusts if not set."
    )
    kafka_sasl_mechanism: Mechanism | None = Field(
        None, description="How we prove who we are, with either SASL protocol."
    )
    kafka_sasl_username: str | None = Field(None, description="Who we are to the brokers.")
    kafka_sasl_password: SecretStr | None = Field(None, repr=False, description="And our password; never logged.")
    embedded_directory: Path = Field(
        Path(".repoint"),
        description="Where the embedded database keeps its data, so that the next command finds what this one wrote.",
    )
    consumer_lanes: Annotated[int, Field(ge=1, le=32)] = Field(
        2, description="Batches in hand at once in one process: while one waits for the database, another computes."
    )
    batch_size: Annotated[int, Field(ge=1, le=5000)] = Field(
        500,
        description="Most updates in one transaction; more gain little and hold their locks for longer.",
    )
    batch_wait: Duration = Field(
        timedelta(milliseconds=20),
        description="How long a batch waits to fill up after a large one. A lone update waits for nothing.",
    )
    fingerprint_key: FingerprintKey | None = Field(
        None,
        repr=False,
        description="`VERSION:HEX`, the key for fingerprints of cards and accounts; feeds with full numbers need it,"
        " and are refused at the start where it is missing and all of their records have one.",
    )
    fingerprint_key_former: FingerprintKey | None = Field(
        None, repr=False, description="The key before it, as long as wallets hold fingerprints made with that one."
    )
    feed_secrets: FeedSecrets = Field(
        None,
        repr=False,
        description='`{"FEED": "SECRET"}`, or a file with it: what vendors prove with who posts to `/v1/feeds/FEED`;'
        " `[NEW, OLD]` while one takes the other's place. Without any, nothing is listened for.",
    )
    feed_fetch: FeedFetch = Field(
        None,
        repr=False,
        description='`{"FEED": {"url": "https://…", "bearer": "…"}}`, or `user` and `password`, or a file with it:'
        " where vendors are asked what their thin events are about; `allow` names networks for an address of our own.",
    )
    parked_for: Duration = Field(
        timedelta(hours=72),
        description="How long an update waits for a wallet that knows its payment method, before it is ignored.",
    )
    knowledge_for: Duration = Field(
        timedelta(days=800),
        description="How long what vendors told about a known credential is kept; card networks answer for 730 days.",
    )
    customer_identifiers: Identifiers = Field(
        ("metadata.patientId",),
        description="Metadata that names a customer, beside enterpriseId and hsid; all other metadata only describes"
        " one, for strangers share it. The same in every process; after a change, run `repoint migrate`.",
    )
    digit_ids: DigitIds = Field(
        frozenset(),
        description="Vendors' names, and `customer`, as in `cybersource,visa-tms,customer`: in fields that are by their"
        " name an id or a token of those, a value of digits is no card number. None, for one may stand there.",
    )
    egress_allow: Networks = Field(
        (),
        description="Networks that webhooks may reach beside public addresses, such as 10.1.0.0/16,10.2.0.0/16; none,"
        " because a merchant chooses the URL and must not reach what only we can.",
    )
    retry_schedule: Schedule = Field(
        RETRY_SCHEDULE,
        description="Delays between attempts at a delivery, which is dead after the last; three days, as Standard"
        " Webhooks recommends, outlast a weekend.",
    )
    delivery_timeout: Duration = Field(
        timedelta(seconds=15),
        description="For the whole of an attempt, name lookup to last byte, so that a receiver that drips cannot hold"
        " a connection for ever.",
    )
    delivery_connections: Annotated[int, Field(ge=1, le=10_000)] = Field(
        100, description="Attempts under way at once in one process; each may hold a socket."
    )
    delivery_lease: Duration = Field(
        timedelta(seconds=60),
        description="How long a claimed delivery is nobody else's; longer than an attempt may take, or two processes"
        " attempt it.",
    )
    drain_timeout: Duration = Field(
        timedelta(seconds=25),
        description="How long work in hand may take to end after SIGTERM; supervisors kill after 30 s.",
    )
    http_host: str = Field(
        "127.0.0.1", description="Where /metrics, /livez and /readyz are served; 0.0.0.0 in a container."
    )
    http_port: Annotated[int, Field(ge=0, le=65_535)] = Field(
        9464, description="The port of those; 0 takes a free one and logs it."
    )
    api_host: str = Field(
        "127.0.0.1", description="Where `/v1/feeds/…` is served, behind what ends TLS; 0.0.0.0 in a container."
    )
    api_port: Annotated[int, Field(ge=0, le=65_535)] = Field(
        8080, description="The port of that; 0 takes a free one and logs it."
    )
    log_format: LogFormat = Field(
        "auto", description="`auto` writes for reading on a terminal, and JSON lines anywhere else."
    )
    log_level: LogLevel = Field(
        "INFO", description="The least that is logged; DEBUG lets libraries log what they send, so never in production."
    )

    @property
    def identifiers(self) -> frozenset[str]:
        """All that names a customer."""
        return ALWAYS_IDENTIFY.union(self.customer_identifiers)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        problems = list(_contradictions(self))
        if self.environment == "production":
            problems += _dangers(self)
        if problems:
            raise SettingsError(tuple(problems))
        return self


@dataclass(frozen=True)
class Setting:
    """One setting, for documents: as it is written in the environment."""

    name: str
    default: str
    reason: str


def read() -> Settings:
    """From the environment. Raises SettingsError with everything that is wrong."""
    try:
        return Settings()
    except ValidationError as error:
        problems = tuple(f"{_name(str(detail['loc'][0]))}: {_expected(detail['msg'])}" for detail in error.errors())
        raise SettingsError(problems) from None


def described() -> list[Setting]:
    """All settings, in the order of `Settings`."""
    return [
        Setting(_name(field), _as_text(definition.default), definition.description or "")
        for field, definition in Settings.model_fields.items()
    ]


def check_key(settings: Settings, feeds: Iterable[str]) -> None:
    """Raises SettingsError where one of `feeds` cannot be used without the key for fingerprints that is not set.

    Without it each of its records would be refused, and what is kept of them is masked: it can never be sent again.
    """
    needing = needing_key(feeds) if settings.fingerprint_key is None else []
    if needing:
        raise SettingsError((_problem("fingerprint_key", _expected_with(needing)),))


def needing_key(feeds: Iterable[str]) -> list[str]:
    """Those of `feeds` that have a full number in every record, by their names in order."""
    return sorted(name for name in feeds if FEEDS[name].carries_numbers and name not in _MAY_HAVE_NO_NUMBER)


def _expected_with(needing: Sequence[str]) -> str:
    return f"expected with feeds whose records all have full numbers ({', '.join(needing)})"


def _contradictions(settings: Settings) -> Iterator[str]:
    if settings.delivery_lease <= settings.delivery_timeout:
        yield _problem("delivery_lease", "expected longer than REPOINT_DELIVERY_TIMEOUT")
    if settings.knowledge_for < settings.parked_for:
        yield _problem("knowledge_for", "expected no shorter than REPOINT_PARKED_FOR")
    needing = needing_key(settings.feed_secrets or ())
    if needing and settings.fingerprint_key is None:
        yield _problem("fingerprint_key", _expected_with(needing))
    yield from _contradictions_of_kafka(settings)


def _contradictions_of_kafka(settings: Settings) -> Iterator[str]:
    protocol = settings.kafka_security_protocol
    chosen = f"{_name('kafka_security_protocol')}={protocol}"
    if not _SHORTEST_SESSION <= settings.kafka_session_timeout <= _LONGEST_SESSION:
        yield _problem("kafka_session_timeout", f"expected {spell(_SHORTEST_SESSION)} to {spell(_LONGEST_SESSION)}")
    if protocol != "PLAINTEXT" and settings.kafka_bootstrap_servers is None:
        yield _problem("kafka_bootstrap_servers", f"expected with {chosen}; an embedded broker speaks PLAINTEXT")
    for field in ("kafka_sasl_mechanism", "kafka_sasl_username", "kafka_sasl_password"):
        is_set = getattr(settings, field) is not None
        if protocol.startswith("SASL") and not is_set:
            yield _problem(field, f"expected with {chosen}")
        if is_set and not protocol.startswith("SASL"):
            yield _problem(field, f"expected only with SASL_SSL or SASL_PLAINTEXT, not with {chosen}")
    if settings.kafka_ca_file is not None:
        if not protocol.endswith("SSL"):
            yield _problem("kafka_ca_file", f"expected only with SSL or SASL_SSL, not with {chosen}")
        elif not _holds_certificates(settings.kafka_ca_file):
            yield _problem("kafka_ca_file", "expected a file of PEM certificates that can be read")


def _holds_certificates(file: Path) -> bool:
    try:
        ssl.create_default_context(cafile=file)
    except OSError:  # an SSLError is one, too
        return False
    return True


def _dangers(settings: Settings) -> Iterator[str]:
    """What development may do and production may not."""
    if settings.database_url is None:
        yield _problem("database_url", "expected in production, where no embedded database is started")
    if settings.kafka_bootstrap_servers is None:
        yield _problem("kafka_bootstrap_servers", "expected in production, where no embedded broker is started")
    if (settings.kafka_security_protocol, settings.kafka_sasl_mechanism) == ("SASL_PLAINTEXT", "PLAIN"):
        yield _problem("kafka_security_protocol", "expected SASL_SSL in production, where no password goes in the open")
    if any(allowed.version == never.version and allowed.overlaps(never)
           for allowed in settings.egress_allow for never in _NEVER_MERCHANTS):  # fmt: skip
        yield _problem("egress_allow", "expected no loopback, link-local or cloud metadata address in production")
    if sum(settings.retry_schedule, timedelta()) < _SHORTEST_SCHEDULE:
        yield _problem("retry_schedule", f"expected {spell(_SHORTEST_SCHEDULE)} or more in all, in production")
    if settings.log_level == "DEBUG":
        yield _problem("log_level", "expected INFO, WARNING or ERROR in production")
    yield from misspelled()


# Vendors of canonical messages may have any name; one that differs by a letter or two from a feed's is a slip.
_NEARLY = 0.8


def doubtful(settings: Settings) -> list[str]:
    """A line for each vendor in REPOINT_DIGIT_IDS whose name is nearly, but not quite, that of a feed."""
    known = [*FEEDS, "customer"]
    near = {
        name: difflib.get_close_matches(name, known, n=3, cutoff=_NEARLY)
        for name in sorted(settings.digit_ids.difference(known))
    }
    return [
        _problem("digit_ids", f"{name} is the vendor of no feed; is it {' or '.join(names)}?")
        for name, names in near.items()
        if names
    ]


def misspelled() -> list[str]:
    """A line for each variable in the environment that begins as ours do and is none, with the name it is nearest to.

    `production` refuses them; in development whoever reads the settings says so.
    """
    known = {_name(field) for field in Settings.model_fields}
    unknown = sorted(
        name
        for name in os.environ
        if name.upper().startswith(PREFIX) and not name.startswith(_OF_THE_TESTS) and name.upper() not in known
    )
    near = {name: difflib.get_close_matches(name.upper(), known, n=1) for name in unknown}
    return [f"{name}: no such setting" + "".join(f"; is it {close}?" for close in near[name]) for name in unknown]


def _problem(field: str, expected: str) -> str:
    return f"{_name(field)}: {expected}"


def _name(field: str) -> str:
    return PREFIX + field.upper()


def _expected(message: str) -> str:
    """Pydantic's wording in ours; neither repeats the value."""
    return message.removeprefix("Value error, ").replace("Input should be", "expected")


def _as_text(default: object) -> str:
    if isinstance(default, timedelta):
        return spell(default)
    if isinstance(default, tuple | frozenset):
        return ",".join(_as_text(part) for part in default)
    return "" if default is None else str(default)
