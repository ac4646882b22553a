from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproxy.transport.egress import is_metadata_address, is_metadata_name

METADATA = ["169.254.169.254", "169.254.170.2", "100.100.100.200", "192.0.0.192", "168.63.129.16"]


@pytest.mark.parametrize("v4", METADATA)
def test_every_wrapping_of_a_metadata_address(v4: str) -> None:
    number = int(ipaddress.IPv4Address(v4))
    high, low = number >> 16, number & 0xFFFF
    wrapped = [
        v4,
        f"::ffff:{v4}",
        f"::{v4}",
        f"::ffff:0:{v4}",
        f"64:ff9b::{v4}",
        f"64:ff9b:1::{v4}",
        f"64:ff9b:1:{high:x}:{low >> 8:x}:{(low & 0xFF) << 8:x}::",
        f"2002:{high:x}:{low:x}::1",
        f"2001:0:{high:x}:{low:x}::1",
        f"2001::{high ^ 0xFFFF:x}:{low ^ 0xFFFF:x}",
        f"2001:db8::5efe:{v4}",
        f"2001:db8::200:5efe:{v4}",
    ]
    for address in wrapped:
        assert is_metadata_address(address), address


@pytest.mark.parametrize("address", ["fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "fe80::a9fe:a9fe%eth0"])
def test_v6_services(address: Any) -> None:
    assert is_metadata_address(address)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "::1", "10.0.0.1", "192.168.1.1", "172.16.0.1", "0.0.0.0", "fd00::1", "8.8.8.8", "100.100.100.201",
     "::ffff:127.0.0.1", "2606:4700::6810:1", "64:ff9b::8.8.8.8"],
)  # fmt: skip
def test_local_private_and_public_engines_are_welcome(address: Any) -> None:
    assert not is_metadata_address(address)


@pytest.mark.parametrize(
    "name",
    ["metadata.google.internal", "METADATA.google.internal.", "metadata", "169.254.169.254", "169.254.169.254.",
     "2852039166", "0xa9fea9fe", "0xa9.0xfe.0xa9.0xfe", "0251.0376.0251.0376", "169.254.43518", "::ffff:a9fe:a9fe",
     "fe80::a9fe:a9fe%1"],
)  # fmt: skip
def test_names_that_a_proxy_would_resolve(name: Any) -> None:
    assert is_metadata_name(name)


@pytest.mark.parametrize("name", ["api.openai.com", "localhost", "127.0.0.1", "metadata.example.com", "bücher.example"])
def test_other_names(name: Any) -> None:
    assert not is_metadata_name(name)


@given(st.ip_addresses(v=4))
def test_v4_is_forbidden_only_by_the_list(address: Any) -> None:
    listed = address in ipaddress.ip_network("169.254.0.0/16") or str(address) in METADATA
    assert is_metadata_address(str(address)) == listed
