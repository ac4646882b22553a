"""Base URLs: every harmless spelling works, no spelling reaches a metadata service."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproxy.channels.address import forbidden_address, numeric_address, parse_base_url
from gproxy.wire.http import Origin


@pytest.mark.parametrize(
    ("text", "origin", "path", "version"),
    [
        ("https://api.openai.com", Origin("https", "api.openai.com", 443), "", ""),
        ("https://api.openai.com/", Origin("https", "api.openai.com", 443), "", ""),
        ("https://api.openai.com/v1", Origin("https", "api.openai.com", 443), "", ""),
        ("https://api.openai.com/v1/", Origin("https", "api.openai.com", 443), "", ""),
        ("https://api.openai.com/v1//", Origin("https", "api.openai.com", 443), "", ""),
        ("https://g.example/v1beta", Origin("https", "g.example", 443), "", ""),
        ("https://api.groq.com/openai/v1", Origin("https", "api.groq.com", 443), "/openai", ""),
        ("https://api.z.ai/api/paas/v4", Origin("https", "api.z.ai", 443), "/api/paas", "/v4"),
        ("https://h.example/api/v2/cortex/v1", Origin("https", "h.example", 443), "/api/v2/cortex", ""),
        ("http://localhost:8000", Origin("http", "localhost", 8000), "", ""),
        ("http://127.0.0.1:11434/v1", Origin("http", "127.0.0.1", 11434), "", ""),
        ("http://10.1.2.3", Origin("http", "10.1.2.3", 80), "", ""),
        ("http://[::1]:8000/x", Origin("http", "::1", 8000), "/x", ""),
        ("http://[fd12:3456::1]", Origin("http", "fd12:3456::1", 80), "", ""),
        ("https://API.Example.COM./v1", Origin("https", "api.example.com", 443), "", ""),
        ("http://my_host:80", Origin("http", "my_host", 80), "", ""),
    ],
)
def test_what_an_operator_may_write(text: str, origin: Origin, path: str, version: str) -> None:
    address = parse_base_url(text)
    assert (address.origin, address.path, address.version) == (origin, path, version)


METADATA = ["169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "192.0.0.192"]


def spellings(dotted: str) -> list[str]:
    number = int(ipaddress.IPv4Address(dotted))
    a, b, c, d = number >> 24, number >> 16 & 255, number >> 8 & 255, number & 255
    high, low = number >> 16, number & 0xFFFF
    return [
        dotted,
        f"{dotted}.",
        str(number),
        hex(number),
        f"0X{number:X}",
        f"0{number:o}",
        f"{a}.{number & 0xFFFFFF}",
        f"{a}.{b}.{low}",
        f"0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}",
        f"0{a:o}.0{b:o}.0{c:o}.0{d:o}",
        f"0{a:o}.{b}.0x{low:x}",
        f"000{a:o}.{b}.{c}.{d}",
        f"[::ffff:{dotted}]",
        f"[::ffff:{high:x}:{low:x}]",
        f"[64:ff9b::{high:x}:{low:x}]",
        f"[2002:{high:x}:{low:x}::1]",
        f"[::{high:x}:{low:x}]",
    ]


@pytest.mark.parametrize("dotted", METADATA)
def test_no_spelling_of_a_metadata_address_is_accepted(dotted: str) -> None:
    for host in spellings(dotted):
        for url in (f"http://{host}", f"https://{host}:8080/v1", f"http://{host}/latest/meta-data"):
            with pytest.raises(ValueError, match=r"metadata|address"):
                parse_base_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://metadata.google.internal",
        "http://METADATA.google.internal.",
        "http://metadata",
        "http://metadata.goog/computeMetadata",
        "http://instance-data.ec2.internal",
        "http://[fd00:ec2::254]",
        "http://[fe80::1]",
        "http://[fe80::1%25eth0]",
        "http://[fec0::1]",
        "http://0.0.0.0",
        "http://0",
        "http://[::]",
        "file:///etc/passwd",
        "unix:///var/run/docker.sock",
        "gopher://h/",
        "ftp://h/",
        "//h",
        "h",
        "",
        "https://",
        "https:///v1",
        "https://user:pw@h",
        "https://user@h",
        "https://@h",
        "https://h@169.254.169.254",
        "https://h?x=1",
        "https://h?",
        "https://h#f",
        "https://h#",
        "https://h:0",
        "https://h:99999",
        "https://h:x",
        "https://h/a b",
        "https://h\n.example",
        "https://h\t",
        "https://h\\@169.254.169.254",
        "https://h/a/../b",
        "https://h/./b",
        "https://h//b",
        "https://h/%zz",
        "https://１６９.254.169.254",
        "https://exämple.org",
        "https://a..b",
        "https://[::1",
        "https://[zz::1]",
        "https://1.2.3.256",
        "https://256.1.1.1",
        "https://1.2.3.4.5.6.7.0x",
        "https://99999999999",
    ],
)
def test_what_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_base_url(url)


@given(st.ip_addresses())
def test_only_metadata_and_link_local_are_forbidden(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if address.is_link_local or address.is_unspecified:
        assert forbidden_address(address)
    elif address.version == 4:
        listed = str(address) in METADATA
        assert forbidden_address(str(address)) is listed


@given(st.ip_addresses(v=4))
def test_every_notation_means_the_same_address(address: ipaddress.IPv4Address) -> None:
    for host in spellings(str(address))[:12]:
        if not host.endswith("."):
            assert numeric_address(host) == address


@given(st.text(max_size=60))
def test_never_anything_but_an_address_or_a_sentence(text: str) -> None:
    for url in (text, f"http://{text}", f"https://h/{text}"):
        try:
            address = parse_base_url(url)
        except ValueError:
            continue
        assert address.origin.host
        assert address.origin.host_header
        assert address.path.isascii()
