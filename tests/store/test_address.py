"""A database's URL as psql takes it: what is understood, what is refused by its name, and what then happens."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from store import connectivity
from store.address import EXPECTED, Address, read
from store.engine import connect
from testbed.postgres import Databases
from tests.parts.pgbouncer import pooler
from tests.parts.proxy import Proxy


def of(query: str) -> Address:
    return read(f"postgresql://u:hunter2@h:6432/d?{query}")


# --- what is read -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("postgresql://u:p@h:1/d", "d at h:1"),
        ("postgres://h/d", "d at h"),
        ("postgresql+asyncpg://h/d", "d at h"),
        ("postgresql://u@h1:1,h2:2/d", "d at h1:1, h2:2"),
        ("postgresql:///d?host=/run/x", "d at /run/x"),
        ("postgresql:///d?host=h1:1&host=h2:2", "d at h1:1, h2:2"),
        ("postgresql:///d?host=h1,h2&port=1,2", "d at h1:1, h2:2"),
        ("postgresql://u@%2Frun%2Fx/d", "d at /run/x"),
        ("postgresql://u@[::1]:5/d", "d at [::1]:5"),
        ("postgresql://h?dbname=d", "d at h"),
        ("postgresql://u:p%40%2F@h/a%20b", "a b at h"),
        ("postgresql:///?service=wallets", "of the service at service wallets"),
    ],
)
def test_every_form_of_a_url_is_read_and_named_without_its_password(url: str, name: str) -> None:
    assert read(url).name == name


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:hunter2@h/d", "postgresql://u:hunter2@h:x/d", "postgresql://u:hunter2@h", "postgresql://h:0/d",
        "postgresql://h:65536/d", "postgresql://[::1/d", "postgresql://h1:1,h2:x/d", "postgresql://h/d#hunter2",
        "postgresql://h/d?sslmode", "d", "", "postgresql://u:12345/hunter2@h/d", "postgresql:///d?port=abc",
        "postgresql://h:\uff11/d", "postgresql://h/d?application_name=%00", "postgresql://h/d?sslrootcert=%00",
    ],
)  # fmt: skip
def test_another_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match="expected postgresql") as refused:
        read(url)
    assert str(refused.value) == EXPECTED


def test_all_parameters_that_cannot_be_used_are_named_at_once() -> None:
    with pytest.raises(ValueError, match="expected") as refused:
        of("pool_size=5&sslmode=hunter2&search_path=hunter2&connect_timeout=x&hunter2=1")
    assert str(refused.value) == (
        "expected no parameters `pool_size`, `search_path`, or another that is there: libpq has none, or it cannot be"
        " done here; a server's setting goes into options=-c name=value; expected sslmode=disable, allow, prefer,"
        " require, verify-ca or verify-full; expected connect_timeout= with a whole number"
    )


@pytest.mark.parametrize("host", ["::1", "2001:db8::1", "2001:db8::1:5432", "fe80::1%eth0", "h1:1,::1"])
def test_an_ipv6_address_without_brackets_has_a_hint(host: str) -> None:
    for user in ("", "u:hunter2@"):
        with pytest.raises(ValueError, match="expected") as refused:
            read(f"postgresql://{user}{host}/d")
        assert str(refused.value) == f"{EXPECTED}, and an IPv6 address in brackets: [2001:db8::1]:5432"


async def test_an_engine_shows_no_password_that_is_a_parameter() -> None:
    engine = connect("postgresql:///d?host=h&user=u&password=hunter2&sslpassword=hunter2")
    assert (
        "hunter2" not in f"{engine.url!s} {engine.url!r} {engine!r} {engine.url.render_as_string(hide_password=False)}"
    )


def test_jdbcs_form_has_a_hint() -> None:
    with pytest.raises(ValueError, match="expected") as refused:
        read("jdbc:postgresql://h:5432/d?user=u&password=hunter2")
    assert str(refused.value) == f"{EXPECTED}, without jdbc: in front, and with the user before the host"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("pool_size=5", "`pool_size`"),
        ("search_path=hunter2", "`search_path`"),
        ("hostaddr=10.0.0.1", "`hostaddr`"),
        ("require_auth=scram-sha-256", "`require_auth`"),
        ("requirepeer=postgres", "`requirepeer`"),
        ("connection_limit=1", "`connection_limit`"),
        ("sslmode=hunter2", "sslmode=disable, allow, prefer, require, verify-ca or verify-full"),
        ("ssl=hunter2", "sslmode="),
        ("target_session_attrs=read-only", "target_session_attrs=any, read-write or primary"),
        ("gssencmode=require", "gssencmode=disable or prefer"),
        ("load_balance_hosts=random", "load_balance_hosts=disable"),
        ("client_encoding=latin1", "client_encoding="),
        ("connect_timeout=hunter2", "connect_timeout= with a whole number"),
        ("sslrootcert=system&sslmode=require", "sslmode=verify-full with sslrootcert=system"),
        ("channel_binding=require&sslmode=disable", "sslmode=require or verify-full with channel_binding=require"),
        ("pgbouncer=true&options=endpoint%3Dhunter2", "options=-c name=value"),
        ("pgbouncer=hunter2", "pgbouncer="),
        ("hunter2=x", "of that name"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name_and_never_by_value(query: str, expected: str) -> None:
    with pytest.raises(ValueError, match="expected") as refused:
        of(query)
    assert expected in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("url", ["sslmode=prefer", "sslmode=require", "sslcert=/c&sslkey=/k", "krbsrvname=x", ""])
def test_what_asyncpg_reads_as_libpq_does_is_left_to_it(url: str) -> None:
    address = of(url)
    assert address.dsn == "postgresql://u:hunter2@h:6432/d" + ("?" + url if url else "")
    assert "hunter2" not in repr(address)


@pytest.mark.parametrize(
    "query",
    [
        "client_encoding=UTF8", "gssencmode=disable", "sslcompression=0", "sslsni=1", "load_balance_hosts=disable",
        "channel_binding=prefer", "channel_binding=disable", "min_protocol_version=3.0", "replication=false",
    ],
)  # fmt: skip
def test_what_asks_for_what_is_done_anyway_changes_nothing(query: str) -> None:
    assert of(query) == of("")


def test_ssl_true_is_jdbcs_word_for_sslmode_require() -> None:
    assert of("ssl=true") == of("sslmode=require")
    assert of("ssl=verify-full") == of("sslmode=verify-full")


def test_channel_binding_is_made_up_for_by_a_certificate_verified_in_full() -> None:
    required = of("sslmode=require&channel_binding=require")
    assert required.system_authorities
    assert required.dsn.endswith("?sslmode=verify-full")
    own = of("sslmode=require&channel_binding=require&sslrootcert=/ca.pem")
    assert not own.system_authorities
    assert own.dsn.endswith("?sslmode=verify-full&sslrootcert=/ca.pem")


def test_settings_of_a_session_and_timeouts_are_taken_out_of_the_url() -> None:
    address = of("application_name=shop&options=-c%20work_mem%3D8MB&connect_timeout=1")
    assert address.settings == {"application_name": "shop", "options": "-c work_mem=8MB"}
    assert address.connect_timeout == 2
    assert of("fallback_application_name=shop").settings == {"application_name": "shop"}
    assert of("").settings == {"application_name": "repoint"}
    assert of("connect_timeout=0").connect_timeout is None


def test_options_are_taken_apart_for_a_pooler() -> None:
    query = "pgbouncer=true&options=" + quote(r"-c work_mem=8MB --search_path=a\ b -cenable_seqscan=off ")
    assert of(query).settings == {
        "application_name": "repoint", "work_mem": "8MB", "search_path": "a b", "enable_seqscan": "off",
    }  # fmt: skip
    assert of(query).pooled
    assert not of("pgbouncer=false").pooled


def test_keepalives_are_the_sockets() -> None:
    assert of("").socket_options is None
    assert of("keepalives=0").socket_options == {"keepalives": 0}
    assert of("keepalives_idle=30&tcp_user_timeout=9000").socket_options == {
        "keepalives": 1, "keepalives_idle": 30, "tcp_user_timeout": 9000,
    }  # fmt: skip


# --- and what comes of it ---------------------------------------------------------------------------------------------


async def shown(url: str, *names: str) -> list[str]:
    engine = connect(url)
    try:
        async with engine.begin() as connection:
            return [str(await connection.scalar(text(f"SHOW {name}"))) for name in names]
    finally:
        await engine.dispose()


def with_query(url: str, **more: str) -> str:
    joined = "&".join(f"{name}={quote(value)}" for name, value in more.items())
    return url + ("&" if "?" in url else "?") + joined


async def test_what_a_url_asks_of_the_session_is_so(database_url: str) -> None:
    url = with_query(database_url, application_name="shop", options="-c work_mem=8MB", connect_timeout="5")
    assert await shown(url, "application_name", "work_mem", "statement_timeout") == ["shop", "8MB", "20s"]


async def test_the_first_of_two_hosts_may_be_away_and_a_socket_may_be_percent_encoded(database_url: str) -> None:
    async with Proxy(database_url) as proxy:
        there = make_url(proxy.url)
        url = f"postgresql://{there.username}@127.0.0.1:1,127.0.0.1:{there.port}/{there.database}"
        assert await shown(with_query(url, target_session_attrs="read-write"), "jit") == ["off"]
        assert await shown(with_query(proxy.url, keepalives_idle="30", tcp_user_timeout="9000"), "jit") == ["off"]
    own = make_url(database_url)
    if folder := own.query.get("host"):
        assert await shown(f"postgresql://{own.username}@{quote(str(folder), safe='')}/{own.database}", "jit") == [
            "off"
        ]


async def reason(url: str) -> str:
    with pytest.raises(connectivity.Unusable) as caught:
        async with connectivity.opened(url):
            pass
    return str(caught.value)


async def test_why_a_database_cannot_be_used_is_said(database_url: str) -> None:
    async with Proxy(database_url) as proxy:
        assert "offers no TLS, which sslmode asks for" in await reason(with_query(proxy.url, sslmode="require"))
        missing = with_query(proxy.url, sslmode="verify-full", sslrootcert="/no/such.pem")
        assert "/no/such.pem, which the URL names, cannot be read" in await reason(missing)
        assert "target_session_attrs" in await reason_of_a_read_only_one(proxy.url)
    assert "cannot be reached: no such host" in await reason("postgresql://u@nowhere.invalid/d")
    assert "setting that options= names" in await reason(with_query(database_url, options="-c nothing_such=1"))


async def reason_of_a_read_only_one(url: str) -> str:
    read_only = "-c default_transaction_read_only=on"
    return await reason(with_query(url, options=read_only, target_session_attrs="read-write"))


async def test_verify_full_without_authorities_says_so(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    async with Proxy(database_url) as proxy:
        assert "root.crt" in await reason(with_query(proxy.url, sslmode="verify-full"))


# --- TLS, which PgBouncer speaks and the embedded server does not -----------------------------------------------------


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """Signed by itself, for 127.0.0.1."""
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
            "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(chain),
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return chain, key


async def test_a_certificate_is_verified_as_the_url_says(
    databases: Databases, database_url: str, tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    with pooler(database_url, tmp_path, certificate=certificate) as plain:
        url = with_query(plain, pgbouncer="true")
        for query in (
            {"sslmode": "require"},
            {"ssl": "true"},
            {"sslmode": "verify-full", "sslrootcert": str(certificate[0])},
            {"sslmode": "require", "channel_binding": "require", "sslrootcert": str(certificate[0])},
        ):
            async with connectivity.opened(with_query(url, **query)):
                pass
        untrusted = "shows a certificate that cannot be trusted"
        assert untrusted in await reason(with_query(url, sslmode="require", channel_binding="require"))
        assert untrusted in await reason(with_query(url, sslrootcert="system"))
        elsewhere = url.replace("127.0.0.1", "localhost")
        named = with_query(elsewhere, sslmode="verify-full", sslrootcert=str(certificate[0]))
        assert untrusted in await reason(named)


async def test_through_a_pooler_every_transaction_has_its_limits(database_url: str, tmp_path: Path) -> None:
    names = ("jit", "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "work_mem")
    with pooler(database_url, tmp_path) as plain:
        url = with_query(plain, pgbouncer="true", options="-c work_mem=8MB -c statement_timeout=1h")
        assert await shown(url, *names) == ["off", "20s", "5s", "30s", "8MB"]
        engine = connect(url, short=True)
        async with engine.begin() as connection:
            limit = await connection.scalar(text("SELECT current_setting('transaction_timeout', true)"))
        await engine.dispose()
        assert limit in {"30s", None}  # there is none before PostgreSQL 17


# --- and the program says it in one line ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "code"),
    [({"pool_size": "5"}, 2), ({"sslmode": "bogus"}, 2), ({"sslmode": "require", "channel_binding": "require"}, 1)],
)
async def test_a_url_that_cannot_be_used_is_one_line_of_the_program(
    database_url: str, query: Mapping[str, str], code: int
) -> None:
    async with Proxy(database_url) as proxy:
        environment = os.environ | {"REPOINT_DATABASE_URL": with_query(proxy.url, **query)}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "ops.cli", "merchants", "list",
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        _, error = await process.communicate()
    assert process.returncode == code
    assert len(error.decode().splitlines()) == 1
    assert "Traceback" not in error.decode()
