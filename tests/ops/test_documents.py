"""What the documents say of settings and feeds is what the program says."""

import csv
import io
import json
import re
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from typer.core import TyperGroup

from api import authentication
from docs import bodies, formats, tables
from domain.account import Conflict
from domain.delivery.states import Status
from domain.refusal import Refused
from domain.update import Outcome, Reason, UpdateType
from domain.wallet import MethodStatus
from ops import setting_checks, settings
from ops.cli import COMMANDS, loaded
from schemas.canonical import UNREADABLE_HEADER, parse
from schemas.event import EventName
from schemas.feeds import FEEDS
from schemas.feeds.feed import Edge
from schemas.merchant import read_merchant
from schemas.signature import signature as sign
from schemas.wallet import read_wallet
from tests.schemas.feeds.reading import messages

ROOT = Path(__file__).parents[2]
FEEDS_PAGE = ROOT / "docs" / "feeds.md"
RUNNING = ROOT / "docs" / "running.md"
FORMATS = ROOT / "docs" / "formats.md"
WEBHOOKS = ROOT / "docs" / "webhooks.md"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
CHANGELOG = ROOT / "CHANGELOG.md"
COMPOSE = ROOT / "docker-compose.yml"


def test_every_setting_is_described_as_the_program_describes_it() -> None:
    assert tables.settings_of_program() in RUNNING.read_text()


def test_every_metric_is_listed() -> None:
    import_module("ops.run")  # with every part of the process
    exported = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in REGISTRY.collect()
        if family.name.startswith("repoint_")
    }
    table = RUNNING.read_text().partition("\n| Metric | Watch |\n")[2].partition("\n\n")[0]
    listed = [name for row in table.splitlines() for name in re.findall(r"`(repoint_[a-z_]+)", row.split(" | ")[0])]
    assert sorted(listed) == sorted(exported)


def test_every_topic_is_made_where_no_broker_makes_them_itself() -> None:
    """By the command, which makes those of the settings; so no service may have other names for them."""
    topics = [one.name for one in settings.described() if one.name.endswith("_TOPIC")]
    assert sorted(topics) == ["REPOINT_KAFKA_THIN_TOPIC", "REPOINT_KAFKA_TOPIC"]
    composed = COMPOSE.read_text()
    assert "    command: topics create\n" in composed
    assert not [name for name in topics if name in composed]


def test_the_irrelevant_kinds_of_every_feed_are_on_the_page() -> None:
    assert tables.irrelevant_kinds() in FEEDS_PAGE.read_text()


def test_every_feed_that_can_be_posted_says_what_to_subscribe_to() -> None:
    page = FEEDS_PAGE.read_text().partition("## What to subscribe to")[2].partition("\n## ")[0]
    posted = set(re.findall(r"^\| `([a-z-]+)` \|", page.partition("| Irrelevant kinds |")[0], re.MULTILINE))
    assert posted >= {*authentication.SCHEMES, "vgs", "spreedly", "basis-theory", "worldpay", "abu-push", "mdes"}
    assert posted >= {feed.name for feed in FEEDS.values() if feed.irrelevant or feed.fetched is not None}
    # files, and answers to requests of the merchant's own
    files = {"abu-batch", "discover", "iats", "jpmorgan", "nacha", "paysafe", "tabapay", "vau"}
    assert not posted & (files | {"abu-pull", "adyen-rtau", "bluesnap"})
    assert posted <= FEEDS.keys()


def test_every_feed_is_described_as_the_program_describes_it() -> None:
    page = FEEDS_PAGE.read_text()
    assert tables.feeds() in page
    assert tables.content_types_of_feeds() in page
    assert tables.assumptions() in page


def test_every_table_is_as_the_program_writes_it() -> None:
    """`make docs` writes them, between marks that no page may lose."""
    assert [path.name for path in tables.pages()] == ["feeds.md", "formats.md", "running.md", "webhooks.md"]
    for path in tables.pages():
        assert tables.with_tables(path.read_text()) == path.read_text(), f"make docs writes {path.name}"
    marks = re.findall(r"<!-- table: ([a-z-]+) -->", "".join(path.read_text() for path in tables.pages()))
    assert sorted(marks) == sorted(tables.TABLES)


def test_every_schema_is_as_the_models_have_it() -> None:
    assert {path.stem for path in formats.SCHEMAS.iterdir()} == set(formats.MODELS)
    for name in formats.MODELS:
        assert (formats.SCHEMAS / f"{name}.json").read_text() == formats.schema_text(name), "make docs writes it"


def test_the_examples_of_the_formats_can_be_read() -> None:
    update = re.findall(r"```json\n(.*?)```", FORMATS.read_text(), re.DOTALL)
    assert [parse(text.encode()).update.type for text in update] == [UpdateType.NUMBER_REPLACED]
    for line in (ROOT / "examples" / "merchants.jsonl").read_text().splitlines():
        read_merchant(line)
    for line in (ROOT / "examples" / "wallets.jsonl").read_text().splitlines():
        read_wallet(line)


def test_the_page_for_merchants_shows_the_body_of_every_event() -> None:
    """As the program renders it: `make docs` writes them."""
    shown = [json.loads(body) for body in re.findall(r"```json\n(.*?)```", WEBHOOKS.read_text(), re.DOTALL)]
    assert {body["name"] for body in shown} == {name.value for name in EventName}
    assert shown == [json.loads(bodies.bodies()[EventName(body["name"])]) for body in shown]
    replaced, deleted, updated, disabled, test = shown
    assert replaced["payload"]["deletedPaymentMethodId"] == deleted["payload"]["paymentMethod"]["id"]
    assert deleted["payload"]["replacedByPaymentMethodId"] == replaced["payload"]["paymentMethod"]["id"]
    assert updated["payload"]["previous"] == {"expiryMonth": 12, "expiryYear": 2028}
    assert disabled["payload"]["endpoint"].items() >= test["payload"]["endpoint"].items()
    assert [body[key] for body in (disabled, test) for key in ("walletId", "sequence", "reason")] == [None] * 6


def test_the_request_that_merchants_are_shown_is_signed_with_the_secret_of_the_page() -> None:
    """An engineer checks the code that verifies by hand with it."""
    page = WEBHOOKS.read_text()
    id_, timestamp, signature = re.findall(r"^webhook-(?:id|timestamp|signature): (.+)$", page, re.MULTILINE)
    body = bodies.bodies()[EventName.REPLACED]
    (secret,) = set(re.findall(r"\bwhsec_[A-Za-z0-9+/=]+", page))
    assert sign([secret], id_, int(timestamp), body) == signature
    event = json.loads(body)
    assert (event["id"], datetime.fromisoformat(event["createdAt"]).timestamp() // 1) == (id_, int(timestamp))


def test_no_row_of_a_table_for_merchants_stands_without_its_head() -> None:
    tables_ = re.findall(r"(?:^\|.*\n)+", WEBHOOKS.read_text(), re.MULTILINE)
    assert [table for table in tables_ if "\n|---|" not in table] == []


def test_the_page_for_merchants_explains_every_status_and_reason() -> None:
    page = WEBHOOKS.read_text()
    words = {*MethodStatus, *Reason, "EXPIRY_UPDATED", "DETAILS_UPDATED"}
    assert {word for word in words if f"`{word}`" not in page} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_and_every_file_that_a_page_names_is_there(page: Path) -> None:
    text = page.read_text()
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    files = re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.py)`", text)
    missing = [name for name in files if not (ROOT / name).exists() and "acme" not in name]
    for link in links:
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            missing.append(link)
    assert missing == []


def anchors(page: Path) -> set[str]:
    """What a link may name of a page: its headings, as GitHub writes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_command_that_a_page_names_is_there() -> None:
    named = {name for page in PAGES for name in re.findall(r"\brepoint ([a-z][a-z-]+)", page.read_text())}
    assert named - set(COMMANDS) == set()


def test_the_payment_method_that_the_pages_ask_about_is_in_the_examples() -> None:
    asked = {id_ for page in PAGES for id_ in re.findall(r"repoint status ([0-9a-f-]{36})", page.read_text())}
    methods = (ROOT / "examples" / "wallets.jsonl").read_text()
    assert asked
    assert [id_ for id_ in asked if f'"{id_}"' not in methods] == []


def test_the_feed_that_is_made_on_the_page_reads_what_is_shown_there() -> None:
    """`tests/schemas/feeds/test_recipe.py` follows the whole recipe."""
    page = FEEDS_PAGE.read_text()
    sample, module = (page.partition(f"```{kind}\n")[2].partition("```")[0] for kind in ("csv", "python"))
    acme: dict[str, Any] = {}
    exec(module, acme)  # noqa: S102 - our own page
    rows = list(csv.DictReader(io.StringIO(sample)))
    rows.append(rows[-1] | {"result": "portfolio-flip"})
    edge, read_as = Edge(datetime(2026, 11, 20, tzinfo=UTC)), []
    for row in rows:
        assert acme["FEED"].recognises(row)
        try:
            read_as += [message.value for message in messages(acme["FEED"], row, edge)]
        except Refused as reason:
            read_as.append(str(reason).encode())
    assert [parse(value).update.type for value in read_as[:3]] == ["NUMBER_REPLACED", "EXPIRY_UPDATED", "CLOSED"]
    assert read_as[3].startswith(b"result: portfolio-flip means")


def commands() -> list[str]:
    """As the changelog writes them: `dead-letters list|show|…`, or `status`."""
    return [
        name + (f" {'|'.join(command.commands)}" if isinstance(command, TyperGroup) else "")
        for name, command in ((name, loaded(name)) for name in COMMANDS)
    ]


def test_the_changelog_names_the_public_contract() -> None:
    """What it names cannot be changed unseen: it needs a line there."""
    told = CHANGELOG.read_text()
    words = set(re.findall(r"`(?:repoint )?([^`]+)`", told))
    contract = {one.name for one in settings.described()} | {UNREADABLE_HEADER, "vendor.payment-method-updates"}
    for names in (UpdateType, Reason, Outcome, Conflict, EventName, Status):
        contract |= {name.value for name in names}
    of_outcomes = RUNNING.read_text().partition("| Outcome | Reason |")[2].partition("\n\n")[0]
    contract |= {word for word in re.findall(r"`([A-Z_]+)`", of_outcomes) if not word.startswith(setting_checks.PREFIX)}
    contract |= set(commands())
    assert contract - words == set()
