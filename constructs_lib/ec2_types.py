"""Look up EC2's instance types, to explain a type that instance_types.py does not have."""

import re
from functools import cache
from typing import Final

# Families that can train but are not in the table, and the reason; 2026-11.
_LEFT_OUT: Final = {
    # Karpenter's copy of AWS's price list (see instance_types.py) has none of these in us-east-1.
    "p5e": "its on-demand price is unknown",
    "trn2": "its on-demand price is unknown",
    "trn2u": "its on-demand price is unknown",
    # Not among "supported_ec2_instances" of AWS's PyTorch image.
    "p6-b300": "AWS's PyTorch image does not support it",
    "g7": "AWS's PyTorch image does not support it",
    "g7e": "AWS's PyTorch image does not support it",
    "g5g": "it has Arm processors, and the images are for x86",
    "p6e-gb200": "it has Arm processors, and the images are for x86",
    "p6e-gb300": "it has Arm processors, and the images are for x86",
    "g6f": "it has only a fraction of a GPU",
    "gr6f": "it has only a fraction of a GPU",
}


@cache
def _names() -> frozenset[str]:
    # boto3 contains EC2's own API description. Loading it takes 0.2 s, so only an error does it.
    from botocore.loaders import Loader

    model = Loader().load_service_model("ec2", "service-2")
    return frozenset(model["shapes"]["InstanceType"]["enum"])


def is_real(name: str) -> bool:
    """Return True if EC2 has, or had, an instance type of this name."""
    return name in _names()


def family(name: str) -> str:
    """Return the part before the dot: p6-b200 of p6-b200.48xlarge."""
    return name.partition(".")[0]


def kind(name: str) -> str:
    """Return the leading letters of the name: p of p6-b200.48xlarge."""
    found = re.match(r"[a-z]+", name)
    return found[0] if found else ""


def size(name: str) -> str:
    """Return the part after the dot: 48xlarge of p6-b200.48xlarge."""
    return name.partition(".")[2]


def left_out(name: str) -> str | None:
    """Return the reason why the table has no types of this family; None if one could be added."""
    return _LEFT_OUT.get(family(name))
