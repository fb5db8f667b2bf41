"""`python -m bench [SECTION…] [--quick]`: the measurements, one after another; `--quick` makes all of them small."""

import argparse
import gc

from bench import dispatch, ingest
from ops import embedded, loop

SECTIONS = ("ingest", "dispatch")

INGEST = ingest.Size(wallets=50_000, number=5000, by_orm=500, rounds=7)
QUICK_INGEST = ingest.Size(wallets=10_000, number=2000, by_orm=200, rounds=3)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)}; all if none")
    parser.add_argument("--quick", action="store_true", help="small numbers, for a look")
    arguments = parser.parse_args()
    sections = arguments.sections or SECTIONS
    gc.set_threshold(50_000, 20, 20)  # as ops.run does
    if "ingest" in sections:
        with embedded.postgres(durable=False) as url:
            loop.run(ingest.compare(url, QUICK_INGEST if arguments.quick else INGEST))
    if "dispatch" in sections:
        dispatch.main()


if __name__ == "__main__":
    main()
