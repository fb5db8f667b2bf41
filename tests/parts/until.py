"""Waiting for what must become true, and not a moment longer."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def until(told: Callable[[], Awaitable[T]], *, within: float = 20.0) -> T:
    """What `told` gives once that is true; AssertionError with its last answer after `within` seconds."""
    last = await told()
    try:
        async with asyncio.timeout(within):
            while not last:  # it happens in another process, which sets no Event
                await asyncio.sleep(0.02)
                last = await told()
    except TimeoutError:
        raise AssertionError(f"still {last!r} after {within:g} s") from None
    return last
