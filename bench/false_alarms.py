"""False alarms: `python -m bench.false_alarms [COUNT]`, how many ids, dates and digests pass for card numbers.

COUNT values of each kind (a million unless said otherwise) are made up, the same ones every time, and looked at as they
would stand in a field. The exception are card numbers, of which all must be seen.
"""

import random
import sys
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from domain import brands
from domain.pan import contains_pan

_FIRST = datetime(2020, 1, 1, tzinfo=UTC)
_COUNTRIES = {"DE": 18, "FR": 23, "GB": 18, "NL": 14, "ES": 20, "FI": 14, "DK": 14, "NO": 11, "AT": 16, "BE": 12}
_CODES = {"1": 10, "44": 10, "49": 11, "33": 9, "55": 11, "62": 11, "86": 11, "91": 10, "52": 10, "358": 9, "420": 9}
_CARDS = (("4", 16), ("53", 16), ("2300", 16), ("37", 15), ("6011", 16), ("36", 14), ("62", 19))
_CAPITALS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def _digits(chance: random.Random, count: int) -> str:
    return "".join(chance.choices("0123456789", k=count))


def _moment(chance: random.Random) -> datetime:
    return _FIRST + timedelta(microseconds=chance.randrange(8 * 365 * 86_400 * 10**6))


def _uuid(chance: random.Random) -> str:
    return str(uuid.UUID(int=chance.getrandbits(128), version=4))


def _iban(chance: random.Random) -> str:
    country = chance.choice(list(_COUNTRIES))
    account = _digits(chance, _COUNTRIES[country])
    moved = account + "".join(str(ord(letter) - 55) for letter in country) + "00"
    compact = f"{country}{98 - int(moved) % 97:02}{account}"
    return " ".join(compact[at : at + 4] for at in range(0, len(compact), 4)) if chance.random() < 0.5 else compact


def _phone(chance: random.Random) -> str:
    code = chance.choice(list(_CODES))
    number = _digits(chance, _CODES[code])
    return f"+{code} " + chance.choice(
        (number, f"{number[:3]} {number[3:6]} {number[6:]}", f"({number[:3]}) {number[3:]}")
    )


def _order(chance: random.Random) -> str:
    day = _moment(chance)
    return chance.choice(
        (
            f"ORD-{day:%Y%m%d}-{_digits(chance, 6)}",
            f"{_digits(chance, 3)}-{_digits(chance, 7)}-{_digits(chance, 7)}",
            f"{day:%y%m%d}{_digits(chance, 8)}",
            f"INV {day:%Y}/{_digits(chance, 8)}",
            _digits(chance, 10),
        )
    )


def _address(chance: random.Random) -> str:
    return f"{'.'.join(str(chance.randrange(256)) for _ in range(4))}:{chance.randrange(65_536)}"


def _card(chance: random.Random) -> str:
    begins, length = chance.choice(_CARDS)
    head = begins + _digits(chance, length - len(begins) - 1)
    return next(head + check for check in "0123456789" if brands.passes_luhn((head + check).encode()))


KINDS: Mapping[str, Callable[[random.Random], str]] = {
    "UUIDs": _uuid,
    "digests, 64 digits": lambda chance: sha256(chance.randbytes(8)).hexdigest(),
    "digests, 40 digits": lambda chance: chance.randbytes(20).hex(),
    "digests, 32 digits": lambda chance: chance.randbytes(16).hex(),
    "hexadecimal ids, 24 digits": lambda chance: chance.randbytes(12).hex(),
    "hexadecimal ids, 16 digits": lambda chance: chance.randbytes(8).hex(),
    "ids as vau-2026-11-20-000017": lambda chance: f"vau-{_moment(chance):%Y-%m-%d}-{_digits(chance, 6)}",
    "ids of letters and digits": lambda chance: "tok_" + "".join(chance.choices(_CAPITALS, k=16)),
    "base64, 44 letters": lambda chance: "".join(chance.choices(_BASE64, k=44)),
    "PARs": lambda chance: f"V001{_digits(chance, 25)}",
    "ISO timestamps": lambda chance: _moment(chance).isoformat(),
    "timestamps with a space": lambda chance: str(_moment(chance).replace(tzinfo=None)),
    "European timestamps": lambda chance: f"{_moment(chance):%d.%m.%Y %H:%M:%S.%f}"[:-3],
    "epochs, milliseconds": lambda chance: str(int(_moment(chance).timestamp() * 1e3)),
    "epochs, microseconds": lambda chance: str(int(_moment(chance).timestamp() * 1e6)),
    "epochs, nanoseconds": lambda chance: str(int(_moment(chance).timestamp() * 1e6) * 1000 + chance.randrange(1000)),
    "timestamps of 17 digits": lambda chance: f"{_moment(chance):%Y%m%d%H%M%S%f}"[:17],
    "phone numbers": _phone,
    "IBANs": _iban,
    "order numbers": _order,
    "addresses and ports": _address,
    "ids of 13 digits": lambda chance: _digits(chance, 13),
    "ids of 16 digits": lambda chance: _digits(chance, 16),
    "ids of 18 digits, snowflakes": lambda chance: str(chance.randrange(10**18, 19 * 10**17))[:18],
    "ids of 19 digits": lambda chance: _digits(chance, 19),
}  # fmt: skip


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    for name, make_value in KINDS.items():
        chance = random.Random(name)
        alarms = sum(contains_pan(make_value(chance)) for _ in range(count))
        print(f"{name:30} {alarms:9,} of {count:,}   {alarms / count:9.4%}", flush=True)
    chance = random.Random("cards")
    seen = sum(contains_pan(_card(chance)) for _ in range(count))
    print(f"{'card numbers':30} {seen:9,} of {count:,}   {seen / count:9.4%}")


if __name__ == "__main__":
    main()
