"""`repoint`: the commands, each loaded when it is called, and the exit codes and messages of their failures.

0   done
1   failed: one line on stderr says what and why
2   not understood: the command line, or a setting in the environment
130 interrupted
"""

import errno
import os
import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any, NamedTuple, TypeAlias, cast

import typer
from typer.core import TyperCommand, TyperGroup

_INTERRUPTED = 130
# Buffered output fails later than it was written, so these errors name no file.
_OF_A_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}


# Typer has a copy of click of its own, and names none of its classes in public.
Context: TypeAlias = Any
HelpFormatter: TypeAlias = Any
Command: TypeAlias = Any


class Entry(NamedTuple):
    """A command: its module, the name of its function or `typer.Typer` there, and its line in the list."""

    module: str
    name: str
    help: str


COMMANDS: Mapping[str, Entry] = {
    "demo": Entry(
        "demo.command",
        "demo",
        "The story end to end: a feed goes in, links are repointed, webhooks come out, and the accounts balance.",
    ),
    "run": Entry(
        "ops.commands.run",
        "run",
        "Consume vendor updates, deliver webhooks, take in what vendors post, and reconcile, until SIGTERM or Ctrl-C.",
    ),
    "ingest": Entry(
        "ops.commands.ingest",
        "ingest",
        "Put vendors' updates on the topic, each acknowledged by every in-sync replica.",
    ),
    "status": Entry(
        "ops.commands.status",
        "status",
        "Show what became of a payment method, found by any name: an id, an event, a delivery, a token, a customer.",
    ),
    "doctor": Entry(
        "ops.commands.doctor",
        "doctor",
        "Check the installation: database, Kafka, settings, certificates, and the work. Nothing is changed.",
    ),
    "replay": Entry("ops.commands.replay", "app", "Send events again: at once, or by a job at a rate."),
    "reconcile": Entry(
        "ops.commands.reconcile", "app", "Find what is not as it should be, and repair it, beside all other work."
    ),
    "migrate": Entry("ops.commands.migrate", "migrate", "Bring the database to the schema of this version."),
    "merchants": Entry("ops.commands.merchants", "app", "Merchants and their endpoints, as files."),
    "endpoints": Entry("ops.commands.endpoints", "app", "The URLs that webhooks go to, and whether they are enabled."),
    "wallets": Entry("ops.commands.wallets", "app", "Customers' payment methods and payment links, as files."),
    "feeds": Entry("ops.commands.feeds", "app", "The vendors' feeds that can be read."),
    "inbox": Entry("ops.commands.inbox", "app", "Vendor updates that came in, with their outcomes."),
    "vendors": Entry("ops.commands.vendors", "app", "Vendors whose updates are held back."),
    "facts": Entry("ops.commands.facts", "app", "What vendors reported that credentials were replaced by."),
    "topics": Entry("ops.commands.topics", "app", "The topics on Kafka that updates come by."),
    "fetches": Entry(
        "ops.commands.fetches",
        "app",
        "Thin events that wait for their vendor's answer.",
    ),
    "dead-letters": Entry("ops.commands.dead_letters", "app", "Messages that no update could be made of."),
    "deliveries": Entry(
        "ops.commands.deliveries",
        "app",
        "Events on their way to endpoints, and those that arrived or did not.",
    ),
    "audit": Entry("ops.commands.audit", "app", "What people did: who, why, and what stood there before and after."),
    "secrets": Entry("ops.commands.secrets", "app", "Signing secrets and headers of endpoints, as they are stored."),
    "keys": Entry("ops.commands.keys", "app", "Keys for settings, and public keys for merchants."),
}


class Commands(TyperGroup):
    """The group of all commands. Loading all commands takes 20 times as long as writing their list."""

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401 - as typer calls it
        super().__init__(**attributes)
        self._is_listed = False

    def list_commands(self, _ctx: Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _ctx: Context, name: str) -> Command | None:
        entry = COMMANDS.get(name)
        if entry is None:
            return None
        if self._is_listed:
            return TyperCommand(name, help=entry.help)
        return loaded(name)

    def format_help(self, ctx: Context, formatter: HelpFormatter) -> None:
        self._is_listed = True
        super().format_help(ctx, formatter)


def loaded(name: str) -> Command:
    """The command of that name, one of `COMMANDS`."""
    module, attribute, _ = COMMANDS[name]
    entry = getattr(import_module(module), attribute)
    if isinstance(entry, typer.Typer):
        command: Command = typer.main.get_group(entry)  # also where there is a single one in it
    else:
        single = typer.Typer(add_completion=False)
        single.command()(entry)
        command = typer.main.get_command(single)
    command.name = name
    _join_lines(command)
    return command


def _join_lines(command: Command) -> None:
    """Make each paragraph of the help one line, also of commands within: typer keeps all line ends but the first's."""
    if command.help:
        command.help = "\n\n".join(paragraph.replace("\n", " ") for paragraph in command.help.split("\n\n"))
    for inner in getattr(command, "commands", {}).values():
        _join_lines(inner)


app = typer.Typer(
    name="repoint",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    # a traceback with the values of local variables would show what no log may hold
    pretty_exceptions_enable=False,
)


def _say_version(wanted: bool) -> None:  # noqa: FBT001 - how typer calls it
    if wanted:
        typer.echo(version("repoint"))
        raise typer.Exit


@app.callback()
def repoint(
    *,
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_say_version, help="Say which version this is.")
    ] = False,
) -> None:
    """Card reissued? Every payment link moves to the new card, and every merchant receives a signed webhook."""


def main() -> None:
    """The console script."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        cast(Any, stream).reconfigure(encoding="utf-8")  # whatever the locale: files and JSON are
    # setting the encoding reset the error handler of stderr; an explanation of a failure must not fail itself
    cast(Any, sys.stderr).reconfigure(errors="backslashreplace")
    try:
        _run()
    except SystemExit as end:
        if end.code == _INTERRUPTED:  # typer makes an exit code of Ctrl-C, without a word
            _end(_INTERRUPTED, "interrupted")
        raise
    except KeyboardInterrupt:
        _end(_INTERRUPTED, "interrupted")
    except Exception as error:
        explanation = _explanation(error)
        if explanation is None:
            raise
        code, *lines = explanation
        _end(code, *lines)


def _explanation(error: Exception) -> "tuple[int, *tuple[str, ...]] | None":
    """The exit code and the lines that explain `error`; None for a defect of the program."""
    # loaded already by the command that failed
    from ops.embedded import EmbeddedError  # noqa: PLC0415
    from ops.setting_checks import SettingsError  # noqa: PLC0415
    from ops.terminal import Failed, file_name  # noqa: PLC0415
    from producers.topic.stream import Unreachable  # noqa: PLC0415
    from store import connectivity  # noqa: PLC0415

    match error:
        case SettingsError():
            return (2, *error.problems)
        case Failed():
            return (error.code, *str(error).splitlines())
        case Unreachable() | connectivity.Unusable() | EmbeddedError():
            return (1, str(error))
        case OSError() if error.filename is not None:
            return (1, f"{file_name(str(error.filename))}: {error.strerror}")
        case OSError() if error.errno in _OF_A_DISK:
            return (1, str(error.strerror))
        case _:  # an OSError without a name, too: of a connection, or a fault of the program
            return None


def _run() -> None:
    """Run the command and flush its output: a full disk, or a pipe without a reader, fails only then."""
    try:
        app()
    finally:
        try:
            sys.stdout.flush()
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or it is tried again, and told of again
            if isinstance(error, BrokenPipeError):
                sys.exit(1)  # as typer does, in silence
            raise


def _end(code: int, *lines: str) -> None:
    from ops.terminal import remark  # noqa: PLC0415 - loads what draws progress

    for line in lines:
        remark(line)
    sys.exit(code)


if __name__ == "__main__":
    main()
