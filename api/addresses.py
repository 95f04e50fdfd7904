"""Which IP addresses lie outside: public ones, and of those that carry an IPv4 address the ones that carry a public one."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

# NAT64 (RFC 6052) and IPv4-compatible addresses (RFC 4291): the last 32 bits are the IPv4 address.
_LAST_32 = (IPv6Network("64:ff9b::/96"), IPv6Network("::/96"))


def is_public(told: str) -> bool:
    """True when a connection to the address leaves for the public network, by whatever translation."""
    address = ip_address(told)
    if not address.is_global or address.is_multicast:
        return False
    if isinstance(address, IPv4Address):
        return True
    return not address.is_site_local and all(inner.is_global for inner in _inner(address))


def _inner(address: IPv6Address) -> list[IPv4Address]:
    found = [*(address.teredo or ()), address.sixtofour, address.ipv4_mapped]
    if any(address in net for net in _LAST_32):
        found.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return [inner for inner in found if inner is not None]
