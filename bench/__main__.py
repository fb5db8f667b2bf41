"""`python -m bench [SECTION…] [--quick]`: the measurements, one after another; `--quick` makes all of them small."""

import argparse
import os
from contextlib import AbstractContextManager
from dataclasses import dataclass

from bench import dispatch, feeds, ingest, isolation, latency, reconcile, wallets
from ops import embedded, loop
from testbed.kafka import Broker, kafka

# What is measured warm must fit: a million wallets take 3 GB.
MEMORY = "5GB"

SECTIONS = ("ingest", "dispatch", "latency", "isolation", "wallets", "feeds", "reconcile")


@dataclass(frozen=True)
class Sizes:
    ingest: ingest.IngestSize
    dispatch: dispatch.DispatchSize
    latency: latency.LatencySize
    isolation: isolation.IsolationSize
    wallets: wallets.WalletsSize
    feeds: feeds.FeedsSize
    reconcile: reconcile.ReconcileSize


WHOLE = Sizes(
    ingest.IngestSize(wallets=50_000, number=8000, by_orm=250, rounds=5),
    dispatch.DispatchSize(number=50_000, rounds=5),
    latency.LatencySize(wallets=50_000, number=4000, rounds=3, seconds=30),
    isolation.IsolationSize(rates=(50, 150, 1000), seconds=20, rounds=5),
    wallets.WalletsSize(few=10_000, many=1_000_000, number=4000, rounds=4),
    feeds.FeedsSize(few=100_000, many=1_000_000, rounds=3),
    reconcile.ReconcileSize(rows=(10_000, 100_000, 1_000_000), wallets=400_000, updates=4000),
)
QUICK = Sizes(
    ingest.IngestSize(wallets=20_000, number=4000, by_orm=200, rounds=3),
    dispatch.DispatchSize(number=5000, rounds=3),
    latency.LatencySize(wallets=10_000, number=1000, rounds=2, seconds=5),
    isolation.IsolationSize(rates=(50, 1000), seconds=5, rounds=3),
    wallets.WalletsSize(few=10_000, many=100_000, number=4000, rounds=2),
    feeds.FeedsSize(few=20_000, many=100_000, rounds=2),
    reconcile.ReconcileSize(rows=(1000, 10_000, 100_000), wallets=40_000, updates=400),
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)}; all if none")
    parser.add_argument("--quick", action="store_true", help="small numbers, for a look")
    arguments = parser.parse_args()
    if unknown := set(arguments.sections).difference(SECTIONS):
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    print(
        f"PostgreSQL: embedded, no fsync, {MEMORY} of memory; CPU is that of this process + that of PostgreSQL",
        flush=True,
    )
    for section in arguments.sections or SECTIONS:
        print(f"--- {section}", flush=True)
        run(section, QUICK if arguments.quick else WHOLE)


def run(section: str, sizes: Sizes) -> None:
    """Every section on a server of its own, and on a loop of its own."""
    if section == "feeds":
        with _kafka() as broker:
            loop.run(feeds.compare(broker, sizes.feeds))
        return
    with embedded.postgres(durable=False) as url:
        match section:
            case "ingest":
                loop.run(ingest.compare(url, sizes.ingest))
            case "dispatch":
                loop.run(dispatch.compare(url, sizes.dispatch))
            case "isolation":
                loop.run(isolation.compare(url, sizes.isolation))
            case "wallets":
                loop.run(wallets.compare(url, sizes.wallets))
            case "latency":
                with _kafka() as broker:
                    loop.run(latency.measure(url, broker, sizes.latency))
            case "reconcile":
                with _kafka() as broker:
                    loop.run(reconcile.compare(url, broker, sizes.reconcile))


def _kafka() -> AbstractContextManager[Broker]:
    named = os.environ.get("REPOINT_TEST_KAFKA_BOOTSTRAP_SERVERS")
    return kafka(named, os.environ.get("REPOINT_TEST_KAFKA") or "auto")


if __name__ == "__main__":
    main()
