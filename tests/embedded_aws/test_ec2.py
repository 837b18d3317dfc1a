"""EC2 and EBS, each as https://docs.aws.amazon.com/AWSEC2/latest/APIReference/ documents it."""

import itertools
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from embedded_aws.control import Endpoint
from tests.embedded_aws.conftest import ClientFactory

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ssm import SSMClient

UBUNTU_24_04 = "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Network:
    subnet_id: str
    group_a: str
    group_b: str


@pytest.fixture
def network(ec2: "EC2Client") -> Network:
    vpc_id = ec2.create_vpc(CidrBlock="10.20.0.0/20")["Vpc"]["VpcId"]
    subnet_id = ec2.create_subnet(VpcId=vpc_id, CidrBlock="10.20.1.0/24", AvailabilityZone="us-east-1a")["Subnet"][
        "SubnetId"
    ]
    groups = [
        ec2.create_security_group(GroupName=name, Description=name, VpcId=vpc_id)["GroupId"] for name in ("a", "b")
    ]
    return Network(subnet_id, *groups)


@pytest.fixture(scope="module")
def image_id(ssm: "SSMClient") -> str:
    return ssm.get_parameter(Name=UBUNTU_24_04)["Parameter"]["Value"]


def launch(ec2: "EC2Client", image_id: str, **options: Any) -> str:
    reservation = ec2.run_instances(ImageId=image_id, MinCount=1, MaxCount=1, InstanceType="t3.nano", **options)
    return reservation["Instances"][0]["InstanceId"]


def instance(ec2: "EC2Client", instance_id: str) -> Any:
    return ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]


def volumes(ec2: "EC2Client", instance_id: str) -> dict[str, Any]:
    found = ec2.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [instance_id]}])["Volumes"]
    return {volume["Attachments"][0]["Device"]: volume for volume in found}


# --- images


def test_a_public_parameter_names_an_image_that_exists(ec2: "EC2Client", image_id: str) -> None:
    (image,) = ec2.describe_images(ImageIds=[image_id])["Images"]
    assert image["Name"].startswith("ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-")
    assert (image["OwnerId"], image["Architecture"], image["State"]) == ("099720109477", "x86_64", "available")
    assert image["RootDeviceName"] == "/dev/sda1"
    assert image["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"] == 8


def test_an_image_is_found_by_owner_and_name_pattern(ec2: "EC2Client", image_id: str) -> None:
    pattern = "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-*"
    found = ec2.describe_images(Owners=["099720109477"], Filters=[{"Name": "name", "Values": [pattern]}])["Images"]
    assert [image["ImageId"] for image in found] == [image_id]


def test_image_ids_differ_by_region_and_are_known_there(client: ClientFactory, image_id: str) -> None:
    other = client("ssm", "eu-central-1").get_parameter(Name=UBUNTU_24_04)["Parameter"]["Value"]
    assert other != image_id
    assert len(client("ec2", "eu-central-1").describe_images(ImageIds=[other])["Images"]) == 1


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"ImageId": "ami-0123456789abcdef0"}, "InvalidAMIID.NotFound"),
        ({"KeyName": "nobody-made-it"}, "InvalidKeyPair.NotFound"),
    ],
)
def test_unknown_images_and_key_pairs_are_refused(
    ec2: "EC2Client", image_id: str, network: Network, options: dict[str, str], code: str
) -> None:
    arguments: dict[str, Any] = {"ImageId": image_id, "SubnetId": network.subnet_id, **options}
    with pytest.raises(ClientError) as refused:
        ec2.run_instances(MinCount=1, MaxCount=1, **arguments)
    assert refused.value.response["Error"]["Code"] == code


# --- volumes of a new instance


def test_a_root_device_without_size_takes_the_size_of_the_image(
    ec2: "EC2Client", image_id: str, network: Network
) -> None:
    mapping = {"DeviceName": "/dev/sda1", "Ebs": {"Encrypted": True, "VolumeType": "gp3"}}
    instance_id = launch(ec2, image_id, SubnetId=network.subnet_id, BlockDeviceMappings=[mapping])
    root = volumes(ec2, instance_id)["/dev/sda1"]
    assert (root["Size"], root["VolumeType"], root["Encrypted"]) == (8, "gp3", True)
    assert (root["Iops"], root["Throughput"]) == (3000, 125)  # what gp3 has when nothing is asked for
    assert instance(ec2, instance_id)["BlockDeviceMappings"][0]["Ebs"]["DeleteOnTermination"] is True  # as the image


def test_iops_and_throughput_of_a_root_device_are_kept(ec2: "EC2Client", image_id: str, network: Network) -> None:
    ebs = {"VolumeSize": 130, "VolumeType": "gp3", "Iops": 4000, "Throughput": 250}
    mapping = {"DeviceName": "/dev/sda1", "Ebs": ebs}
    root = volumes(ec2, launch(ec2, image_id, SubnetId=network.subnet_id, BlockDeviceMappings=[mapping]))["/dev/sda1"]
    assert (root["Size"], root["Iops"], root["Throughput"]) == (130, 4000, 250)


def test_another_device_comes_beside_the_root_device_of_the_image(
    ec2: "EC2Client", image_id: str, network: Network
) -> None:
    mapping = {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 20}}
    found = volumes(ec2, launch(ec2, image_id, SubnetId=network.subnet_id, BlockDeviceMappings=[mapping]))
    assert {device: volume["Size"] for device, volume in found.items()} == {"/dev/sda1": 8, "/dev/sdf": 20}


def test_another_device_needs_a_size_or_a_snapshot(ec2: "EC2Client", image_id: str, network: Network) -> None:
    mapping = {"DeviceName": "/dev/sdf", "Ebs": {"VolumeType": "gp3"}}
    with pytest.raises(ClientError) as refused:
        launch(ec2, image_id, SubnetId=network.subnet_id, BlockDeviceMappings=[mapping])
    assert refused.value.response["Error"]["Code"] == "MissingParameter"


# --- attributes


def test_changing_the_shutdown_behavior_leaves_the_security_groups(
    ec2: "EC2Client", image_id: str, network: Network
) -> None:
    instance_id = launch(ec2, image_id, SubnetId=network.subnet_id, SecurityGroupIds=[network.group_a, network.group_b])
    ec2.modify_instance_attribute(InstanceId=instance_id, InstanceInitiatedShutdownBehavior={"Value": "terminate"})
    attribute = ec2.describe_instance_attribute(InstanceId=instance_id, Attribute="instanceInitiatedShutdownBehavior")
    assert attribute["InstanceInitiatedShutdownBehavior"] == {"Value": "terminate"}
    groups = {group["GroupId"] for group in instance(ec2, instance_id)["SecurityGroups"]}
    assert groups == {network.group_a, network.group_b}


def test_an_attribute_that_is_not_implemented_is_refused_and_changes_nothing(
    ec2: "EC2Client", image_id: str, network: Network
) -> None:
    instance_id = launch(ec2, image_id, SubnetId=network.subnet_id, SecurityGroupIds=[network.group_a])
    with pytest.raises(ClientError) as refused:
        ec2.modify_instance_attribute(InstanceId=instance_id, EnaSupport={"Value": True})
    assert refused.value.response["Error"]["Code"] == "NotImplementedByEmbeddedAWS"
    assert [group["GroupId"] for group in instance(ec2, instance_id)["SecurityGroups"]] == [network.group_a]


def test_new_security_groups_replace_the_old_ones_on_instance_and_interface(
    ec2: "EC2Client", image_id: str, network: Network
) -> None:
    instance_id = launch(ec2, image_id, SubnetId=network.subnet_id, SecurityGroupIds=[network.group_a])
    ec2.modify_instance_attribute(InstanceId=instance_id, Groups=[network.group_b])
    shown = instance(ec2, instance_id)
    assert [group["GroupId"] for group in shown["SecurityGroups"]] == [network.group_b]
    assert [group["GroupId"] for group in shown["NetworkInterfaces"][0]["Groups"]] == [network.group_b]


def test_groups_changed_on_the_interface_show_on_the_instance(
    ec2: "EC2Client", image_id: str, network: Network
) -> None:
    instance_id = launch(ec2, image_id, SubnetId=network.subnet_id, SecurityGroupIds=[network.group_a])
    interface_id = instance(ec2, instance_id)["NetworkInterfaces"][0]["NetworkInterfaceId"]
    ec2.modify_network_interface_attribute(NetworkInterfaceId=interface_id, Groups=[network.group_b])
    assert [group["GroupId"] for group in instance(ec2, instance_id)["SecurityGroups"]] == [network.group_b]


def test_a_second_interface_shows_its_own_groups_only(ec2: "EC2Client", image_id: str, network: Network) -> None:
    instance_id = launch(ec2, image_id, SubnetId=network.subnet_id, SecurityGroupIds=[network.group_a])
    made = ec2.create_network_interface(SubnetId=network.subnet_id, Groups=[network.group_b])
    interface_id = made["NetworkInterface"]["NetworkInterfaceId"]
    ec2.attach_network_interface(InstanceId=instance_id, NetworkInterfaceId=interface_id, DeviceIndex=1)
    (interface,) = ec2.describe_network_interfaces(NetworkInterfaceIds=[interface_id])["NetworkInterfaces"]
    assert [group["GroupId"] for group in interface["Groups"]] == [network.group_b]


def test_an_instance_shows_the_groups_given_with_its_interface(
    ec2: "EC2Client", image_id: str, network: Network
) -> None:
    interface: Any = {"DeviceIndex": 0, "SubnetId": network.subnet_id, "Groups": [network.group_a, network.group_b]}
    instance_id = launch(ec2, image_id, NetworkInterfaces=[interface])
    groups = {group["GroupId"] for group in instance(ec2, instance_id)["SecurityGroups"]}
    assert groups == {network.group_a, network.group_b}


@pytest.mark.parametrize("public", [True, False])
def test_an_interface_has_an_association_only_with_a_public_address(
    ec2: "EC2Client", image_id: str, network: Network, public: bool
) -> None:
    interface: Any = {"DeviceIndex": 0, "SubnetId": network.subnet_id, "AssociatePublicIpAddress": public}
    found = instance(ec2, launch(ec2, image_id, NetworkInterfaces=[interface]))
    assert ("PublicIpAddress" in found) is public
    assert ("Association" in found["NetworkInterfaces"][0]) is public
    assert ("Association" in found["NetworkInterfaces"][0]["PrivateIpAddresses"][0]) is public


def test_detailed_monitoring_is_switched_on_and_off(ec2: "EC2Client", image_id: str, network: Network) -> None:
    instance_id = launch(ec2, image_id, SubnetId=network.subnet_id)
    assert instance(ec2, instance_id)["Monitoring"]["State"] == "disabled"
    (started,) = ec2.monitor_instances(InstanceIds=[instance_id])["InstanceMonitorings"]
    assert (started["InstanceId"], started["Monitoring"]["State"]) == (instance_id, "pending")
    assert instance(ec2, instance_id)["Monitoring"]["State"] == "enabled"
    (ended,) = ec2.unmonitor_instances(InstanceIds=[instance_id])["InstanceMonitorings"]
    assert ended["Monitoring"]["State"] == "disabling"
    assert instance(ec2, instance_id)["Monitoring"]["State"] == "disabled"


# --- termination


def test_termination_protection_given_at_launch_is_kept(ec2: "EC2Client", image_id: str, network: Network) -> None:
    instance_id = launch(ec2, image_id, SubnetId=network.subnet_id, DisableApiTermination=True)
    with pytest.raises(ClientError) as refused:
        ec2.terminate_instances(InstanceIds=[instance_id])
    assert refused.value.response["Error"]["Code"] == "OperationNotPermitted"
    assert instance(ec2, instance_id)["State"]["Name"] == "running"


@pytest.mark.parametrize("by_interface", [False, True])
def test_termination_deletes_the_interface_made_for_the_instance(
    ec2: "EC2Client", image_id: str, network: Network, by_interface: bool
) -> None:
    interface: Any = {"DeviceIndex": 0, "SubnetId": network.subnet_id}
    options: dict[str, Any] = {"NetworkInterfaces": [interface]} if by_interface else {"SubnetId": network.subnet_id}
    instance_id = launch(ec2, image_id, **options)
    ec2.terminate_instances(InstanceIds=[instance_id])
    in_subnet: Any = [{"Name": "subnet-id", "Values": [network.subnet_id]}]
    assert ec2.describe_network_interfaces(Filters=in_subnet)["NetworkInterfaces"] == []
    terminated = instance(ec2, instance_id)
    assert (terminated["NetworkInterfaces"], terminated["SecurityGroups"]) == ([], [])


def test_an_interface_made_before_the_instance_outlives_it_detached(
    ec2: "EC2Client", image_id: str, network: Network
) -> None:
    made = ec2.create_network_interface(SubnetId=network.subnet_id, Groups=[network.group_a])
    interface_id = made["NetworkInterface"]["NetworkInterfaceId"]
    instance_id = launch(ec2, image_id, NetworkInterfaces=[{"DeviceIndex": 0, "NetworkInterfaceId": interface_id}])
    ec2.terminate_instances(InstanceIds=[instance_id])
    (interface,) = ec2.describe_network_interfaces(NetworkInterfaceIds=[interface_id])["NetworkInterfaces"]
    assert interface["Status"] == "available"
    assert "Attachment" not in interface


# --- security group rules


def test_the_description_of_a_rule_that_refers_to_a_group_is_kept(ec2: "EC2Client", network: Network) -> None:
    pair: Any = {"GroupId": network.group_b, "Description": "NFS from b"}
    permission: Any = {"IpProtocol": "tcp", "FromPort": 2049, "ToPort": 2049, "UserIdGroupPairs": [pair]}
    ec2.authorize_security_group_ingress(GroupId=network.group_a, IpPermissions=[permission])
    by_group: Any = [{"Name": "group-id", "Values": [network.group_a]}]
    rules = ec2.describe_security_group_rules(Filters=by_group)["SecurityGroupRules"]
    assert [rule["Description"] for rule in rules if not rule["IsEgress"]] == ["NFS from b"]
    (group,) = ec2.describe_security_groups(GroupIds=[network.group_a])["SecurityGroups"]
    assert group["IpPermissions"][0]["UserIdGroupPairs"][0]["Description"] == "NFS from b"


# --- volumes and snapshots


@pytest.fixture
def data_volume(ec2: "EC2Client") -> Iterator[str]:
    volume_id = ec2.create_volume(
        AvailabilityZone="us-east-1a", Size=50, VolumeType="gp3", Iops=8000, Throughput=1000, Encrypted=True
    )["VolumeId"]
    yield volume_id
    ec2.delete_volume(VolumeId=volume_id)


def test_a_gp3_volume_keeps_what_was_asked_for(ec2: "EC2Client", data_volume: str) -> None:
    (volume,) = ec2.describe_volumes(VolumeIds=[data_volume])["Volumes"]
    assert (volume["Size"], volume["Iops"], volume["Throughput"], volume["Encrypted"]) == (50, 8000, 1000, True)


def test_a_gp3_volume_has_3000_iops_and_125_mib_a_second_by_default(ec2: "EC2Client") -> None:
    volume = ec2.create_volume(AvailabilityZone="us-east-1a", Size=1, VolumeType="gp3")
    assert (volume["Iops"], volume["Throughput"]) == (3000, 125)


def test_a_volume_is_restored_from_a_tagged_snapshot(ec2: "EC2Client", data_volume: str) -> None:
    name = f"snapshot-{next(_numbers)}"
    tags: Any = [{"ResourceType": "snapshot", "Tags": [{"Key": "Name", "Value": name}]}]
    snapshot_id = ec2.create_snapshot(VolumeId=data_volume, TagSpecifications=tags)["SnapshotId"]
    by_name: Any = [{"Name": "tag:Name", "Values": [name]}]
    (snapshot,) = ec2.describe_snapshots(OwnerIds=["self"], Filters=by_name)["Snapshots"]
    assert (snapshot["SnapshotId"], snapshot["VolumeSize"], snapshot["Encrypted"]) == (snapshot_id, 50, True)

    restored = ec2.create_volume(AvailabilityZone="us-east-1b", SnapshotId=snapshot_id, VolumeType="gp3")
    (original,) = ec2.describe_volumes(VolumeIds=[data_volume])["Volumes"]
    assert (restored["Size"], restored["Encrypted"], restored["SnapshotId"]) == (50, True, snapshot_id)
    assert restored["KmsKeyId"] == original["KmsKeyId"] == snapshot["KmsKeyId"]


def test_a_snapshot_keeps_its_size_when_the_volume_grows(ec2: "EC2Client", data_volume: str) -> None:
    snapshot_id = ec2.create_snapshot(VolumeId=data_volume)["SnapshotId"]
    ec2.modify_volume(VolumeId=data_volume, Size=80)
    assert ec2.describe_snapshots(SnapshotIds=[snapshot_id])["Snapshots"][0]["VolumeSize"] == 50


def optimized(endpoint: Endpoint) -> None:
    """The hours after a change of a volume are over."""
    request = urllib.request.Request(f"{endpoint.url}/_embedded/optimized", method="POST")
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
        assert answer.status == 200


def refused(call: Callable[..., object], **arguments: Any) -> tuple[str, str]:
    """Code and message of the refusal."""
    with pytest.raises(ClientError) as error:
        call(**arguments)
    found = error.value.response["Error"]
    return found["Code"], found["Message"]


def test_a_volume_is_not_changed_while_a_change_is_not_completed(
    ec2: "EC2Client", endpoint: Endpoint, data_volume: str
) -> None:
    ec2.modify_volume(VolumeId=data_volume, Size=60)
    (shown,) = ec2.describe_volumes_modifications(VolumeIds=[data_volume])["VolumesModifications"]
    assert (shown["ModificationState"], shown["TargetSize"], "EndTime" in shown) == ("optimizing", 60, False)
    assert ec2.describe_volumes(VolumeIds=[data_volume])["Volumes"][0]["Size"] == 60

    # What hashicorp/aws sends when nothing but final_snapshot changes: the throughput that the volume has.
    code, message = refused(ec2.modify_volume, VolumeId=data_volume, Throughput=1000)
    assert code == "IncorrectModificationState"
    assert message == f"Volume {data_volume} cannot be modified in modification state OPTIMIZING"

    optimized(endpoint)
    (shown,) = ec2.describe_volumes_modifications(VolumeIds=[data_volume])["VolumesModifications"]
    assert (shown["ModificationState"], shown["Progress"]) == ("completed", 100)
    ec2.modify_volume(VolumeId=data_volume, Throughput=1000)


def test_a_volume_is_changed_four_times_a_day(ec2: "EC2Client", endpoint: Endpoint, data_volume: str) -> None:
    for size in (51, 52, 53, 54):
        ec2.modify_volume(VolumeId=data_volume, Size=size)
        optimized(endpoint)
    code, message = refused(ec2.modify_volume, VolumeId=data_volume, Size=55)
    assert code == "VolumeModificationRateExceeded"
    assert message.startswith("You've reached the maximum modification rate per volume limit.")


def test_a_volume_never_becomes_smaller(ec2: "EC2Client", data_volume: str) -> None:
    assert refused(ec2.modify_volume, VolumeId=data_volume, Size=49) == (
        "InvalidParameterValue",
        "New size cannot be smaller than existing size",
    )


def test_a_volume_is_not_smaller_than_its_snapshot(ec2: "EC2Client", data_volume: str) -> None:
    snapshot_id = ec2.create_snapshot(VolumeId=data_volume)["SnapshotId"]
    code, message = refused(ec2.create_volume, AvailabilityZone="us-east-1a", Size=49, SnapshotId=snapshot_id)
    assert code == "InvalidParameterValue"
    assert message == f"Volume of size 49GB is smaller than snapshot '{snapshot_id}', expect size >= 50GB"
    assert ec2.create_volume(AvailabilityZone="us-east-1a", Size=50, SnapshotId=snapshot_id)["Size"] == 50


def test_a_root_volume_is_not_smaller_than_its_image(ec2: "EC2Client", image_id: str, network: Network) -> None:
    small: Any = [{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 7}}]
    code, message = refused(
        ec2.run_instances, ImageId=image_id, MinCount=1, MaxCount=1, InstanceType="t3.nano",
        SubnetId=network.subnet_id, BlockDeviceMappings=small,
    )  # fmt: skip
    assert code == "InvalidBlockDeviceMapping"
    assert "expect size >= 8GB" in message


def test_own_snapshots_do_not_include_those_of_public_images(ec2: "EC2Client", data_volume: str, image_id: str) -> None:
    (image,) = ec2.describe_images(ImageIds=[image_id])["Images"]
    image_snapshot = image["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    own_snapshot = ec2.create_snapshot(VolumeId=data_volume)["SnapshotId"]
    own = [snapshot["SnapshotId"] for snapshot in ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]]
    canonical = [snapshot["SnapshotId"] for snapshot in ec2.describe_snapshots(OwnerIds=["099720109477"])["Snapshots"]]
    assert own_snapshot in own
    assert image_snapshot not in own
    assert image_snapshot in canonical


# --- NAT gateways


def test_deleting_a_nat_gateway_frees_its_address_and_deletes_its_interface(ec2: "EC2Client", network: Network) -> None:
    allocation_id = ec2.allocate_address(Domain="vpc")["AllocationId"]
    made = ec2.create_nat_gateway(SubnetId=network.subnet_id, AllocationId=allocation_id)["NatGateway"]
    assert "AssociationId" in ec2.describe_addresses(AllocationIds=[allocation_id])["Addresses"][0]
    ec2.delete_nat_gateway(NatGatewayId=made["NatGatewayId"])
    assert "AssociationId" not in ec2.describe_addresses(AllocationIds=[allocation_id])["Addresses"][0]
    in_subnet: Any = [{"Name": "subnet-id", "Values": [network.subnet_id]}]
    assert ec2.describe_network_interfaces(Filters=in_subnet)["NetworkInterfaces"] == []
