"""The event loop of all commands."""

import asyncio
import gc
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run like `asyncio.run`, on uvloop where it is installed."""
    # The batches of a process make a hundred thousand objects that live until their commits: a collection in between
    # finds nothing. At Python's threshold collections take a twentieth of the time of an update.
    gc.set_threshold(200_000, 20, 20)
    if sys.platform == "win32":
        return asyncio.run(main)
    import uvloop  # noqa: PLC0415 - there is none for Windows

    return uvloop.run(main)
