"""Messages of a megabyte that would take much memory; run as a program, it reads each of them as the worker does.

It writes a line for each message that it has read in every way. The process may have as many bytes of memory as its
argument says.
"""

import base64
import json
import resource
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime

from aiokafka import ConsumerRecord

from consumers import batch, thin
from domain.refusal import Refusal, RefusalCode, Refused
from domain.wallet import IDENTIFIERS
from schemas import intake
from schemas.digit_ids import NO_DIGIT_IDS
from schemas.feeds import FEEDS
from schemas.feeds.feed import Edge
from schemas.feeds.reading import parse_json
from schemas.wallet import read_wallet

SIZE = 1_000_000
NUMBER = "4539578763621486"
KEY = "k" * 100_000
UPDATE = {"id": "1", "vendor": "vau", "type": "SUSPENDED", "occurredAt": "2026-11-20T09:14:13Z", "old": {"token": "t"}}


def _filled(begin: str, unit: str, end: str) -> str:
    return begin + unit * ((SIZE - len(begin) - len(end)) // len(unit)) + end


def _in_update(value: str) -> str:
    return f'{json.dumps(UPDATE)[:-1]}, "extra": {value}}}'


_LONG_KEY = _filled(f'{{"{KEY}": ["\\u0041", ', "0, ", "0]}")
_METADATA = json.dumps(dict.fromkeys(map(str, range(60_000)), "1"))
MESSAGES: Mapping[str, str] = {
    "a long key of many elements": _LONG_KEY,
    "a long key of many elements and a card number": _filled(f'{{"{KEY}": [', "0, ", f'"{NUMBER}"]}}'),
    "a long key of many objects": _filled(f'{{"{KEY}": ["\\u0041", ', '{"a": 0}, ', f'"{NUMBER}"]}}'),
    "long keys in one another": '{"%s": ' % ("k" * 1000) * 900 + f'["\\u0041", "{NUMBER}"]' + "}" * 900,
    "an update with a long key": _in_update(_LONG_KEY),
    "a CloudEvent of a long key": json.dumps(
        {"specversion": "1.0", "data_base64": base64.b64encode(_LONG_KEY[: SIZE * 7 // 10].encode()).decode()}
    ),
    "many keys": "{" + ", ".join(f'"{at}": "\\u0041"' for at in range(SIZE // 18)) + "}",
    "one key many times": _filled("{", '"a": "\\u0041", ', f'"a": "{NUMBER}"}}'),
    "many arrays": _filled('["\\u0041", ', "[], ", f'"{NUMBER}"]'),
    "many objects": _filled('["\\u0041", ', "{}, ", f'"{NUMBER}"]'),
    "deep arrays": "[" * (SIZE // 2) + "]" * (SIZE // 2),
    "deep objects": '{"a":' * (SIZE // 6) + "1" + "}" * (SIZE // 6),
    "a long number": _filled("[", "4", "]"),
    "a long text": _filled('{"a": "', "\\u0041 ", f'{NUMBER}"}}'),
    "many card numbers": _filled("[", f'"{NUMBER}", ', "1]"),
    "much metadata": f'{json.dumps(UPDATE)[:-1]}, "customer": {{"metadata": {_METADATA}}}}}',
    "a wallet of many methods": _filled('{"id": "1", "paymentMethods": [', '{"type": "CARD"}, ', f'"{NUMBER}"]}}'),
}  # fmt: skip


def _read(body: bytes) -> None:
    """As the worker of updates, the worker of thin events, the HTTP intake and `wallets import` do."""
    message = ConsumerRecord("t", 0, 0, 0, 0, b"k", body, None, 1, len(body), (("h", body[:1000]),))
    batch._read([message], IDENTIFIERS, NO_DIGIT_IDS)
    thin._read([message], NO_DIGIT_IDS)
    feed, edge = FEEDS["google-pay"], Edge(datetime(2026, 11, 20, tzinfo=UTC))
    try:
        record = parse_json(body)
        intake.to_messages(feed, record if isinstance(record, dict) else {"signedMessage": record}, edge)
    except Refused as refused:
        intake.refused(feed, body, refused.refusal)
    except ValueError:
        intake.refused(feed, body, Refusal(RefusalCode.NOT_READABLE, "body", "JSON"))
    with suppress(Refused, RecursionError):
        read_wallet(body.decode())


def main() -> None:
    memory = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    for name, text in MESSAGES.items():
        assert len(text) <= SIZE * 1.1, name
        _read(text.encode())
        sys.stdout.write(f"{name}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
