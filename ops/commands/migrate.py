"""`repoint migrate`."""

from collections.abc import Mapping

from ops import loop, parts, secret_keys, terminal
from ops.terminal import DryRun
from store import connectivity

# A hundred ids fit a terminal, and show what kind of wallets they are.
_SHOWN = 100


def migrate(*, dry_run: DryRun = False) -> None:
    """Bring the database to the schema of this version."""
    settings = parts.settings_of_a_command()
    with parts.database(settings) as url:
        state = loop.run(connectivity.revisions(url))
        upgrade = connectivity.upgrade(url, settings.identifiers, seal=secret_keys.seal(settings), dry_run=dry_run)
        followed = loop.run(upgrade)
    if state.database == state.program:
        terminal.write_line(f"the database stands at revision {state.program} already")
    elif state.database is None or state.database < state.program:
        done = "would migrate" if dry_run else "migrated"
        terminal.write_line(f"{done} from {state.database or 'nothing'} to {state.program}")
    else:
        terminal.write_line(f"the database stands at revision {state.database}, newer than this program's")
    _say_identifiers("would be added to" if dry_run else "added to", followed.added)
    _say_identifiers("would be removed from" if dry_run else "removed from", followed.removed)
    if nameless := followed.nameless:
        shown = ", ".join(nameless[:_SHOWN]) + (", …" if len(nameless) > _SHOWN else "")
        count = terminal.counted(len(nameless), "wallet")
        terminal.write_line(f"{count} without a customer identifier (REPOINT_CUSTOMER_IDENTIFIERS): {shown}")


def _say_identifiers(done: str, counts: Mapping[str, int]) -> None:
    for name, count in sorted(counts.items()):
        wallets_ = terminal.counted(count, "wallet")
        terminal.write_line(f"customer identifier {terminal.printable(name)} {done} {wallets_}")
