"""Who is really calling, when the connection comes from a load balancer that says so."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from gproxy.wire.http import Header

Network = IPv4Network | IPv6Network


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Trusted addresses and networks as written in the settings. Raises `ValueError`."""
    return tuple(ip_network(text, strict=False) for text in texts)


def client_address(peer: str | None, headers: Sequence[Header], trusted: Sequence[Network]) -> str | None:
    """The caller's address.

    `X-Forwarded-For` counts only as far as trusted proxies wrote it: from the right, each hop is believed while the
    one that reported it is trusted; the first that is not is the client. What stands further left is the
    client's own claim.
    """
    if not trusted or peer is None or not _within(peer, trusted):
        return peer
    hops = [hop.strip() for name, value in headers if name == b"x-forwarded-for" for hop in value.split(b",")]
    found = peer
    for hop in reversed(hops):
        address = _address(hop.decode("latin-1"))
        if address is None:
            return found
        found = str(address)
        if not _within(found, trusted):
            return found
    return found


def _within(text: str, trusted: Sequence[Network]) -> bool:
    address = _address(text)
    return address is not None and any(address in network for network in trusted)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """An address with or without a port; an IPv4 address in IPv6 clothes is the IPv4 address."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
