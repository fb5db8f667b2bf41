"""A way to the database on which a COMMIT gets lost: itself, or only the word that it was done."""

import asyncio
from contextlib import suppress

from tests.parts.proxy import Proxy

# asyncpg sends it as a message of its own, once it has the answers to all before; the answer is of one piece too.
_COMMIT = b"COMMIT;\0"
_COMMITTED = b"COMMIT\0"
_PATIENCE = 240


class LossyProxy(Proxy):
    """Loses the COMMIT number `passing`, counted on sessions that have sent `statement`; that is when it is reached.

    With `forwards`, the database gets it, and from then on its answers reach nobody: it is reached when the database
    has answered. Without, the database gets nothing any more. `mend` makes it an honest proxy; sessions that stand are
    cut.
    """

    def __init__(self, url: str, *, statement: bytes, passing: int = 1, forwards: bool) -> None:
        super().__init__(url)
        self._reached = asyncio.Event()
        self._statement = statement
        self._left = passing
        self._forwards = forwards
        self._losing = False

    async def is_reached(self) -> None:
        async with asyncio.timeout(_PATIENCE):
            await self._reached.wait()

    def mend(self) -> None:
        self._losing = False
        self._left = 0
        self.cut()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, answers: bool) -> None:
        sent = False
        with suppress(ConnectionError):
            while chunk := await source.read(1 << 16):
                sent = sent or self._statement in chunk
                if not answers and sent and _COMMIT in chunk:
                    self._count()
                if not self._loses(chunk, answers=answers):
                    sink.write(chunk)
                    await sink.drain()
        sink.transport.abort()

    def _count(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._losing = True
            if not self._forwards:
                self._reached.set()

    def _loses(self, chunk: bytes, *, answers: bool) -> bool:
        if self._losing and self._forwards and answers and _COMMITTED in chunk:
            self._reached.set()
        return self._losing and self._forwards is answers
