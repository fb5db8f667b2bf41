"""What the documents say of settings is what the program says."""

import re
from pathlib import Path

from typer.core import TyperGroup
from typer.main import get_command

from domain.account import Conflict
from domain.delivery import Status
from domain.update import Outcome, Reason, UpdateType
from ops import settings
from ops.cli import app
from schemas.canonical import UNREADABLE_HEADER
from schemas.event import EventName

ROOT = Path(__file__).parents[2]
RUNNING = ROOT / "docs" / "running.md"
CHANGELOG = ROOT / "CHANGELOG.md"


def table() -> str:
    """The settings as they stand in docs/running.md."""
    rows = ["| Setting | Default | Why |", "|---|---|---|"]
    rows += [
        f"| `{one.name}` | {f'`{one.default}`' if one.default else ''} | {one.reason} |" for one in settings.described()
    ]
    return "\n".join(rows)


def test_every_setting_is_described_as_the_program_describes_it() -> None:
    assert table() in RUNNING.read_text()


def commands() -> list[str]:
    """As the changelog writes them: `dead-letters list|show|…`, or `status`."""
    everything = get_command(app)
    assert isinstance(everything, TyperGroup)
    return [
        name + (f" {'|'.join(command.commands)}" if isinstance(command, TyperGroup) else "")
        for name, command in everything.commands.items()
    ]


def test_the_changelog_names_the_public_contract() -> None:
    """What it names cannot be changed unseen: it needs a line there."""
    told = CHANGELOG.read_text()
    words = set(re.findall(r"`(?:repoint )?([^`]+)`", told))
    contract = {one.name for one in settings.described()} | {UNREADABLE_HEADER, "vendor.payment-method-updates"}
    for names in (UpdateType, Reason, Outcome, Conflict, EventName, Status):
        contract |= {name.value for name in names}
    of_outcomes = RUNNING.read_text().partition("| Outcome | Reason |")[2].partition("\n\n")[0]
    contract |= {word for word in re.findall(r"`([A-Z_]+)`", of_outcomes) if not word.startswith(settings.PREFIX)}
    contract |= set(commands())
    assert contract - words == set()
