"""The demo tells the truth: its accounts balance, or it fails and says in what."""

import json
import os
import re
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest
from standardwebhooks import Webhook

from demo import story
from demo.receivers import ReceivedWebhook, is_genuine
from schemas.signature import secret as signing_secret
from store.accounting import Totals
from tests.acceptance.lines import SECRET
from tests.acceptance.program import COMMAND

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


class Played(NamedTuple):
    folder: Path
    ended: "subprocess.CompletedProcess[str]"

    def accounts(self) -> list[dict[str, int]]:
        """Of updates and of events, as they are printed."""
        return [
            {
                words[0]: int(words[1])
                for words in map(str.split, part.splitlines())
                if words[1:] and words[1].isdecimal()
            }
            for part in self.ended.stdout.split("The accounts of ")[1:]
        ]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Once, for all that is to be seen of it."""
    folder = tmp_path_factory.mktemp("demo")
    return Played(folder, play(folder))


def test_it_ends_by_itself_and_leaves_nothing_behind(played: Played) -> None:
    assert played.ended.returncode == 0, played.ended.stderr
    # the lock of the embedded PostgreSQL's makers, which all of its servers on a machine share
    assert {left.name for left in played.folder.iterdir()} <= {".lockfile"}
    assert left_behind(played.folder) == []


def test_its_accounts_balance(played: Played) -> None:
    updates, events = played.accounts()
    produced = sum(1 for line in (EXAMPLES / "updates.jsonl").read_text().splitlines() if line)
    assert updates.pop("produced") == updates.pop("sum") == produced >= 300
    outcomes = ["applied", "superseded", "duplicate", "parked", "ignored", "quarantined"]
    assert list(updates) == [*outcomes, "unreadable", "empty", "skipped", "lost"]
    assert sum(updates.values()) == produced
    assert all(updates[name] for name in [*outcomes, "unreadable"])
    assert updates["unreadable"] == 3
    assert events["events"] == events["sum"] == events["delivered"] + events["parked"] + events["dead"]
    assert events["parked"] > 0
    assert events["signatures"] > events["delivered"] > 0
    assert "✗" not in played.ended.stdout
    assert "4111" not in played.ended.stdout + played.ended.stderr


def test_it_tells_of_one_customer_line_by_line(played: Played) -> None:
    told = [line.strip() for line in played.ended.stdout.splitlines()]
    assert "old card    VISA •••• 1234  12/2026  DELETED, replaced by the new card" in told
    assert any(line.startswith("new card    VISA •••• 5678  12/2028  ACTIVE, default") for line in told)
    assert "link        Pharmacy's subscription sub_123 (ACTIVE): on the new card now" in told
    assert "link        Gym's payment plan rowing-course (CANCELLED): left on the old card" in told
    webhooks = [line.split() for line in told if line.startswith("webhook")]
    assert all("✓" in webhook for webhook in webhooks)
    pharmacy = [webhook[2:4] for webhook in webhooks if webhook[1] == "Pharmacy"]
    assert pharmacy == [["#1", "REPLACED"], ["#2", "DELETED"]]
    streaming = [(webhook[2], webhook[8]) for webhook in webhooks if webhook[1] == "Streaming"]
    assert streaming == [("#1", "503"), ("#1", "503"), ("#1", "200"), ("#2", "503"), ("#2", "503"), ("#2", "200")]
    assert [webhook[8] for webhook in webhooks if webhook[1] == "Gym"] == ["410:"]


def test_its_output_is_what_the_readme_shows_but_for_the_time(played: Played) -> None:
    shown = (ROOT / "README.md").read_text().split("`make demo` prints:\n\n```\n")[1].split("```")[0].splitlines()
    printed = {_without_seconds(line) for line in played.ended.stdout.splitlines()}
    assert len(shown) > 40
    assert [
        line for line in map(_without_seconds, shown) if line.strip() not in ("", "…") and line not in printed
    ] == []


def _without_seconds(line: str) -> str:
    return re.sub(r"[0-9.]+ s for ", "", line)


def test_what_is_left_behind_would_be_found(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", "input()"], env=environment, stdin=subprocess.PIPE) as left:
        assert len(left_behind(tmp_path, within=0)) == 1
        assert left.stdin is not None
        left.stdin.close()


def test_without_its_files_it_says_which_are_missing(tmp_path: Path) -> None:
    ended = play(tmp_path, "--examples", str(tmp_path))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert f"there is no {tmp_path}/merchants.jsonl" in ended.stderr


def test_who_installed_a_wheel_has_its_files_too(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    where = [sys.executable, "-c", "from demo.command import _own; print(_own())"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}
    told = subprocess.run(where, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True).stdout
    assert Path(told.strip()) == tmp_path / "installed" / "demo" / "examples"
    for name in ("merchants.jsonl", "wallets.jsonl", "updates.jsonl"):
        assert Path(told.strip(), name).read_text() == (EXAMPLES / name).read_text()


def test_its_files_are_what_the_script_beside_them_makes(tmp_path: Path) -> None:
    (tmp_path / "make.py").write_text((EXAMPLES / "make.py").read_text())
    subprocess.run([sys.executable, str(tmp_path / "make.py")], check=True)
    for name in ("merchants.jsonl", "wallets.jsonl", "updates.jsonl"):
        assert (tmp_path / name).read_text() == (EXAMPLES / name).read_text()


# --- and if it did not balance ----------------------------------------------------------------------------------------

ACCOUNTS = Totals({"APPLIED": 2, "PARKED": 1}, 1, 3, {"DELIVERED": 2, "PARKED": 1})


def received(number: int, **different: object) -> ReceivedWebhook:
    event = {"id": f"evt_{number}", "walletId": "wallet", "sequence": number}
    body = json.dumps(event).encode()
    usual = ReceivedWebhook(merchant="m-1", event=event, body=body, genuine=True, attempt=1, answered=200)
    return replace(usual, **different)  # type: ignore[arg-type]


def test_all_is_well_where_all_is_well() -> None:
    assert story.complaints(4, ACCOUNTS, [received(1), received(2), received(3, answered=410)]) == []


@pytest.mark.parametrize(
    ("produced", "accounts", "requests", "complaint"),
    [
        (5, ACCOUNTS, [received(1), received(2)], "the outcomes do not add up"),
        (4, replace(ACCOUNTS, events=4), [received(1), received(2)], "the deliveries do not add up"),
        (4, replace(ACCOUNTS, deliveries={"DELIVERED": 2, "PARKED": 1, "PENDING": 1}), [received(1), received(2)],
         "the deliveries do not add up"),
        (4, ACCOUNTS, [received(1), received(2, genuine=False)], "a signature was wrong"),
        (4, ACCOUNTS, [received(1), received(2), received(3, answered=503, genuine=False)], "a signature was wrong"),
        (4, ACCOUNTS, [received(1), received(2, answered=503), received(2, body=b"other")], "with two bodies"),
        (4, ACCOUNTS, [received(1)], "merchants accepted other events"),
        (4, ACCOUNTS, [received(1), received(1)], "merchants accepted other events"),
        (4, ACCOUNTS, [received(2), received(1)], "out of order"),
    ],
)  # fmt: skip
def test_it_complains_of_what_does_not_balance(
    produced: int, accounts: Totals, requests: list[ReceivedWebhook], complaint: str
) -> None:
    assert any(complaint in each for each in story.complaints(produced, accounts, requests))


def signed(secret: str, body: bytes) -> dict[str, str]:
    """By the independent library."""
    now = datetime.now(UTC)
    signature = Webhook(secret).sign("evt_1", now, body.decode())
    return {"webhook-id": "evt_1", "webhook-timestamp": str(int(now.timestamp())), "webhook-signature": signature}


def test_its_merchants_know_a_right_signature() -> None:
    assert is_genuine(SECRET, signed(SECRET, b"{}"), b"{}")
    rotating = signed(SECRET, b"{}")
    rotating["webhook-signature"] = f"v1,b2xk {rotating['webhook-signature']}"
    assert is_genuine(SECRET, rotating, b"{}")


@pytest.mark.parametrize(
    "different",
    [
        {"webhook-id": "evt_2"},
        {"webhook-timestamp": "1"},
        {"webhook-timestamp": "now"},
        {"webhook-signature": ""},
        {"webhook-signature": "v1,"},
        {"webhook-signature": "v1a,c2lnbmF0dXJl v2 v1"},
    ],
    ids=str,
)
def test_its_merchants_accept_no_other(different: dict[str, str]) -> None:
    assert not is_genuine(SECRET, signed(SECRET, b"{}") | different, b"{}")
    assert not is_genuine(SECRET, signed(SECRET, b"{}"), b"{ }")
    assert not is_genuine(SECRET, signed(signing_secret(bytes(24)), b"{}"), b"{}")


# --- playing it -------------------------------------------------------------------------------------------------------


def play(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """With a folder of its own for temporary files, which also tells its processes from others."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("REPOINT_")}
    return subprocess.run(
        [*COMMAND, "demo", *arguments],
        check=False,
        capture_output=True,
        text=True,
        env=environment | {"TMPDIR": str(folder)},
    )


def left_behind(folder: Path, *, within: float = 20) -> list[str]:
    """Processes that were started with that folder and still run, after a moment for what is ending."""
    deadline = time.monotonic() + within
    while True:
        told = subprocess.run(["ps", "axeww", "-o", "stat=,args="], check=True, capture_output=True, text=True).stdout
        found = [line for line in told.splitlines() if f"TMPDIR={folder}" in line and not line.startswith("Z")]
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.1)
