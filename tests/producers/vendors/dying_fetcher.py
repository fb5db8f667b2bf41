"""A fetcher in a process of its own, which is killed where it is told to be.

`python -m tests.producers.vendors.dying_fetcher DATABASE_URL SERVERS TOPIC VENDOR POINT`.
"""

import asyncio
import os
import signal
import sys
from datetime import timedelta

from producers.egress import parse_networks
from producers.topic.publisher import Publisher
from producers.vendors.client import VendorAddress, VendorClient
from producers.vendors.fetcher import Fetcher, FetchPoint
from schemas.feeds import FEEDS
from schemas.feeds.feed import Edge
from store.engine import connect


async def main(database_url: str, servers: str, topic: str, vendor: str, point: str) -> None:
    def strike(passed: FetchPoint) -> None:
        if passed == point:
            os.kill(os.getpid(), signal.SIGKILL)

    asked = {"adyen": VendorAddress(vendor, None, parse_networks(["127.0.0.0/8"]))}
    engine = connect(database_url)
    async with (
        VendorClient(asked, version="0") as vendors,
        Publisher(bootstrap_servers=servers, topic=topic, thin_topic="thin") as publisher,
    ):
        fetcher = Fetcher(
            engine,
            vendors,
            FEEDS,
            send=publisher.send,
            edge=Edge,
            # over at once: whoever comes next need not wait
            lease=timedelta(milliseconds=1),
            on_point=strike,
        )
        await fetcher.run_once()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
