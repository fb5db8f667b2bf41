"""Headers of an endpoint's own, such as `Authorization`: which ones may be set, and how they are kept as one text."""

import json
import re
from collections.abc import Mapping
from functools import lru_cache

from domain.refusal import RefusalCode, Refused

MOST_HEADERS = 20
# Characters. Usual servers accept 8,192 for a line of the head, and some as many for all lines together.
LONGEST_NAME, LONGEST_VALUE, LONGEST_TOGETHER = 100, 4096, 6144

# RFC 9110, 5.1 and 5.5, without what some servers read in another way: no letters outside ASCII, no tabs.
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[!-~](?:[ -~]*[!-~])?")

RESERVED = {
    "accept-encoding": "an answer is read as it comes",
    "connection": "the connection is ours",
    "content-*": "the body is ours",
    "cookie": "no cookies are kept, and an endpoint needs no session: use `Authorization`",
    "expect": "no answer is waited for before the body",
    "host": "it is that of the URL",
    "keep-alive": "the connection is ours",
    "metadata": "services of clouds ask for it",
    "metadata-flavor": "services of clouds ask for it",
    "proxy-*": "it is for a proxy",
    "set-cookie": "it is a header of answers",
    "te": "the connection is ours",
    "trailer": "the connection is ours",
    "transfer-encoding": "the connection is ours",
    "upgrade": "the connection is ours",
    "user-agent": "it names the program and its version",
    "webhook-*": "the signature stands there",
    "x-aws-ec2-metadata-*": "services of clouds ask for it",
}
"""Names that no endpoint may set, in lower case, with the reason. `*` stands for any end."""

_RESERVED_NAMES = frozenset(name for name in RESERVED if not name.endswith("*"))
_RESERVED_PREFIXES = tuple(name.removesuffix("*") for name in RESERVED if name.endswith("*"))


def checked(headers: dict[str, str]) -> dict[str, str]:
    """The same headers. Raises Refused, without a value in its text, if they cannot be sent."""
    if len(headers) > MOST_HEADERS:
        raise Refused(RefusalCode.TOO_MANY, "", f"{MOST_HEADERS} headers at most")
    if len({name.lower() for name in headers}) != len(headers):
        raise Refused(RefusalCode.REPEATED, "", "each name once, in capital or small letters")
    for name, value in headers.items():
        _check_name(name)
        if len(value) > LONGEST_VALUE:
            raise Refused(RefusalCode.TOO_LONG, name, f"{LONGEST_VALUE:,} characters at most")
        if _VALUE.fullmatch(value) is None:
            raise Refused(RefusalCode.WRONG_FORMAT, name, "printable ASCII that begins and ends with no space")
    if sum(map(len, [*headers, *headers.values()])) > LONGEST_TOGETHER:
        raise Refused(RefusalCode.TOO_LONG, "", f"{LONGEST_TOGETHER:,} characters at most in all")
    return headers


def _check_name(name: str) -> None:
    if len(name) > LONGEST_NAME or _NAME.fullmatch(name) is None:
        raise Refused(RefusalCode.WRONG_FORMAT, "", f"names of 1 to {LONGEST_NAME} letters, digits and hyphens")
    if name.lower() in _RESERVED_NAMES or name.lower().startswith(_RESERVED_PREFIXES):
        raise Refused(RefusalCode.UNKNOWN_FIELD, name, "a header that is not reserved")


def write(headers: Mapping[str, str]) -> str:
    """The text that is sealed and stored."""
    return json.dumps(dict(headers))


@lru_cache(maxsize=4096)  # endpoints in use at a time
def read(text: str) -> Mapping[str, str]:
    """The headers that `write` wrote. Not to be changed: the same object is returned again."""
    headers: Mapping[str, str] = json.loads(text)
    return headers
