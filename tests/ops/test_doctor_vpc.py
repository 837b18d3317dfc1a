"""`ops doctor` on what others have put into the VPC, which a destroy would meet."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from embedded_aws import control
from tests.ops.aws_support import BUCKET, Person, clear

pytestmark = pytest.mark.system


@pytest.fixture
def person(empty_endpoint: control.Endpoint, tmp_path: Path) -> Person:
    clear(empty_endpoint)
    person = Person(tmp_path, empty_endpoint)
    person.write()
    person.aws("s3").create_bucket(Bucket=BUCKET)
    return person


def tagged(kind: str, **tags: str) -> list[dict[str, Any]]:
    return [{"ResourceType": kind, "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}]


def deployed_vpc(person: Person) -> str:
    """mlcore's VPC with an endpoint and a group of its own, and a state that knows of it."""
    ec2 = person.aws("ec2")
    vpc: str = ec2.create_vpc(CidrBlock="10.20.0.0/20")["Vpc"]["VpcId"]
    ec2.create_vpc_endpoint(
        VpcId=vpc,
        ServiceName="com.amazonaws.us-east-1.s3",
        TagSpecifications=tagged("vpc-endpoint", deployment="ml-core"),
    )
    ec2.create_security_group(
        GroupName="ours",
        Description="x",
        VpcId=vpc,
        TagSpecifications=tagged("security-group", deployment="ml-core"),
    )
    resource = {"mode": "managed", "type": "aws_vpc", "name": "core", "instances": [{"attributes": {"id": vpc}}]}
    document = {"version": 4, "serial": 1, "lineage": "l", "outputs": {}, "resources": [resource]}
    key = "ml-core/ml-core/us-east-1/mlcore.tfstate"
    person.aws("s3").put_object(Bucket=BUCKET, Key=key, Body=json.dumps(document))
    return vpc


def said_of_it(person: Person) -> list[tuple[str, str]]:
    findings = person.ops("doctor", "mlcore", "--json").document["findings"]
    return [(each["state"], each["detail"]) for each in findings if each["subject"] == "VPC"]


def test_guarddutys_endpoint_and_group_are_named_with_the_commands(person: Person) -> None:
    vpc = deployed_vpc(person)
    ec2 = person.aws("ec2")
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.20.1.0/24")["Subnet"]["SubnetId"]
    group = ec2.create_security_group(
        GroupName=f"GuardDutyManagedSecurityGroup-{vpc}",
        Description="x",
        VpcId=vpc,
        TagSpecifications=tagged("security-group", GuardDutyManaged="true"),
    )["GroupId"]
    endpoint = ec2.create_vpc_endpoint(
        VpcId=vpc,
        VpcEndpointType="Interface",
        ServiceName="com.amazonaws.us-east-1.guardduty-data",
        SubnetIds=[subnet],
        SecurityGroupIds=[group],
        TagSpecifications=tagged("vpc-endpoint", GuardDutyManaged="true"),
    )["VpcEndpoint"]["VpcEndpointId"]

    ((state, detail),) = said_of_it(person)

    assert state == "ok"  # no deploy fails by it
    assert f"GuardDuty created {endpoint}, {group} in {vpc}, so cdktf destroy mlcore would fail" in detail
    commands = [shlex.split(each) for each in detail.partition("then run: ")[2].split("; ")]
    region = ["--region", "us-east-1"]
    assert commands == [
        ["aws", "ec2", "delete-vpc-endpoints", *region, "--vpc-endpoint-ids", endpoint],
        ["aws", "ec2", "delete-security-group", *region, "--group-id", group],
    ]

    ec2.delete_vpc_endpoints(VpcEndpointIds=[endpoint])
    ec2.delete_security_group(GroupId=group)
    assert said_of_it(person) == []


def test_without_a_deployment_there_is_nothing_to_say(person: Person) -> None:
    assert said_of_it(person) == []
