"""The certificates that servers show and that files hold, whether they are valid or not."""

import asyncio
import ssl
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509

from domain.checkup.certificates import Certificate

_POSTGRES_TLS = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"  # SSLRequest, docs of PostgreSQL, "Message Formats"
_OFFERED = b"S"


async def of_server(host: str, port: int) -> Certificate | None:
    """The certificate of a server that speaks TLS from the first byte."""
    _, writer = await asyncio.open_connection(host, port, ssl=_unverified(), server_hostname=host)
    try:
        return _shown(writer, f"{host}:{port}")
    finally:
        writer.close()


async def of_postgres(host: str, port: int) -> Certificate | None:
    """The certificate of a PostgreSQL server, which is asked for TLS first; None if it offers none."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(_POSTGRES_TLS)
        await writer.drain()
        if await reader.readexactly(1) != _OFFERED:
            return None
        await writer.start_tls(_unverified(), server_hostname=host)
        return _shown(writer, f"{host}:{port}")
    finally:
        writer.close()


def of_file(path: Path) -> Sequence[Certificate]:
    """The certificates of a PEM file; none if it holds none. Raises OSError where it cannot be read."""
    try:
        return [_certificate(loaded, str(path)) for loaded in x509.load_pem_x509_certificates(path.read_bytes())]
    except ValueError:
        return ()


def _unverified() -> ssl.SSLContext:
    """A context that shows a certificate which nobody should trust: nothing is sent behind the handshake."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _shown(writer: asyncio.StreamWriter, where: str) -> Certificate | None:
    connection: ssl.SSLObject | None = writer.get_extra_info("ssl_object")
    shown = None if connection is None else connection.getpeercert(binary_form=True)
    return None if shown is None else _certificate(x509.load_der_x509_certificate(shown), where)


def _certificate(read: x509.Certificate, where: str) -> Certificate:
    return Certificate(where, read.not_valid_before_utc, read.not_valid_after_utc)
