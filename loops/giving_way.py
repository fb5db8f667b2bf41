"""Long work without I/O gives way to the other tasks of its event loop."""

import asyncio
import time

# Well below the delay that a delivery or an answer on the same event loop can bear.
_SLICE_SECONDS = 0.01


class TimeSlice:
    """Time that work without I/O may take before the other tasks have theirs."""

    def __init__(self) -> None:
        self._ends = time.monotonic() + _SLICE_SECONDS

    async def pause_when_over(self) -> None:
        """Give way if the slice is over. Called between two steps of the work."""
        if time.monotonic() >= self._ends:
            await asyncio.sleep(0)
            self._ends = time.monotonic() + _SLICE_SECONDS
