"""Which addresses we never connect to: the cloud metadata services that hand out credentials.

Loopback and private addresses are allowed on purpose: self-hosted engines live there. The question is asked about the
resolved address at connect time, so a DNS name cannot talk us round; names are only asked about where a proxy resolves
them for us. URLs that *callers* send are judged elsewhere and more strictly.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Final

# All of 169.254/16: AWS, GCP, Azure, OCI, DigitalOcean and OpenStack use .169.254, ECS .170.2, EKS .170.23, Tencent
# .0.23; no engine is served from link-local addresses.
_V4: Final = tuple(
    ipaddress.IPv4Network(net)
    for net in (
        "169.254.0.0/16",
        "100.100.100.200/32",  # Alibaba Cloud
        "192.0.0.192/32",  # Oracle Cloud, classic
        "168.63.129.16/32",  # Azure's wire server
    )
)
_V6: Final = tuple(
    ipaddress.IPv6Network(net)
    for net in (
        "fd00:ec2::/32",  # AWS: ::254 metadata, ::23 EKS, ::250 DNS
        "fd20:ce::254/128",  # GCP
        "fe80::a9fe:a9fe/128",  # OpenStack
        "fd00:c1::a9fe:a9fe/128",  # Oracle Cloud
    )
)
_NAMES: Final = frozenset(
    {
        "metadata",
        "metadata.google.internal",
        "metadata.goog",
        "instance-data",
        "instance-data.ec2.internal",
        "metadata.tencentyun.com",
        "metadata.azure.internal",
    }
)


def is_metadata_name(host: str) -> bool:
    """Whether a host as written is a metadata service: a known name, or an address in any notation `inet_aton` reads."""
    name = host.rstrip(".").lower()
    if name in _NAMES:
        return True
    try:
        return is_metadata_address(name.partition("%")[0])
    except ValueError:
        pass
    try:  # decimal, octal, hexadecimal and shortened forms
        return _v4_forbidden(ipaddress.IPv4Address(socket.inet_aton(name)))
    except (OSError, UnicodeEncodeError):
        return False


def is_metadata_address(address: str) -> bool:
    """Whether an IP address is a metadata service, also when an IPv4 one is wrapped in IPv6.

    ValueError when it is not an address.
    """
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv4Address):
        return _v4_forbidden(parsed)
    return any(parsed in net for net in _V6) or any(_v4_forbidden(inner) for inner in _embedded(parsed))


def _v4_forbidden(address: ipaddress.IPv4Address) -> bool:
    return any(address in net for net in _V4)


def _embedded(address: ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    """The IPv4 addresses a translator or tunnel on the way could make of an IPv6 one."""
    value = int(address)
    top32, top96 = value >> 96, value >> 32
    low = value & 0xFFFF_FFFF
    found: list[int] = []
    if top96 in {0, 0xFFFF, 0xFFFF_0000}:  # v4-compatible, v4-mapped, SIIT (RFC 4291, RFC 2765)
        found.append(low)
    if top32 == 0x0064_FF9B:  # NAT64: 64:ff9b::/96 (RFC 6052) and the local-use 64:ff9b:1::/48 (RFC 8215)
        found.append(low)
        found.append(_rfc6052_48(value))
    if value >> 112 == 0x2002:  # 6to4 (RFC 3056)
        found.append((value >> 80) & 0xFFFF_FFFF)
    if top32 == 0x2001_0000:  # Teredo (RFC 4380): the server, and the client obfuscated
        found.append((value >> 64) & 0xFFFF_FFFF)
        found.append(low ^ 0xFFFF_FFFF)
    if (value >> 32) & 0xFDFF_FFFF == 0x0000_5EFE:  # ISATAP (RFC 5214), with either u bit
        found.append(low)
    return [ipaddress.IPv4Address(v4) for v4 in found]


def _rfc6052_48(value: int) -> int:
    """The IPv4 address after a /48 prefix: two bytes, the reserved byte, two bytes (RFC 6052 section 2.2)."""
    return ((value >> 64) & 0xFFFF) << 16 | (value >> 40) & 0xFFFF
