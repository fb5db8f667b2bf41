"""Waiting in a loop: for an event, for the first of several, for the end of a time, or for a resource that is away."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_never, wait_exponential_jitter

from loops.progress import Progress

log = structlog.get_logger()

T = TypeVar("T")

# Long enough to spare a broker or a database that has just come back, short enough to go unnoticed.
_LONGEST_WAIT_SECONDS = 5
# Interval at which a lasting wait is logged again.
_REMIND_SECONDS = 60


class Stopped(Exception):
    """The loop was stopped while it waited. The next process does the unfinished work."""


async def event_or_timeout(event: asyncio.Event, seconds: float) -> None:
    """Wait until `event` is set, for `seconds` at most."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


async def wait_for_first(*waits: Coroutine[Any, Any, object]) -> None:
    """Run `waits` until the first of them ends, and cancel the others."""
    tasks = [asyncio.create_task(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


async def retry(
    step: Callable[[], Awaitable[T]],
    passes: Callable[[BaseException], bool],
    *,
    announce: Callable[[BaseException, int], None],
    until: asyncio.Event | None = None,
) -> T | None:
    """Repeat `step` at growing intervals while it fails for a passing reason; None if `until` was set meanwhile.

    `announce` is called before each wait, with the failure and the number of tries.
    """

    def before_sleep(state: RetryCallState) -> None:
        error = state.outcome and state.outcome.exception()
        assert error
        announce(error, state.attempt_number)

    trying = AsyncRetrying(
        retry=retry_if_exception(passes),
        wait=wait_exponential_jitter(multiplier=0.1, max=_LONGEST_WAIT_SECONDS),
        stop=stop_never if until is None else lambda _: until.is_set(),
        before_sleep=before_sleep,
        retry_error_callback=lambda _: None,
    )
    result: T | None = await trying(step)
    return result


class Reminder:
    """When to log a lasting state: at once if it differs from the latest one, then once a minute."""

    def __init__(self) -> None:
        self._latest: object = None
        self._due = 0.0

    def is_due(self, subject: object) -> bool:
        """Whether `subject` is to be logged now."""
        now = time.monotonic()
        if subject == self._latest and now < self._due:
            return False
        self._latest, self._due = subject, now + _REMIND_SECONDS
        return True


class Waiting:
    """The waits of the loop called `name`: each counts as progress, and ends when `stopping` is set.

    `missing` names the resource that the loop waits for at present; None if it does not wait.
    """

    def __init__(self, name: str, missing: str | None = None) -> None:
        self.stopping = asyncio.Event()
        self.missing = missing
        self.progress = Progress(name)
        self._reminder = Reminder()

    def report_missing(self, missing: str) -> None:
        """Log that the loop waits for `missing`: at first, and once a minute while it is missing."""
        if self._reminder.is_due(missing) or self.missing != missing:
            log.warning("waiting", reason=missing)
        self.missing = missing

    def attempts(
        self, passes: Callable[[BaseException], bool], missing: str | Callable[[BaseException], str]
    ) -> AsyncRetrying:
        """Attempts without limit, at growing intervals, while they fail for a passing reason.

        `missing` is the name of the missing resource, or returns it for the exception of the latest attempt.

        Raises:
            Stopped: the loop was stopped meanwhile.
        """

        def announce(attempt: RetryCallState) -> None:
            self.progress.advance()
            error = attempt.outcome.exception() if attempt.outcome is not None else None
            self.report_missing(missing if isinstance(missing, str) else missing(error or RuntimeError()))

        return AsyncRetrying(
            retry=retry_if_exception(passes),
            wait=wait_exponential_jitter(multiplier=0.1, max=_LONGEST_WAIT_SECONDS),
            sleep=self.sleep_or_stop,
            before_sleep=announce,
        )

    async def sleep_or_stop(self, seconds: float) -> None:
        """Sleep for `seconds`.

        Raises:
            Stopped: the loop was stopped meanwhile.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.stopping.wait()
                raise Stopped
