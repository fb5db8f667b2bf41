"""Settings are read from the environment, and a wrong one is told by its name and never by its value."""

import json
import os
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.reconciliation import JobName
from domain.refusal import Refused
from ops import run, secret_keys, setting_checks, settings
from ops.feed_settings import Asked
from ops.kafka import security
from ops.setting_checks import SettingsError
from ops.settings import described, read
from producers.topic import records
from schemas.duration import duration, spell
from schemas.feeds import FEEDS
from schemas.feeds.feed import Edge, Feed
from schemas.feeds.reading import parts
from schemas.sealing import BUILT_IN, CannotOpen
from store import address
from tests.schemas.feeds.reading import messages

EXAMPLES = Path(__file__).parents[2] / "examples" / "feeds"

PRODUCTION = {
    "ENVIRONMENT": "production",
    "DATABASE_URL": "postgresql://repoint:hunter2@db.internal:5432/repoint",
    "KAFKA_BOOTSTRAP_SERVERS": "kafka-1:9092, kafka-2:9092",
    "SECRETS_KEY": f"v1:{'ab' * 32}",
}


URL_OF_APPLE = "apple-pay: url: expected https://host/path, without user, query or fragment"
URL_OF_VENDOR = "adyen: url: expected https://host/path, without user, query or fragment"


class Environment:
    """The environment of one test: nothing of ours in it but what is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        for name in list(os.environ):
            if name.startswith(setting_checks.PREFIX):
                monkeypatch.delenv(name)

    def set(self, **values: str) -> None:
        for name, value in values.items():
            self._monkeypatch.setenv(setting_checks.PREFIX + name, value)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Environment:
    return Environment(monkeypatch)


def problems() -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        read()
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems


@pytest.mark.parametrize(
    ("value", "others", "named"),
    [
        ("2h", "2h", {}),
        ("2h,deliveries=10m, links = never", "2h", {"deliveries": "10m", "links": None}),
        ("wallets=1d", None, {"wallets": "1d"}),
        ("never", None, {}),
    ],
)
def test_each_job_of_reconciliation_has_an_interval_or_none(
    environment: Environment, value: str, others: str | None, named: dict[str, str | None]
) -> None:
    environment.set(RECONCILE_EVERY=value)
    expected = {name: named.get(name, others) for name in JobName}
    assert read().reconcile_every == {name: duration(text) for name, text in expected.items() if text is not None}


def test_nothing_has_to_be_set_in_development(environment: Environment) -> None:
    defaults = read()
    assert defaults.database_url is None
    assert defaults.kafka_topic == "vendor.payment-method-updates"
    assert defaults.parked_for == timedelta(hours=72)
    assert defaults.knowledge_for == timedelta(days=800)
    assert defaults.history_for == defaults.events_for == defaults.inbox_for == timedelta(days=90)
    assert (defaults.dead_letters_for, defaults.audit_for) == (timedelta(days=90), timedelta(days=800))
    assert defaults.egress_allow == ()
    assert timedelta(days=3) <= sum(defaults.retry_schedule, timedelta()) < timedelta(days=4)


def test_every_kind_of_value_is_read(environment: Environment) -> None:
    environment.set(
        DATABASE_URL="postgresql://u:p@h/d",
        KAFKA_BOOTSTRAP_SERVERS="a:1, b:2",
        EGRESS_ALLOW="127.0.0.0/8, fd00::/8",
        RETRY_SCHEDULE="250ms, 5s,2m,1h,1d",
        BATCH_SIZE="7",
        LOG_FORMAT="json",
        HTTP_PORT="0",
    )
    own = read()
    assert own.database_url == "postgresql://u:p@h/d"
    assert own.kafka_bootstrap_servers == "a:1,b:2"
    assert own.egress_allow == (ip_network("127.0.0.0/8"), ip_network("fd00::/8"))
    assert [spell(delay) for delay in own.retry_schedule] == ["250ms", "5s", "2m", "1h", "1d"]
    assert (own.batch_size, own.log_format, own.http_port) == (7, "json", 0)


def test_an_empty_variable_is_one_not_set(environment: Environment) -> None:
    environment.set(DATABASE_URL="", EGRESS_ALLOW="", BATCH_SIZE="")
    assert read().database_url is None
    assert read().batch_size == 500


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("BATCH_SIZE", "many", "expected a valid integer, unable to parse string as an integer"),
        ("BATCH_SIZE", "0", "expected greater than or equal to 1"),
        ("ENVIRONMENT", "prod", "expected 'development' or 'production'"),
        ("RETRY_SCHEDULE", "5s,soon", "expected a duration such as 250ms, 5s, 2m, 72h or 800d"),
        ("BATCH_WAIT", "-1s", "expected a duration such as 250ms, 5s, 2m, 72h or 800d"),
        ("EGRESS_ALLOW", "10.0.0.1/8", "expected networks such as 10.1.0.0/16, separated by commas"),
        ("DATABASE_URL", "mysql://u:hunter2@h/d", "expected postgresql://user:password@host:port/database"),
        ("DATABASE_URL", "postgresql://u:hunter2@h:x/d", "expected postgresql://user:password@host:port/database"),
        ("DATABASE_URL", "postgresql://u:hunter2@h", "expected postgresql://user:password@host:port/database"),
        (
            "DATABASE_URL",
            "postgresql://u:hunter2@h/d?pool_size=5",
            (
                "expected no parameter `pool_size`: libpq has none, or it cannot be done here; a server's setting goes"
                " into options=-c name=value"
            ),
        ),
        (
            "DATABASE_URL",
            "postgresql://u:hunter2@h/d?sslmode=hunter2",
            "expected sslmode=disable, allow, prefer, require, verify-ca or verify-full",
        ),
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka", "expected host:port, or several separated by commas"),
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka..example:9092", "expected host:port, or several separated by commas"),
        ("KAFKA_BOOTSTRAP_SERVERS", f"{'k' * 64}.example:9092", "expected host:port, or several separated by commas"),
        ("KAFKA_TOPIC", "two words", "expected up to 249 letters, digits, dots, underscores and dashes"),
        ("HTTP_PORT", "70000", "expected less than or equal to 65535"),
        ("DELIVERY_LEASE", "15s", "expected longer than REPOINT_DELIVERY_TIMEOUT"),
        ("DELIVERY_LEASE", "25h", "expected 1d at most: `repoint reconcile` ends a longer one"),
        ("KNOWLEDGE_FOR", "1h", "expected no shorter than REPOINT_PARKED_FOR"),
        ("HISTORY_FOR", "3d", "expected a day longer than all of REPOINT_RETRY_SCHEDULE together"),
        ("RECONCILE_EVERY", "0s", "expected more than 0s"),
        ("RECONCILE_EVERY", "daily", "expected a duration such as 250ms, 5s, 2m, 72h or 800d"),
        (
            "RECONCILE_EVERY",
            "1d,payments=1h",
            f"expected a duration such as 1d, and JOB=DURATION for jobs of {', '.join(JobName)}",
        ),
        (
            "RECONCILE_EVERY",
            "1d,2d",
            f"expected a duration such as 1d, and JOB=DURATION for jobs of {', '.join(JobName)}",
        ),
        ("EVENTS_FOR", "89d", "expected no shorter than REPOINT_HISTORY_FOR, whose deliveries need their events"),
        ("INBOX_FOR", "71h", "expected no shorter than REPOINT_PARKED_FOR"),
        ("KAFKA_SESSION_TIMEOUT", "5s", "expected 6s to 1m"),
        ("KAFKA_SESSION_TIMEOUT", "61s", "expected 6s to 1m"),
        ("KAFKA_SECURITY_PROTOCOL", "TLS", "expected 'PLAINTEXT', 'SSL', 'SASL_PLAINTEXT' or 'SASL_SSL'"),
        ("FEED_SECRETS", "{no JSON", "expected a JSON object, or a file with one"),
        ("FEED_SECRETS", "/no/such/file", "expected a JSON object, or a file with one"),
        ("FEED_SECRETS", '{"vgs": []}', "vgs: expected a secret, or two while one takes the other's place"),
        ("FEED_SECRETS", '{"vgs": ["hunter2", 2]}', "vgs: expected a secret, or two while one takes the other's place"),
        ("FEED_SECRETS", '{"adyen": "hunter2"}', "adyen: expected the key as the vendor shows it"),
        (
            "FEED_SECRETS",
            '{"hunter2": "x"}',
            "expected only feeds that `repoint feeds list` shows as posted",
        ),
        (
            "FEED_SECRETS",
            '{"nacha": "x", "hunter2-as-a-name-of-a-feed": "y", "foo": "z"}',
            "; ".join(
                f"{shown}expected only feeds that `repoint feeds list` shows as posted"
                for shown in ("nacha: ", "", "foo: ")
            ),
        ),
        (
            "FEED_SECRETS",
            '{"strpe": "whsec_hunter2"}',
            "strpe: expected only feeds that `repoint feeds list` shows as posted; is it stripe?",
        ),
        ("FEED_SECRETS", '{"stripe": "short"}', "stripe: expected a key of 16 bytes or more"),
        (
            "FEED_SECRETS",
            '{"stripe": "", "vgs": ["hunter2-and-more-of-it", "hunter2"]}',
            "stripe: expected a key of 16 bytes or more; vgs: expected 16 characters or more",
        ),
        ("FEED_SECRETS", '{"adyen": "abcdef"}', "adyen: expected a key of 16 bytes or more"),
        (
            "FEED_SECRETS",
            '{"braintree": "public:hunter2"}',
            "braintree: expected a private key of 16 characters or more",
        ),
        (
            "FEED_FETCH",
            '{"vau": {"url": "https://x"}}',
            "vau: expected only feeds whose vendors are asked about their events",
        ),
        ("FEED_FETCH", '{"adyen": {"url": "ftp://x"}}', URL_OF_VENDOR),
        ("FEED_FETCH", '{"adyen": {"url": "https://user:hunter2@x/"}}', URL_OF_VENDOR),
        (
            "FEED_FETCH",
            '{"adyen": {"url": "https://x", "user": "hunter2"}}',
            "adyen: expected bearer, or user and password, or none",
        ),
        ("FEED_FETCH", '{"adyen": {}}', "adyen: url: required"),
        ("FEED_FETCH", '{"adyen": {}, "apple-pay": {"url": 5}}', f"adyen: url: required; {URL_OF_APPLE}"),
        ("FEED_FETCH", '{"adyen": "https://x"}', "adyen: expected an object with url"),
        (
            "FEED_FETCH",
            '{"adyn": {}}',
            "adyn: expected only feeds whose vendors are asked about their events; is it adyen?",
        ),
        (
            "FEED_FETCH",
            '{"adyen": {"url": "https://x", "hunter2": 1}}',
            "adyen: expected only url, bearer, user, password, allow",
        ),
        (
            "FEED_FETCH",
            '{"adyen": {"url": "https://x", "bearer": "hunter2\\n"}}',
            "adyen: bearer: expected printable ASCII",
        ),
        ("FEED_FETCH", '{"adyen": {"url": "https://x", "bearer": ""}}', "adyen: bearer: expected printable ASCII"),
        (
            "FEED_FETCH",
            '{"adyen": {"url": "https://x", "bearer": "hunter2", "user": "u", "password": "p"}}',
            "adyen: expected bearer, or user and password, or none",
        ),
        (
            "FEED_FETCH",
            '{"adyen": {"url": "https://x", "password": "hunter2"}}',
            "adyen: expected bearer, or user and password, or none",
        ),
        ("CUSTOMER_IDENTIFIERS", "metadata.a,name", "expected keys such as metadata.patientId, separated by commas"),
        ("CUSTOMER_IDENTIFIERS", "metadata.a b", "expected keys such as metadata.patientId, separated by commas"),
        ("CUSTOMER_IDENTIFIERS", "metadata.", "expected keys such as metadata.patientId, separated by commas"),
        ("PARKED_FOR", "5s and more", "expected a duration such as 250ms, 5s, 2m, 72h or 800d"),
        ("PARKED_FOR", "1h30m", "expected a duration such as 250ms, 5s, 2m, 72h or 800d"),
        ("PARKED_FOR", "1234567s", "expected a duration such as 250ms, 5s, 2m, 72h or 800d"),
        (
            "FEED_FETCH",
            '{"adyen": {"url": "https://x", "allow": 7}}',
            'adyen: allow: expected networks such as ["10.1.0.0/16"]',
        ),
        (
            "FEED_FETCH",
            '{"adyen": {"url": "https://x", "allow": "10.0.0.0/8"}}',
            'adyen: allow: expected networks such as ["10.1.0.0/16"]',
        ),
        (
            "FEED_FETCH",
            '{"adyen": {"url": "https://x", "allow": ["10.0.0.0/8", 5]}}',
            'adyen: allow: expected networks such as ["10.1.0.0/16"]',
        ),
        (
            "FEED_FETCH",
            '{"adyen": {"url": "https://x", "allow": ["10.0.0.1/8"]}}',
            'adyen: allow: expected networks such as ["10.1.0.0/16"]',
        ),
        ("KAFKA_SASL_MECHANISM", "GSSAPI", "expected 'PLAIN', 'SCRAM-SHA-256' or 'SCRAM-SHA-512'"),
    ],
)
def test_a_wrong_setting_is_told_by_its_name(environment: Environment, name: str, value: str, told: str) -> None:
    environment.set(**{name: value})
    assert problems() == (f"REPOINT_{name}: {told}",)
    assert "hunter2" not in "".join(problems())


@pytest.mark.parametrize(
    ("name", "value", "means"),
    [
        ("LOG_LEVEL", "debug", "DEBUG"),
        ("LOG_LEVEL", " Warning ", "WARNING"),
        ("LOG_FORMAT", "JSON", "json"),
        ("ENVIRONMENT", "Development", "development"),
    ],
)
def test_a_word_is_read_however_its_letters_are_written(
    environment: Environment, name: str, value: str, means: str
) -> None:
    environment.set(**{name: value})
    assert getattr(read(), name.lower()) == means


def test_words_of_kafka_are_read_however_their_letters_are_written(environment: Environment) -> None:
    environment.set(**{**SASL, "KAFKA_SECURITY_PROTOCOL": "sasl_ssl", "KAFKA_SASL_MECHANISM": "scram-sha-512"})
    assert (read().kafka_security_protocol, read().kafka_sasl_mechanism) == ("SASL_SSL", "SCRAM-SHA-512")


def test_a_misspelled_setting_is_named_with_the_nearest_one(environment: Environment) -> None:
    environment.set(DATABSE_URL="postgresql://u:hunter2@h/d", log_level="info", WHOLLY_UNLIKE_ALL_OF_THEM="1")
    assert read().environment == "development"
    assert settings.misspelled() == [
        "REPOINT_DATABSE_URL: no such setting; is it REPOINT_DATABASE_URL?",
        "REPOINT_WHOLLY_UNLIKE_ALL_OF_THEM: no such setting",
    ]
    environment.set(**PRODUCTION)
    assert set(settings.misspelled()) <= set(problems())


def test_a_vendor_whose_name_is_nearly_a_feeds_is_named_with_the_nearest_ones(environment: Environment) -> None:
    environment.set(DIGIT_IDS="cybersorce,visa-tms,customers,our-own-bank")
    assert setting_checks.doubtful(read()) == [
        "REPOINT_DIGIT_IDS: customers is the vendor of no feed; is it customer?",
        "REPOINT_DIGIT_IDS: cybersorce is the vendor of no feed; is it cybersource?",
    ]
    environment.set(DIGIT_IDS="cybersource,customer,visa")
    assert setting_checks.doubtful(read()) == []


@pytest.mark.parametrize("at", ["PGSERVICEFILE", "HOME", "PGSYSCONFDIR"])
def test_a_service_of_the_databases_url_is_read_as_libpq_does(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, at: str
) -> None:
    name = {"PGSERVICEFILE": "any", "HOME": ".pg_service.conf", "PGSYSCONFDIR": "pg_service.conf"}[at]
    (tmp_path / name).write_text(
        "# ours\n[other]\nhost=elsewhere\n[wallets]\nhost = db.example\nport=6432\n"
        "dbname=wallets\nuser=u\npassword=a b&c\napplication_name=shop\nsslmode=disable\n[last]\nhost=no\n"
    )
    for variable in ("PGSERVICEFILE", "PGSYSCONFDIR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    monkeypatch.setenv(at, str(tmp_path / name if at == "PGSERVICEFILE" else tmp_path))
    environment.set(DATABASE_URL="postgresql:///?service=wallets")
    found = address.read(str(read().database_url))
    assert (found.name, found.settings["application_name"]) == ("wallets at db.example:6432", "shop")
    assert "password=a+b%26c" in found.dsn
    environment.set(DATABASE_URL="postgresql://me@mine:1/d?service=wallets&sslmode=require")
    found = address.read(str(read().database_url))
    assert found.name == "d at mine:1"
    assert "sslmode=require" in found.dsn
    assert "user=" not in found.dsn
    environment.set(DATABASE_URL="postgresql://h/d?service=nope")
    [problem] = problems()
    assert problem.startswith("REPOINT_DATABASE_URL: expected service= to name a service of ")
    assert "nope" not in problem
    (tmp_path / name).write_text("[wallets]\ndbname=d\nhostaddr=10.0.0.1\nfoo=1\n")
    environment.set(DATABASE_URL="postgresql:///?service=wallets")
    assert problems()[0].startswith("REPOINT_DATABASE_URL: expected no parameters `hostaddr`, `foo`: ")


SASL = {
    "KAFKA_BOOTSTRAP_SERVERS": "kafka:9093",
    "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
    "KAFKA_SASL_USERNAME": "repoint",
    "KAFKA_SASL_PASSWORD": "hunter2",
}


def test_the_brokers_password_is_shown_nowhere(environment: Environment) -> None:
    environment.set(**SASL)
    own = read()
    assert own.kafka_sasl_password is not None
    assert own.kafka_sasl_password.get_secret_value() == "hunter2"
    chosen = security(own)
    assert chosen["sasl_plain_password"] == "hunter2"
    shown = (repr(own), str(own), own.model_dump_json(), repr(chosen), str(chosen), f"{chosen}", repr({"with": chosen}))
    assert "hunter2" not in "".join(shown)


def test_the_secrets_of_feeds_are_shown_nowhere(environment: Environment) -> None:
    environment.set(
        FEED_SECRETS='{"stripe": ["hunter2-and-more-of-it", "hunter3-and-more-of-it"], "adyen": "%s"}' % ("ab" * 32)
    )
    own = read()
    assert own.feed_secrets is not None
    assert [one.get_secret_value() for one in own.feed_secrets["stripe"]] == [
        "hunter2-and-more-of-it",
        "hunter3-and-more-of-it",
    ]
    assert "hunter" not in repr(own) + str(own) + own.model_dump_json()


def test_feeds_of_full_numbers_need_a_key_for_fingerprints(environment: Environment) -> None:
    """At the start, for what is posted without one is refused, masked, and gone."""
    environment.set(
        FEED_SECRETS=json.dumps(dict.fromkeys(["vau", "abu-push", "worldpay", "vgs"], "a-token-of-16-or-more"))
    )
    (problem,) = problems()
    assert problem == (
        "REPOINT_FINGERPRINT_KEY: expected with feeds whose records all have full numbers (abu-push, vau):"
        " `repoint keys generate` makes one"
    )
    environment.set(FINGERPRINT_KEY=f"v1:{'ab' * 32}")
    assert read().feed_secrets is not None


@pytest.mark.parametrize("feed", [feed for feed in FEEDS.values() if feed.carries_numbers], ids=lambda feed: feed.name)
async def test_a_feed_needs_a_key_if_none_of_its_records_can_do_without(feed: Feed) -> None:
    [file] = EXAMPLES.glob(f"{feed.name}.*")
    with file.open("rb") as stream:
        samples = [each.record async for each in records.read_records(feed, stream) if each.record is not None]
    # a payment's trace, in the files of banks
    traces = {each["addenda"][6:21].strip(): {"token": "acct-1"} for each in samples if "addenda" in each}
    taken = 0
    for part in [part for each in samples for part in parts(feed, each)]:
        with suppress(Refused):
            taken += len(messages(feed, part, Edge(datetime(2026, 11, 20, tzinfo=UTC), traces=traces)))
    assert setting_checks.needing_key([feed.name]) == ([] if taken else [feed.name])


def test_who_we_are_to_vendors_is_shown_nowhere(environment: Environment) -> None:
    internal = '{"url": "http://10.0.0.5", "bearer": "hunter3", "allow": ["10.0.0.5/32"]}'
    vendor = '{"url": "https://x", "user": "u", "password": "hunter2"}'
    environment.set(FEED_FETCH=f'{{"adyen": {vendor}, "apple-pay": {internal}}}')
    own = read()
    assert own.feed_fetch is not None
    assert own.feed_fetch["adyen"].authorization() == "Basic dTpodW50ZXIy"
    assert own.feed_fetch["apple-pay"].authorization() == "Bearer hunter3"
    assert Asked(url="https://x").authorization() is None
    assert own.feed_fetch["apple-pay"].allow == (ip_network("10.0.0.5/32"),)
    assert "hunter" not in repr(own) + str(own) + own.model_dump_json()


def test_the_group_waits_for_a_member_as_long_as_is_set(environment: Environment, engine: AsyncEngine) -> None:
    environment.set(**SASL, KAFKA_SESSION_TIMEOUT="6s")
    worker = run._worker(read(), engine, "kafka:9093", on_due=lambda _: None)
    assert worker._session_timeout == 6
    assert worker._security["sasl_mechanism"] == "SCRAM-SHA-512"


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"KAFKA_SASL_PASSWORD": ""}, ["SASL_PASSWORD: expected with REPOINT_KAFKA_SECURITY_PROTOCOL=SASL_SSL"]),
        (
            {"KAFKA_SASL_MECHANISM": "", "KAFKA_SASL_USERNAME": ""},
            [
                "SASL_MECHANISM: expected with REPOINT_KAFKA_SECURITY_PROTOCOL=SASL_SSL",
                "SASL_USERNAME: expected with REPOINT_KAFKA_SECURITY_PROTOCOL=SASL_SSL",
            ],
        ),
        (
            {"KAFKA_SECURITY_PROTOCOL": "SSL"},
            [
                f"SASL_{name}: expected only with SASL_SSL or SASL_PLAINTEXT,"
                " not with REPOINT_KAFKA_SECURITY_PROTOCOL=SSL"
                for name in ("MECHANISM", "USERNAME", "PASSWORD")
            ],
        ),
        (
            {"KAFKA_BOOTSTRAP_SERVERS": ""},
            [
                (
                    "BOOTSTRAP_SERVERS: expected with REPOINT_KAFKA_SECURITY_PROTOCOL=SASL_SSL;"
                    " an embedded broker speaks PLAINTEXT"
                )
            ],
        ),
        (
            {"KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "KAFKA_CA_FILE": "/dev/null"},
            ["CA_FILE: expected only with SSL or SASL_SSL, not with REPOINT_KAFKA_SECURITY_PROTOCOL=SASL_PLAINTEXT"],
        ),
        ({"KAFKA_CA_FILE": "/no/such/file"}, ["CA_FILE: expected a file of PEM certificates that can be read"]),
        ({"KAFKA_CA_FILE": __file__}, ["CA_FILE: expected a file of PEM certificates that can be read"]),
    ],
)  # fmt: skip
def test_what_does_not_go_together_for_kafka_is_told(
    environment: Environment, changed: dict[str, str], told: list[str]
) -> None:
    environment.set(**{**SASL, **changed})
    assert list(problems()) == [f"REPOINT_KAFKA_{one}" for one in told]
    assert "hunter2" not in "".join(problems())


def test_production_sends_no_password_in_the_open(environment: Environment) -> None:
    environment.set(**{**PRODUCTION, **SASL, "KAFKA_SASL_MECHANISM": "PLAIN"})
    assert read().environment == "production"
    environment.set(KAFKA_SECURITY_PROTOCOL="SASL_PLAINTEXT")
    assert problems()[0].startswith("REPOINT_KAFKA_SECURITY_PROTOCOL: expected SASL_SSL in production")


def test_all_wrong_settings_are_told_at_once_and_no_value_is(environment: Environment) -> None:
    environment.set(DATABASE_URL="postgresql://u:hunter2@", BATCH_SIZE="hunter2", LOG_LEVEL="hunter2")
    assert [problem.split(":")[0] for problem in problems()] == [
        "REPOINT_DATABASE_URL",
        "REPOINT_BATCH_SIZE",
        "REPOINT_LOG_LEVEL",
    ]
    assert "hunter2" not in "".join(problems())


def test_production_runs_with_parts_of_its_own(environment: Environment) -> None:
    environment.set(**PRODUCTION, EGRESS_ALLOW="10.1.0.0/16,fd12::/16")
    assert read().environment == "production"


@pytest.mark.parametrize("missing", ["DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS"])
def test_production_refuses_an_embedded_part(environment: Environment, missing: str) -> None:
    environment.set(**{**PRODUCTION, missing: ""})
    assert problems()[0].startswith(f"REPOINT_{missing}: expected in production")


@pytest.mark.parametrize(
    "network",
    [
        "0.0.0.0/0",
        "0.0.0.0/32",
        "127.0.0.1/32",
        "169.254.169.254/32",
        "168.63.129.16/32",
        "100.100.100.200/32",
        "::1/128",
        "::/0",
        "fe80::1/128",
        "fd00:ec2::254/128",
        "::ffff:127.0.0.1/128",
        "64:ff9b::/96",
        "64:ff9b:1::7f00:1/128",
        "2002:7f00:1::/48",
        "2001:0:7f00:1::/64",
    ],
)
def test_production_refuses_to_let_webhooks_reach_this_machine(environment: Environment, network: str) -> None:
    environment.set(**PRODUCTION, EGRESS_ALLOW=f"10.1.0.0/16,{network}")
    assert problems() == (
        "REPOINT_EGRESS_ALLOW: expected no loopback, link-local or cloud metadata address in production",
    )


def test_production_refuses_what_else_is_unsafe(environment: Environment) -> None:
    environment.set(**PRODUCTION, RETRY_SCHEDULE="1s,2s", LOG_LEVEL="DEBUG", EGRES_ALLOW="10.0.0.0/8")
    assert problems() == (
        "REPOINT_RETRY_SCHEDULE: expected 1h or more in all, in production",
        "REPOINT_LOG_LEVEL: expected INFO, WARNING or ERROR in production",
        "REPOINT_EGRES_ALLOW: no such setting; is it REPOINT_EGRESS_ALLOW?",
    )


def test_no_form_of_the_settings_shows_a_secret(environment: Environment) -> None:
    environment.set(**PRODUCTION)
    assert "hunter2" not in repr(read()) + str(read())


def test_several_keys_name_a_customer_each_once(environment: Environment) -> None:
    environment.set(CUSTOMER_IDENTIFIERS="metadata.a, metadata.b,hsid,metadata.a")
    own = read()
    assert own.customer_identifiers == ("metadata.a", "metadata.b", "hsid")
    assert own.identifiers == {"enterpriseId", "hsid", "metadata.a", "metadata.b"}


@given(st.integers(0, 999_999), st.sampled_from(["ms", "s", "m", "h", "d"]))
def test_a_duration_is_spelled_as_it_is_read(count: int, unit: str) -> None:
    length = duration(f"{count}{unit}")
    assert length == count * duration(f"1{unit}")
    assert duration(spell(length)) == length


def test_every_setting_says_why_and_its_default_is_what_it_says(environment: Environment) -> None:
    assert len({setting.name for setting in described()}) == len(described()) >= 20
    defaults = read()
    for setting in described():
        assert setting.reason.endswith(".")
        environment.set(**{setting.name.removeprefix(setting_checks.PREFIX): setting.default})
    assert read() == defaults


def test_digits_are_ids_of_the_vendors_that_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.read().digit_ids == frozenset()
    monkeypatch.setenv("REPOINT_DIGIT_IDS", "cybersource, visa-tms,customer")
    assert settings.read().digit_ids == {"cybersource", "visa-tms", "customer"}
    for wrong in ("cybersource:", "a b", "a,,b", "@x"):
        monkeypatch.setenv("REPOINT_DIGIT_IDS", wrong)
        with pytest.raises(SettingsError, match=r"^REPOINT_DIGIT_IDS: expected vendors' names"):
            settings.read()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DELIVERY_LEASE", "15001ms"),
        ("DELIVERY_LEASE", "24h"),
        ("KNOWLEDGE_FOR", "72h"),  # as long as an update waits
        ("HISTORY_FOR", "358505s"),  # a day, and all delays
        ("EVENTS_FOR", "90d"),
        ("INBOX_FOR", "72h"),
        ("KAFKA_SESSION_TIMEOUT", "6s"),
        ("KAFKA_SESSION_TIMEOUT", "60s"),
        ("RETRY_SCHEDULE", "30m,30m"),
        ("LOG_LEVEL", "INFO"),
        ("LOG_LEVEL", "WARNING"),
        ("LOG_LEVEL", "ERROR"),
        ("HTTP_PORT", "0"),
        ("HTTP_PORT", "65535"),
        ("CONSUMER_LANES", "32"),
    ],
)
def test_a_value_at_the_edge_of_what_may_be_is_taken_in_production(
    environment: Environment, name: str, value: str
) -> None:
    environment.set(**PRODUCTION, **{name: value})
    assert read().environment == "production"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DELIVERY_LEASE", "15s"),
        ("KNOWLEDGE_FOR", "71h"),
        ("HISTORY_FOR", "99h"),
        ("EVENTS_FOR", "2159h"),
        ("INBOX_FOR", "71h"),
        ("KAFKA_SESSION_TIMEOUT", "5999ms"),
        ("KAFKA_SESSION_TIMEOUT", "60001ms"),
        ("RETRY_SCHEDULE", "30m,29m"),
        ("HTTP_PORT", "65536"),
        ("CONSUMER_LANES", "33"),
    ],
)
def test_a_value_beyond_the_edge_is_refused_in_production(environment: Environment, name: str, value: str) -> None:
    environment.set(**PRODUCTION, **{name: value})
    assert [problem.partition(":")[0] for problem in problems()] == [f"REPOINT_{name}"]


def test_a_variable_of_the_tests_is_no_misspelled_setting(environment: Environment) -> None:
    environment.set(**PRODUCTION, TEST_KAFKA="apache")
    assert settings.misspelled() == []
    assert read().environment == "production"


# --- the keys of secrets ------------------------------------------------------------------------------------------


def test_production_needs_a_key_for_secrets_and_says_what_makes_one(environment: Environment) -> None:
    environment.set(**{name: value for name, value in PRODUCTION.items() if name != "SECRETS_KEY"})
    assert problems() == (
        "REPOINT_SECRETS_KEY: expected in production, VERSION:HEX: `repoint keys generate` makes one",
    )


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("ab" * 32, "expected VERSION:HEX with 64 hexadecimal digits, or several separated by commas"),
        (f"v1:{'ab' * 31}", "expected VERSION:HEX with 64 hexadecimal digits, or several separated by commas"),
        (f"v1:{'ab' * 32},", "expected VERSION:HEX with 64 hexadecimal digits, or several separated by commas"),
        (f"v 1:{'ab' * 32}", "expected VERSION:HEX with 64 hexadecimal digits, or several separated by commas"),
        (f"v1:{'ab' * 32},v1:{'cd' * 32}", "expected another version for each key"),
        (f"0:{'ab' * 32}", "expected no version 0, and not its key: it is built in, for development"),
        (f"v1:{BUILT_IN.key.hex()}", "expected no version 0, and not its key: it is built in, for development"),
    ],
)
def test_a_key_for_secrets_that_cannot_be_one_is_refused_and_not_repeated(
    environment: Environment, written: str, expected: str
) -> None:
    environment.set(SECRETS_KEY=written)
    assert problems() == (f"REPOINT_SECRETS_KEY: {expected}",)


def test_the_first_key_seals_and_all_open_and_the_built_in_one_opens_in_development_alone(
    environment: Environment,
) -> None:
    built_in = secret_keys.keys(read())
    assert built_in.current_version == "0"
    at_first = built_in.seal("a secret", "secret", "e")
    environment.set(SECRETS_KEY=f"v1:{'ab' * 32}")
    alone = secret_keys.keys(read())
    assert (alone.current_version, alone.open(at_first, "secret", "e")) == ("v1", "a secret")
    environment.set(**PRODUCTION | {"SECRETS_KEY": f"v2:{'cd' * 32} , v1:{'AB' * 32}"})
    both = secret_keys.keys(read())
    assert (both.current_version, both.open(alone.seal("another", "secret", "e"), "secret", "e")) == ("v2", "another")
    assert "ab" * 8 not in f"{read()!r} {both!r} {alone}".lower()
    with pytest.raises(CannotOpen, match="there is no key of version 0"):
        both.open(at_first, "secret", "e")
