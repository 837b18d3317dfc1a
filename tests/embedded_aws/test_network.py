"""EC2 deletes no VPC and no subnet that holds anything."""

from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client


def test_what_guardduty_left_has_to_go_before_subnet_and_vpc(ec2: "EC2Client") -> None:
    vpc = ec2.create_vpc(CidrBlock="10.20.0.0/20")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.20.1.0/24")["Subnet"]["SubnetId"]
    group = ec2.create_security_group(GroupName=f"GuardDutyManagedSecurityGroup-{vpc}", Description="x", VpcId=vpc)
    endpoint = ec2.create_vpc_endpoint(
        VpcId=vpc,
        VpcEndpointType="Interface",
        ServiceName="com.amazonaws.us-east-1.guardduty-data",
        SubnetIds=[subnet],
        SecurityGroupIds=[group["GroupId"]],
    )["VpcEndpoint"]["VpcEndpointId"]

    with pytest.raises(ClientError, match=r"DependencyViolation.*The subnet '.*' has dependencies"):
        ec2.delete_subnet(SubnetId=subnet)
    ec2.delete_vpc_endpoints(VpcEndpointIds=[endpoint])
    ec2.delete_subnet(SubnetId=subnet)
    with pytest.raises(ClientError, match=r"DependencyViolation.*The vpc '.*' has dependencies"):
        ec2.delete_vpc(VpcId=vpc)
    ec2.delete_security_group(GroupId=group["GroupId"])
    ec2.delete_vpc(VpcId=vpc)

    assert not ec2.describe_vpcs(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["Vpcs"]
