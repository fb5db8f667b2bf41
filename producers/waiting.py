"""What loops do between two looks."""

import asyncio
from contextlib import suppress


async def either(event: asyncio.Event, seconds: float) -> None:
    """Wait for one or the other."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
