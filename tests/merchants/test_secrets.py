"""Secrets in the database: encrypted, compared when they are opened, and encrypted anew by a command."""

import json

import pytest

from merchants import secrets
from schemas.sealing import Key, Keys
from schemas.signature import secret
from tests.acceptance.lines import merchant
from tests.acceptance.program import Program
from tests.store.outbox import SECRET, Outbox

HEX = {"v1": "11" * 32, "v2": "22" * 32}
V1, V2 = (Keys([Key(version, bytes.fromhex(digits))]) for version, digits in HEX.items())
BOTH = f"v2:{HEX['v2']},v1:{HEX['v1']}"
OTHER = secret(b"o" * 32)


async def stored(outbox: Outbox) -> dict[str, list[str]]:
    rows = await outbox.execute("SELECT id, sealed_secrets FROM endpoints ORDER BY id")
    return {id_: list(sealed) for id_, sealed in rows}


async def seal(outbox: Outbox, id_: str, *sealed: str) -> None:
    await outbox.execute("UPDATE endpoints SET sealed_secrets = :sealed WHERE id = :id", sealed=list(sealed), id=id_)


async def test_an_import_seals_and_only_another_secret_replaces_what_is_stored(
    program: Program, outbox: Outbox
) -> None:
    line = merchant(url="http://127.0.0.1:9/")
    file = program.write("merchants.jsonl", line)
    (await program("merchants", "import", file, SECRETS_KEY=f"v1:{HEX['v1']}")).well()
    [first] = (await stored(outbox))["ep-m-1"]
    assert V1.open(first, "secret", "ep-m-1") == SECRET
    await seal(outbox, "ep-m-1", first, V1.seal(OTHER, "secret", "ep-m-1"))
    before = await stored(outbox)
    (await program("merchants", "import", file, SECRETS_KEY=BOTH)).well()
    assert await stored(outbox) == before, "neither the key nor the former secret"
    line["endpoints"][0]["secret"] = OTHER
    (await program("merchants", "import", program.write("merchants.jsonl", line), SECRETS_KEY=BOTH)).well()
    [now] = (await stored(outbox))["ep-m-1"]
    assert V2.open(now, "secret", "ep-m-1") == OTHER


async def test_all_secrets_are_encrypted_with_the_first_key_however_often_it_is_interrupted(
    monkeypatch: pytest.MonkeyPatch, program: Program, outbox: Outbox
) -> None:
    for id_ in ("a", "b", "c"):
        await outbox.add_endpoint(id_)
        await seal(outbox, id_, *(V1.seal(each, "secret", id_) for each in (SECRET, OTHER)))
    await seal(outbox, "b", V2.seal(SECRET, "secret", "b"), V1.seal(OTHER, "secret", "b"))
    monkeypatch.setattr(secrets, "AT_ONCE", 1)
    keys = Keys([Key(version, bytes.fromhex(digits)) for version, digits in reversed(HEX.items())])
    async with outbox.engine.begin() as connection:
        assert await secrets.reencrypt(connection, keys, after="") == (2, {}, "a")
    before = await stored(outbox)
    said = (await program("secrets", "reencrypt", "--dry-run", SECRETS_KEY=BOTH)).well()
    assert (
        said.out
        == "would encrypt 3 secrets with the key v2\nunder the key v1: 3 secrets\nunder the key v2: 3 secrets\n"
    )
    assert await stored(outbox) == before
    shown = await program("secrets", "reencrypt", "--json", SECRETS_KEY=BOTH)
    assert shown.json() == {"encrypted": 3, "byKeyVersion": {"v2": 6}}
    after = await stored(outbox)
    assert after["a"] == before["a"]
    for id_, sealed in after.items():
        assert [V2.open(each, "secret", id_) for each in sealed] == [SECRET, OTHER]
    again = (await program("secrets", "reencrypt", SECRETS_KEY=f"v2:{HEX['v2']}")).well()
    assert again.out == "encrypted 0 secrets with the key v2\nunder the key v2: 6 secrets\n"


async def test_what_no_key_opens_stays_and_is_named(program: Program, outbox: Outbox) -> None:
    for id_ in ("a", "b"):
        await outbox.add_endpoint(id_)
    await seal(outbox, "a", V1.seal(SECRET, "secret", "a"))
    await seal(outbox, "b", V1.seal(SECRET, "secret", "a"))
    ended = await program("secrets", "reencrypt", SECRETS_KEY=f"v2:{HEX['v2']}")
    assert ended.code == 1
    assert ended.err.splitlines()[-3:] == [
        "repoint: secrets of 2 endpoints cannot be decrypted (REPOINT_SECRETS_KEY)",
        "repoint: a: there is no key of version v1",
        "repoint: b: there is no key of version v1",
    ]
    ended = await program("secrets", "reencrypt", SECRETS_KEY=BOTH)
    assert ended.err.splitlines()[-1] == "repoint: b: the key of version v1 does not open it"
    assert ended.out.splitlines()[1:] == ["under the key v1: 1 secret", "under the key v2: 1 secret"]
    ended = await program("secrets", "reencrypt", "--json", SECRETS_KEY=BOTH)
    assert (ended.code, json.loads(ended.out)) == (1, {"encrypted": 0, "byKeyVersion": {"v1": 1, "v2": 1}})
    assert "b: the key of version v1 does not open it" in ended.err


async def test_of_two_secrets_the_first_is_the_newest(outbox: Outbox) -> None:
    await outbox.add_endpoint("m")
    await seal(outbox, "m", *(V1.seal(each, "secret", "m") for each in (OTHER, SECRET)))
    async with outbox.engine.begin() as connection:
        newest = [await secrets.is_newest(connection, V1, "m", each) for each in (OTHER, SECRET)]
    assert newest == [True, False]


async def test_an_import_replaces_a_secret_that_no_key_opens(outbox: Outbox) -> None:
    await outbox.add_endpoint("m")
    await seal(outbox, "m", V1.seal(SECRET, "secret", "m"))
    async with outbox.engine.begin() as connection:
        sealed = await secrets.seal_given(connection, V2, {"m": SECRET})
    assert V2.open(sealed["m"], "secret", "m") == SECRET


async def test_secrets_that_no_key_opens_do_not_end_the_encryption_of_those_behind_them(
    monkeypatch: pytest.MonkeyPatch, outbox: Outbox
) -> None:
    """Two endpoints at a time: of the first two no secret can be opened, of the next two only that of the first."""
    for id_ in ("a", "b", "c", "d", "e"):
        await outbox.add_endpoint(id_)
        await seal(outbox, id_, V1.seal(SECRET, "secret", id_ if id_ in "ce" else "another"))
    monkeypatch.setattr(secrets, "AT_ONCE", 2)
    keys = Keys([Key(version, bytes.fromhex(digits)) for version, digits in reversed(HEX.items())])
    refused: list[str] = []
    after, opened = "", 0
    for last in ("b", "d", "e", None):
        async with outbox.engine.begin() as connection:
            done = await secrets.reencrypt(connection, keys, after=after)
        assert done.last_id == last
        after, opened, refused = done.last_id or after, opened + done.number, [*refused, *done.refused]
    assert (opened, refused) == (2, ["a", "b", "d"])


async def test_of_many_endpoints_that_no_key_opens_twenty_are_named(program: Program, outbox: Outbox) -> None:
    names = [f"e{number:02}" for number in range(21)]
    for id_ in names:
        await outbox.add_endpoint(id_)
        await seal(outbox, id_, V1.seal(SECRET, "secret", id_))
    ended = await program("secrets", "reencrypt", SECRETS_KEY=f"v2:{HEX['v2']}")
    named = [f"repoint: {id_}: there is no key of version v1" for id_ in names[:20]]
    assert (ended.code, ended.err.splitlines()[-21:]) == (1, [*named, "repoint: and 1 more"])


async def test_no_list_shows_a_secret_sealed_or_not(program: Program, outbox: Outbox) -> None:
    await outbox.add_endpoint("m")
    shown = [await program(noun, "list", "--json") for noun in ("endpoints", "merchants")]
    assert "m" in json.dumps([ended.json() for ended in shown])
    assert not any("sealed" in ended.out or "whsec_" in ended.out for ended in shown)
    assert {key for endpoint in shown[0].json() for key in endpoint if "ecret" in key} == {"formerSecretUntil"}


async def test_a_new_key_is_one_for_secrets(program: Program) -> None:
    made = (await program("keys", "generate", "--version", "v7")).well().out.strip()
    (await program("merchants", "list", SECRETS_KEY=made)).well()
