"""What a round took: time, and CPU of this process and of PostgreSQL."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple, Self

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

_TICK = os.sysconf("SC_CLK_TCK")


class Round(NamedTuple):
    """Items a second, and the CPU microseconds of each, here and in PostgreSQL."""

    name: str
    rate: float
    client: float
    server: float

    def __str__(self) -> str:
        return f"{self.name:44} {self.rate:8.0f}/s   CPU {self.client:7.1f} + {self.server:7.1f} us each"


class Meter:
    """Measures rounds against one PostgreSQL, which runs on this machine; `rounds` are those measured so far."""

    def __init__(self, postmaster: int) -> None:
        self._postmaster = postmaster
        self.rounds: list[Round] = []

    @classmethod
    async def of(cls, engine: AsyncEngine) -> Self:
        async with engine.connect() as connection:
            mine = await connection.scalar(text("SELECT pg_backend_pid()"))
            return cls(_parent(Path(f"/proc/{mine}/stat")))

    @contextmanager
    def measure(self, name: str, items: int) -> Iterator[None]:
        """The body is a round of so many items."""
        client, server, begun = time.process_time(), self.server_seconds(), time.perf_counter()
        yield
        seconds = time.perf_counter() - begun
        client, server = time.process_time() - client, self.server_seconds() - server
        self.rounds.append(Round(name, items / seconds, client / items * 1e6, server / items * 1e6))
        print(self.rounds[-1], flush=True)

    def print(self) -> None:
        """Of each name, the medians over its rounds."""
        for name in dict.fromkeys(round_.name for round_ in self.rounds):
            _, rates, clients, servers = zip(*self._named(name), strict=True)
            print(Round(f"{name}: median of {len(rates)}", median(rates), median(clients), median(servers)))

    def rate(self, name: str) -> float:
        """The median of the rounds so named, items a second."""
        return median(round_.rate for round_ in self._named(name))

    def ratio(self, name: str, base: str) -> float:
        """The median of one's rate by the other's, round by round."""
        return median(
            mine.rate / theirs.rate for mine, theirs in zip(self._named(name), self._named(base), strict=True)
        )

    def _named(self, name: str) -> list[Round]:
        return [round_ for round_ in self.rounds if round_.name == name]

    def server_seconds(self) -> float:
        """CPU seconds of the postmaster, of the processes it has now, and of those it had."""
        ticks = 0
        for process in Path("/proc").iterdir():
            if process.name.isdecimal():
                ticks += self._ticks(process)
        return ticks / _TICK

    def _ticks(self, process: Path) -> int:
        try:
            fields = _fields(process / "stat")
        except (FileNotFoundError, ProcessLookupError):
            return 0
        user, system, user_of_children, system_of_children = map(int, fields[11:15])
        if int(process.name) == self._postmaster:
            return user + system + user_of_children + system_of_children
        return user + system if int(fields[1]) == self._postmaster else 0


def cpu_seconds(process: int) -> float:
    """CPU seconds of a running process, without its children's."""
    user, system = _fields(Path(f"/proc/{process}/stat"))[11:13]
    return (int(user) + int(system)) / _TICK


def _fields(stat: Path) -> list[str]:
    """Numbered as in proc(5), less three: the name, which may hold spaces, ends with the last bracket."""
    return stat.read_text().rpartition(")")[2].split()


def _parent(stat: Path) -> int:
    return int(_fields(stat)[1])
