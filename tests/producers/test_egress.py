"""No spelling of an address that is not public gets through, at registration or at the socket."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.egress import EgressDenied, guarded_sockets, networks, permitted, refusal

LOOPBACK = networks(["127.0.0.0/8"])

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
    assert permitted(address, ())


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_others_are_not(address: str) -> None:
    assert not permitted(address, ())
    with pytest.raises(EgressDenied):
        guarded_sockets(())((socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, 443)))


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.10", "::ffff:127.0.0.1"])
def test_an_allowed_network_opens_its_addresses_and_no_others(address: str) -> None:
    assert permitted(address, LOOPBACK)
    assert not permitted("::1", LOOPBACK)
    assert not permitted("10.0.0.1", LOOPBACK)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_in_ipv6_clothes_is_the_same_address(ip: object) -> None:
    assert permitted(f"::ffff:{ip}", ()) == permitted(str(ip), ())
    assert not permitted(f"64:ff9b::{ip}", ())


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
        ("https://1.1.1.1:99999/", "URL"),
        ("https://[::1/", "URL"),
        ("https://user@1.1.1.1/", "user"),
        ("https://user:password@1.1.1.1/", "user"),
        ("https://1.1.1.1/#part", "fragment"),
        ("http://1.1.1.1/", "plain"),
        ("http://no-such-name.invalid/", "plain"),
        (f"https://{'a' * 64}.example/", "host name"),
        ("https://300.1.1.1/", "host name"),
        ("https://1.1.1.1.1/", "host name"),
        ("https://1.1.1.0x/", "host name"),
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


async def test_a_name_that_nobody_knows_yet_may_be_known_when_it_is_dialled() -> None:
    assert await refusal("https://no-such-name.invalid/hooks", ()) is None
    assert await refusal("https://v2.no-such-name.invalid:8443/hooks", LOOPBACK) is None


def test_a_network_that_is_none_is_named() -> None:
    with pytest.raises(ValueError, match="300"):
        networks(["10.0.0.0/8", "300.0.0.0/8"])
