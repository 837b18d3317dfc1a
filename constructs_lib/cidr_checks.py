"""Check IPv4 blocks: each function returns the value in its final form, or raises RefusedError with a fix."""

import ipaddress
from typing import Final

from constructs_lib.refused import RefusedError

_RFC1918: Final = tuple(ipaddress.IPv4Network(block) for block in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))
# Docker's default bridge. AWS's VPC user guide ("VPC CIDR blocks") advises against it, as SageMaker and others use it.
_DOCKER: Final = ipaddress.IPv4Network("172.17.0.0/16")
_PRIVATE_EXAMPLE: Final = "10.20.0.0/20"


def _ipv4_network(value: str, *, example: str) -> ipaddress.IPv4Network:
    try:
        interface = ipaddress.ip_interface(value)
    except ValueError:
        raise RefusedError(f'"{value}" is not a CIDR block.', f"Write it like {example}.") from None
    if not isinstance(interface, ipaddress.IPv4Interface):
        raise RefusedError(f"{value} is IPv6; the VPC has IPv4 only.", f"Write an IPv4 block like {example}.")
    if "/" not in value:
        raise RefusedError(f"{value} is an address, not a CIDR block.", f"Did you mean {value}/32?")
    # Also turns a netmask (10.0.0.0/255.255.0.0) into a prefix.
    block = str(interface.network)
    if value != block:
        raise RefusedError(
            f"{value} is not the start of its block, or not in the form ADDRESS/BITS.", f"Did you mean {block}?"
        )
    return interface.network


def vpc_cidr(value: str) -> str:
    """Return a private IPv4 block, /16 to /24. Each subnet gets a sixteenth; EC2's smallest subnet is a /28."""
    network = _ipv4_network(value, example=_PRIVATE_EXAMPLE)
    if not any(network.subnet_of(private) for private in _RFC1918):
        raise RefusedError(
            f"{value} is not private address space (10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16), "
            "so machines in the VPC could not reach its owner on the internet.",
            f"Choose a private block, for example {_PRIVATE_EXAMPLE}.",
        )
    if network.prefixlen < 16:
        raise RefusedError(
            f"{value} is too large: the largest VPC is a /16.", f"Did you mean {network.network_address}/16?"
        )
    if network.prefixlen > 24:
        raise RefusedError(
            f"{value} is too small: its subnets would be smaller than a /28, the smallest subnet in EC2.",
            f"Choose a /24 or larger, for example {network.supernet(new_prefix=24)}.",
        )
    if network.overlaps(_DOCKER):
        raise RefusedError(
            f"{value} overlaps {_DOCKER}, which Docker and SageMaker use on the machines.",
            f"Choose another block, for example {_PRIVATE_EXAMPLE}.",
        )
    return value


# Addresses that cannot reach the jump host's public address:
# https://www.iana.org/assignments/iana-ipv4-special-registry/iana-ipv4-special-registry.xhtml (multicast: RFC 5771).
# The blocks for documentation are accepted: examples and the embedded AWS use them.
_NOT_PUBLIC: Final = tuple(
    (ipaddress.IPv4Network(block), use)
    for block, use in (
        ("0.0.0.0/8", "reserved for hosts without an address"),
        ("10.0.0.0/8", "private, for use inside homes and offices"),
        ("100.64.0.0/10", "shared by an internet provider's customers behind its address translation (CGNAT)"),
        ("127.0.0.0/8", "loopback, the machine itself"),
        ("169.254.0.0/16", "link-local and never routed"),
        ("172.16.0.0/12", "private, for use inside homes and offices"),
        ("192.0.0.0/24", "reserved for protocols"),
        ("192.88.99.0/24", "reserved, formerly for 6to4 relays"),
        ("192.168.0.0/16", "private, for use inside homes and offices"),
        ("198.18.0.0/15", "reserved for benchmarks"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
)
# A university or a large company has a block of this size.
WIDEST_DEPLOYER_PREFIX: Final = 16


def deployer_cidr(value: str) -> str:
    """Return a public IPv4 block, /16 to /32, that may reach the jump host over SSH."""
    example = "203.0.113.7/32 (your public address: curl https://checkip.amazonaws.com)"
    network = _ipv4_network(value, example=example)
    if network.prefixlen == 0:
        raise RefusedError(f"{value} opens SSH to the whole internet.", f"Write your own address, like {example}.")
    if network.prefixlen < WIDEST_DEPLOYER_PREFIX:
        raise RefusedError(
            f"{value} opens SSH to {network.num_addresses:,} addresses; the widest block allowed is a "
            f"/{WIDEST_DEPLOYER_PREFIX}.",
            f"Write your own address, like {example}.",
        )
    for block, use in _NOT_PUBLIC:
        if network.overlaps(block):
            raise RefusedError(
                f"{value} is not public: {block} is {use}. It cannot reach the jump host's public address.",
                f"Write the address that the internet sees, like {example}.",
            )
    return value


# EC2's quota of inbound rules for a security group. Each block is one rule:
# https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html#vpc-limits-security-groups
RULES_OF_A_GROUP: Final = 60


def deployer_cidrs(values: tuple[str, ...]) -> tuple[str, ...]:
    """Return the blocks: at least one, each once, within a security group's rules and a /16's addresses in total."""
    if not values:
        raise RefusedError(
            "The list is empty, so the machines would be unreachable.",
            "Write your public address (curl https://checkip.amazonaws.com), and add /32.",
        )
    if repeated := sorted({value for value in values if values.count(value) > 1}):
        raise RefusedError(f"{', '.join(repeated)} is in the list twice, which EC2 refuses.", "Remove one of them.")
    if len(values) > RULES_OF_A_GROUP:
        raise RefusedError(
            f"The list has {len(values)} blocks; EC2 allows {RULES_OF_A_GROUP} rules in a security group.",
            "Merge adjacent blocks into wider ones, or remove some.",
        )
    together = sum(block.num_addresses for block in ipaddress.collapse_addresses(map(ipaddress.IPv4Network, values)))
    if together > 2 ** (32 - WIDEST_DEPLOYER_PREFIX):
        raise RefusedError(
            f"The blocks open SSH to {together:,} addresses in total; the most allowed is that of a "
            f"/{WIDEST_DEPLOYER_PREFIX}.",
            "Write only the addresses that people work from.",
        )
    return values
