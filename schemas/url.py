"""The URL of an endpoint or of a vendor's report: one parser for the checks, the connection and the request.

Path and query are never decoded, encoded or normalised: a receiver may compare or sign them byte for byte.
"""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple, TypeAlias

from domain.refusal import RefusalCode, Refused

Address: TypeAlias = IPv4Address | IPv6Address

# Characters of an endpoint's URL, and of a report's. Servers and proxies accept about 8,000 in the first line of a
# request; signed URLs of cloud storage have up to 3,000.
LONGEST = 2048
LONGEST_OF_REPORT = 8000

_PRINTABLE_ASCII = re.compile(r"[!-~]*")
_PARTS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?P<query>\?[^#]*)?")
_AUTHORITY = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)\]|(?P<name>[^:\[\]]+))(?::(?P<port>[0-9]{0,5}))?")

# RFC 1035, and the underscore that some names have. TLS refuses a name with a longer label, DNS a longer name.
_NAME = re.compile(r"(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}\.?")
_LONGEST_NAME = 253

# A host that ends in a number is an address in some spelling (the URL Standard's rule).
_NUMERIC = re.compile(r"(?:^|\.)(?:[0-9]+|0[xX][0-9a-fA-F]*)\.?$")

_PORTS = {"https": 443, "http": 80}
_LAST_PORT = 65535


class Url(NamedTuple):
    """An absolute http or https URL. `target` is its path and query, byte for byte; `host` is in lower case."""

    scheme: str
    host: str
    port: int
    target: str
    address: Address | None
    """The host as an address; None for a name."""

    def __repr__(self) -> str:
        """Without the path and the query, which may be signed or have a secret in them."""
        return f"Url({self.scheme}://{self.host}:{self.port}/…)"

    @property
    def tls(self) -> bool:
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """The value of the header `Host`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def read_url(url: str, *, longest: int = LONGEST) -> Url:
    """Parse a URL.

    Raises:
        Refused: no request can be sent to it as written; the text says what was expected, without the URL.
    """
    if len(url) > longest:
        raise Refused(RefusalCode.TOO_LONG, "", f"a URL of {longest:,} characters at most")
    if _PRINTABLE_ASCII.fullmatch(url) is None:
        raise Refused(
            RefusalCode.WRONG_FORMAT,
            "",
            "a URL of printable ASCII: other characters as %XX, a host name of others as xn--…",
        )
    if "#" in url:
        raise Refused(RefusalCode.WRONG_FORMAT, "", "no user name, password or fragment in the URL")
    parts = _PARTS.fullmatch(url)
    if parts is None or parts["scheme"].lower() not in _PORTS or not parts["authority"]:
        raise Refused(RefusalCode.WRONG_FORMAT, "", "an absolute https URL")
    if "@" in parts["authority"]:
        raise Refused(RefusalCode.WRONG_FORMAT, "", "no user name, password or fragment in the URL")
    scheme = parts["scheme"].lower()
    host, port = _host_and_port(parts["authority"], _PORTS[scheme])
    target = (parts["path"] or "/") + (parts["query"] or "")
    return Url(scheme, host, port, target, _address(host))


def _host_and_port(authority: str, default_port: int) -> tuple[str, int]:
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        raise Refused(
            RefusalCode.WRONG_FORMAT, "", "a host name, or an address as 192.0.2.1 or [2001:db8::1], and a port if any"
        )
    port = int(parts["port"]) if parts["port"] else default_port
    if not 1 <= port <= _LAST_PORT:
        raise Refused(RefusalCode.OUT_OF_RANGE, "", f"a URL with a port from 1 to {_LAST_PORT}")
    return (parts["six"] or parts["name"]).lower(), port


def _address(host: str) -> Address | None:
    """The address in `host`; None for a name. Raises Refused if it is neither."""
    if ":" in host or _NUMERIC.search(host):
        try:
            return ip_address(host)
        except ValueError:
            raise Refused(
                RefusalCode.WRONG_FORMAT, "", "a host name, or an address as 192.0.2.1 or [2001:db8::1]"
            ) from None
    if _NAME.fullmatch(host) is None or len(host.rstrip(".")) > _LONGEST_NAME:
        raise Refused(RefusalCode.WRONG_FORMAT, "", "a host name of labels of 1 to 63 letters, digits and hyphens")
    for label in host.split("."):
        _check_label(label)
    return None


def _check_label(label: str) -> None:
    """Raise Refused for a label `xn--…` that is no valid Punycode."""
    if not label.startswith("xn--"):
        return
    try:
        decoded = label.removeprefix("xn--").encode("ascii").decode("punycode")
    except (UnicodeError, OverflowError):
        decoded = ""
    if not decoded or decoded.isascii():
        raise Refused(RefusalCode.WRONG_FORMAT, "", "a host name whose labels xn--… are valid Punycode")
