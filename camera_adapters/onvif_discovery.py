"""WS-Discovery: which ONVIF cameras there are in the local networks."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import unquote

import psutil
from onveef import wsdiscovery

MOST_INTERFACES = 32


def discover(timeout_s: float = 3.0, interfaces: Sequence[str] | None = None) -> list[dict[str, str]]:
    """Look for cameras in the local networks by WS-Discovery; name, hardware, place and service address of each.

    `interfaces` are IPv4 addresses of this machine; all of them by default, asked at the same time.

    Raises:
        OSError: this machine has no IPv4 address.
    """
    own = list(interfaces) if interfaces is not None else _addresses()
    if not own:
        raise OSError("this machine has no IPv4 network to look in")

    def ask(address: str) -> list[wsdiscovery.DiscoveredDevice]:
        # An interface that sends nothing gives an empty list.
        return wsdiscovery.discover(timeout_s=timeout_s, interface_ip=address)

    with ThreadPoolExecutor(max_workers=min(len(own), MOST_INTERFACES)) as pool:
        answers = list(pool.map(ask, own[:MOST_INTERFACES]))
    found = {d.device_service or d.address: d for a in answers for d in a}
    return [
        {
            "name": unquote(d.name),
            "hardware": unquote(d.hardware),
            "location": unquote(d.location),
            "address": where,
        }
        for where, d in sorted(found.items())
    ]


def _addresses() -> list[str]:
    """Return this machine's own IPv4 addresses, the loopback's last."""
    own = [a.address for each in psutil.net_if_addrs().values() for a in each if a.family == socket.AF_INET]
    return sorted(own, key=lambda a: (a.startswith("127."), a))
