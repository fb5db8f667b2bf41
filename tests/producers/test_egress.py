"""No spelling of an address that is not public gets through, at registration or at the socket."""

import socket
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.egress import Egress, EgressDenied, Network, check_url, guard_sockets, is_permitted, parse_networks
from producers.names import Addresses, Names

LOOPBACK = parse_networks(["127.0.0.0/8"])

PUBLIC = ["1.1.1.1", "8.8.8.8", "93.184.216.34", "2606:4700:4700::1111", "2a00:1450:4001:82a::200e", "::ffff:8.8.8.8"]
NOT_PUBLIC = [
    "0.0.0.0",  # noqa: S104 - it must not be reached
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "239.255.255.250",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%lo",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_permitted(address: str) -> None:
    assert is_permitted(address, ())


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_others_are_not(address: str) -> None:
    assert not is_permitted(address, ())
    with pytest.raises(EgressDenied):
        guard_sockets(Egress())((socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, 443)))


# Written down once more, with both ends: a network that is left out, or too narrow, lets its addresses through.
DENIED = [
    ("100.64.0.0", "100.127.255.255"),
    ("192.0.0.0", "192.0.0.255"),
    ("192.31.196.0", "192.31.196.255"),
    ("192.52.193.0", "192.52.193.255"),
    ("192.88.99.0", "192.88.99.255"),
    ("192.175.48.0", "192.175.48.255"),
    ("224.0.0.0", "239.255.255.255"),
    ("240.0.0.0", "255.255.255.255"),
    ("2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("3ffe::", "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("4000::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
]


@pytest.mark.parametrize(("first", "last"), DENIED)
def test_a_network_is_denied_from_its_first_address_to_its_last(first: str, last: str) -> None:
    assert not is_permitted(first, ())
    assert not is_permitted(last, ())


def test_a_socket_is_opened_for_the_loop_which_waits_for_none() -> None:
    opened = guard_sockets(Egress(LOOPBACK))((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 443)))
    assert not opened.getblocking()
    opened.close()


INNER = [
    "0.0.0.0", "10.0.0.1", "100.100.100.200", "127.0.0.1", "168.63.129.16", "169.254.169.254", "172.16.0.1",  # noqa: S104
    "192.0.0.192", "192.0.2.1", "192.168.1.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
]  # fmt: skip


def in_ipv6(address: str) -> Iterator[str]:
    """Every form of IPv6 that holds an IPv4 address and can be told from others."""
    number = int(IPv4Address(address))
    high, low = f"{number >> 16:x}", f"{number & 0xFFFF:x}"
    yield f"::ffff:{address}"
    yield f"::ffff:{high}:{low}"
    yield f"0:0:0:0:0:ffff:{high}:{low}"
    yield f"::{address}"  # compatible, RFC 4291
    yield f"::{high}:{low}"
    yield f"::ffff:0:{address}"  # translated: SIIT, RFC 2765
    yield f"::ffff:0:{high}:{low}"
    yield f"64:ff9b::{address}"  # NAT64, RFC 6052
    yield f"64:ff9b::{high}:{low}"
    yield f"64:ff9b:1::{high}:{low}"  # RFC 8215
    yield f"64:ff9b:1:fffe::{high}:{low}"
    yield f"2002:{high}:{low}::"  # 6to4, RFC 3056
    yield f"2002:{high}:{low}::1"
    yield f"2001:0:{high}:{low}::"  # Teredo, RFC 4380: the server, and the client with its bits turned
    yield f"2001:0:808:808:0:0:{number >> 16 ^ 0xFFFF:x}:{number & 0xFFFF ^ 0xFFFF:x}"
    for prefix in ("fe80:0:0:0", "2001:470:1f0b:5", "2a00:1450:4001:82a", "fd00:0:0:1", "2606:4700:4700:0"):
        yield f"{prefix}:0:5efe:{address}"  # ISATAP, RFC 5214
        yield f"{prefix}:0:5efe:{high}:{low}"
        yield f"{prefix}:200:5efe:{high}:{low}"


EMBEDDED = [form for address in INNER for form in in_ipv6(address)]


def test_no_form_of_ipv6_leads_to_an_inner_address() -> None:
    assert len(EMBEDDED) > 300
    assert [address for address in EMBEDDED if is_permitted(address, ())] == []


def test_tunnels_are_denied_also_to_public_addresses() -> None:
    """Where they lead is another's affair. A mapped address is no tunnel: sockets take it for the IPv4 address."""
    mapped = {"::ffff:8.8.8.8", "::ffff:808:808", "0:0:0:0:0:ffff:808:808"}
    assert {address for address in in_ipv6("8.8.8.8") if is_permitted(address, ())} == mapped


@pytest.mark.parametrize(
    "address", ["4000::1", "8000::1", "::2", "0:1::1", "64:ff9b:2::1", "200::1", "2001:2::1", "2001:20::1", "3ffe::1"]
)
def test_what_is_no_global_unicast_address_is_denied(address: str) -> None:
    assert not is_permitted(address, ())


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.10", "::ffff:127.0.0.1"])
def test_an_allowed_network_opens_its_addresses_and_no_others(address: str) -> None:
    assert is_permitted(address, LOOPBACK)
    assert not is_permitted("::1", LOOPBACK)
    assert not is_permitted("10.0.0.1", LOOPBACK)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_in_ipv6_clothes_is_the_same_address(ip: object) -> None:
    assert is_permitted(f"::ffff:{ip}", ()) == is_permitted(str(ip), ())
    assert not is_permitted(f"64:ff9b::{ip}", ())


async def refusal(url: str, allow: Sequence[Network]) -> str | None:
    return await check_url(url, Egress(allow), Names(within=10))


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "127.0.0.1",
        "127.1",
        "0x7f.1",
        "0177.0.0.1",
        "2130706433",
        "0x7f000001",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:0:0:1]",
        "①②⑦.0.0.1",
        "127。0。0。1",
        "127.0.0.1.",
        "169.254.169.254",
        "[fe80::1%25lo]",
        "0",
    ],
)
async def test_no_spelling_of_an_inner_address_is_registered(host: str) -> None:
    assert await refusal(f"https://{host}/hooks", ()) is not None
    assert await refusal(f"https://{host}:8443/hooks", ()) is not None


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "https"),
        ("hooks", "https"),
        ("ftp://1.1.1.1/", "https"),
        ("file:///etc/passwd", "https"),
        ("https:///hooks", "https"),
        ("https://1.1.1.1:99999/", "port"),
        ("https://[::1/", "host name"),
        ("https://user@1.1.1.1/", "user"),
        ("https://user:password@1.1.1.1/", "user"),
        ("https://1.1.1.1/#part", "fragment"),
        ("http://1.1.1.1/", "plain"),
        ("http://no-such-name.invalid/", "plain"),
        (f"https://{'a' * 64}.example/", "host name"),
        ("https://300.1.1.1/", "host name"),
        ("https://1.1.1.1.1/", "host name"),
        ("https://1.1.1.0x/", "host name"),
        ("https://xn--zz.invalid/", "Punycode"),
        ("https://1.1.1.1/a b", "ASCII"),
        ("https://1.1.1.1/\u00e9", "ASCII"),
        ("https://1.1.1.1/\n", "ASCII"),
        (f"https://[2606:4700:4700::1111%{'a' * 64}]/", "host name"),
    ],
)
async def test_an_unusable_url_is_refused_with_the_reason(url: str, why: str) -> None:
    refused = await refusal(url, ())
    assert refused is not None
    assert why in refused


async def test_a_public_https_url_is_accepted_and_so_is_what_is_allowed() -> None:
    assert await refusal("https://1.1.1.1/hooks", ()) is None
    assert await refusal("http://127.0.0.1:8080/hooks", LOOPBACK) is None
    assert await refusal("https://127.0.0.1/hooks", LOOPBACK) is None
    assert await refusal("https://10.0.0.1/hooks", LOOPBACK) is not None


@pytest.mark.parametrize("spelling", ["127.1", "2130706433", "0x7f.1", "0177.0.0.1", "127.0.0.1.", "0"])
async def test_what_cannot_be_dialled_is_not_registered_where_its_address_is_allowed(spelling: str) -> None:
    """The dispatcher takes an address in its usual spelling alone; the import judges by the same function."""
    refused = await refusal(f"http://{spelling}:8080/hooks", parse_networks(["0.0.0.0/0", "::/0"]))
    assert refused == "expected a host name, or an address as 192.0.2.1 or [2001:db8::1]"


def answers(*addresses: str) -> Names:
    """Any name leads to these addresses."""

    def look_up(_host: str) -> Addresses:
        return [
            (
                socket.AF_INET6 if ":" in address else socket.AF_INET,
                socket.SOCK_STREAM,
                socket.IPPROTO_TCP,
                "",
                (address, 0, 0, 0) if ":" in address else (address, 0),
            )
            for address in addresses
        ]

    return Names(look_up, within=10)


@pytest.mark.parametrize(
    ("addresses", "allow", "expected"),
    [
        (["93.184.216.34", "10.0.0.1"], (), "a host whose addresses are public"),
        (["10.0.0.1", "93.184.216.34"], (), "a host whose addresses are public"),
        (["93.184.216.34", "fd00::1"], (), "a host whose addresses are public"),
        (["127.0.0.1", "10.0.0.1"], LOOPBACK, "a host whose addresses are public"),
        (["127.0.0.1", "93.184.216.34"], LOOPBACK, "https: plain http is for addresses in"),
        (["93.184.216.34", "127.0.0.1"], LOOPBACK, "https: plain http is for addresses in"),
    ],
)
async def test_all_addresses_of_a_name_must_be_permitted(
    addresses: list[str], allow: Sequence[Network], expected: str
) -> None:
    scheme = "http" if expected.startswith("https") else "https"
    refused = await check_url(f"{scheme}://shop.example/", Egress(allow), answers(*addresses))
    assert refused is not None
    assert refused.startswith(f"expected {expected}")


async def test_plain_http_goes_where_all_addresses_are_allowed() -> None:
    assert await check_url("http://shop.example/", Egress(LOOPBACK), answers("127.0.0.1", "127.0.0.2")) is None


async def test_a_name_that_nobody_knows_yet_may_be_known_when_it_is_dialled() -> None:
    assert await refusal("https://no-such-name.invalid/hooks", ()) is None
    assert await refusal("https://v2.no-such-name.invalid:8443/hooks", LOOPBACK) is None


def test_a_network_that_is_none_is_named() -> None:
    with pytest.raises(ValueError, match="300"):
        parse_networks(["10.0.0.0/8", "300.0.0.0/8"])


def test_every_refusal_to_connect_has_one_text() -> None:
    """Of several addresses of a name, errors with equal texts are raised as they are."""
    assert str(EgressDenied()) == "the address is not one that webhooks may reach"
