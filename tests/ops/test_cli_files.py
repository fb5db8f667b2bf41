"""Files that the program imports, as people have them: packed, of another kind, twice, too large; and every fault."""

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from ops.json_lines import LONGEST_LINE
from schemas.wallet import MOST_METHODS
from tests.acceptance.lines import merchant, method_id, wallet
from tests.acceptance.program import Program


@pytest.fixture
async def shop(tmp_path: Path, database_url: str) -> Program:
    """With the merchant m-1."""
    program = Program(tmp_path, DATABASE_URL=database_url)
    (await program("merchants", "import", program.write("merchants.jsonl", merchant("m-1")))).well()
    return program


def written(*lines: Any) -> bytes:
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


async def test_a_packed_file_is_unpacked(shop: Program) -> None:
    (shop.directory / "merchants.jsonl.gz").write_bytes(gzip.compress(written(merchant("m-2"), merchant("m-3"))))
    ended = (await shop("merchants", "import", "merchants.jsonl.gz")).well()
    assert ended.out == "imported 2 merchants with 2 endpoints\n"
    (shop.directory / "packed").write_bytes(gzip.compress(written(wallet(1))) + gzip.compress(written(wallet(2))))
    assert (await shop("wallets", "import", "packed")).well().out == "imported 2 wallets\n"
    (shop.directory / "cut").write_bytes(gzip.compress(written(wallet(3), wallet(4)))[:-20])
    ended = await shop("wallets", "import", "cut")
    assert (ended.code, ended.err) == (1, "repoint: cut:2: the gzip file is cut off\n")


KINDS = [
    (written(wallet(1)).decode().encode("utf-16"), "expected UTF-8, not UTF-16"),
    (b"\0" * 5000, "expected text, not NULs"),
    (b"PK\x03\x04" + bytes(range(256)), "expected it unpacked, not as zip"),
    (json.dumps([wallet(1)]).encode(), "it looks like a JSON array: expected one JSON object a line (jq -c '.[]')"),
    (json.dumps(wallet(1), indent=1).encode(), "it looks like one JSON text: expected one object a line (jq -c .)"),
    (b"", "it is empty: expected one JSON object a line"),
    (b"\n \r\n", "it is empty: expected one JSON object a line"),
    (gzip.compress(b""), "it is empty: expected one JSON object a line"),
]


@pytest.mark.parametrize("command", ["wallets", "merchants"])
@pytest.mark.parametrize(("content", "problem"), KINDS, ids=range(len(KINDS)))
async def test_a_file_of_another_kind_is_refused_by_what_it_looks_like(
    shop: Program, command: str, content: bytes, problem: str
) -> None:
    (shop.directory / "file").write_bytes(content)
    ended = await shop(command, "import", "file")
    assert (ended.code, ended.out, ended.err) == (1, "", f"repoint: file: {problem}\n")


@pytest.mark.parametrize("command", [("wallets", "import"), ("merchants", "import"), ("ingest", "--format", "vau")])
async def test_what_is_no_file_is_named_by_its_kind(shop: Program, command: tuple[str, ...]) -> None:
    os.mkfifo(shop.directory / "pipe")
    for name, kind in (("pipe", "it is a pipe"), (".", "it is a directory"), ("/dev/null", "it is a device"),
                       ("nope", "No such file or directory"), ("x" * 300, "File name too long")):  # fmt: skip
        ended = await shop(*command, name)
        assert ended.code == 2
        assert kind in " ".join(ended.err.replace("│", " ").split())
        assert "Traceback" not in ended.err


async def test_a_file_that_is_imported_again_says_what_is_there_and_what_to_do(shop: Program) -> None:
    shop.write("wallets.jsonl", wallet(1), wallet(2))
    (await shop("wallets", "import", "wallets.jsonl")).well()
    ended = await shop("wallets", "import", "wallets.jsonl")
    assert ended.code == 1
    assert ended.err.splitlines()[-1] == (
        "repoint: nothing was imported: 2 faults; 2 wallets of the file are there already, and an import changes none;"
        " --skip-invalid imports the other lines"
    )
    shop.write("wallets.jsonl", wallet(1), wallet(2), wallet(3))
    ended = (await shop("wallets", "import", "wallets.jsonl", "--skip-invalid")).well()
    assert ended.out == "imported 1 wallet\n2 wallets are there already, and were left as they are\n"
    assert not (shop.directory / "wallets.jsonl.refused").exists()
    ended = (await shop("wallets", "import", "wallets.jsonl", "--skip-invalid")).well()
    assert ended.out == "imported 0 wallets\n3 wallets are there already, and were left as they are\n"


async def test_all_faults_of_a_merchants_file_are_named_with_line_and_field(shop: Program) -> None:
    twice = merchant("m-4") | {"endpoints": merchant("m-2")["endpoints"]}
    shop.write(
        "2.jsonl", merchant("m-2"), "{", merchant("m-3", name=3, endpoints=[{"id": 1}]), merchant("m-2"), twice,
        merchant("m-5", url="https://127.0.0.1/"), merchant("m-6", url="https://10.0.0.1/"),
    )  # fmt: skip
    for arguments in ((), ("--dry-run",)):
        ended = await shop("merchants", "import", "2.jsonl", *arguments)
        assert (ended.code, ended.out) == (1, "")
        *named, summary = ended.err.splitlines()
        places = [":".join(line.split(": ")[1:3]) for line in named]
        assert places == [
            "2.jsonl:2:line", "2.jsonl:3:name", "2.jsonl:3:endpoints.0.id", "2.jsonl:3:endpoints.0.url",
            "2.jsonl:3:endpoints.0.secret", "2.jsonl:3:endpoints.0.eventTypes", "2.jsonl:4:id",
            "2.jsonl:4:endpoints.0.id", "2.jsonl:5:endpoints.0.id", "2.jsonl:6:endpoints.0.url",
            "2.jsonl:7:endpoints.0.url",
        ]  # fmt: skip
        assert summary == "repoint: nothing was imported: 11 faults"
    taken = [merchant(f"m-{number}", endpoints=merchant("m-1")["endpoints"]) for number in (7,)]
    taken[0]["endpoints"] += merchant("m-8")["endpoints"]
    ended = await shop("merchants", "import", shop.write("3.jsonl", *taken))
    assert "3.jsonl:1: endpoints.0.id: expected another id than ep-m-1, which another merchant has" in ended.err
    shop.write("4.jsonl", *(merchant(f"m-{number}", name=1) for number in range(150)))
    ended = await shop("merchants", "import", "4.jsonl")
    assert len(ended.err.splitlines()) == 101
    assert "100 or more faults" in ended.err


async def test_a_line_that_is_too_long_is_refused_by_its_number_and_the_rest_imported(shop: Program) -> None:
    long = b'{"id": "' + b"x" * LONGEST_LINE + b'"}\n'
    (shop.directory / "wallets.jsonl").write_bytes(written(wallet(1)) + long + written(wallet(2)))
    ended = await shop("wallets", "import", "wallets.jsonl")
    assert (ended.code, ended.err) == (1, "repoint: wallets.jsonl:2: line: expected 16,000,000 bytes at most\n")
    ended = (await shop("wallets", "import", "wallets.jsonl", "--skip-invalid")).well()
    assert ended.out.startswith("imported 2 wallets\n1 line refused, kept in ")
    assert (shop.directory / "wallets.jsonl.refused").stat().st_size <= 1_001


def crowd(count: int) -> dict[str, Any]:
    """A wallet of so many methods: half of them one card, and half of them a chain of replaced ones."""
    line = wallet(1)
    line["paymentMethods"] = [
        {
            "id": method_id(at), "type": "CARD", "status": "ACTIVE" if at < count // 2 else "DELETED",
            "credentials": [{"vendor": "vau", "token": f"t-{at}"}], "fingerprint": "fp" if at < count // 2 else None,
            "replacedBy": method_id(at - 1) if at > count // 2 else None, "details": {f"note-{at}": "x"},
        }
        for at in range(1, count + 1)
    ]  # fmt: skip
    return line


async def test_a_wallet_has_a_bound_of_methods_up_to_which_it_is_imported(shop: Program) -> None:
    shop.write("wallets.jsonl", crowd(MOST_METHODS + 1))
    ended = await shop("wallets", "import", "wallets.jsonl")
    expected = "paymentMethods: expected 10,000 payment methods at most"
    assert (ended.code, ended.err) == (1, f"repoint: wallets.jsonl:1: {expected}\n")
    shop.write("wallets.jsonl", crowd(MOST_METHODS))
    ended = (await shop("wallets", "import", "wallets.jsonl")).well()
    assert ended.out.startswith("imported 1 wallet\n4,998 payment methods joined")
