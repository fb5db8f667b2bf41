"""All settings, each read once at the start from one environment variable.

Other modules get the values that they need as arguments, never this object.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from domain.delivery.schedule import RETRY_SCHEDULE
from domain.reconciliation import JobName
from domain.wallet import ALWAYS_IDENTIFY
from ops import setting_checks
from ops.setting_checks import PREFIX, SettingsError, variable
from ops.setting_values import (
    DatabaseUrl,
    DigitIds,
    Duration,
    EgressProxyUrl,
    Environment,
    FeedFetch,
    FeedSecrets,
    FingerprintKey,
    Identifiers,
    Intervals,
    LogFormat,
    LogLevel,
    Mechanism,
    Name,
    Networks,
    Ports,
    Protocol,
    Schedule,
    SecretsKey,
    Servers,
    SigningKey,
)
from schemas.duration import spell


class Settings(BaseSettings):
    """All settings, checked. Made by `read`."""

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
    secrets_key: SecretsKey | None = Field(
        None,
        repr=False,
        description="`VERSION:HEX`, or several separated by commas: the first key encrypts secrets of endpoints, and"
        " all decrypt them. `repoint keys generate` makes one. Production needs one; development has a built-in key.",
    )
    signing_key: SigningKey | None = Field(
        None,
        repr=False,
        description="`VERSION:HEX`, or two separated by a comma: webhooks are signed with ed25519 (`v1a`), too, under"
        " each of them. `repoint keys generate` makes one, `repoint keys signing` shows the public keys. None: webhooks"
        " are signed with the secrets of their endpoints alone.",
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
    vendor_hold_share: Annotated[float, Field(ge=0, le=1)] = Field(
        0.1,
        description="A vendor that replaces payment methods in more than this share of all wallets, and in 1,000 at"
        " least, within an hour is paused by itself: a wrong file must not reach every merchant. 0: never.",
    )
    knowledge_for: Duration = Field(
        timedelta(days=800),
        description="How long what vendors told about a known credential is kept; card networks answer for 730 days.",
    )
    history_for: Duration = Field(
        timedelta(days=90),
        description="How long finished deliveries, DEAD ones among them, attempts, and runs of reconciliation are kept."
        " A DEAD delivery can be replayed until then. A day is dropped whole.",
    )
    reconcile_every: Intervals = Field(
        dict.fromkeys(JobName, timedelta(days=1)),
        description="How often the role `reconcile` runs each job: `1d`, or `1d,deliveries=1h,wallets=never`.",
    )
    events_for: Duration = Field(
        timedelta(days=90),
        description="How long events are kept, at least: as long as one of their deliveries is live or in the history.",
    )
    inbox_for: Duration = Field(
        timedelta(days=90),
        description="How long updates are kept that wait for nothing: until then a message is recognised that is read"
        " again. Longer than the topic keeps its messages.",
    )
    dead_letters_for: Duration = Field(
        timedelta(days=90), description="How long dead letters are kept once they are closed; open ones stay."
    )
    audit_for: Duration = Field(timedelta(days=800), description="How long the audit is kept.")
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
    egress_ports: Ports = Field(
        None,
        description="Ports that webhooks may go to, such as 443,8443; if not set 443 alone in production, and any in"
        " development. For all addresses, those of REPOINT_EGRESS_ALLOW too: a merchant must not try our ports.",
    )
    egress_proxy: EgressProxyUrl = Field(
        None,
        repr=False,
        description="`http://host:port`, or with `user:password@`: the HTTP proxy that webhooks go through, by CONNECT."
        " It is asked for addresses that were looked up and checked here. HTTP_PROXY and the like are not read.",
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
        """The names of everything that identifies a customer."""
        return ALWAYS_IDENTIFY.union(self.customer_identifiers)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        problems = list(setting_checks.contradictions(self))
        if self.environment == "production":
            problems += setting_checks.dangers(self)
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
    """Read the settings from the environment. Raises SettingsError with every problem."""
    try:
        return Settings()
    except ValidationError as error:
        problems = tuple(f"{variable(str(detail['loc'][0]))}: {_expected(detail['msg'])}" for detail in error.errors())
        raise SettingsError(problems) from None


def described() -> list[Setting]:
    """All settings, in the order of `Settings`."""
    return [
        Setting(variable(field), _as_text(definition.default), definition.description or "")
        for field, definition in Settings.model_fields.items()
    ]


def misspelled() -> list[str]:
    """A line for each variable of the environment that begins as settings do and is none."""
    return setting_checks.misspelled(Settings.model_fields)


def _expected(message: str) -> str:
    """Pydantic's message in the words of this program; neither repeats the value."""
    return message.removeprefix("Value error, ").replace("Input should be", "expected")


def _as_text(default: object) -> str:
    if isinstance(default, timedelta):
        return spell(default)
    if isinstance(default, Mapping):
        return ",".join(dict.fromkeys(map(_as_text, default.values())))
    if isinstance(default, tuple | frozenset):
        return ",".join(_as_text(part) for part in default)
    return "" if default is None else str(default)
