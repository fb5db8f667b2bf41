"""Files of every feed with a card number planted wherever one can stand, and the look for what is left of it.

Every form of `tests.parts.card_numbers` is planted in every field of every sample, some of them together in one value;
some are planted alone, once in each field of a feed (`tests/schemas/feeds/test_canaries.py` plants all of them alone).
"""

import copy
import csv
import io
from collections.abc import Iterator
from typing import Any

from schemas.feeds.feed import Feed, Layout
from tests.parts.card_numbers import NUMBER_IN_JSON, VISA, forms, in_json, is_left
from tests.schemas.feeds.test_every_feed import SAMPLES, places, samples

CANARY = VISA
FORMS = forms(CANARY)
TEXTS = [text for text in FORMS.values() if not text.startswith(NUMBER_IN_JSON)]
NUMBERS = [text for text in FORMS.values() if text.startswith(NUMBER_IN_JSON)]

_AT_ONCE = 64
# Letters between them: no form makes another one seem longer.
_TOGETHER = [" x ".join(TEXTS[first : first + _AT_ONCE]) for first in range(0, len(TEXTS), _AT_ONCE)]
_ALONE = [
    FORMS[name]
    for name in (
        "plain", "fours, dot", "a before", "track 1", "tag 57, 32 nibbles", "base64 in a URL", "base64 of UTF-16 LE",
        "in JSON in a text",
    )
]  # fmt: skip
_VALUES: tuple[object, ...] = (*_ALONE, int(CANARY), {"number": CANARY}, {CANARY: 1}, [[CANARY]])


def is_in(text: str) -> bool:
    """Whether twelve digits of it are left, in any form."""
    return is_left(CANARY, text)


def file(feed: Feed) -> bytes:
    """The feed's samples, and each of their fields with the canary in it, in all its forms."""
    if feed.layout is Layout.ACH:
        return _lines(next(SAMPLES.glob(f"{feed.name}.*")).read_text(encoding="ascii").splitlines())
    records = samples(feed)
    if next(SAMPLES.glob(f"{feed.name}.*")).suffix == ".csv":
        return _rows(records)
    planted_alone: set[tuple[object, ...]] = set()
    return b"\n".join(_written(each) for record in records for each in _planted(record, planted_alone)) + b"\n"


def planted(record: dict[str, Any], number: int, value: object) -> dict[str, Any]:
    """The record with another `value` at the place of this number."""
    mutated = copy.deepcopy(record)
    place, key = list(places(mutated))[number]
    place[key] = value
    return mutated


def paths(value: Any, path: tuple[object, ...] = ()) -> Iterator[tuple[object, ...]]:
    """The names that lead to each of `places`; elements of an array have none of their own."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        named = (*path, key if isinstance(value, dict) else None)
        yield named
        yield from paths(value[key], named)


def _written(value: object) -> bytes:
    return in_json(value, ensure_ascii=bool(len(str(value)) % 2)).encode()


def _planted(record: dict[str, Any], planted_alone: set[tuple[object, ...]]) -> Iterator[object]:
    yield record
    yield from ([CANARY], CANARY, {**record, "extra": CANARY}, {**record, CANARY: 1})
    for number, path in enumerate(paths(record)):
        alone = () if path in planted_alone else _VALUES
        planted_alone.add(path)
        for value in (*_TOGETHER, NUMBERS, *alone):
            yield planted(record, number, value)


def _rows(records: list[dict[str, Any]]) -> bytes:
    written = io.StringIO()
    names = list(records[0])
    rows = csv.writer(written, lineterminator="\n")
    rows.writerow(names)
    for number, record in enumerate(records):
        cells = [record[name] or "" for name in names]
        rows.writerow(cells)
        rows.writerow([*cells, CANARY])
        written.write(f"{CANARY}\n{FORMS['fours, space']},{FORMS['base64']}\n")
        for at in range(len(cells)):
            values = (*_TOGETHER, *([] if number else _ALONE))
            rows.writerows([*cells[:at], value, *cells[at + 1 :]] for value in values)
    written.write(f'"{CANARY},{FORMS["base64"]}\n')  # a quote that never ends
    return written.getvalue().encode()


def _lines(lines: list[str]) -> bytes:
    found = []
    for line in lines:
        found.append(line)
        if line[0] in "67":
            found += [
                (line[:at] + form[: 94 - at] + line[at + len(form) :])[:94] for form in TEXTS for at in (3, 12, 35, 54)
            ]
        found += [CANARY, line[:20] + FORMS["fours, space"]]
    return "\n".join([*found, *lines]).encode()
