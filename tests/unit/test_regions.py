"""Regions and zones are those of AWS; what belongs elsewhere is refused with a fix."""

import json
from pathlib import Path

import botocore
import pytest
from moto.ec2.models.availability_zones_and_regions import RegionsAndZonesBackend

from constructs_lib.refused import RefusedError
from constructs_lib.regions import REGIONS, TOO_NEW_FOR_PROVIDER, check_zone, find, region_of_zone, state_region


def test_every_region_of_the_partition_is_known_or_known_to_be_too_new() -> None:
    partitions = json.loads((Path(botocore.__file__).parent / "data" / "partitions.json").read_text())["partitions"]
    (aws,) = (partition for partition in partitions if partition["id"] == "aws")
    assert set(REGIONS) | TOO_NEW_FOR_PROVIDER == set(aws["regions"]) - {"aws-global"}
    assert not set(REGIONS) & TOO_NEW_FOR_PROVIDER


@pytest.mark.parametrize("name", REGIONS)
def test_zones_are_those_that_moto_knows(name: str) -> None:
    assert list(REGIONS[name].zones) == [zone.name for zone in RegionsAndZonesBackend.zones[name]]


def test_zones_that_only_some_accounts_see() -> None:
    # All that this table has beside moto's.
    some = {name: region.zones_of_some for name, region in REGIONS.items() if region.zones_of_some}
    assert some == {
        "ap-northeast-1": ("ap-northeast-1b",),
        "us-west-1": ("us-west-1c",),
        "eu-west-2": ("eu-west-2d",),
    }


def test_every_region_has_two_zones_to_choose_by_default() -> None:
    assert all(len(region.zones) >= 2 for region in REGIONS.values())


def test_zones_in_order() -> None:
    assert find("us-east-1").zones[:2] == ("us-east-1a", "us-east-1b")
    assert find("ap-northeast-1").zones == ("ap-northeast-1a", "ap-northeast-1c", "ap-northeast-1d")
    assert find("ca-central-1").zones == ("ca-central-1a", "ca-central-1b", "ca-central-1d")


@pytest.mark.parametrize(
    ("typed", "reason", "fix"),
    [
        ("us-east1", 'AWS has no region "us-east1"', "Did you mean us-east-1?"),
        ("US-EAST-1", 'AWS has no region "US-EAST-1"', "Did you mean us-east-1?"),
        ("us-east-1a", "us-east-1a is an Availability Zone", "Did you mean us-east-1?"),
        ("cn-north-1", "other partitions", "Choose a region of the aws partition"),
        ("us-gov-west-1", "other partitions", "Choose a region of the aws partition"),
        ("eusc-de-east-1", "other partitions", "Choose a region of the aws partition"),
        ("ap-southeast-6", "newer than the pinned AWS provider", "Choose one of"),
        ("moon", 'AWS has no region "moon"', "Choose one of"),
    ],
)
def test_a_region_that_cannot_be_used(typed: str, reason: str, fix: str) -> None:
    with pytest.raises(RefusedError) as refused:
        find(typed)
    assert reason in refused.value.reason
    assert refused.value.fix.startswith(fix)


def test_state_is_not_kept_where_the_backend_refuses() -> None:
    assert find("ap-east-2").name == "ap-east-2"
    assert state_region("ap-east-1") == "ap-east-1"
    with pytest.raises(RefusedError, match=r"S3 backend of Terraform 1\.11"):
        state_region("ap-east-2")


def test_region_of_zone() -> None:
    home = region_of_zone("eu-west-1c")
    assert home is not None
    assert home.name == "eu-west-1"
    assert region_of_zone("eu-west-1z") is None
    assert region_of_zone("") is None


@pytest.mark.parametrize("zone", ["us-east-1a", "us-east-1f"])
def test_a_zone_of_its_region(zone: str) -> None:
    assert check_zone(zone, find("us-east-1")) == zone


def test_a_zone_that_only_some_accounts_see_can_be_chosen() -> None:
    assert check_zone("us-west-1c", find("us-west-1")) == "us-west-1c"


@pytest.mark.parametrize(
    ("zone", "reason"),
    [
        ("us-west-2a", "us-west-2a is a zone of us-west-2, but the region is us-east-2."),
        ("us-east-2d", 'us-east-2 has no Availability Zone "us-east-2d".'),
        ("us-east-2", 'us-east-2 has no Availability Zone "us-east-2".'),
        ("use2-az1", "use2-az1 is the id of an Availability Zone; this must be its name."),
    ],
)
def test_a_zone_that_the_region_does_not_have(zone: str, reason: str) -> None:
    with pytest.raises(RefusedError) as refused:
        check_zone(zone, find("us-east-2"))
    assert refused.value.reason == reason
    assert "us-east-2a, us-east-2b, us-east-2c" in refused.value.fix
