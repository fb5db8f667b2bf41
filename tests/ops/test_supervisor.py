"""The children of `repoint run --processes N`, as their parent keeps and ends them."""

import asyncio
import sys

from structlog.testing import capture_logs

from ops.supervisor import supervise

WITHIN = 30.0


async def test_a_child_that_has_died_and_is_not_running_at_the_stop_has_not_ended_well() -> None:
    stopping = asyncio.Event()
    command = (sys.executable, "-c", "raise SystemExit(3)")
    with capture_logs() as logs:
        async with asyncio.timeout(WITHIN):
            ending = asyncio.create_task(
                supervise(command, [{}], stopping=stopping, end_within=WITHIN, first_delay=3600)
            )
            while not any(line["event"] == "child died" for line in logs):  # noqa: ASYNC110 - of a line nobody tells
                await asyncio.sleep(0.01)
            stopping.set()
            assert await ending is False
    assert [line["event"] for line in logs] == ["child started", "child died"]
