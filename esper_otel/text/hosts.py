"""Check whether hosts in addresses are this machine. Names are never resolved."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import Final

LOCALHOST: Final = "localhost"


def is_loopback(host: str) -> bool:
    """Return True if ``host`` (a name, or an IP address without brackets) is the loopback interface."""
    name = host.lower().rstrip(".")
    if name == LOCALHOST or name.endswith(f".{LOCALHOST}"):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback or address.is_unspecified)


def is_this_host(host: str) -> bool:
    """Return True if ``host`` is the loopback interface, the name of this machine or one of its IP addresses."""
    return is_loopback(host) or host == socket.gethostname() or _can_be_bound(host)


def _can_be_bound(host: str) -> bool:
    try:
        family = socket.AF_INET6 if ip_address(host).version == 6 else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((host, 0))
    except (OSError, ValueError):
        return False
    return True
