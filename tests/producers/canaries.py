"""Files of every feed with a card number planted wherever one can stand, and the look for what is left of it."""

import base64
import copy
import csv
import io
import json
import re
from collections.abc import Iterator
from typing import Any

from schemas.feeds.feed import Feed, Layout
from tests.schemas.feeds.test_every_feed import SAMPLES, places, samples

CANARY = "4539578763621486"
_PRINTED = " ".join(re.findall("....", CANARY))
_BASE64 = base64.b64encode(CANARY.encode()).decode()
FORMS = (
    CANARY,
    _PRINTED,
    _PRINTED.replace(" ", "-"),
    f"https://shop.example/cards/{CANARY}?a=1",
    _BASE64,
    f"https://shop.example/cards/{_BASE64.rstrip('=')}",
    base64.urlsafe_b64encode(json.dumps({"card": {"number": _PRINTED}}).encode()).decode(),
    json.dumps({"number": CANARY}),
    f'"{CANARY}"; {CANARY}',
)
_IN_JSON: tuple[object, ...] = (*FORMS, int(CANARY), float(CANARY), {"number": CANARY}, {CANARY: 1}, [[CANARY]])

_LEFT = (CANARY[:12], CANARY[4:], CANARY[2:14])


def is_in(text: str) -> bool:
    """Whether twelve digits of it are left, grouped, escaped or in base64."""
    plain = re.sub(r"\\u00([0-9a-f]{2})", lambda escape: chr(int(escape[1], 16)), text)
    words = [word[begin:] for word in re.findall(r"[A-Za-z0-9+/_\-]{12,}", plain) for begin in range(4)]
    decoded = (base64.b64decode(word[: len(word) // 4 * 4], altchars="-_").decode("latin-1") for word in words)
    return any(left in re.sub(r"[\s\-]", "", each) for each in (plain, *decoded) for left in _LEFT)


def file(feed: Feed) -> bytes:
    """The feed's samples, and each of their fields with the canary in it, in all its forms."""
    if feed.layout is Layout.ACH:
        return _lines(next(SAMPLES.glob(f"{feed.name}.*")).read_text(encoding="ascii").splitlines())
    records = samples(feed)
    if next(SAMPLES.glob(f"{feed.name}.*")).suffix == ".csv":
        return _rows(records)
    return b"\n".join(_written(each) for record in records for each in _planted(record)) + b"\n"


def _written(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=bool(len(str(value)) % 2)).encode()


def _planted(record: dict[str, Any]) -> Iterator[object]:
    yield record
    yield from ([CANARY], CANARY, {**record, "extra": CANARY}, {**record, CANARY: 1})
    for number in range(len(list(places(record)))):
        for form in _IN_JSON:
            mutated = copy.deepcopy(record)
            place, key = list(places(mutated))[number]
            place[key] = form
            yield mutated


def _rows(records: list[dict[str, Any]]) -> bytes:
    written = io.StringIO()
    names = list(records[0])
    rows = csv.writer(written, lineterminator="\n")
    rows.writerow(names)
    for record in records:
        cells = [record[name] or "" for name in names]
        rows.writerow(cells)
        rows.writerow([*cells, CANARY])
        written.write(f"{CANARY}\n{_PRINTED},{_BASE64}\n")
        for at in range(len(cells)):
            rows.writerows([*cells[:at], form, *cells[at + 1 :]] for form in FORMS)
    written.write(f'"{CANARY},{_BASE64}\n')  # a quote that never ends
    return written.getvalue().encode()


def _lines(lines: list[str]) -> bytes:
    found = []
    for line in lines:
        found.append(line)
        if line[0] in "67":
            found += [
                (line[:at] + form[: 94 - at] + line[at + len(form) :])[:94] for form in FORMS for at in (3, 12, 35, 54)
            ]
        found += [CANARY, line[:20] + _PRINTED]
    return "\n".join([*found, *lines]).encode()
