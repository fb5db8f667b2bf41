"""Children as their parent sees them: born, reaching a point, killed, stopped, going on, ending."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO

from tests.crash.child import ProcessPlan
from tests.parts.until import until

ROOT = Path(__file__).parents[2]
# A few seconds on a quiet machine.
_PATIENCE = 240


class ForkServer:
    """Where children come from: `tests.crash.child`."""

    def __init__(self, lives: socket.socket) -> None:
        self._requests = lives

    @asynccontextmanager
    async def running(self, plan: ProcessPlan) -> AsyncIterator["WorkerProcess"]:
        """A child with this plan, gone at the end. If anything fails meanwhile, its log stands below the failure."""
        with tempfile.TemporaryFile("w+") as log:
            here, there = socket.socketpair()
            socket.send_fds(self._requests, [json.dumps(asdict(plan)).encode()], [there.fileno(), log.fileno()])
            there.close()
            reader, writer = await asyncio.open_connection(sock=here)
            born = await reader.readline()
            child = WorkerProcess(int(born.removeprefix(b"born ")), reader)
            try:
                yield child
            except BaseException as error:
                error.add_note(f"{plan.name}, {plan.fault} at {plan.point}, logged last:\n{_last_of(log)}")
                raise
            finally:
                await child.bury()
                writer.close()
                await writer.wait_closed()


@contextmanager
def fork_server() -> Iterator[ForkServer]:
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-m", "tests.crash.child", str(os.getpid())]
    with subprocess.Popen(command, stdin=there.fileno(), cwd=ROOT):
        there.close()
        with here:  # its end is what ends the fork server
            yield ForkServer(here)


class WorkerProcess:
    """A running worker, dispatcher or both."""

    def __init__(self, pid: int, told: asyncio.StreamReader) -> None:
        self._pid = pid
        self._told = told
        self._ended = False

    async def reaches(self, point: str | None = None) -> str:
        """The next point that it tells of, or the next that is `point`."""
        while (line := await self._line()).startswith("at "):
            reached = line.removeprefix("at ")
            if point in {None, reached}:
                return reached
        raise AssertionError(f"{point or 'the point'} was never reached: {line}")

    async def is_killed_at(self, point: str | None) -> str:
        """The point that it killed itself at, `point` if that is said."""
        told = await self.reaches(point)
        await self._ends_with(-signal.SIGKILL)
        return told

    async def kill(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        await self._ends_with(-signal.SIGKILL)

    async def is_stopped(self) -> None:
        """Wait until the kernel has it down as stopped: the point is told of just before."""
        stat = Path(f"/proc/{self._pid}/stat")

        async def stopped() -> bool:
            return stat.read_text().rpartition(")")[2].split()[0] == "T"

        await until(stopped)

    def go_on(self) -> None:
        os.kill(self._pid, signal.SIGCONT)

    async def end(self) -> None:
        """Tell it to stop, and let it finish what it is at."""
        os.kill(self._pid, signal.SIGTERM)
        await self._ends_with(0)

    async def bury(self) -> None:
        """Kill it, if it has not ended."""
        if not self._ended:
            os.kill(self._pid, signal.SIGKILL)
            await self._end()

    async def _ends_with(self, code: int) -> None:
        assert await self._end() == f"ended {code}"

    async def _end(self) -> str:
        while (line := await self._line()).startswith("at "):
            pass
        return line

    async def _line(self) -> str:
        async with asyncio.timeout(_PATIENCE):
            line = (await self._told.readline()).decode().strip()
        self._ended |= line.startswith("ended ")
        return line


def _last_of(log: IO[str]) -> str:
    log.seek(0)
    return log.read()[-6000:]
