"""The certificate that a PostgreSQL server shows, who asks for TLS first; and those of files."""

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from domain.checkup.diagnosis import Level
from ops.doctor import certificates
from ops.doctor.surroundings import of_certificates
from ops.settings import Settings
from store import address

SSL_REQUEST = bytes.fromhex("0000000804d2162f")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for three days, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no `openssl` here to make a certificate with")
    directory = tmp_path_factory.mktemp("certificates")
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    subprocess.run([
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3", "-subj", "/CN=db.example",
        "-keyout", str(key), "-out", str(certificate),
    ], check=True, capture_output=True)  # fmt: skip
    return certificate, key


@asynccontextmanager
async def server(files: tuple[Path, Path] | None) -> AsyncIterator[int]:
    """Answers as PostgreSQL does when it is asked for TLS; its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(len(SSL_REQUEST)) == SSL_REQUEST
        if files is None:
            writer.write(b"N")
        else:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*files)
            writer.write(b"S")
            await writer.drain()
            await writer.start_tls(context)
        writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with listening:
        yield listening.sockets[0].getsockname()[1]


async def test_the_certificate_of_a_server_is_read_although_nobody_trusts_it(files: tuple[Path, Path]) -> None:
    async with server(files) as port:
        shown = await certificates.of_postgres("127.0.0.1", port)
    assert shown is not None
    assert shown.where == f"127.0.0.1:{port}"
    assert timedelta(days=2) < shown.ends - datetime.now(UTC) <= timedelta(days=3)
    async with server(None) as port:
        assert await certificates.of_postgres("127.0.0.1", port) is None


async def test_the_way_to_the_database_is_checked_where_its_certificate_counts(files: tuple[Path, Path]) -> None:
    certificate = files[0]
    async with server(files) as port:
        verified = f"postgresql://u@127.0.0.1:{port}/d?sslmode=verify-full&sslrootcert={certificate}"
        made = of_certificates(Settings(), verified)
        assert list(made) == [f"certificates {certificate}", f"certificates 127.0.0.1:{port}"]
        for check in made.values():
            assert [diagnosis.level for diagnosis in await check()] == [Level.FAULT]
    for other in ("postgresql://u@db.example/d?sslmode=require", "postgresql:///d?host=/run/postgresql"):
        assert of_certificates(Settings(), other) == {}


def test_a_file_without_a_certificate_has_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no certificate")
    assert certificates.of_file(tmp_path / "file") == ()


@pytest.mark.parametrize(
    ("url", "servers"),
    [
        ("postgresql://u:p@h1:5432,h2:5433/d", ("h1:5432", "h2:5433")),
        ("postgresql://h/d", ("h",)),
        ("postgresql://[2001:db8::1]:5432/d", ("[2001:db8::1]:5432",)),
        ("postgresql:///d?host=h1,h2&port=1,2", ("h1:1", "h2:2")),
        ("postgresql:///d?host=/run/postgresql", ("/run/postgresql",)),
        ("postgresql:///d?service=s", ()),
    ],
)
def test_the_servers_of_a_url(url: str, servers: tuple[str, ...]) -> None:
    assert address.read(url).servers == servers
