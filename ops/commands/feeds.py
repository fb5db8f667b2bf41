"""`repoint feeds list`."""

from typing import Annotated

import typer

from api.authentication import content_types
from ops import filters, terminal
from ops.terminal import AsJson
from schemas.feeds import FEEDS
from schemas.feeds.feed import Feed
from schemas.views import FeedCodeView, FeedView, View

app = typer.Typer(no_args_is_help=True, help="The vendors' feeds that can be read.")


@app.callback()
def feeds() -> None:
    """The vendors' feeds that can be read."""


@app.command("list")
def list_(
    name: Annotated[str | None, typer.Argument(metavar="[FEED]", help="Only this feed, with its codes.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List every feed, by the name that --format takes, and what it can be posted as; or the codes of one feed."""
    filters.require_feed(name)
    views: list[View] = [*_feeds()] if name is None else [*_codes(FEEDS[name])]
    rows = [view.as_json() for view in views]
    if as_json:
        terminal.write_json(rows)
    else:
        terminal.write_table(list(rows[0]), [[_cell(value) for value in row.values()] for row in rows])


def _cell(value: object) -> str:
    if isinstance(value, list):
        return " or ".join(value) or "no, in files alone"
    return str(value)


def _feeds() -> list[FeedView]:
    return [
        FeedView(feed=feed.name, title=feed.title, posted_as=content_types(feed), codes=len(feed.codes))
        for feed in FEEDS.values()
    ]


def _codes(feed: Feed) -> list[FeedCodeView]:
    """The codes of a feed, then the kinds of its records that update no payment method."""
    irrelevant = "updates no payment method: counted, not kept"
    return [
        *(
            FeedCodeView(code=code.code, becomes=code.update_type or "refused", meaning=code.meaning)
            for code in feed.codes
        ),
        *(FeedCodeView(code=kind, becomes="irrelevant", meaning=irrelevant) for kind in feed.irrelevant),
    ]
