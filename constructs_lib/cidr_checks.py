"""Checks of IPv4 blocks: each returns the value as it is to be used, or raises RefusedError with the way out."""

import ipaddress
from typing import Final

from constructs_lib.refused import RefusedError

_RFC1918: Final = tuple(ipaddress.IPv4Network(block) for block in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))
# Docker's default bridge; AWS's VPC user guide ("VPC CIDR blocks") says to leave it to SageMaker and others.
_DOCKER: Final = ipaddress.IPv4Network("172.17.0.0/16")
_PRIVATE_EXAMPLE: Final = "10.20.0.0/20"


def _ipv4_network(value: str, *, example: str) -> ipaddress.IPv4Network:
    try:
        interface = ipaddress.ip_interface(value)
    except ValueError:
        raise RefusedError(f'"{value}" is not a CIDR block.', f"Write it like {example}.") from None
    if not isinstance(interface, ipaddress.IPv4Interface):
        raise RefusedError(f"{value} is IPv6, and the VPC has IPv4 only.", f"Write an IPv4 block like {example}.")
    if "/" not in value:
        raise RefusedError(f"{value} is an address, not a CIDR block.", f"Did you mean {value}/32?")
    # Also turns a netmask (10.0.0.0/255.255.0.0) into a prefix.
    block = str(interface.network)
    if value != block:
        raise RefusedError(f"{value} is not the start of its block, or not in prefix form.", f"Did you mean {block}?")
    return interface.network


def vpc_cidr(value: str) -> str:
    """A private IPv4 block, /16 to /24: the VPC is cut into sixteenths, and EC2's smallest subnet is a /28."""
    network = _ipv4_network(value, example=_PRIVATE_EXAMPLE)
    if not any(network.subnet_of(private) for private in _RFC1918):
        raise RefusedError(
            f"{value} is not private address space (10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16), "
            "so machines in the VPC could not reach whoever owns it.",
            f"Choose a private block, for example {_PRIVATE_EXAMPLE}.",
        )
    if network.prefixlen < 16:
        raise RefusedError(
            f"{value} is too large: a VPC is a /16 at most.", f"Did you mean {network.network_address}/16?"
        )
    if network.prefixlen > 24:
        raise RefusedError(
            f"{value} is too small: its subnets would be smaller than a /28, the smallest that EC2 makes.",
            f"Choose a /24 or larger, for example {network.supernet(new_prefix=24)}.",
        )
    if network.overlaps(_DOCKER):
        raise RefusedError(
            f"{value} overlaps {_DOCKER}, which Docker and SageMaker use inside the machines.",
            f"Choose another block, for example {_PRIVATE_EXAMPLE}.",
        )
    return value


# Addresses from which nobody reaches the jump host, which has only its public one:
# https://www.iana.org/assignments/iana-ipv4-special-registry/iana-ipv4-special-registry.xhtml (multicast: RFC 5771).
# The blocks for documentation are left out: examples and the embedded AWS use them.
_NOT_PUBLIC: Final = tuple(
    (ipaddress.IPv4Network(block), what)
    for block, what in (
        ("0.0.0.0/8", "reserved for hosts that do not know their own address"),
        ("10.0.0.0/8", "private: every home and office uses it inside"),
        ("100.64.0.0/10", "a provider's own, between its customers and its address translation (CGNAT)"),
        ("127.0.0.0/8", "loopback: this machine itself"),
        ("169.254.0.0/16", "link-local: it never leaves a cable"),
        ("172.16.0.0/12", "private: every home and office uses it inside"),
        ("192.0.0.0/24", "reserved for protocols"),
        ("192.88.99.0/24", "reserved: it was for 6to4 relays"),
        ("192.168.0.0/16", "private: every home and office uses it inside"),
        ("198.18.0.0/15", "reserved for measurements"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
)
# A university or a large company has a block of this size.
WIDEST_DEPLOYER_PREFIX: Final = 16


def deployer_cidr(value: str) -> str:
    """A public IPv4 block that may reach the jump host over SSH: /16 to /32, never the world."""
    example = "203.0.113.7/32 (your public address: curl https://checkip.amazonaws.com)"
    network = _ipv4_network(value, example=example)
    if network.prefixlen == 0:
        raise RefusedError(f"{value} opens SSH to the whole world.", f"Name your own address, like {example}.")
    if network.prefixlen < WIDEST_DEPLOYER_PREFIX:
        raise RefusedError(
            f"{value} opens SSH to {network.num_addresses:,} addresses; a /{WIDEST_DEPLOYER_PREFIX} is the widest "
            "allowed.",
            f"Name your own address, like {example}.",
        )
    for block, what in _NOT_PUBLIC:
        if network.overlaps(block):
            raise RefusedError(
                f"{value} is not public: {block} is {what}. From there nobody reaches the jump host's public address.",
                f"Name the address that the internet sees, like {example}.",
            )
    return value


# EC2's quota of inbound rules of a security group; each block is one:
# https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html#vpc-limits-security-groups
RULES_OF_A_GROUP: Final = 60


def deployer_cidrs(values: tuple[str, ...]) -> tuple[str, ...]:
    """The blocks together: some, each once, no more than a security group has rules, no more addresses than a /16."""
    if not values:
        raise RefusedError(
            "The list is empty, so nobody could reach the machines.",
            "Name your public address: curl https://checkip.amazonaws.com, and add /32.",
        )
    if repeated := sorted({value for value in values if values.count(value) > 1}):
        raise RefusedError(f"{', '.join(repeated)} is in the list twice, which EC2 refuses.", "Remove one of them.")
    if len(values) > RULES_OF_A_GROUP:
        raise RefusedError(
            f"The list has {len(values)} blocks, and EC2 lets a security group have {RULES_OF_A_GROUP} rules.",
            "Put neighbours together into wider blocks, or remove some.",
        )
    together = sum(block.num_addresses for block in ipaddress.collapse_addresses(map(ipaddress.IPv4Network, values)))
    if together > 2 ** (32 - WIDEST_DEPLOYER_PREFIX):
        raise RefusedError(
            f"The blocks open SSH to {together:,} addresses together; a /{WIDEST_DEPLOYER_PREFIX} has as many as are "
            "allowed.",
            "Name only the addresses from which somebody works.",
        )
    return values
