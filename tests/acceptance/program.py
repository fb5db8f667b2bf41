"""`repoint` as people and supervisors use it: arguments, an environment, exit codes.

program = Program(tmp_path, DATABASE_URL=url)
ended = await program("status", "…")
async with program.going("run") as worker:
    await worker.says("consuming")
"""

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.acceptance import loaded

COMMAND = (str(Path(sys.executable).with_name("repoint")),)


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str

    def well(self) -> "Ended":
        """Itself, if it did what it was asked for."""
        assert self.code == 0, self
        return self

    def json(self) -> Any:
        return json.loads(self.well().out)


class Going:
    """A program that runs until it is told to stop."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self._more = asyncio.Condition()
        self._reading = asyncio.create_task(self._read())

    async def says(self, words: str, *, times: int = 1, within: float = 60.0) -> list[str]:
        """The lines with `words` on its stderr, once there are so many."""

        def found() -> list[str]:
            return [line for line in self.lines if words in line]

        try:
            async with asyncio.timeout(within), self._more:
                await self._more.wait_for(lambda: len(found()) >= times or self._reading.done())
        except TimeoutError:
            raise TimeoutError(f"{words!r} awaited {times} times, but:\n{''.join(self.lines)}") from None
        assert len(found()) >= times, "".join(self.lines)
        return found()

    async def stop(self, number: int = signal.SIGTERM, *, within: float = 30.0) -> int:
        """Its exit code, after the signal."""
        self.process.send_signal(number)
        return await self.end(within=within)

    async def end(self, *, within: float = 30.0) -> int:
        try:
            async with asyncio.timeout(within):
                code = await self.process.wait()
                await self._reading
        except TimeoutError:
            raise TimeoutError(f"did not end:\n{''.join(self.lines)}") from None
        return code

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            async with self._more:
                self.lines.append(line.decode())
                self._more.notify_all()
        async with self._more:
            self._more.notify_all()


class Program:
    """Runs commands in `directory`, with these settings (without their prefix) and no others."""

    def __init__(self, directory: Path, **settings: str) -> None:
        self.directory = directory
        self.settings = settings

    async def __call__(self, *arguments: str, stdin: str | bytes = b"", **settings: str) -> Ended:
        """Runs one command to its end."""
        with tempfile.TemporaryDirectory() as name:
            files = [Path(name, stream) for stream in ("stdin", "stdout", "stderr")]
            for file in files:
                file.write_bytes(stdin.encode() if isinstance(stdin, str) else stdin)
                stdin = b""
            order = {
                "arguments": arguments,
                "directory": str(self.directory),
                "environment": self._environment(settings),
                "files": [str(file) for file in files],
            }
            code = await asyncio.to_thread(loaded.run, order)
            return Ended(code, *(file.read_text() for file in files[1:]))

    @asynccontextmanager
    async def going(self, *arguments: str, **settings: str) -> AsyncIterator[Going]:
        process = await asyncio.create_subprocess_exec(
            *COMMAND, *arguments, cwd=self.directory, env=self._environment(settings),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
            limit=1 << 20,
        )  # fmt: skip
        going = Going(process)
        try:
            yield going
        finally:
            if process.returncode is None:
                await going.stop()

    def write(self, name: str, *lines: object) -> str:
        """A file of one JSON object a line, text as it is; its name."""
        texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
        (self.directory / name).write_text("".join(text + "\n" for text in texts))
        return name

    def _environment(self, settings: Mapping[str, str]) -> dict[str, str]:
        others = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("REPOINT_") or name.startswith("REPOINT_TEST_")
        }
        return others | {f"REPOINT_{name}": value for name, value in {**self.settings, **settings}.items()}
