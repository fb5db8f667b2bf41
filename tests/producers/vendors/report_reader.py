"""Reads a report in a process of its own, and says how many messages it made and how much memory that took.

`python -m tests.producers.vendors.report_reader VENDOR`: first `VENDOR/short.csv`, which loads all that is needed, then
`VENDOR/long.csv`.
"""

import asyncio
import gc
import resource
import sys
from datetime import UTC, datetime

from producers.egress import parse_networks
from producers.vendors import reports
from producers.vendors.client import VendorAddress, VendorClient
from schemas.feeds import FEEDS
from schemas.feeds.feed import Edge, Fetch

AT = datetime(2026, 11, 20, tzinfo=UTC)


async def main(url: str) -> None:
    asked = {"braintree": VendorAddress(url, None, parse_networks(["127.0.0.0/8"]))}
    async with VendorClient(asked, version="0") as vendors:
        await read(vendors, "short.csv")
        gc.collect()
        before = peak()
        print(await read(vendors, "long.csv"), peak() - before)  # noqa: T201  the parent reads it


async def read(vendors: VendorClient, path: str) -> int:
    count = 0
    async with vendors.open_file("braintree", Fetch(path, {}, file_at=AT)) as chunks:
        async for batch in reports.batches(FEEDS["braintree"], chunks, Edge(AT)):
            count += len(batch)
    return count


def peak() -> int:
    """The most memory that the process has had, in MB."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most // (1024 * 1024 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
