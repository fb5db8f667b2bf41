"""What is kept of a message that nobody could read: all of it, but for card numbers."""

import json

from consumers.batch import dead_letter
from store import dead_letters
from tests.consumers.desk import Desk

PAN = "4111111111111111"


async def test_headers_are_kept_as_they_came(desk: Desk) -> None:
    headers = [
        ("ce_id", b"vau-1"),
        ("ce_time", b"2026-11-20T09:14:13Z"),
        ("ce_id", b"twice"),
        ("empty", b""),
        ("none", None),
    ]
    await desk.take([desk.message(b"{", headers=headers), desk.message(b"[")])
    rows = await desk.rows("SELECT headers FROM dead_letters ORDER BY kafka_offset")
    assert [row.headers for row in rows] == [
        [["ce_id", "vau-1"], ["ce_time", "2026-11-20T09:14:13Z"], ["ce_id", "twice"], ["empty", ""], ["none", None]],
        [],
    ]


async def test_no_header_keeps_a_card_number_or_what_no_text_holds(desk: Desk) -> None:
    headers = [
        ("ce_subject", f"card {PAN[:4]} {PAN[4:8]} {PAN[8:12]} {PAN[12:]}".encode()),
        (f"x-{PAN}", b"\x00\xff"),
        ("utf-16", PAN.encode("utf-16-le")),
        ("\x00", json.dumps({"data_base64": "NDExMTExMTExMTExMTExMQ=="}).encode()),
    ]
    await desk.take([desk.message(b"{", headers=headers)])
    [(kept,)] = await desk.rows("SELECT CAST(headers AS text) FROM dead_letters")
    assert "4111" not in kept
    assert "NDExMTEx" not in kept
    assert [name for name, _ in json.loads(kept)] == ["ce_subject", "x-****************", "utf-16", "\\x00"]


async def test_one_that_the_database_refused_is_set_aside_with_its_headers(desk: Desk) -> None:
    async with desk.engine.begin() as connection:
        await dead_letters.keep(connection, [dead_letter(desk.message(b"{}", headers=[("ce_id", b"1")]), "refused")])
    [(kept,)] = await desk.rows("SELECT headers FROM dead_letters")
    assert kept == [["ce_id", "1"]]
