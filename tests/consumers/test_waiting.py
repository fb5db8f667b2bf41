"""A loop that waits for a resource shows that it moves, so that no watchdog ends its process meanwhile."""

from loops.progress import STALLED_SECONDS
from loops.waiting import Waiting


async def test_each_wait_for_a_resource_counts_as_progress() -> None:
    waiting = Waiting("the test")
    waiting.progress._advanced_at -= STALLED_SECONDS + 1
    assert waiting.progress.stalled() is not None
    failures = [ConnectionError()]

    def passes(error: BaseException) -> bool:
        return isinstance(error, ConnectionError)

    async for attempt in waiting.attempts(passes, "the database cannot be reached"):
        with attempt:
            if failures:
                raise failures.pop()
    assert waiting.missing == "the database cannot be reached"
    assert waiting.progress.stalled() is None
