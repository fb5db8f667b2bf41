"""How a setting's text is read: durations, lists, addresses, names and keys. An error says what was expected."""

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

from domain.reconciliation import JobName
from domain.wallet import ALWAYS_IDENTIFY
from ops import database_service
from ops.feed_settings import Asked, feed_fetch, feed_secrets
from producers.egress import Network, parse_networks
from producers.webhooks.tunnels import EgressProxy
from schemas.duration import duration
from schemas.sealing import BUILT_IN, KEY_BYTES
from store import address

KEY_VERSION = re.compile(r"[A-Za-z0-9_-]{1,16}")
# One that is used, and one that takes its place.
MOST_SIGNING_KEYS = 2
_KEY_FOR_SECRETS = re.compile(rf"[0-9a-fA-F]{{{2 * KEY_BYTES}}}")


def _database_url(url: str) -> str:
    whole = database_service.expanded(url)
    address.read(whole)  # raises ValueError, without repeating any of it
    return whole


def _durations(text: str) -> tuple[timedelta, ...]:
    return tuple(duration(part) for part in text.split(","))


def _networks(text: str) -> tuple[Network, ...]:
    try:
        return tuple(parse_networks(part.strip() for part in text.split(",")))
    except ValueError:
        raise ValueError("expected networks such as 10.1.0.0/16, separated by commas") from None


def _ports(text: str) -> tuple[int, ...]:
    ports = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(r"[0-9]{1,5}", port) and 0 < int(port) < 1 << 16 for port in ports):
        raise ValueError("expected ports from 1 to 65535 such as 443,8443, separated by commas")
    return tuple(sorted(set(map(int, ports))))


def _identifiers(text: str) -> tuple[str, ...]:
    names = [part.strip() for part in text.split(",")]
    if not all(name in ALWAYS_IDENTIFY or re.fullmatch(r"metadata\.\S{1,246}", name) for name in names):
        raise ValueError("expected keys such as metadata.patientId, separated by commas")
    return tuple(dict.fromkeys(names))


def _servers(text: str) -> str:
    servers = [part.strip() for part in text.split(",")]
    for server in servers:
        host, _, port = server.rpartition(":")
        if not _can_be_looked_up(host) or not port.isdecimal() or not 0 < int(port) < 1 << 16:
            raise ValueError("expected host:port, or several separated by commas")
    return ",".join(servers)


def _can_be_looked_up(host: str) -> bool:
    """Whether the system can be asked for the name: a label that is empty or too long ends the look-up by an error."""
    try:
        return bool(host.encode("idna"))
    except UnicodeError:
        return False


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


def _keys(text: str) -> str:
    keys = [part.strip().partition(":") for part in text.split(",")]
    if not all(KEY_VERSION.fullmatch(version) and _KEY_FOR_SECRETS.fullmatch(digits) for version, _, digits in keys):
        raise ValueError("expected VERSION:HEX with 64 hexadecimal digits, or several separated by commas")
    versions = [version for version, _, _ in keys]
    if len(set(versions)) != len(versions):
        raise ValueError("expected another version for each key")
    if BUILT_IN.version in versions or any(bytes.fromhex(digits) == BUILT_IN.key for _, _, digits in keys):
        raise ValueError(f"expected no version {BUILT_IN.version}, and not its key: it is built in, for development")
    return ",".join(f"{version}:{digits.lower()}" for version, _, digits in keys)


def _signing_key(text: str) -> str:
    keys = _keys(text)
    if keys.count(",") >= MOST_SIGNING_KEYS:
        raise ValueError(f"expected {MOST_SIGNING_KEYS} keys at most, each of which signs every webhook")
    return keys


# As in updates: a colon would end the vendor in a credential's key.
_VENDOR = re.compile(r"[^:@\s][^:\s]{0,63}")


def _digit_ids(text: str) -> frozenset[str]:
    names = frozenset(name.strip() for name in text.split(","))
    if not all(_VENDOR.fullmatch(name) for name in names):
        raise ValueError("expected vendors' names and `customer`, separated by commas")
    return names


def _intervals(text: str) -> Mapping[JobName, timedelta]:
    """Read `1d`, or `1d,deliveries=1h,wallets=never`: the interval of each job that has one."""
    parts = [[word.strip() for word in part.partition("=")] for part in text.split(",")]
    named = {name: length for name, is_named, length in parts if is_named}
    defaults = [length for length, is_named, _ in parts if not is_named]
    if len(defaults) > 1 or not named.keys() <= set(JobName):
        raise ValueError(f"expected a duration such as 1d, and JOB=DURATION for jobs of {', '.join(JobName)}")
    by_default = defaults[0] if defaults else "never"
    lengths = {name: _interval(named.get(name, by_default)) for name in JobName}
    return {name: length for name, length in lengths.items() if length is not None}


def _interval(text: str) -> timedelta | None:
    return None if text == "never" else _more_than_nothing(duration(text))


def _in_any_case(*names: str) -> BeforeValidator:
    """Read one of `names`, in capital or small letters."""
    known = {name.casefold(): name for name in names}
    return _of_text(lambda text: known.get(text.strip().casefold(), text))


def _of_text(read: Callable[[str], object]) -> BeforeValidator:
    """Read text by `read`; a default, which is a value already, passes."""
    return BeforeValidator(lambda value: read(value) if isinstance(value, str) else value)


def _more_than_nothing(length: timedelta) -> timedelta:
    if not length:
        raise ValueError("expected more than 0s")
    return length


Duration: TypeAlias = Annotated[timedelta, _of_text(duration), AfterValidator(_more_than_nothing)]
Schedule: TypeAlias = Annotated[tuple[timedelta, ...], NoDecode, _of_text(_durations), Field(max_length=50)]
Identifiers: TypeAlias = Annotated[tuple[str, ...], NoDecode, _of_text(_identifiers)]
DigitIds: TypeAlias = Annotated[frozenset[str], NoDecode, _of_text(_digit_ids)]
Intervals: TypeAlias = Annotated[Mapping[JobName, timedelta], NoDecode, _of_text(_intervals)]
Networks: TypeAlias = Annotated[tuple[Network, ...], NoDecode, _of_text(_networks)]
Ports: TypeAlias = Annotated[tuple[int, ...] | None, NoDecode, _of_text(_ports)]
EgressProxyUrl: TypeAlias = Annotated[EgressProxy | None, NoDecode, _of_text(EgressProxy.read)]
DatabaseUrl: TypeAlias = Annotated[str, BeforeValidator(_database_url)]
Servers: TypeAlias = Annotated[str, BeforeValidator(_servers)]
Name: TypeAlias = Annotated[str, BeforeValidator(_topic)]
FingerprintKey: TypeAlias = Annotated[SecretStr, _of_text(_fingerprint_key)]
SecretsKey: TypeAlias = Annotated[SecretStr, _of_text(_keys)]
SigningKey: TypeAlias = Annotated[SecretStr, _of_text(_signing_key)]
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
