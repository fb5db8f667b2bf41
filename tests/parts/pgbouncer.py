"""A real PgBouncer in transaction mode before the PostgreSQL of a test.

with pooler(database_url, tmp_path) as url:                        # plain TCP
with pooler(database_url, tmp_path, certificate=certificate) as url:   # TLS where a client asks for it

`url` holds no `pgbouncer=true`: a test adds what it is about.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy.engine import URL, make_url

INSISTED_ON = "REPOINT_TEST_PGBOUNCER"
"""Set to anything where the binary must be there: a skipped test proves nothing."""

# Fewer than the program has connections, so that sessions are shared and a thing left in one is seen by the others.
_SERVERS = 3
_DEADLINE = 15.0

_SETTINGS = """
[databases]
* = {server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {users}
pool_mode = transaction
default_pool_size = {servers}
max_client_conn = 200
logfile = {log}
{more}
"""


def binary() -> str:
    """The path of the program; the test is skipped where there is none, or fails where it is insisted on."""
    path = shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if path is None:
        missing = "there is no `pgbouncer` here (apt-get install pgbouncer)"
        if os.environ.get(INSISTED_ON):
            pytest.fail(f"{missing}, and {INSISTED_ON} is set")
        pytest.skip(missing)
    return path


@contextmanager
def pooler(
    database_url: str, directory: Path, *, certificate: tuple[Path, Path] | None = None, settings: str = ""
) -> Iterator[str]:
    """The URL of the same database through PgBouncer. `certificate` is a chain and its key; `settings` are its own."""
    upstream = make_url(database_url)
    port = _free_port()
    home = directory / f"pgbouncer-{port}"
    home.mkdir()
    (home / "users.txt").write_text(f'"{upstream.username}" "{upstream.password or ""}"\n')
    if certificate is not None:
        settings += f"\nclient_tls_sslmode = allow\nclient_tls_cert_file = {home / 'chain.pem'}"
        settings += f"\nclient_tls_key_file = {home / 'key.pem'}"
        shutil.copy(certificate[0], home / "chain.pem")
        shutil.copy(certificate[1], home / "key.pem")
    file = home / "pgbouncer.ini"
    file.write_text(
        _SETTINGS.format(
            server=_server(upstream),
            port=port,
            users=home / "users.txt",
            servers=_SERVERS,
            log=home / "log",
            more=settings,
        )
    )
    _let_in(home)
    process = subprocess.Popen([binary(), "-q", str(file)], user=_user(upstream), stdin=subprocess.DEVNULL)
    try:
        _wait_for(port, process)
        yield upstream.set(host="127.0.0.1", port=port, query={}).render_as_string(hide_password=False)
    finally:
        process.terminate()
        process.wait(_DEADLINE)


def _server(upstream: URL) -> str:
    host = upstream.query.get("host") or upstream.host
    return f"host={host} port={upstream.port or 5432}"


def _user(upstream: URL) -> int | str | None:
    """PgBouncer refuses to run as root; then it runs as the server's user, whom the server's socket lets in."""
    if os.geteuid() != 0:
        return None
    folder = upstream.query.get("host")
    return Path(str(folder)).stat().st_uid if folder else "nobody"


def _let_in(home: Path) -> None:
    """Let the other user read what is in `home`, whose parents pytest makes for its own user alone."""
    for file in home.iterdir():
        file.chmod(0o644)
    home.chmod(0o777)
    if os.geteuid() == 0:
        private = (folder for folder in home.parents if not folder.stat().st_mode & 0o001)
        for folder in private:
            folder.chmod(folder.stat().st_mode | 0o011)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _DEADLINE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert process.poll() is None, "pgbouncer ended: see its log"
            assert time.monotonic() < until, "pgbouncer does not listen"
            time.sleep(0.02)
        else:
            return
