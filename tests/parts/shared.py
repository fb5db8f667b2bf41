"""The database server and the broker, started once for all processes of a parallel run.

pytest-xdist's controller runs no tests: it starts a part when the first worker asks for it, gives every worker the same
address, and ends the part when the run ends.
"""

import asyncio
import os
import secrets
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any

from testbed.kafka import Broker, kafka
from testbed.postgres import Databases, postgres


class Parts:
    """The parts of one test session, each started when it is first asked for and ended by `close`."""

    def __init__(self) -> None:
        self.origins: dict[str, str] = {}
        """Where each started part comes from, by its name and version."""
        self._stack = ExitStack()
        self._lock = threading.Lock()
        self._postgres: str | None = None
        self._broker: Broker | None = None

    def postgres_url(self) -> str:
        """The URL of a superuser."""
        with self._lock:
            if self._postgres is None:
                url, origin = self._stack.enter_context(postgres(os.environ.get("REPOINT_TEST_DATABASE_URL")))
                self.origins[f"PostgreSQL {asyncio.run(Databases(url).version())}"] = origin
                self._postgres = url
            return self._postgres

    def broker(self) -> Broker:
        with self._lock:
            if self._broker is None:
                servers = os.environ.get("REPOINT_TEST_KAFKA_BOOTSTRAP_SERVERS")
                wanted = os.environ.get("REPOINT_TEST_KAFKA") or "auto"
                self._broker = self._stack.enter_context(kafka(servers, wanted))
                self.origins["Kafka"] = self._broker.origin
            return self._broker

    def close(self) -> None:
        self._stack.close()


class Server:
    """Answers the workers of a parallel run with the parts of `parts`."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._directory = tempfile.TemporaryDirectory(prefix="repoint-parts-")
        self._key = secrets.token_hex(16)
        self._listener = Listener(str(Path(self._directory.name) / "socket"), authkey=self._key.encode())
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def workerinput(self) -> Mapping[str, str]:
        """What a worker needs to ask."""
        return {"parts_socket": str(self._listener.address), "parts_key": self._key}

    def close(self) -> None:
        self._listener.close()
        self._directory.cleanup()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                threading.Thread(target=self._answer, args=(self._listener.accept(),), daemon=True).start()

    def _answer(self, connection: Connection) -> None:
        with connection:
            ask: Callable[[], Any] = getattr(self._parts, connection.recv())
            try:
                connection.send((ask(), None))
            except (OSError, RuntimeError, ValueError) as error:
                connection.send((None, f"{type(error).__name__}: {error}"))


class RemoteParts:
    """The parts as a worker sees them."""

    def __init__(self, workerinput: Mapping[str, str]) -> None:
        self.origins: dict[str, str] = {}
        """Empty: the controller reports them."""
        self._socket = workerinput["parts_socket"]
        self._key = workerinput["parts_key"]

    def postgres_url(self) -> str:
        return str(self._ask("postgres_url"))

    def broker(self) -> Broker:
        broker = self._ask("broker")
        assert isinstance(broker, Broker)
        return broker

    def close(self) -> None:
        """Nothing: the parts are the controller's."""

    def _ask(self, name: str) -> object:
        with Client(self._socket, authkey=self._key.encode()) as connection:
            connection.send(name)
            answer, failure = connection.recv()
        if failure is not None:
            raise RuntimeError(failure)
        return answer
