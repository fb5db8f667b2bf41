"""A listener in a process of its own, which may have so many megabytes of memory.

`python -m tests.api.limited_listener MEGABYTES`: it writes its port, and when its stdin ends the most that it has had.
Everything posted is acknowledged.
"""

import asyncio
import resource
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from api.feeds import FeedIntake
from api.listener import Listener
from ops import edge, logs
from schemas.feeds import FEEDS
from schemas.feeds.feed import Edge
from schemas.fingerprint import Fingerprints, Key
from schemas.intake import TopicMessage

SECRET = "a-token-of-every-feed"
FINGERPRINTS = Fingerprints(Key("v1", bytes(range(32))))


async def main(megabytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (megabytes << 20, megabytes << 20))
    logs.configure(form="json", level="ERROR")
    intake = FeedIntake(
        FEEDS,
        {feed: [SECRET] for feed in ("google-pay", "vau", "vgs")},
        edge=lambda: Edge(datetime.now(UTC), FINGERPRINTS),
        send=acknowledged,
        rows=edge.rows,
    )
    async with Listener(intake, "127.0.0.1", 0, drain_within=1) as listener:
        sys.stdout.write(f"{listener.port}\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)
    sys.stdout.write(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10}\n")


async def acknowledged(_messages: Sequence[TopicMessage]) -> bool:
    return True


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
