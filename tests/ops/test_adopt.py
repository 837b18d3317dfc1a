"""ops adopt: what has the names and tags of this deployment, and is in no state. Importing it is tested end to end."""

from typing import Any

import pytest

from tests.ops.aws_support import BUCKET, Person
from tests.ops.test_doctor_names import file_system, has_state, person, role, stacks

__all__ = ["person", "stacks"]

pytestmark = pytest.mark.system


def tagged(kind: str, name: str, *, stack: str = "mlcore", deployment: str = "ml-core") -> list[dict[str, Any]]:
    tags = {"Name": name, "stack": stack, "deployment": deployment}
    return [{"ResourceType": kind, "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}]


def vpc(person: Person, **tags: str) -> str:
    made = person.aws("ec2").create_vpc(
        CidrBlock="10.20.0.0/20", TagSpecifications=tagged("vpc", "ml-core-gaudi_ml_core_vpc", **tags)
    )
    return str(made["Vpc"]["VpcId"])


def subnet(person: Person, of: str) -> str:
    made = person.aws("ec2").create_subnet(
        VpcId=of, CidrBlock="10.20.2.0/24", TagSpecifications=tagged("subnet", "ml-core-subnet_pvt")
    )
    return str(made["Subnet"]["SubnetId"])


def found(person: Person) -> dict[str, list[str]]:
    document = person.ops("adopt", "mlcore", "--json").document
    return {each["address"]: each["ids"] for each in document["found"]}


def test_what_has_a_name_and_what_has_tags_and_what_belongs_to_them(person: Person) -> None:
    network = vpc(person)
    private = subnet(person, network)
    role(person.aws, "ml-core-us-east-1-jump")
    file_system(person.aws, "ml-core-gaudi_ml_core_efs")
    (efs,) = person.aws("efs").describe_file_systems()["FileSystems"]
    target = person.aws("efs").create_mount_target(FileSystemId=efs["FileSystemId"], SubnetId=private)

    assert found(person) == {
        "aws_vpc.core": [network],
        "aws_subnet.subnet_pvt": [private],
        "aws_iam_role.jump": ["ml-core-us-east-1-jump"],
        "aws_efs_file_system.core": [efs["FileSystemId"]],
        "aws_efs_mount_target.ds_core_mnt_target": [target["MountTargetId"]],
    }


def test_nothing_of_others_and_nothing_that_a_state_knows(person: Person) -> None:
    vpc(person, deployment="ada")
    vpc(person, stack="train-model")
    role(person.aws, "ada-us-east-1-jump")
    role(person.aws, "ml-core-us-east-1-jump")
    has_state(person, "mlcore", ("aws_iam_role", "jump"))

    ended = person.ops("adopt", "mlcore")

    assert (ended.status, ended.words) == (0, "every resource of this deployment in AWS is in a state")


def gateway(person: Person) -> str:
    made = person.aws("ec2").create_internet_gateway(TagSpecifications=tagged("internet-gateway", "ml-core-igw"))
    return str(made["InternetGateway"]["InternetGatewayId"])


def test_what_took_the_place_of_one_that_is_gone(person: Person) -> None:
    """A run that was killed while it replaced something: the state has the old id."""
    gone, new = gateway(person), gateway(person)
    person.aws("ec2").delete_internet_gateway(InternetGatewayId=gone)
    has_state(person, "mlcore", ("aws_internet_gateway", "core"), id=gone)

    assert found(person) == {"aws_internet_gateway.core": [new]}


def test_a_twin_of_one_that_is_there_is_left_alone(person: Person) -> None:
    known, _twin = gateway(person), gateway(person)
    has_state(person, "mlcore", ("aws_internet_gateway", "core"), id=known)

    assert found(person) == {}


def test_it_asks_and_without_an_answer_does_nothing(person: Person) -> None:
    network = vpc(person)

    ended = person.ops("adopt", "mlcore", stdin="n\n")

    assert ended.status == 1
    assert f"mlcore: aws_vpc.core {network}" in ended.words
    assert "nothing was imported" in ended.words


def test_what_was_made_twice_is_for_the_person_to_decide(person: Person) -> None:
    two = {vpc(person), vpc(person)}

    document = person.ops("adopt", "mlcore", "--yes", "--json").document

    assert document["adopted"] == []
    (said,) = document["problems"]
    assert "aws_vpc.core exists 2 times" in said
    assert all(id in said for id in two)


def test_a_stack_that_is_locked_is_left_alone(person: Person) -> None:
    vpc(person)
    lock = (
        b'{"ID":"1","Operation":"OperationTypeApply","Who":"a@b","Version":"1.11.4","Created":"2026-11-30T20:00:00Z"}'
    )
    person.aws("s3").put_object(Bucket=BUCKET, Key="ml-core/ml-core/us-east-1/mlcore.tfstate.tflock", Body=lock)

    ended = person.ops("adopt", "mlcore", "--yes")

    assert ended.status == 1
    assert "ops unlock mlcore" in ended.err
