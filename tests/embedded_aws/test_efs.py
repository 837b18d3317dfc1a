"""EFS, as https://docs.aws.amazon.com/efs/latest/ug/api-reference.html documents it."""

import json
import uuid
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_efs import EFSClient

MISSING = "fs-0123456789abcdef0"


@pytest.fixture
def file_system_id(efs: "EFSClient") -> str:
    return efs.create_file_system(CreationToken=uuid.uuid4().hex)["FileSystemId"]


def test_a_backup_policy_is_stored_and_can_be_disabled(efs: "EFSClient", file_system_id: str) -> None:
    answer = efs.put_backup_policy(FileSystemId=file_system_id, BackupPolicy={"Status": "ENABLED"})
    assert answer["BackupPolicy"] == {"Status": "ENABLED"}
    assert efs.describe_backup_policy(FileSystemId=file_system_id)["BackupPolicy"] == {"Status": "ENABLED"}
    efs.put_backup_policy(FileSystemId=file_system_id, BackupPolicy={"Status": "DISABLED"})
    assert efs.describe_backup_policy(FileSystemId=file_system_id)["BackupPolicy"] == {"Status": "DISABLED"}


def test_a_one_zone_file_system_is_backed_up_by_default_until_disabled(efs: "EFSClient") -> None:
    made = efs.create_file_system(CreationToken=uuid.uuid4().hex, AvailabilityZoneName="us-east-1a")
    assert efs.describe_backup_policy(FileSystemId=made["FileSystemId"])["BackupPolicy"] == {"Status": "ENABLED"}
    efs.put_backup_policy(FileSystemId=made["FileSystemId"], BackupPolicy={"Status": "DISABLED"})
    assert efs.describe_backup_policy(FileSystemId=made["FileSystemId"])["BackupPolicy"] == {"Status": "DISABLED"}


def test_a_one_zone_file_system_is_made_only_where_the_zone_has_it(efs: "EFSClient", ec2: "EC2Client") -> None:
    """use1-az3 has none, and it is another letter in every account."""
    zones = {zone["ZoneId"]: zone["ZoneName"] for zone in ec2.describe_availability_zones()["AvailabilityZones"]}
    with pytest.raises(efs.exceptions.UnsupportedAvailabilityZone):
        efs.create_file_system(CreationToken=uuid.uuid4().hex, AvailabilityZoneName=zones["use1-az3"])
    for id in ("use1-az1", "use1-az2", "use1-az4", "use1-az5", "use1-az6"):
        made = efs.create_file_system(CreationToken=uuid.uuid4().hex, AvailabilityZoneName=zones[id])
        assert made["AvailabilityZoneId"] == id


def test_the_mount_target_of_a_one_zone_file_system_is_in_its_zone(efs: "EFSClient", ec2: "EC2Client") -> None:
    vpc_id = ec2.create_vpc(CidrBlock="10.30.0.0/20")["Vpc"]["VpcId"]
    elsewhere = ec2.create_subnet(VpcId=vpc_id, CidrBlock="10.30.1.0/24", AvailabilityZone="us-east-1b")
    made = efs.create_file_system(CreationToken=uuid.uuid4().hex, AvailabilityZoneName="us-east-1a")
    with pytest.raises(efs.exceptions.AvailabilityZonesMismatch):
        efs.create_mount_target(FileSystemId=made["FileSystemId"], SubnetId=elsewhere["Subnet"]["SubnetId"])
    here = ec2.create_subnet(VpcId=vpc_id, CidrBlock="10.30.2.0/24", AvailabilityZone="us-east-1a")
    efs.create_mount_target(FileSystemId=made["FileSystemId"], SubnetId=here["Subnet"]["SubnetId"])


def test_there_is_no_backup_policy_before_one_is_put(efs: "EFSClient", file_system_id: str) -> None:
    with pytest.raises(efs.exceptions.PolicyNotFound):
        efs.describe_backup_policy(FileSystemId=file_system_id)


def test_a_file_system_policy_is_deleted_and_deleting_none_is_no_error(efs: "EFSClient", file_system_id: str) -> None:
    policy = json.dumps({"Version": "2012-10-17", "Statement": []})
    efs.put_file_system_policy(FileSystemId=file_system_id, Policy=policy)
    assert efs.describe_file_system_policy(FileSystemId=file_system_id)["Policy"] == policy
    for _ in range(2):
        efs.delete_file_system_policy(FileSystemId=file_system_id)
        with pytest.raises(efs.exceptions.PolicyNotFound):
            efs.describe_file_system_policy(FileSystemId=file_system_id)


def test_policies_of_a_missing_file_system_are_refused(efs: "EFSClient") -> None:
    with pytest.raises(efs.exceptions.FileSystemNotFound):
        efs.put_backup_policy(FileSystemId=MISSING, BackupPolicy={"Status": "ENABLED"})
    with pytest.raises(efs.exceptions.FileSystemNotFound):
        efs.describe_backup_policy(FileSystemId=MISSING)
    with pytest.raises(ClientError, match="FileSystemNotFound"):
        efs.delete_file_system_policy(FileSystemId=MISSING)
