"""Log lines of one kind, limited: the first ones of a minute are written, and one line counts the others."""

import asyncio
from collections.abc import Callable

# So many show a person what the kind is; a vendor's broken file or a lost endpoint brings thousands.
MOST_LINES = 10
EVERY_SECONDS = 60.0

Write = Callable[..., object]
"""As a method of a logger: the line's text, and its fields by name."""


class LimitedLog:
    """Writes `event` by `write`, `lines` times in `every` seconds at most.

    What is not written is counted. When the time is over, one more line says how many (`more`), and the next time
    begins. It needs a running loop.
    """

    def __init__(
        self, write: Write, event: str, *, lines: int = MOST_LINES, every: float = EVERY_SECONDS, **fields: object
    ) -> None:
        self._write = write
        self._event = event
        self._most_lines = lines
        self._every = every
        self._fields = fields
        self._lines = 0
        self._unwritten = 0
        self._timer: asyncio.TimerHandle | None = None

    def write(self, *, events: int = 1, **fields: object) -> None:
        """Write a line about so many `events` of the kind, or count them."""
        if self._lines < self._most_lines:
            self._lines += 1
            self._write(self._event, **fields)
        else:
            self._unwritten += events
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._every, self._end)

    def close(self) -> None:
        """Write how many were counted, at once."""
        if self._timer is not None:
            self._timer.cancel()
            self._end()

    def _end(self) -> None:
        self._timer = None
        self._lines = 0
        if self._unwritten:
            unwritten, self._unwritten = self._unwritten, 0
            self._write(f"{self._event}: more of them", more=unwritten, within_seconds=self._every, **self._fields)
