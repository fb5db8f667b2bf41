"""A URL is read once, by the function that the import and the dispatcher share, and its target never changes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.url import LONGEST, Url, read_url

PRINTABLE = st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#")


@given(
    path=st.text(PRINTABLE.filter(lambda character: character != "?"), max_size=60),
    query=st.none() | st.text(PRINTABLE, max_size=60),
)
def test_path_and_query_are_kept_byte_for_byte(path: str, query: str | None) -> None:
    target = f"/{path}" if query is None else f"/{path}?{query}"
    assert read_url(f"https://shop.example{target}").target == target


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://shop.example/hooks", Url("https", "shop.example", 443, "/hooks", None)),
        ("https://shop.example", Url("https", "shop.example", 443, "/", None)),
        ("https://shop.example?a=b", Url("https", "shop.example", 443, "/?a=b", None)),
        ("https://shop.example?", Url("https", "shop.example", 443, "/?", None)),
        ("https://shop.example:/x", Url("https", "shop.example", 443, "/x", None)),
        ("HTTPS://Shop.Example:8443/X", Url("https", "shop.example", 8443, "/X", None)),
        ("http://shop.example.:80/", Url("http", "shop.example.", 80, "/", None)),
        ("https://my_shop.example/", Url("https", "my_shop.example", 443, "/", None)),
        ("https://xn--bcher-kva.example/", Url("https", "xn--bcher-kva.example", 443, "/", None)),
        ("https://xn--i-7iq.ws/", Url("https", "xn--i-7iq.ws", 443, "/", None)),
        ("https://shop.example//@/..?//#"[:-1], Url("https", "shop.example", 443, "//@/..?//", None)),
    ],
)
def test_a_url_is_taken_apart(url: str, expected: Url) -> None:
    assert read_url(url) == expected


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("https://Shop.example:443/", "shop.example"),
        ("https://shop.example:80/", "shop.example:80"),
        ("http://shop.example:80/", "shop.example"),
        ("https://192.0.2.1/", "192.0.2.1"),
        ("https://[2001:DB8::1]/", "[2001:db8::1]"),
        ("https://[2001:db8::1]:8443/", "[2001:db8::1]:8443"),
    ],
)
def test_the_header_host_names_the_port_where_it_is_not_the_schemes(url: str, authority: str) -> None:
    assert read_url(url).authority == authority


REFUSED = {
    "printable ASCII": [
        "https://shop.example/a b",
        "https://shop.example/a\n",
        "https://shop.example/\t",
        "\nhttps://shop.example/",
        " https://shop.example/",
        "https://shop.example/\x00",
        "https://shop.example/\x7f",
        "https://shop.example/\u00e9",
        "https://b\u00fccher.example/",
        "https://\u2460\u2461\u2466.0.0.1/",
        "https://127\u30020\u30020\u30021/",
        "https://shop.example/\ud800",
    ],
    "absolute https": [
        "",
        "hooks",
        "//shop.example/",
        "/hooks",
        "https:shop.example",
        "https:///hooks",
        "https://",
        "https://?a",
        "ftp://shop.example/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "https//shop.example",
    ],
    "user name": [
        "https://user@shop.example/",
        "https://user:password@shop.example/",
        "https://@shop.example/",
        "https://shop.example\\@10.0.0.1/",
    ],
    "fragment": ["https://shop.example/#", "https://shop.example/#part", "https://shop.example#@10.0.0.1/"],
    "port": [
        "https://shop.example:0/",
        "https://shop.example:65536/",
        "https://shop.example:99999/",
        "https://shop.example:http/",
        "https://shop.example:-1/",
        "https://shop.example:443:443/",
        "https://shop.example:123456/",
    ],
    "host name": [
        "https://./",
        "https://a..b/",
        "https://.a/",
        f"https://{'a' * 64}.example/",
        f"https://{'a.' * 127}a/",
        "https://a%2eb/",
        "https://a\\b/",
        "https://a,b/",
        "https://:443/",
        "https://[::1/",
        "https://::1]/",
        "https://::1/",
        "https://[]/",
        "https://[shop.example]/",
        "https://[1.2.3.4]/",
        "https://[::1]x/",
        "https://a][/",
    ],
    "192.0.2.1": [
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://0x7f000001/",
        "https://0177.0.0.1/",
        "https://0/",
        "https://127.0.0.1./",
        "https://300.1.1.1/",
        "https://1.1.1.1.1/",
        "https://1.2.3/",
        "https://shop.example.0x/",
        "https://shop.1/",
        "https://[::1%25lo]/",
        "https://[fe80::1%lo]/",
        f"https://[2606:4700:4700::1111%{'a' * 64}]/",
        "https://[1::2::3]/",
        "https://[12345::]/",
        "https://[::300.0.0.1]/",
    ],
    "Punycode": [
        "https://xn--zz.invalid/",
        "https://xn--.example/",
        "https://xn--abc-.example/",
        "https://XN--ZZ.invalid/",
        "https://a.xn--99999999999.example/",
    ],
    "2,048": [f"https://shop.example/{'a' * LONGEST}"],
}


@pytest.mark.parametrize(("why", "url"), [(why, url) for why, urls in REFUSED.items() for url in urls])
def test_a_url_that_no_request_can_be_sent_to_is_refused_with_what_was_expected(why: str, url: str) -> None:
    with pytest.raises(ValueError, match="expected") as refused:
        read_url(url)
    assert why in str(refused.value)
    assert len(url) < 12 or url not in str(refused.value), "a URL may hold a secret"


PIECES = st.sampled_from(
    [
        "https://",
        "http://",
        "xn--",
        "[",
        "]",
        ":",
        "::",
        "@",
        "#",
        "?",
        "/",
        "..",
        "%",
        "\\",
        "0x",
        "127",
        "443",
        "a",
        "-",
    ]
)


@given(st.lists(PIECES | st.text(max_size=5), max_size=12).map("".join))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        url = read_url(text)
    except ValueError:
        return
    assert text.endswith(url.target.removeprefix("/"))
    assert url.authority.isascii()
