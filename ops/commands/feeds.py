"""`repoint feeds list`."""

from typing import Annotated

import typer

from api.authentication import content_types
from ops import filters, terminal
from ops.terminal import AsJson
from schemas.feeds import FEEDS
from schemas.feeds.feed import Feed

app = typer.Typer(no_args_is_help=True, help="The vendors' feeds that can be read.")


@app.callback()
def feeds() -> None:
    """The vendors' feeds that can be read."""


def _posted_as(feed: Feed) -> str:
    return " or ".join(content_types(feed)) or "no, in files alone"


@app.command("list")
def list_(
    name: Annotated[str | None, typer.Argument(metavar="[FEED]", help="Only this one, with its codes.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Every feed, by the name that --format takes, and what it can be posted as; of one feed, what its codes become."""
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    if name is None:
        columns = ("feed", "title", "postedAs", "codes")
        rows = [(feed.name, feed.title, _posted_as(feed), str(len(feed.codes))) for feed in FEEDS.values()]
    else:
        filters.require_feed(name)
        columns = ("code", "becomes", "meaning")
        rows = [(code.code, code.update_type or "refused", code.meaning) for code in FEEDS[name].codes]
        rows += [
            (kind, "irrelevant", "updates no payment method: counted, not kept") for kind in FEEDS[name].irrelevant
        ]
    if as_json:
        terminal.write_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        terminal.write_table(columns, rows)
