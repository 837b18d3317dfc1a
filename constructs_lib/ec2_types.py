"""Which instance types EC2 has at all, for the person who names one that is not in instance_types.py."""

import re
from functools import cache
from typing import Final

# Families that the table leaves out though they train, and why; 2026-11.
_LEFT_OUT: Final = {
    # Karpenter's copy of AWS's price list (see instance_types.py) has none of these in us-east-1.
    "p5e": "no on-demand price is known for it",
    "trn2": "no on-demand price is known for it",
    "trn2u": "no on-demand price is known for it",
    # Not among "supported_ec2_instances" of AWS's PyTorch image.
    "p6-b300": "AWS's PyTorch image is not made for it",
    "g7": "AWS's PyTorch image is not made for it",
    "g7e": "AWS's PyTorch image is not made for it",
    "g5g": "it has Arm processors, and the images here are for x86",
    "p6e-gb200": "it has Arm processors, and the images here are for x86",
    "p6e-gb300": "it has Arm processors, and the images here are for x86",
    "g6f": "it has a part of a GPU only",
    "gr6f": "it has a part of a GPU only",
}


@cache
def _names() -> frozenset[str]:
    # 0.2 s and only in front of an error: boto3 carries EC2's own description of its API.
    from botocore.loaders import Loader

    model = Loader().load_service_model("ec2", "service-2")
    return frozenset(model["shapes"]["InstanceType"]["enum"])


def is_real(name: str) -> bool:
    """Whether EC2 has, or had, an instance type of this name."""
    return name in _names()


def family(name: str) -> str:
    """What stands before the dot: p6-b200 of p6-b200.48xlarge."""
    return name.partition(".")[0]


def kind(name: str) -> str:
    """The letters with which the name begins: p of p6-b200.48xlarge."""
    found = re.match(r"[a-z]+", name)
    return found[0] if found else ""


def size(name: str) -> str:
    """What stands behind the dot: 48xlarge of p6-b200.48xlarge."""
    return name.partition(".")[2]


def left_out(name: str) -> str | None:
    """Why the table has no types of this family; None where nothing speaks against adding one."""
    return _LEFT_OUT.get(family(name))
