"""`repoint feeds list`."""

from typing import Annotated

import typer

from ops import terminal
from ops.terminal import AsJson, Failed
from schemas.feeds import FEEDS

app = typer.Typer(no_args_is_help=True, help="The vendors' feeds that can be read.")


@app.callback()
def feeds() -> None:
    """The vendors' feeds that can be read."""


@app.command("list")
def list_(
    name: Annotated[str | None, typer.Argument(metavar="[FEED]", help="Only this one, with its codes.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Every feed, by the name that --format takes; of one, what each of its codes means and becomes."""
    if name is None:
        columns = ("feed", "title", "codes")
        rows = [(feed.name, feed.title, str(len(feed.codes))) for feed in FEEDS.values()]
    elif name in FEEDS:
        columns = ("code", "becomes", "meaning")
        rows = [(code.said, code.becomes or "refused", code.meaning) for code in FEEDS[name].codes]
    else:
        raise Failed(f"{name} is no feed; `repoint feeds list` names them all")
    if as_json:
        terminal.write_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        terminal.write_table(columns, rows)
