"""A retraction in a process of its own, which is killed where it is told to be.

`python -m tests.wallets.dying_retraction DATABASE_URL VENDOR POINT`.
"""

import asyncio
import os
import signal
import sys
from datetime import UTC, datetime, timedelta

from store.engine import connect
from store.retractions import ReportSpan
from tests.consumers.harness import RETENTION
from wallets import retracting
from wallets.retracting import RetractionPoint, retract


async def main(database_url: str, vendor: str, point: str) -> None:
    def strike(passed: RetractionPoint) -> None:
        if passed == point:
            os.kill(os.getpid(), signal.SIGKILL)

    retracting._PAGE = 1
    now = datetime.now(UTC)
    span = ReportSpan(vendor, now - timedelta(days=1), now + timedelta(minutes=1))
    await retract(connect(database_url), span, RETENTION, on_point=strike)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
