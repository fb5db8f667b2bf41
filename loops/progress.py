"""The time of a loop's latest step, by which a watchdog tells a hanging loop from a waiting one."""

import time

# Longer than any batch, look-up, request or announced wait. A hanging loop ends the process, and the supervisor
# restarts it.
STALLED_SECONDS = 180


class Stalled(Exception):
    """A loop has stood still for too long, or has ended; ending the process lets the supervisor begin it again."""


class Progress:
    """The latest step of the loop called `name`, on the monotonic clock."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._advanced_at = time.monotonic()

    def advance(self) -> None:
        """Note that the loop took a step, or begins a wait that it announces."""
        self._advanced_at = time.monotonic()

    def stalled(self) -> str | None:
        """Why the process should be restarted; None while the loop moves."""
        idle = time.monotonic() - self._advanced_at
        return f"{self._name} has made no progress for {idle:.0f} s" if idle > STALLED_SECONDS else None
