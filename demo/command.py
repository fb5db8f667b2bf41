"""`repoint demo`."""

import asyncio
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from demo import stage
from ops import embedded, logs, loop, parts, terminal
from ops.terminal import Failed
from store import migrate

_FILES = ("merchants.jsonl", "wallets.jsonl", "updates.jsonl")
# in an installed wheel, and in a source checkout
_PLACES = (Path(__file__).parent / "examples", Path(__file__).parents[1] / "examples")


def demo(
    *,
    examples: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Others than its own: merchants.jsonl, wallets.jsonl and updates.jsonl."),
    ] = None,
) -> None:
    """The story end to end: a feed goes in, links are repointed, webhooks come out, and the accounts balance.

    It runs on an embedded database and broker, whatever is set, and leaves nothing behind.
    """
    settings = stage.settings_of_the_demo(parts.read_settings())
    # the story shows what the logs would
    level = settings.log_level if "log_level" in settings.model_fields_set else "ERROR"
    logs.configure(form=settings.log_format, level=level)
    folder = examples or _own()
    for name in _FILES:
        if not (folder / name).exists():
            raise Failed(f"there is no {folder / name}: name the source's folder examples with --examples")
    with ExitStack() as stack:
        with terminal.notes().status("starting an embedded PostgreSQL and an embedded broker"):
            url = stack.enter_context(embedded.postgres(durable=False))
            servers = stack.enter_context(embedded.broker())
            asyncio.run(migrate.upgrade(url))
        loop.run(stage.play(settings, folder, database_url=url, servers=servers))


def _own() -> Path:
    return next(filter(Path.is_dir, _PLACES), _PLACES[0])
