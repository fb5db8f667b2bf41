"""Long texts that would take much time or memory; run as a program, the look at each of them, measured.

It writes a line for each text: its name, seconds of CPU for a quarter of it, seconds for all of it. The process may
have as many bytes of memory as its argument says.
"""

import base64
import resource
import sys
import time
from collections.abc import Callable, Mapping

from domain.pan import mask, mask_close_digits
from tests.parts.thorough import IS_THOROUGH

SIZE = 400_000 if IS_THOROUGH else 100_000
NUMBER = "4539578763621486"
MISTYPED = "4539578763621487"


def _base64_of(text: str, encoding: str = "ascii") -> str:
    """The letters of as many repetitions as `SIZE` letters of base64 have."""
    content = text.encode(encoding)
    return base64.b64encode(content * (SIZE * 3 // 4 // len(content))).decode()


REPEATED: Mapping[str, str] = {
    "digits": "4", "zeros": "0", "spaced digits": "4 ", "groups": "4539 ", "separators of all sizes": "4 - 5, 3.",
    "numbers": f"{NUMBER} ", "numbers beside letters": f"{NUMBER}g", "mistyped numbers": f"{MISTYPED} ",
    "dates": "2026-11-20 ", "addresses": "192.168.100.200:8080 ", "UUIDs": "12345678-1234-4321-8765-000041111111 ",
    "digests": f"{NUMBER}{'a' * 16} ", "tag 57": f"5713{NUMBER}D2512 ", "filled": f"{NUMBER}{'F' * 16} ",
    "tag 5A": "5A08", "hexadecimal": "34", "hexadecimal, dashes": "343131312D", "pieces of hexadecimal": "-3431",
    "exponents": "4e4", "mantissas": f"{'3' * 40}e0 ", "backslashes": "\\", "escapes": "\\u0034",
    "surrogates": "\\ud835\\udfd2", "percent": "%34",
    "percent, twice": "%25", "entities": "&#52;", "entities begun": "&#", "invisible": "4" + "\0" * 1000,
    "far apart": "4" + "." * 1000, "full width": "\uff14", "marks": "\u0301", "letters": "\u4e2d4",
}  # fmt: skip
TEXTS: Mapping[str, Callable[[], str]] = {
    **{name: lambda text=text: text * (SIZE // len(text)) for name, text in REPEATED.items()},  # type: ignore[misc]
    "base64": lambda: _base64_of(f"{MISTYPED}x"),
    "base64 of digits": lambda: _base64_of("4"),
    "base64 of UTF-16": lambda: _base64_of("4", "utf-16-le"),
    "words of base64": lambda: (base64.b64encode(MISTYPED.encode()).decode() + " ") * (SIZE // 25),
    "an escape at the end of backslashes": lambda: "\\" * (SIZE - 5) + "u0034",
    "percent 25 once more": lambda: "%" + "25" * (SIZE // 2),
}


def _seconds(text: str) -> float:
    begun = time.process_time()
    mask(text)
    mask_close_digits(text)
    return time.process_time() - begun


def main() -> None:
    memory = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    for name, make in TEXTS.items():
        text = make()
        sys.stdout.write(f"{name}\t{_seconds(text[: SIZE // 4])}\t{_seconds(text)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
