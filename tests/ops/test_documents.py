"""What the documents say of settings and feeds is what the program says."""

import csv
import io
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from typer.core import TyperGroup
from typer.main import get_command

from domain.account import Conflict
from domain.delivery import Status
from domain.update import Outcome, Reason, UpdateType
from ops import settings
from ops.cli import app
from schemas import intake
from schemas.canonical import UNREADABLE_HEADER, parse
from schemas.event import EventName
from schemas.feeds import FEEDS
from schemas.feeds.feed import Edge, Feed, Refused

ROOT = Path(__file__).parents[2]
FEEDS_PAGE = ROOT / "docs" / "feeds.md"
RUNNING = ROOT / "docs" / "running.md"
CHANGELOG = ROOT / "CHANGELOG.md"
COMPOSE = ROOT / "docker-compose.yml"


def table() -> str:
    """The settings as they stand in docs/running.md."""
    rows = ["| Setting | Default | Why |", "|---|---|---|"]
    rows += [
        f"| `{one.name}` | {f'`{one.default}`' if one.default else ''} | {one.reason} |" for one in settings.described()
    ]
    return "\n".join(rows)


def test_every_setting_is_described_as_the_program_describes_it() -> None:
    assert table() in RUNNING.read_text()


def test_every_topic_is_made_where_no_broker_makes_them_itself() -> None:
    made = re.findall(r"^ +topic (\S+) \d+;?$", COMPOSE.read_text(), re.MULTILINE)
    assert sorted(made) == sorted(one.default for one in settings.described() if one.name.endswith("_TOPIC"))


def table_of_feeds() -> str:
    """The feeds as they stand in docs/feeds.md, and what each of their codes becomes."""
    rows = ["| Feed | What it is | Sample | What each code does |", "|---|---|---|---|"]
    for feed in FEEDS.values():
        (sample,) = (ROOT / "examples" / "feeds").glob(f"{feed.name}.*")
        traits = [feed.title]
        traits += ["full numbers"] if feed.carries_numbers else []
        traits += ["asks the vendor"] if feed.fetched is not None else []
        path = sample.relative_to(ROOT)
        rows.append(f"| `{feed.name}` | {' · '.join(traits)} | [{sample.suffix}](../{path}) | {_codes(feed)} |")
    return "\n".join(rows)


def _codes(feed: Feed) -> str:
    does: dict[str, list[str]] = {}
    for code in feed.codes:
        does.setdefault(code.becomes or "refused", []).append(f"`{code.said}`" if code.said else "(blank)")
    return "; ".join(f"{', '.join(dict.fromkeys(said))}: {becomes}" for becomes, said in does.items())


def assumptions() -> str:
    """What the adapters' own words say that nobody's documentation does."""
    found = []
    for feed in FEEDS.values():
        said = sys.modules[f"schemas.feeds.{feed.name.replace('-', '_')}"].__doc__ or ""
        if "Assumed: " in said:
            found.append(f"- `{feed.name}`: {' '.join(said.partition('Assumed: ')[2].split())}")
    return "\n".join(found)


def test_every_feed_is_described_as_the_program_describes_it() -> None:
    page = FEEDS_PAGE.read_text()
    assert table_of_feeds() in page
    assert assumptions() in page


def test_the_feed_that_is_made_on_the_page_reads_what_is_shown_there() -> None:
    page = FEEDS_PAGE.read_text()
    rows, module = (page.partition(f"```{kind}\n")[2].partition("```")[0] for kind in ("csv", "python"))
    made: dict[str, Any] = {}
    exec(module, made)  # noqa: S102 - our own page
    edge, read_as = Edge(datetime(2026, 11, 20, tzinfo=UTC)), []
    for row in csv.DictReader(io.StringIO(rows)):
        assert made["FEED"].recognises(row)
        try:
            read_as += [each.value for each in intake.take(made["FEED"], row, edge)]
        except Refused as reason:
            read_as.append(str(reason).encode())
    assert [parse(each).update.type for each in read_as[:3]] == ["NUMBER_REPLACED", "EXPIRY_UPDATED", "CLOSED"]
    assert read_as[3].startswith(b"result: portfolio-flip means")


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
