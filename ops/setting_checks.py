"""What is wrong with settings that were read: values that contradict each other, and what production refuses.

Each check returns lines such as `REPOINT_LOG_LEVEL: expected …`, and never repeats a secret.
"""

import difflib
import os
import ssl
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from schemas.duration import spell
from schemas.feeds import FEEDS
from store import address
from store.address import Address

if TYPE_CHECKING:
    from ops.settings import Settings

PREFIX = "REPOINT_"

# Variables of the tests are no misspelled settings.
_OF_THE_TESTS = PREFIX + "TEST_"

# Addresses of no merchant: this machine, its link, and where clouds hand out their keys. The last five networks write
# an IPv4 address inside an IPv6 address, and so lead to all of the others.
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


# A process that dies keeps its deliveries from all others for so long.
_LONGEST_LEASE = timedelta(days=1)


# Feeds with full numbers that may have none in a record: a token stands in its place, or a payment's trace names it.
_MAY_HAVE_NO_NUMBER = {"cybersource", "nacha", "worldpay"}


class SettingsError(Exception):
    """One line for every setting that is wrong: its name and what was expected. Values are never repeated."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def check_key(settings: "Settings", feeds: Iterable[str]) -> None:
    """Raise SettingsError if one of `feeds` needs the key for fingerprints and it is not set.

    Without the key each record of the feed would be refused, and its dead letter is masked: it could never be sent
    again.
    """
    needing = needing_key(feeds) if settings.fingerprint_key is None else []
    if needing:
        raise SettingsError((problem("fingerprint_key", _expected_with(needing)),))


def needing_key(feeds: Iterable[str]) -> list[str]:
    """The feeds that have a full number in every record, by name in order."""
    return sorted(name for name in feeds if FEEDS[name].carries_numbers and name not in _MAY_HAVE_NO_NUMBER)


def _expected_with(needing: Sequence[str]) -> str:
    feeds = ", ".join(needing)
    return f"expected with feeds whose records all have full numbers ({feeds}): `repoint keys generate` makes one"


def contradictions(settings: "Settings") -> Iterator[str]:
    if settings.delivery_lease <= settings.delivery_timeout:
        yield problem("delivery_lease", "expected longer than REPOINT_DELIVERY_TIMEOUT")
    if settings.delivery_lease > _LONGEST_LEASE:
        expected = f"expected {spell(_LONGEST_LEASE)} at most: `repoint reconcile` ends a longer one"
        yield problem("delivery_lease", expected)
    if settings.knowledge_for < settings.parked_for:
        yield problem("knowledge_for", "expected no shorter than REPOINT_PARKED_FOR")
    if settings.history_for < sum(settings.retry_schedule, timedelta(days=1)):
        yield problem("history_for", "expected a day longer than all of REPOINT_RETRY_SCHEDULE together")
    if settings.events_for < settings.history_for:
        yield problem("events_for", "expected no shorter than REPOINT_HISTORY_FOR, whose deliveries need their events")
    if settings.inbox_for < settings.parked_for:
        yield problem("inbox_for", "expected no shorter than REPOINT_PARKED_FOR")
    if settings.signing_key is not None and _digits(settings.signing_key) & _digits(settings.secrets_key):
        yield problem("signing_key", "expected other keys than those of REPOINT_SECRETS_KEY")
    needing = needing_key(settings.feed_secrets or ())
    if needing and settings.fingerprint_key is None:
        yield problem("fingerprint_key", _expected_with(needing))
    yield from _contradictions_of_kafka(settings)


def _digits(keys: SecretStr | None) -> set[str]:
    """The hexadecimal digits of keys, without their versions."""
    return set() if keys is None else {key.partition(":")[2] for key in keys.get_secret_value().split(",")}


def _contradictions_of_kafka(settings: "Settings") -> Iterator[str]:
    protocol = settings.kafka_security_protocol
    chosen = f"{variable('kafka_security_protocol')}={protocol}"
    if not _SHORTEST_SESSION <= settings.kafka_session_timeout <= _LONGEST_SESSION:
        yield problem("kafka_session_timeout", f"expected {spell(_SHORTEST_SESSION)} to {spell(_LONGEST_SESSION)}")
    if protocol != "PLAINTEXT" and settings.kafka_bootstrap_servers is None:
        yield problem("kafka_bootstrap_servers", f"expected with {chosen}; an embedded broker speaks PLAINTEXT")
    for field in ("kafka_sasl_mechanism", "kafka_sasl_username", "kafka_sasl_password"):
        is_set = getattr(settings, field) is not None
        if protocol.startswith("SASL") and not is_set:
            yield problem(field, f"expected with {chosen}")
        if is_set and not protocol.startswith("SASL"):
            yield problem(field, f"expected only with SASL_SSL or SASL_PLAINTEXT, not with {chosen}")
    if settings.kafka_ca_file is not None:
        if not protocol.endswith("SSL"):
            yield problem("kafka_ca_file", f"expected only with SSL or SASL_SSL, not with {chosen}")
        elif not _holds_certificates(settings.kafka_ca_file):
            yield problem("kafka_ca_file", "expected a file of PEM certificates that can be read")


def _holds_certificates(file: Path) -> bool:
    try:
        ssl.create_default_context(cafile=file)
    except OSError:  # an SSLError is one, too
        return False
    return True


def dangers(settings: "Settings") -> Iterator[str]:
    """A line for each value that development may have and production may not."""
    if settings.database_url is None:
        yield problem("database_url", "expected in production, where no embedded database is started")
    if settings.kafka_bootstrap_servers is None:
        yield problem("kafka_bootstrap_servers", "expected in production, where no embedded broker is started")
    if settings.secrets_key is None:
        yield problem("secrets_key", "expected in production, VERSION:HEX: `repoint keys generate` makes one")
    if (settings.kafka_security_protocol, settings.kafka_sasl_mechanism) == ("SASL_PLAINTEXT", "PLAIN"):
        yield problem("kafka_security_protocol", "expected SASL_SSL in production, where no password goes in the open")
    if any(allowed.version == never.version and allowed.overlaps(never)
           for allowed in settings.egress_allow for never in _NEVER_MERCHANTS):  # fmt: skip
        yield problem("egress_allow", "expected no loopback, link-local or cloud metadata address in production")
    if sum(settings.retry_schedule, timedelta()) < _SHORTEST_SCHEDULE:
        yield problem("retry_schedule", f"expected {spell(_SHORTEST_SCHEDULE)} or more in all, in production")
    if settings.log_level == "DEBUG":
        yield problem("log_level", "expected INFO, WARNING or ERROR in production")
    yield from misspelled(type(settings).model_fields)


def cautions(settings: "Settings") -> Iterator[str]:
    """A line for each value that works in production, and leaves something open."""
    if settings.environment != "production":
        return
    if not settings.kafka_security_protocol.endswith("SSL"):
        yield problem("kafka_security_protocol", "expected SSL or SASL_SSL, so that nobody reads or changes updates")
    if settings.database_url is not None and not _is_verified(address.read(settings.database_url)):
        yield problem("database_url", "expected sslmode=verify-full, so that nobody takes the database's place")


def _is_verified(database: Address) -> bool:
    """Whether the database's certificate is verified, or no network leads to it."""
    is_local = database.servers and all(server.startswith("/") for server in database.servers)
    return database.verifies or bool(is_local)


# Vendors of canonical messages may have any name; one that differs by a letter or two from a feed's is a slip.
_NEARLY = 0.8


def doubtful(settings: "Settings") -> list[str]:
    """A line for each vendor in REPOINT_DIGIT_IDS whose name is nearly, but not quite, that of a feed."""
    known = [*FEEDS, "customer"]
    near = {
        name: difflib.get_close_matches(name, known, n=3, cutoff=_NEARLY)
        for name in sorted(settings.digit_ids.difference(known))
    }
    return [
        problem("digit_ids", f"{name} is the vendor of no feed; is it {' or '.join(names)}?")
        for name, names in near.items()
        if names
    ]


def misspelled(fields: Iterable[str]) -> list[str]:
    """A line for each variable of the environment that begins as settings do and is none, with the nearest name.

    `production` refuses such variables; `development` warns of them.
    """
    known = {variable(field) for field in fields}
    unknown = sorted(
        name
        for name in os.environ
        if name.upper().startswith(PREFIX) and not name.startswith(_OF_THE_TESTS) and name.upper() not in known
    )
    near = {name: difflib.get_close_matches(name.upper(), known, n=1) for name in unknown}
    return [f"{name}: no such setting" + "".join(f"; is it {close}?" for close in near[name]) for name in unknown]


def problem(field: str, expected: str) -> str:
    return f"{variable(field)}: {expected}"


def variable(field: str) -> str:
    return PREFIX + field.upper()
