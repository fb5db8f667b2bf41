"""`repoint`: the commands, and what becomes of what goes wrong in them.

0   done
1   failed: one line on stderr says what and why
2   not understood: the command line, or a setting in the environment
130 interrupted
"""

import sys
from importlib.metadata import version
from typing import Annotated, Any, cast

import typer

from ops import loop, parts, terminal
from ops.commands import dead_letters, deliveries, endpoints, feeds, fetches, inbox, merchants, wallets
from ops.commands.demo import demo
from ops.commands.ingest import ingest
from ops.commands.replay import replay
from ops.commands.run import run
from ops.commands.status import status
from ops.embedded import EmbeddedError
from ops.settings import SettingsError
from ops.terminal import DryRun, Failed
from producers.topic import Unreachable
from store import migrate as migrations
from store import reach

app = typer.Typer(
    name="repoint",
    no_args_is_help=True,
    add_completion=False,
    # a traceback with the values of local variables would show what no log may hold
    pretty_exceptions_enable=False,
)
app.command()(demo)
app.command()(run)
app.command()(ingest)
app.command()(status)
app.command()(replay)
app.add_typer(merchants.app, name="merchants")
app.add_typer(endpoints.app, name="endpoints")
app.add_typer(wallets.app, name="wallets")
app.add_typer(feeds.app, name="feeds")
app.add_typer(inbox.app, name="inbox")
app.add_typer(fetches.app, name="fetches")
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(deliveries.app, name="deliveries")


def _say_version(wanted: bool) -> None:  # noqa: FBT001 - how typer calls it
    if wanted:
        terminal.write_line(version("repoint"))
        raise typer.Exit


@app.callback()
def repoint(
    *,
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_say_version, help="Say which version this is.")
    ] = False,
) -> None:
    """Card reissued? Every payment link moves to the new card, and every merchant is told."""


@app.command()
def migrate(*, dry_run: DryRun = False) -> None:
    """Bring the database to the schema of this version."""
    settings = parts.settings_of_a_command()
    with parts.database(settings) as url:
        current, newest = loop.run(reach.revisions(url))
        if current == newest:
            terminal.write_line(f"the database stands at revision {newest} already")
            return
        if not dry_run:
            loop.run(migrations.upgrade(url))
    terminal.write_line(f"{'would migrate' if dry_run else 'migrated'} from {current or 'nothing'} to {newest}")


def main() -> None:
    """The console script."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        cast(Any, stream).reconfigure(encoding="utf-8")  # whatever the locale: files and JSON are
    try:
        app()
    except SettingsError as error:
        _end(2, *error.problems)
    except Failed as error:
        _end(error.code, str(error))
    except (Unreachable, reach.Unusable, EmbeddedError) as error:
        _end(1, str(error))
    except KeyboardInterrupt:
        _end(130, "interrupted")


def _end(code: int, *lines: str) -> None:
    for line in lines:
        terminal.remark(line)
    sys.exit(code)


if __name__ == "__main__":
    main()
