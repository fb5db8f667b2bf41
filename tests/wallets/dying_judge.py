"""A person's judgement in a process of its own, which is killed where it is told to be.

`python -m tests.wallets.dying_judge DATABASE_URL INBOX_ID ANSWER POINT`; the answer is `accept`, `discard` or a wallet.
"""

import asyncio
import os
import signal
import sys

from store.engine import connect
from tests.consumers.harness import RETENTION
from wallets.judging import Answer, Author, Discard, JudgingPoint, Release, judge


def read(answer: str) -> Answer:
    if answer == "discard":
        return Discard()
    return Release(accept=True) if answer == "accept" else Release(to=answer)


async def main(database_url: str, inbox_id: str, answer: str, point: str) -> None:
    def strike(passed: JudgingPoint | str) -> None:
        if passed == point:
            os.kill(os.getpid(), signal.SIGKILL)

    engine = connect(database_url)
    async with engine.begin() as connection:
        await judge(connection, int(inbox_id), read(answer), Author("ops", "for a test"), RETENTION, on_point=strike)
    strike("committed")
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
