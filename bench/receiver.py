"""A receiver that is never the bottleneck: many addresses, one process, a protocol that only counts bytes.

python -m bench.receiver HOSTS PORT
"""

import asyncio
import sys
from collections.abc import Callable
from typing import cast

import uvloop

_REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def addresses(hosts: int) -> list[str]:
    """Addresses on loopback: 127.0.1.1 and on, 250 in each network of the last byte."""
    return [f"127.0.{1 + number // 250}.{1 + number % 250}" for number in range(hosts)]


class Protocol(asyncio.Protocol):
    """Just enough HTTP for requests with a Content-Length, as all of ours have; `on_body` is called with each body."""

    def __init__(self, on_body: Callable[[bytes], None] = lambda _: None) -> None:
        self._on_body = on_body

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._got = b""

    def data_received(self, data: bytes) -> None:
        self._got += data
        while (end := self._got.find(b"\r\n\r\n")) >= 0:
            head = self._got[:end].lower()
            length = int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
            if len(self._got) < end + 4 + length:
                return
            self._on_body(self._got[end + 4 : end + 4 + length])
            self._got = self._got[end + 4 + length :]
            self._transport.write(_REPLY)


async def serve(hosts: int, port: int) -> None:
    loop = asyncio.get_running_loop()
    for address in addresses(hosts):
        await loop.create_server(Protocol, address, port, backlog=512)
    print("listening", flush=True)
    await loop.connect_read_pipe(lambda: _UntilClosed(loop), sys.stdin)
    await asyncio.Event().wait()


class _UntilClosed(asyncio.Protocol):
    """Ends the process when its standard input ends, which is when the bench ends, however it ends."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def connection_lost(self, _error: Exception | None) -> None:
        self._loop.stop()


if __name__ == "__main__":
    try:
        uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2])))
    except RuntimeError:
        sys.exit(0)  # stopped by its standard input
