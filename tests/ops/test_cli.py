"""What the commands take, print and refuse, on a real database."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from schemas.feeds import FEEDS
from testbed.postgres import Databases
from tests.acceptance.lines import merchant, method_id, replaced, wallet
from tests.acceptance.program import Program

NOWHERE = "postgresql://reader:hidden@127.0.0.1:1/wallets"
ASCII_ALONE = "a URL of printable ASCII: other characters as %XX, a host name of others as xn--…"
UNKNOWN = "00000000-0000-0000-0000-00000000dead"


@pytest.fixture
def program(tmp_path: Path, database_url: str) -> Program:
    return Program(tmp_path, DATABASE_URL=database_url)


# --- settings, arguments, what is away --------------------------------------------------------------------------------


async def test_wrong_settings_are_named_all_at_once(tmp_path: Path) -> None:
    ended = await Program(tmp_path, BATCH_SIZE="many", KAFKA_BOOTSTRAP_SERVERS="nowhere")("merchants", "list")
    assert ended.code == 2
    assert ended.out == ""
    lines = ended.err.splitlines()
    assert [line.split(":")[1].strip() for line in lines] == ["REPOINT_KAFKA_BOOTSTRAP_SERVERS", "REPOINT_BATCH_SIZE"]
    assert "many" not in ended.err
    assert "Traceback" not in ended.err


async def test_a_misspelled_setting_is_a_warning_in_development_and_refused_in_production(tmp_path: Path) -> None:
    named = "repoint: {}REPOINT_DATABSE_URL: no such setting; is it REPOINT_DATABASE_URL?"
    own = {"DATABASE_URL": NOWHERE, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "DATABSE_URL": "hunter2"}
    for arguments in (("merchants", "list"), ("run", "--role", "deliver")):
        ended = await Program(tmp_path, **own)(*arguments)
        assert (ended.code, ended.err.splitlines()[0]) == (1, named.format("warning: "))
        keys = {"SECRETS_KEY": f"v1:{'ab' * 32}"}
        refused = await Program(tmp_path, **own, **keys, ENVIRONMENT="production")(*arguments)
        assert (refused.code, refused.err.splitlines()) == (2, [named.format("")])


async def test_production_starts_nothing_embedded(tmp_path: Path) -> None:
    ended = await Program(tmp_path, ENVIRONMENT="production")("run")
    assert ended.code == 2
    assert "REPOINT_DATABASE_URL" in ended.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("migrate",),
        ("run",),
        ("run", "--processes", "2"),
        ("status", UNKNOWN),
        ("wallets", "export"),
        ("inbox", "list"),
    ],
    ids=" ".join,
)
async def test_a_database_that_is_away_is_said_in_one_line(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    program = Program(tmp_path, DATABASE_URL=NOWHERE, KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
    ended = await program(*arguments)
    assert ended.code == 1
    assert ended.out == ""
    assert ended.err == ("repoint: the database wallets at 127.0.0.1:1 cannot be reached (REPOINT_DATABASE_URL)\n")


async def test_a_database_that_does_not_exist_is_told_from_one_that_is_away(tmp_path: Path, database_url: str) -> None:
    base, _, query = database_url.partition("?")
    url = base.rpartition("/")[0] + "/no_such_database" + (f"?{query}" if query else "")
    ended = await Program(tmp_path, DATABASE_URL=url)("merchants", "list")
    assert ended.code == 1
    assert "no_such_database" in ended.err
    assert "does not exist" in ended.err


async def test_a_broker_that_is_away_is_said_in_one_line(program: Program) -> None:
    feed = program.write("feed.jsonl", replaced(1))
    ended = await program("ingest", "--format", "canonical", feed, KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == "repoint: no broker at 127.0.0.1:1 (REPOINT_KAFKA_BOOTSTRAP_SERVERS)\n"


async def test_without_any_broker_a_feed_is_not_sent_into_nothing(program: Program) -> None:
    ended = await program("ingest", "--format", "canonical", program.write("feed.jsonl", replaced(1)))
    assert ended.code == 1
    assert "REPOINT_KAFKA_BOOTSTRAP_SERVERS" in ended.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "--role", "api"), "expected REPOINT_FEED_SECRETS with the role api"),
        (("run", "--role", "dance"), "--role"),
        (("run", "--processes", "0"), "--processes"),
        (("ingest", "feed.jsonl"), "--format"),
        (("ingest", "--format", "canonical", "missing.jsonl"), "missing.jsonl"),
        (("wallets", "import", "missing.jsonl"), "missing.jsonl"),
        (("deliveries", "list", "--status", "LOST"), "--status"),
        (("no-such-command",), "no-such-command"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
async def test_what_is_not_understood_exits_with_2(program: Program, arguments: tuple[str, ...], said: str) -> None:
    program.write("feed.jsonl", replaced(1))
    ended = await program(*arguments)
    assert ended.code == 2
    assert said in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("how", ["feed.csv", "feed.csv --dry-run", "--watch ."])
async def test_a_feed_of_full_numbers_is_not_begun_with_without_a_key(program: Program, how: str) -> None:
    (program.directory / "feed.csv").write_text("oldCardholderAccountNumber,serviceIdentifier\n4111111111111111,C\n")
    before = sorted(program.directory.iterdir())
    ended = await program("ingest", "--format", "vau", *how.split(), KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == (
        "repoint: REPOINT_FINGERPRINT_KEY: expected with feeds whose records all have full numbers (vau):"
        " `repoint keys generate` makes one\n"
    )
    assert sorted(program.directory.iterdir()) == before
    # where tokens may stand in place of numbers, each record is looked at
    ended = await program("ingest", "--format", "worldpay", "feed.csv", "--dry-run")
    assert ended.code == 1


async def test_the_feeds_that_can_be_read_are_listed(program: Program) -> None:
    listed = (await program("feeds", "list", "--json")).json()
    assert [each["feed"] for each in listed] == list(FEEDS)
    assert {each["feed"]: (each["title"], each["codes"]) for each in listed}["vau"] == (
        FEEDS["vau"].title,
        len(FEEDS["vau"].codes),
    )
    posted = {each["feed"]: each["postedAs"] for each in listed}
    assert (posted["vau"], posted["stripe"]) == (["application/json", "text/csv"], ["application/json"])
    assert (posted["braintree"], posted["nacha"]) == (["application/x-www-form-urlencoded"], [])
    lines = (await program("feeds", "list")).well().out.splitlines()
    assert lines[0].split() == ["feed", "title", "postedAs", "codes"]
    assert [line.split()[0] for line in lines[1:]] == list(FEEDS)
    of_feed = {line.split()[0]: line for line in lines[1:]}
    assert "application/json or text/csv" in of_feed["vau"]
    assert "no, in files alone" in of_feed["nacha"]


async def test_of_one_feed_each_code_is_listed_with_what_becomes_of_it(program: Program) -> None:
    codes = (await program("feeds", "list", "discover", "--json")).json()
    assert [each["code"] for each in codes] == [code.code for code in FEEDS["discover"].codes]
    becomes = {each["code"]: each["becomes"] for each in codes}
    assert (becomes["O"], becomes["C"], becomes["Q"]) == ("NUMBER_REPLACED", "CLOSED", "refused")
    assert "override: the issuer corrected an earlier update" in (await program("feeds", "list", "discover")).well().out
    unknown = await program("feeds", "list", "no-such-feed")
    assert (unknown.code, unknown.out) == (1, "")
    assert unknown.err == "repoint: no-such-feed is no feed; `repoint feeds list` names them all\n"


# --- what filters name, keys, roles -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("deliveries", "list", "--merchant", "nope"), "there is no merchant nope"),
        (("deliveries", "list", "--endpoint", "nope"), "there is no endpoint nope"),
        (("inbox", "list", "--vendor", "nope"), "no update has come from a vendor nope"),
        (("inbox", "list", "--id", "nope"), "no update with the id nope has come"),
        (("fetches", "list", "--feed", "nope"), "nope is no feed; `repoint feeds list` names them all"),
        (("feeds", "list", "nope"), "nope is no feed; `repoint feeds list` names them all"),
        (("replay", "--merchant", "nope"), "there is no merchant nope"),
        (("replay", "--endpoint", "no\x1b[31mpe"), "there is no endpoint no\\x1b[31mpe"),
    ],
    ids=lambda value: " ".join(value[:3]) if isinstance(value, tuple) else "",
)
async def test_a_filter_that_names_nothing_is_an_error(
    program: Program, arguments: tuple[str, ...], problem: str
) -> None:
    for form in ((), ("--json",)) if arguments[0] != "replay" else ((),):
        ended = await program(*arguments, *form)
        assert (ended.code, ended.out, ended.err) == (1, "", f"repoint: {problem}\n")


async def test_a_filter_that_names_what_is_there_lists_nothing_where_nothing_is(program: Program) -> None:
    (await program("merchants", "import", program.write("merchants.jsonl", merchant("m-1")))).well()
    for arguments in (
        ("deliveries", "list", "--merchant", "m-1"),
        ("deliveries", "list", "--endpoint", "ep-m-1"),
        ("inbox", "list", "--vendor", "vau"),  # a feed, of which nothing has come
        ("fetches", "list", "--feed", "adyen"),
    ):
        assert (await program(*arguments, "--json")).json() == []


async def test_a_key_is_generated_that_the_settings_take(program: Program) -> None:
    first, second = [(await program("keys", "generate")).well().out for _ in range(2)]
    assert re.fullmatch(r"v1:[0-9a-f]{64}\n", first)
    assert first != second
    rotated = (await program("keys", "generate", "--version", "2026-11")).well().out.strip()
    assert rotated.startswith("2026-11:")
    feed = program.write("feed.csv", "oldCardholderAccountNumber,serviceIdentifier", "4111111111111111,C")
    keys = {"FINGERPRINT_KEY": rotated, "FINGERPRINT_KEY_FORMER": first.strip()}
    (await program("ingest", "--format", "vau", "--dry-run", feed, **keys)).well()
    unusable = await program("keys", "generate", "--version", "a:b")
    assert (unusable.code, unusable.out) == (2, "")


async def test_a_paragraph_of_a_help_breaks_only_at_the_width_of_the_terminal(program: Program) -> None:
    lines = (await program("replay", "now", "--help")).well().out.splitlines()
    (line,) = (line for line in lines if "can be repeated." in line)
    assert "can be repeated. With --waiting" in line


@pytest.mark.parametrize(
    ("command", "usage"),
    [
        (("replay", "now"), "[ID]..."),
        (("ingest",), "[FILE]..."),
        (("endpoints", "enable"), "{ENDPOINT_ID}..."),
        (("deliveries", "cancel"), "[ID]..."),
        (("dead-letters", "replay"), "[ID]..."),
        (("dead-letters", "discard"), "[ID]..."),
    ],
)
async def test_an_argument_that_may_be_repeated_is_said_so_once(
    program: Program, command: tuple[str, ...], usage: str
) -> None:
    words = " ".join((await program(*command, "--help")).well().out.split())
    assert f"{command[-1]} [OPTIONS] {usage} " in words


async def test_the_help_of_run_offers_the_roles_there_are(program: Program) -> None:
    offered = " ".join((await program("run", "--help")).well().out.split())
    assert "<all|consume|deliver|reconc" in offered  # cut to the width of the column
    assert "ile|api>" in offered


# --- migrate ----------------------------------------------------------------------------------------------------------


async def test_a_database_is_migrated_once(tmp_path: Path, empty_database_url: str) -> None:
    program = Program(tmp_path, DATABASE_URL=empty_database_url)
    before = await program("merchants", "list")
    assert before.code == 1
    assert "was never migrated: run `repoint migrate`" in before.err
    assert "would migrate from nothing" in (await program("migrate", "--dry-run")).well().out
    assert (await program("merchants", "list")).code == 1
    assert "migrated from nothing" in (await program("migrate")).well().out
    assert "already" in (await program("migrate")).well().out
    assert (await program("merchants", "list", "--json")).json() == []


# --- merchants and endpoints ------------------------------------------------------------------------------------------


async def test_merchants_are_imported_and_brought_up_to_date(program: Program) -> None:
    program.write("merchants.jsonl", merchant("m-1"), "", merchant("m-2", endpoints=[]))
    assert (
        (await program("merchants", "import", "merchants.jsonl", "--dry-run"))
        .well()
        .out.endswith("nothing was changed\n")
    )
    assert (await program("merchants", "list", "--json")).json() == []
    ended = (await program("merchants", "import", "merchants.jsonl")).well()
    assert ended.out == "imported 2 merchants with 1 endpoint\n"
    moved = merchant("m-1", url="https://elsewhere.example/", name="Renamed")
    (await program("merchants", "import", "-", stdin=_text(program, moved))).well()
    listed = await program("merchants", "list", "--json")
    first, second = listed.json()
    assert (first["name"], second) == ("Renamed", {"id": "m-2", "name": "Merchant m-2", "endpoints": []})
    assert [(one["id"], one["url"], one["status"]) for one in first["endpoints"]] == [
        ("ep-m-1", "https://elsewhere.example/", "ENABLED")
    ]
    assert "whsec_" not in listed.out


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ({"id": "m-2"}, "merchants.jsonl:2: name: required"),
        (merchant("m-1", endpoints=[]), "merchants.jsonl:2: id: expected an id of its own, line 1 has it"),
        (merchant("m-2", url="ftp://elsewhere.example"), "merchants.jsonl:2: endpoints.0.url: "),
        ("{", "merchants.jsonl:2: line: expected a JSON object"),
    ],
)
async def test_a_merchant_file_is_taken_whole_or_not_at_all(program: Program, second: object, said: str) -> None:
    program.write("merchants.jsonl", merchant("m-1"), second)
    ended = await program("merchants", "import", "merchants.jsonl")
    assert (ended.code, ended.out) == (1, "")
    assert said in ended.err
    assert (await program("merchants", "list", "--json")).json() == []


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://93.184.216.34/hooks", "https: plain http is for addresses in REPOINT_EGRESS_ALLOW"),
        ("http://merchant.example/hooks", "https: plain http is for addresses in REPOINT_EGRESS_ALLOW"),
        ("https://10.0.0.1/hooks", "a host whose addresses are public, or in REPOINT_EGRESS_ALLOW"),
        ("http://127.0.0.1:8080/hooks", "a host whose addresses are public, or in REPOINT_EGRESS_ALLOW"),
        ("https://localhost/hooks", "a host whose addresses are public, or in REPOINT_EGRESS_ALLOW"),
        ("https://169.254.169.254/latest", "a host whose addresses are public, or in REPOINT_EGRESS_ALLOW"),
        ("https://[::ffff:127.0.0.1]/", "a host whose addresses are public, or in REPOINT_EGRESS_ALLOW"),
        ("https://user:password@merchant.example/", "no user name, password or fragment in the URL"),
        ("https://merchant.example/#part", "no user name, password or fragment in the URL"),
        ("https://xn--zz.invalid/", "a host name whose labels xn--… are valid Punycode"),
        ("http://127.1/", "a host name, or an address as 192.0.2.1 or [2001:db8::1]"),
        ("http://2130706433/", "a host name, or an address as 192.0.2.1 or [2001:db8::1]"),
        ("http://0x7f.1/", "a host name, or an address as 192.0.2.1 or [2001:db8::1]"),
        ("https://merchant.example/a b", ASCII_ALONE),
        ("https://merchant.example/hooks\n", ASCII_ALONE),
        ("https://b\u00fccher.example/", ASCII_ALONE),
        (
            f"https://[2606:4700:4700::1111%{'a' * 64}]/",
            "a host name, or an address as 192.0.2.1 or [2001:db8::1], and a port if any",
        ),
    ],
)
async def test_an_endpoint_where_webhooks_may_not_go_is_not_imported(program: Program, url: str, expected: str) -> None:
    second = merchant("m-2")["endpoints"][0] | {"id": "ep-2b", "url": url}
    there = merchant("m-2", endpoints=[merchant("m-2")["endpoints"][0], second])
    program.write("merchants.jsonl", merchant("m-1"), "", there)
    for arguments in ((), ("--dry-run",)):
        ended = await program("merchants", "import", "merchants.jsonl", *arguments)
        assert (ended.code, ended.out) == (1, "")
        assert ended.err == f"repoint: merchants.jsonl:3: endpoints.1.url: expected {expected}\n"
    assert (await program("merchants", "list", "--json")).json() == []


@pytest.mark.parametrize("url", ["http://127.1/", "http://2130706433/", "http://0x7f.1:8080/hooks"])
async def test_what_the_dispatcher_cannot_dial_is_not_imported_where_its_address_is_allowed(
    program: Program, url: str
) -> None:
    file = program.write("merchants.jsonl", merchant("m-1", url=url))
    ended = await program("merchants", "import", file, EGRESS_ALLOW="127.0.0.0/8")
    assert (ended.code, ended.out) == (1, "")
    assert "endpoints.0.url: expected a host name, or an address as 192.0.2.1" in ended.err


async def test_an_endpoint_that_a_file_leaves_out_is_disabled_and_one_that_comes_back_enabled(program: Program) -> None:
    first = merchant("m-1")["endpoints"][0]
    second, third = (first | {"id": f"ep-{name}"} for name in ("second", "third"))
    program.write("all.jsonl", merchant("m-1", endpoints=[first, second, third]), merchant("m-2"))
    program.write("fewer.jsonl", merchant("m-1", endpoints=[first]))
    (await program("merchants", "import", "all.jsonl")).well()
    (await program("endpoints", "disable", "ep-third", "--reason", "moves house")).well()

    async def status() -> dict[str, tuple[str, str | None]]:
        listed = (await program("endpoints", "list", "--json")).json()
        return {one["id"]: (one["status"], one["disabledReason"]) for one in listed}

    before = await status()
    ended = (await program("merchants", "import", "fewer.jsonl", "--dry-run")).well()
    assert "would disable 1 endpoint that the file leaves out: ep-second\n" in ended.out
    assert await status() == before
    ended = (await program("merchants", "import", "fewer.jsonl")).well()
    assert ended.out == (
        "disabled 1 endpoint that the file leaves out: ep-second\nimported 1 merchant with 1 endpoint\n"
    )
    assert await status() == before | {"ep-second": ("DISABLED", "left out of the merchants file")}
    assert (await program("merchants", "import", "fewer.jsonl")).well().out == "imported 1 merchant with 1 endpoint\n"

    ended = (await program("merchants", "import", "all.jsonl", "--dry-run")).well()
    assert "would enable 1 endpoint that the file has again: ep-second\n" in ended.out
    ended = (await program("merchants", "import", "all.jsonl")).well()
    assert "enabled 1 endpoint that the file has again: ep-second\n" in ended.out
    assert await status() == before, "what a person disabled stays so"


async def test_networks_that_are_allowed_may_be_plain_and_within(program: Program) -> None:
    line = merchant("m-1", url="http://127.0.0.1:8080/hooks")
    (await program("merchants", "import", program.write("1.jsonl", line), EGRESS_ALLOW="127.0.0.0/8")).well()
    beside = await program("merchants", "import", program.write("1.jsonl", line), EGRESS_ALLOW="10.0.0.0/8")
    assert beside.code == 1


async def test_an_endpoint_stays_with_its_merchant(program: Program) -> None:
    (await program("merchants", "import", program.write("1.jsonl", merchant("m-1")))).well()
    taken = merchant("m-2", endpoints=merchant("m-1")["endpoints"])
    ended = await program("merchants", "import", program.write("2.jsonl", merchant("m-3", endpoints=[]), taken))
    assert ended.code == 1
    assert "2.jsonl:2: endpoints.0.id: expected another id than ep-m-1" in ended.err
    assert [one["id"] for one in (await program("merchants", "list", "--json")).json()] == ["m-1"]


async def test_endpoints_are_disabled_and_enabled(program: Program) -> None:
    program.write("merchants.jsonl", merchant("m-1"), merchant("m-2"))
    (await program("merchants", "import", "merchants.jsonl")).well()

    async def status() -> list[tuple[str, str | None]]:
        return [(one["status"], one["disabledReason"]) for one in (await program("endpoints", "list", "--json")).json()]

    assert "would disable" in (await program("endpoints", "disable", "ep-m-1", "--dry-run")).well().out
    assert await status() == [("ENABLED", None), ("ENABLED", None)]
    (await program("endpoints", "disable", "ep-m-1", "--reason", "moves house")).well()
    assert await status() == [("DISABLED", "moves house"), ("ENABLED", None)]
    unknown = await program("endpoints", "enable", "ep-m-1", "ep-nobody")
    assert unknown.code == 1
    assert "ep-nobody" in unknown.err
    assert await status() == [("DISABLED", "moves house"), ("ENABLED", None)]
    (await program("endpoints", "enable", "ep-m-1")).well()
    assert await status() == [("ENABLED", None), ("ENABLED", None)]


# --- wallets ----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def shop(program: Program) -> Program:
    """With one merchant, m-1."""
    (await program("merchants", "import", program.write("merchants.jsonl", merchant("m-1")))).well()
    return program


@pytest.mark.parametrize(
    ("third", "said"),
    [
        ("not JSON", "wallets.jsonl:4: line: expected a JSON object"),
        (wallet(3) | {"customer": {}}, "wallets.jsonl:4: customer: the customer identifier is missing"),
        (wallet(3) | {"wallet": 1}, "wallets.jsonl:4: wallet: expected no field of this name"),
        (wallet(3, merchants=("m-9",)), "wallets.jsonl:4: merchants: expected m-9 to be imported first"),
        (wallet(1), f"wallets.jsonl:4: id: expected a new id, {wallet(1)['id']} is on line 1 already"),
        (wallet(3) | {"paymentMethods": wallet(1)["paymentMethods"], "paymentLinks": []},
         f"wallets.jsonl:4: paymentMethods.0.id: expected a new id, {method_id(1)} is on line 1 already"),
        (wallet(3) | {"customer": {"hsid": "4111 1111 1111 1111"}}, "wallets.jsonl:4: $.customer.hsid: expected"),
        (wallet(3) | {"mergedInto": UNKNOWN, "paymentMethods": [], "paymentLinks": []},
         "wallets.jsonl:4: mergedInto: expected the id of a wallet that is not merged itself"),
    ],
)  # fmt: skip
async def test_one_bad_line_and_no_wallet_is_imported(shop: Program, third: object, said: str) -> None:
    shop.write("wallets.jsonl", wallet(1), "", wallet(2), third)
    ended = await shop("wallets", "import", "wallets.jsonl")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith(f"repoint: {said}")
    assert "4111" not in ended.err
    assert ended.err.count("\n") == 1
    assert (await shop("wallets", "export")).well().out == ""


async def test_what_is_there_already_is_not_imported_over(shop: Program) -> None:
    (await shop("wallets", "import", shop.write("1.jsonl", wallet(1)))).well()
    taken = wallet(3) | {"paymentLinks": [wallet(1)["paymentLinks"][0] | {"paymentMethodId": method_id(3)}]}
    for line, field in ((wallet(1), "id"), (taken, "paymentLinks.0.id")):
        ended = await shop("wallets", "import", shop.write("2.jsonl", wallet(2), line))
        assert ended.code == 1
        assert f"2.jsonl:2: {field}: expected a new id" in ended.err
    assert (await shop("wallets", "export")).well().out.count("\n") == 1


async def test_what_only_the_database_refuses_is_refused_whole(shop: Program, engine: AsyncEngine) -> None:
    """A rule that somebody added to the database, and that the program never heard of."""
    async with engine.begin() as connection:
        await connection.exec_driver_sql("ALTER TABLE wallets ADD CONSTRAINT no_second CHECK (enterprise_id <> 'e-2')")
    shop.write("wallets.jsonl", wallet(1), wallet(2))
    for arguments in (("--dry-run",), ()):
        ended = await shop("wallets", "import", "wallets.jsonl", *arguments)
        assert (ended.code, ended.out) == (1, "")
        assert "the database refuses what was written (23514 no_second" in ended.err
        assert ended.err.count("\n") == 1
    assert (await shop("wallets", "export")).well().out == ""


async def test_a_dry_run_imports_nothing(shop: Program) -> None:
    ended = (await shop("wallets", "import", shop.write("wallets.jsonl", wallet(1)), "--dry-run")).well()
    assert ended.out == "1 wallet can be imported; nothing was changed\n"
    assert (await shop("wallets", "export")).well().out == ""


async def test_an_export_imported_is_exported_to_the_byte(shop: Program, databases: Databases) -> None:
    """More wallets than are read or written at a time, in no order."""
    numbers = [(7919 * number) % 1201 + 1 for number in range(1200)]
    (await shop("wallets", "import", shop.write("wallets.jsonl", *(wallet(number) for number in numbers)))).well()
    (await shop("wallets", "export", "first.jsonl")).well()
    first = (shop.directory / "first.jsonl").read_bytes()
    assert first.count(b"\n") == 1200
    assert [line[8:44] for line in first.splitlines()] == sorted(line[8:44] for line in first.splitlines())
    url = await databases.create()
    (await shop("merchants", "import", "merchants.jsonl", DATABASE_URL=url)).well()
    (await shop("wallets", "import", "-", stdin=first, DATABASE_URL=url)).well()
    second = (await shop("wallets", "export", DATABASE_URL=url)).well()
    assert second.out.encode() == first
    await databases.drop(url)


async def test_an_export_that_fails_leaves_no_file(shop: Program) -> None:
    ended = await shop("wallets", "export", "all.jsonl", DATABASE_URL=NOWHERE)
    assert ended.code == 1
    assert [file.name for file in shop.directory.iterdir()] == ["merchants.jsonl"]


# --- status -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("id_", [UNKNOWN, "tok_A", "'; DROP TABLE wallets"])
async def test_a_name_that_nothing_has_is_said_to_be_unknown(shop: Program, id_: str) -> None:
    ended = await shop("status", id_)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == f"repoint: nothing has the name {id_}: see `repoint status --help` for what has one\n"


async def test_a_method_that_nothing_happened_to_is_its_own_current_one(shop: Program) -> None:
    (await shop("wallets", "import", shop.write("wallets.jsonl", wallet(1)))).well()
    told = (await shop("status", method_id(1), "--json")).json()
    assert told["paymentMethod"] == told["currentPaymentMethod"]
    assert (told["chain"], told["deliveries"]) == ([], [])
    assert [link["reference"] for link in told["paymentLinks"]] == ["sub_1"]
    assert "VISA •••• 1234  12/2026  ACTIVE  default" in (await shop("status", method_id(1).upper())).well().out


# --- feeds, checked only ----------------------------------------------------------------------------------------------


async def test_a_checked_feed_names_every_line_that_is_not_usable(program: Program) -> None:
    undated = {key: value for key, value in replaced(3).items() if key != "occurredAt"}
    card = replaced(4, new="4111111111111111")
    feed = program.write("feed.jsonl", replaced(1), "", "half a li", undated, card, "x" * 1_000_001)
    ended = await program("ingest", "--format", "canonical", "--dry-run", feed)
    assert ended.code == 1
    assert ended.out.splitlines()[0] == "feed.jsonl: 1 of 5 lines accepted, 1 update found; nothing was sent"
    assert "  1 refused: occurredAt: required" in ended.out.splitlines()
    reasons = [line.removeprefix("repoint: feed.jsonl:") for line in ended.err.splitlines()]
    assert [reason.split(":")[:2] for reason in reasons[:-1]] == [
        ["3", " message"],
        ["4", " occurredAt"],
        ["5", " $.new.token"],
        ["6", " line"],
    ]
    assert "4111" not in ended.err
    assert not (program.directory / "feed.jsonl.refused").exists()
    assert (
        await program("ingest", "--format", "canonical", "--dry-run", "-", stdin=_text(program, replaced(1)))
    ).code == 0


async def test_a_dry_run_refuses_what_the_worker_would_refuse(program: Program) -> None:
    ahead = f"{datetime.now(UTC) + timedelta(days=367):%Y-%m-%dT%H:%M:%SZ}"
    soon = f"{datetime.now(UTC) + timedelta(days=365):%Y-%m-%dT%H:%M:%SZ}"
    nameless = replaced(3) | {"customer": {"metadata": {"tier": "gold"}}}
    feed = program.write(
        "feed.jsonl", replaced(1) | {"occurredAt": soon}, replaced(2) | {"occurredAt": ahead}, nameless, replaced(4)
    )
    ended = await program("ingest", "--format", "canonical", "--dry-run", feed)
    assert ended.code == 1
    assert ended.out.splitlines()[0] == "feed.jsonl: 2 of 4 lines accepted, 2 updates found; nothing was sent"
    late, stranger, _ = ended.err.splitlines()
    assert late == "repoint: feed.jsonl:2: occurredAt: expected a time at most 366 days ahead"
    assert stranger.startswith("repoint: feed.jsonl:3: customer: expected a customer identifier (")
    by_tier = await program("ingest", "--format", "canonical", "--dry-run", feed, CUSTOMER_IDENTIFIERS="metadata.tier")
    assert "3 of 4 lines accepted" in by_tier.out


# --- without any setting ----------------------------------------------------------------------------------------------


async def test_commands_share_an_embedded_database_that_stays(tmp_path: Path) -> None:
    program = Program(tmp_path)
    ended = (await program("merchants", "import", program.write("merchants.jsonl", merchant("m-1")))).well()
    assert ended.err == (
        "repoint: REPOINT_DATABASE_URL is not set: using an embedded PostgreSQL, with its data in .repoint/postgres\n"
    )
    (await program("wallets", "import", program.write("wallets.jsonl", wallet(1)))).well()
    exported = (await program("wallets", "export")).well().out
    assert '"reference": "sub_1"' in exported
    assert exported.count("\n") == 1


def _text(program: Program, line: object) -> str:
    return (program.directory / program.write("stdin", line)).read_text()
