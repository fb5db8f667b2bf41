"""No body of a megabyte, however it is made, takes the listener's memory or holds up everybody else."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from tests.api.limited_listener import SECRET
from tests.api.test_tables import HOSTILE, MEGABYTE
from tests.parts.thorough import sampled

LIMIT_MEGABYTES = 700
PAN = b"4539578763621486"
ESCAPE = b'"e":"\\u0041"'


def key_over(elements: bytes, length: int) -> bytes:
    """A key of so many letters over an array as long, beside an escape, with which every field is looked at."""
    times = (MEGABYTE - length - 100) // (len(elements) + 1)
    return b'{"protocolVersion":"x","signature":"y","signedMessage":"z","intermediateSigningKey":{%b,"%b":[%b]}}' % (
        ESCAPE,
        b"k" * length,
        b",".join([elements] * min(times, 99_000)),
    )


BODIES = HOSTILE | {
    "a long key over zeros": key_over(b"0", 500_000),
    "a long key over texts": key_over(b'"a"', 600_000),
    "a long key over objects": key_over(b"{}", 700_000),
    "a long key over numbers of cards": key_over(PAN, 100_000),
    "keys that are numbers of cards": b"{" + b",".join(b'"%b%d":0' % (PAN, at) for at in range(30_000)) + b"}",
    "long keys in one another": b'{"k%b":' % (b"k" * 15_000) * 60 + b"0" + b"}" * 60,
    "digits in a row": b'{"a":"' + b"4" * (MEGABYTE - 10) + b'"}',
    "digits in groups": b'{"a":"' + b"4539 5787 6362 1486 " * (MEGABYTE // 20 - 1) + b'"}',
    "digits one by one": b'{"a":"' + b"4 5-3." * (MEGABYTE // 6 - 2) + b'"}',
    "base64": b'{"a":"' + b"NDUzOTU3ODc2MzYyMTQ4Ng" * (MEGABYTE // 22 - 1) + b'"}',
    "escapes of digits": b'{"a":"' + b"\\u0034" * (MEGABYTE // 6 - 2) + b'"}',
    "letters of four bytes": b'{"a":"' + "\U0001d7da".encode() * (MEGABYTE // 4 - 3) + b'"}',
    "no UTF-8": b'{"a":"' + b"\xff" * (MEGABYTE - 10) + b'"}',
    "UTF-16": json.dumps({"a": "4539578763621486" * 20_000}).encode("utf-16"),
    "JSON in JSON": json.dumps({"a": json.dumps({"b": json.dumps([0] * 90_000)})}).encode(),
}


@asynccontextmanager
async def limited(megabytes: int) -> AsyncIterator[tuple[str, list[int]]]:
    """The listener's address, and at the end the most memory that it has had, in megabytes."""
    words = (sys.executable, "-m", "tests.api.limited_listener", str(megabytes))
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe)
    assert child.stdout is not None
    peak: list[int] = []
    try:
        yield f"http://127.0.0.1:{int(await child.stdout.readline())}", peak
    finally:
        out, _ = await child.communicate(b"")  # which ends its stdin
        peak += map(int, out.split())


# In CI every feed gets every body, elsewhere one of the three; the keys over arrays are made for Google Pay.
LONG_KEYS = [name for name in BODIES if name.startswith("a long key over")]
POSTED = {
    "google-pay": dict.fromkeys([*LONG_KEYS, *sampled([*BODIES], 3)]),
    "vau": sampled([*BODIES], 3, turn=1),
    "vgs": sampled([*BODIES], 3, turn=2),
}


@pytest.mark.parametrize("feed", POSTED)
async def test_no_body_takes_the_memory_of_the_listener(feed: str) -> None:
    headers = {"Authorization": f"Bearer {SECRET}", "Content-Type": "application/json"}
    async with limited(LIMIT_MEGABYTES) as (address, peak), aiohttp.ClientSession() as session:
        for name in POSTED[feed]:
            body = BODIES[name]
            assert len(body) <= MEGABYTE, name
            async with asyncio.timeout(60):
                async with session.post(f"{address}/v1/feeds/{feed}", data=body, headers=headers) as answer:
                    assert answer.status in {202, 413, 422}, name
                    assert PAN not in await answer.read(), name
    assert peak[0] < LIMIT_MEGABYTES


async def test_nor_does_a_table() -> None:
    names = b"oldCardholderAccountNumber,newCardholderAccountNumber,newExpirationDate,serviceIdentifier"
    tables = {
        "columns": b",".join(b"c%d" % at for at in range(120_000)),
        "columns of a row": names + b"\n" + b"," * (MEGABYTE - 200),
        "empty lines": names + b"\n" * (MEGABYTE - 200),
        "short rows": names + b"\n" + b"x\n" * 4_900,
        "a long row": names + b"\n" + PAN + b" " * (MEGABYTE - 200),
        "quotes": names + b"\n" + b'"' * (MEGABYTE - 200),
        "quoted cells": names + b"\n" + b'"",' * (MEGABYTE // 3 - 200),
        "names that are numbers of cards": b",".join([PAN] * (MEGABYTE // 17)),
    }
    headers = {"Authorization": f"Bearer {SECRET}", "Content-Type": "text/csv"}
    async with limited(LIMIT_MEGABYTES) as (address, peak), aiohttp.ClientSession() as session:
        for name, body in tables.items():
            assert len(body) <= MEGABYTE, name
            async with asyncio.timeout(60):
                async with session.post(f"{address}/v1/feeds/vau", data=body, headers=headers) as answer:
                    assert answer.status in {202, 413, 422}, name
                    assert PAN not in await answer.read(), name
    assert peak[0] < LIMIT_MEGABYTES


async def test_others_are_answered_while_a_megabyte_is_looked_through() -> None:
    headers = {"Authorization": f"Bearer {SECRET}", "Content-Type": "application/json"}
    answered = 0
    async with limited(LIMIT_MEGABYTES) as (address, _), aiohttp.ClientSession() as session, asyncio.timeout(120):
        url, body = f"{address}/v1/feeds/google-pay", BODIES["digits one by one"]
        looked_through = asyncio.create_task(session.post(url, data=body, headers=headers))
        while not looked_through.done():
            async with session.get(f"{address}/no-such-route") as answer:
                answered += answer.status == 404
        assert (await looked_through).status == 422
    # as many are answered while the body is on its way
    assert answered >= 20
