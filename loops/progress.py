"""When a loop last moved: what a watchdog asks to tell a loop that hangs from one that waits."""

import time

# No batch, look-up, request or announced wait takes that long. A loop that hangs is ended, and its supervisor restarts
# the process.
STALLED_SECONDS = 180


class Stalled(Exception):
    """A loop has stood still for too long, or has ended; ending the process lets the supervisor begin it again."""


class Progress:
    """The progress of the loop called `name`: in seconds of the monotonic clock."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._advanced_at = time.monotonic()

    def advance(self) -> None:
        """Note that the loop moves: it took a step, or begins a wait that it announces."""
        self._advanced_at = time.monotonic()

    def stalled(self) -> str | None:
        """Why the process should be restarted; None while the loop moves."""
        idle = time.monotonic() - self._advanced_at
        return f"{self._name} has made no progress for {idle:.0f} s" if idle > STALLED_SECONDS else None
