"""Where something came from, as coarse as whoever is there can change it at will."""

import ipaddress
from typing import Final

_PREFIX: Final = 64
"""Bits of an IPv6 address that one customer has (RFC 6177)."""


def source_of(address: str | None) -> str:
    """An IPv4 address, or the /64 of an IPv6 address; empty where there is none, as of an operator."""
    if not address:
        return ""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, _PREFIX), strict=False))
