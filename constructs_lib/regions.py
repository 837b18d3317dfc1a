"""The supported regions and their Availability Zones.

Zones: AWS Regions and Availability Zones user guide, "AWS Availability Zones", read 2026-11. It counts AZ ids; the
letters are those EC2 shows. Regions: what `terraform plan` accepts with hashicorp/aws 5.100.0, tried 2026-11.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from constructs_lib.refused import RefusedError, did_you_mean


@dataclass(frozen=True, kw_only=True)
class Region:
    """Describe a region of the aws partition.

    zones: the AZs that an account sees, in order. zones_of_some: AZs that only some accounts see.
    """

    name: str
    zones: tuple[str, ...]
    zones_of_some: tuple[str, ...] = ()


_THREE: Final = "abc"
_LETTERS: Final = {
    "af-south-1": _THREE,
    "ap-east-1": _THREE,
    "ap-east-2": _THREE,
    "ap-northeast-1": "acd",
    "ap-northeast-2": "abcd",
    "ap-northeast-3": _THREE,
    "ap-south-1": _THREE,
    "ap-south-2": _THREE,
    "ap-southeast-1": _THREE,
    "ap-southeast-2": _THREE,
    "ap-southeast-3": _THREE,
    "ap-southeast-4": _THREE,
    "ap-southeast-5": _THREE,
    "ap-southeast-7": _THREE,
    "ca-central-1": "abd",
    "ca-west-1": _THREE,
    "eu-central-1": _THREE,
    "eu-central-2": _THREE,
    "eu-north-1": _THREE,
    "eu-south-1": _THREE,
    "eu-south-2": _THREE,
    "eu-west-1": _THREE,
    "eu-west-2": _THREE,
    "eu-west-3": _THREE,
    "il-central-1": _THREE,
    "me-central-1": _THREE,
    "me-south-1": _THREE,
    "mx-central-1": _THREE,
    "sa-east-1": _THREE,
    "us-east-1": "abcdef",
    "us-east-2": _THREE,
    "us-west-1": "ab",
    "us-west-2": "abcd",
}
# Newer accounts see three of Tokyo's four zones and two of N. California's three. London's fourth is new.
_LETTERS_OF_SOME: Final = {"ap-northeast-1": "b", "us-west-1": "c", "eu-west-2": "d"}

REGIONS: Final[Mapping[str, Region]] = MappingProxyType(
    {
        name: Region(
            name=name,
            zones=tuple(name + letter for letter in letters),
            zones_of_some=tuple(name + letter for letter in _LETTERS_OF_SOME.get(name, "")),
        )
        for name, letters in _LETTERS.items()
    }
)

# The ids of the zones that support One Zone file systems; each account maps letters to ids differently. Part of AWS's
# table, read 2026-11: https://docs.aws.amazon.com/efs/latest/ug/OneZoneAZs.html. Other regions were not checked.
ONE_ZONE_EFS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "us-east-1": ("use1-az1", "use1-az2", "use1-az4", "use1-az5", "use1-az6"),
        "us-east-2": ("use2-az1", "use2-az2", "use2-az3"),
        "us-west-1": ("usw1-az1", "usw1-az3"),
        "us-west-2": ("usw2-az1", "usw2-az2", "usw2-az3", "usw2-az4"),
    }
)

# Regions opened after hashicorp/aws 5.100.0 was released, which reports "invalid AWS Region".
TOO_NEW_FOR_PROVIDER: Final = frozenset({"ap-southeast-6", "me-west-1", "sa-west-1"})
# "Invalid region value" from the S3 backend of Terraform 1.11.
TOO_NEW_FOR_BACKEND: Final = frozenset({"ap-east-2"})

_OTHER_PARTITIONS: Final = ("cn-", "us-gov-", "us-iso", "eu-iso", "eusc-")
_ZONE_ID: Final = re.compile(r"[a-z]+\d+-az\d+")


def find(name: str) -> Region:
    """Return the region of this name. Raises RefusedError, with the closest name, if it is not supported."""
    if region := REGIONS.get(name):
        return region
    if name.startswith(_OTHER_PARTITIONS):
        raise RefusedError(
            f"{name} is not in the aws partition, and other partitions (China, GovCloud, sovereign) are not supported.",
            f"Choose a region of the aws partition: {', '.join(REGIONS)}.",
        )
    if name in TOO_NEW_FOR_PROVIDER:
        raise RefusedError(
            f"{name} is newer than the pinned AWS provider (hashicorp/aws 5.100.0), which refuses it.",
            f"Choose one of {', '.join(REGIONS)}.",
        )
    if zone_region := region_of_zone(name):
        raise RefusedError(f"{name} is an Availability Zone, not a region.", f"Did you mean {zone_region.name}?")
    raise RefusedError(
        f'AWS has no region "{name}".',
        did_you_mean(name, REGIONS, otherwise=f"Choose one of {', '.join(REGIONS)}."),
    )


def deployment_region(name: str) -> str:
    """Return `name` if stacks can be deployed in that region."""
    return find(name).name


def state_region(name: str) -> str:
    """Return `name` if Terraform's S3 backend can store state in that region."""
    region = find(name)
    if name in TOO_NEW_FOR_BACKEND:
        raise RefusedError(
            f"{name} is newer than the S3 backend of Terraform 1.11, which refuses it.",
            "Use a state bucket in an older region, for example ap-east-1, and set that region here. "
            "The deployment itself may stay in its region.",
        )
    return region.name


def region_of_zone(zone: str) -> Region | None:
    """Return the region that has this Availability Zone, or None."""
    region = REGIONS.get(zone[:-1])
    return region if region and zone in (*region.zones, *region.zones_of_some) else None


def check_zone(zone: str, region: Region | None = None) -> str:
    """Return `zone` if it is an Availability Zone, in `region` if that is given. Raises RefusedError otherwise."""
    home = region_of_zone(zone)
    if home and region in (None, home):
        return zone
    choice = f"Choose one of {', '.join(region.zones)}" if region else "Use a name such as us-east-1a"
    if home and region:
        raise RefusedError(
            f"{zone} is a zone of {home.name}, but the region is {region.name}.",
            f'{choice}, or set deployment.region = "{home.name}".',
        )
    if _ZONE_ID.fullmatch(zone):
        raise RefusedError(f"{zone} is the id of an Availability Zone; this must be its name.", f"{choice}.")
    place = region.name if region else "AWS"
    raise RefusedError(f'{place} has no Availability Zone "{zone}".', f"{choice}.")
