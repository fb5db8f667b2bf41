"""The intake of held messages in a process of its own, which is killed where it is told to be.

`python -m tests.consumers.dying_intake DATABASE_URL POINT`.
"""

import asyncio
import os
import signal
import sys

from consumers.batch import take_in
from consumers.held import HeldIntake
from store.engine import connect
from tests.consumers.harness import RETENTION


async def main(database_url: str, point: str) -> None:
    def strike(passed: str) -> None:
        if passed == point:
            os.kill(os.getpid(), signal.SIGKILL)

    engine = connect(database_url)
    await HeldIntake(engine, RETENTION, take_in, batch_size=1, on_point=strike).run_once()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
