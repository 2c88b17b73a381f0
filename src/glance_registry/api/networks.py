# SPDX-License-Identifier: Apache-2.0
"""Addresses and networks of the settings, and the check whether an address is among them."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from glance_registry.model.errors import Invalid

Network = IPv4Network | IPv6Network


def read_networks(texts: Iterable[str], setting: str) -> tuple[Network, ...]:
    """The networks that a setting names. Raises Invalid for a wrong one."""
    return tuple(_read_network(text, setting) for text in texts)


def _read_network(text: str, setting: str) -> Network:
    try:
        return ip_network(text.strip())
    except ValueError:
        raise Invalid(f"{setting}: '{text}' is neither an address nor a network.") from None


def is_within(host: str, networks: Sequence[Network]) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return any(address in network for network in networks)
