"""Base URLs: what an operator may write, and what it means.

A provider may be local or private (self-hosted engines are common) but never a cloud's metadata service, in
whatever notation the address is written. `forbidden_address` is also for the transport, which must ask again
about the address a name resolved to. Nothing here resolves names.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from gproxy.wire.http import Origin

IPAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

METADATA_NETWORKS: Final = tuple(
    ipaddress.ip_network(text)
    for text in (
        "169.254.0.0/16",  # link-local: AWS, Azure, Google, Oracle, DigitalOcean; ECS and EKS credentials
        "fe80::/10",
        "fec0::/10",
        "fd00:ec2::/32",  # AWS over IPv6
        "fd20:ce::/32",  # Google over IPv6
        "100.100.100.200/32",  # Alibaba
        "168.63.129.16/32",  # Azure wire server
        "192.0.0.192/32",  # Oracle classic
        "0.0.0.0/32",
        "::/128",
    )
)
METADATA_NAMES: Final = frozenset(
    {"metadata", "metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal"}
)
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_VERSION: Final = re.compile(r"/v\d+[a-z0-9]*$")
_OWN_VERSIONS: Final = frozenset({"/v1", "/v1beta", "/v1beta1", "/v1alpha"})
_HOST: Final = re.compile(r"[A-Za-z0-9._-]{1,253}")
_PATH: Final = re.compile(r"(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+)*")


@dataclass(frozen=True, slots=True)
class Address:
    """A base URL taken apart. `path` has no trailing `/`; `version` is a version segment of the operator's own.

    A version every vendor's paths begin with (`/v1`, `/v1beta`) is dropped, since endpoint paths carry it. Any
    other (`/v4`) replaces theirs.
    """

    origin: Origin
    path: str
    version: str = ""


def parse_base_url(text: str) -> Address:
    """Take a base URL apart. Raises `ValueError` with a sentence for the operator."""
    if any(c <= " " or c in "\x7f\\" for c in text):
        raise ValueError("must not contain spaces, control characters or backslashes")
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"}:
        raise ValueError("must begin with http:// or https://")
    if "@" in parts.netloc:
        raise ValueError("must not contain a user name or password: put secrets into a credential")
    if parts.query or parts.fragment or text.endswith(("?", "#")):
        raise ValueError("must not contain a query or a fragment")
    host = (parts.hostname or "").rstrip(".")
    if not host:
        raise ValueError("names no host")
    try:
        port = parts.port
    except ValueError:
        raise ValueError("has a port that is not between 1 and 65535") from None
    if port == 0:
        raise ValueError("has a port that is not between 1 and 65535")
    _check_host(host)
    path = parts.path.rstrip("/")
    if not _PATH.fullmatch(path) or any(segment in {".", ".."} for segment in path.split("/")):
        raise ValueError("has a path that is not plain segments separated by single slashes")
    version = _VERSION.search(path)
    own = ""
    if version is not None:
        path = path[: version.start()]
        own = "" if version.group() in _OWN_VERSIONS else version.group()
    return Address(Origin(parts.scheme, host, port or (443 if parts.scheme == "https" else 80)), path, own)


def _check_host(host: str) -> None:
    if not host.isascii():
        raise ValueError("has a host with letters outside ASCII: write it in its xn-- form")
    literal = numeric_address(host)
    if literal is not None:
        if forbidden_address(literal):
            raise ValueError("points at a cloud metadata or unspecified address, which is never allowed")
        return
    if host.lower() in METADATA_NAMES:
        raise ValueError("points at a cloud metadata service, which is never allowed")
    if not _HOST.fullmatch(host) or ".." in host:
        raise ValueError("has a host that is neither a name nor an address")


def numeric_address(host: str) -> IPAddress | None:
    """The address a host spells in any notation system resolvers accept (dotted, decimal, octal, hex), or None."""
    if ":" in host:
        try:
            return ipaddress.ip_address(host.split("%", 1)[0])
        except ValueError:
            raise ValueError("has a host that is not a valid IPv6 address") from None
    parts = host.split(".")
    if not parts[-1] or _number(parts[-1]) is None:
        return None
    if len(parts) > 4 or not all(parts):
        raise ValueError("has a host that is not a valid IPv4 address")
    *leading, last = [_number(part) for part in parts]
    value = 0
    for number in leading:
        if number is None or number > 255:
            raise ValueError("has a host that is not a valid IPv4 address")
        value = value << 8 | number
    room = 8 * (4 - len(leading))
    if last is None or last >> room:
        raise ValueError("has a host that is not a valid IPv4 address")
    return ipaddress.IPv4Address(value << room | last)


def _number(text: str) -> int | None:
    try:
        if text[:2].lower() == "0x":
            return int(text[2:] or "0", 16)
        if not (text.isascii() and text.isdigit()):
            return None
        return int(text, 8) if text[0] == "0" else int(text)
    except ValueError:
        return None


def forbidden_address(address: IPAddress | str) -> bool:
    """Whether an address is one no upstream may have: metadata services, link-local, unspecified.

    Looks through the notations that carry an IPv4 address inside an IPv6 one (RFC 4291, 6052, 3056, 4380).
    """
    found = ipaddress.ip_address(address.split("%", 1)[0]) if isinstance(address, str) else address
    candidates: list[IPAddress] = [found]
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if inner is None and (found in _NAT64 or int(found) >> 32 == 0):
            inner = ipaddress.IPv4Address(int(found) & 0xFFFF_FFFF)
        # `::1` reads as the embedded 0.0.0.1, which is nobody's metadata service.
        if inner is not None:
            candidates.append(inner)
    return any(one in network for one in candidates for network in METADATA_NETWORKS if one.version == network.version)
