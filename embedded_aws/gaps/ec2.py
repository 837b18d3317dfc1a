"""Elastic Compute Cloud and Elastic Block Store."""

import copy
from collections.abc import Callable
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.exceptions import MissingParameterError
from moto.ec2.models.amis import Ami, AmiBackend
from moto.ec2.models.elastic_block_store import EBSBackend, Snapshot, Volume
from moto.ec2.models.elastic_network_interfaces import NetworkInterface
from moto.ec2.models.instances import Instance
from moto.ec2.models.nat_gateways import NatGateway, NatGatewayBackend
from moto.ec2.models.security_groups import SecurityGroup, SecurityGroupRule
from moto.ec2.responses.elastic_block_store import ElasticBlockStore
from moto.ec2.responses.instances import InstanceResponse
from moto.ec2.responses.monitoring import Monitoring

from embedded_aws.gaps.patching import add, replace, wrap
from embedded_aws.gaps.volumes import refuse_smaller
from embedded_aws.images import IMAGES, PublicImage

_GP3_THROUGHPUT = 125  # MiB/s, https://docs.aws.amazon.com/ebs/latest/userguide/general-purpose.html


# --- images


class _LoadedImage(Ami):
    """An image with a root volume of its own size, where moto gives every image 15 GiB of standard storage."""

    def __init__(self, backend: Any, image: PublicImage) -> None:
        super().__init__(
            backend,
            image.image_id(backend.region_name),
            name=image.name,
            description=image.name,
            owner_id=image.owner_id,
            owner_alias=image.owner_alias,
            public=True,
            virtualization_type="hvm",
            architecture="x86_64",
            image_location=f"{image.owner_alias or image.owner_id}/{image.name}",
            hypervisor="xen",
            root_device_type="ebs",
            boot_mode="uefi-preferred",
        )
        self.ebs_snapshot.volume.size = image.root_gib

    @property
    def block_device_mappings(self) -> list[dict[str, Any]]:
        ebs = {
            "SnapshotId": self.ebs_snapshot.id,
            "VolumeSize": self.ebs_snapshot.volume_size,
            "VolumeType": "gp3",
            "DeleteOnTermination": True,
            "Encrypted": False,
        }
        return [{"DeviceName": self.root_device_name, "Ebs": ebs}]


def load_images(self: AmiBackend) -> None:
    """Answer DescribeImages: the images that the public parameters name, in every region with an id of its own."""
    for image in IMAGES:
        loaded = _LoadedImage(self, image)
        self.amis[loaded.id] = loaded


# --- launching


def parse_block_device_mapping(original: Callable[..., Any], self: InstanceResponse) -> list[dict[str, Any]]:
    """Answer RunInstances BlockDeviceMapping: what the request leaves out comes from the image, whole devices too.

    moto asks for a size where EC2 takes the snapshot's, and drops the image's root volume when another device is
    given. https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_EbsBlockDevice.html
    """
    if self._get_param("LaunchTemplate"):
        return original(self)  # type: ignore[no-any-return]
    images = self.ec2_backend.describe_images(filters={"image-id": self._get_param("ImageId")})
    mappings = {
        mapping["DeviceName"]: dict(mapping["Ebs"]) for image in images for mapping in image.block_device_mappings
    }
    for requested in self._get_param("BlockDeviceMappings", []):
        if "NoDevice" in requested:
            mappings.pop(requested["DeviceName"], None)
        elif "Ebs" in requested:
            ebs = mappings.setdefault(requested["DeviceName"], {"DeleteOnTermination": True})
            ebs.update(requested["Ebs"])
            if "VolumeSize" not in ebs and "SnapshotId" not in ebs:
                raise MissingParameterError("size or snapshotId")
            if "VolumeSize" in ebs and "SnapshotId" in ebs:
                snapshot = self.ec2_backend.get_snapshot(ebs["SnapshotId"])
                refuse_smaller(int(ebs["VolumeSize"]), snapshot, "InvalidBlockDeviceMapping")
    return [{"DeviceName": name, "Ebs": ebs} for name, ebs in mappings.items()]


def run_instances(original: Callable[..., ActionResult], self: InstanceResponse) -> ActionResult:
    """Answer RunInstances: keeps DisableApiTermination, and Iops and Throughput of the volumes."""
    result = original(self)
    reservation: Any = result.result
    for instance in reservation.instances:
        instance.disable_api_termination = bool(self._get_param("DisableApiTermination"))
        for mapping in self._parse_block_device_mapping():
            volume = self.ec2_backend.get_volume(instance.block_device_mapping[mapping["DeviceName"]].volume_id)
            volume.iops = mapping["Ebs"].get("Iops") or volume.iops
            volume.throughput = mapping["Ebs"].get("Throughput") or volume.throughput
    return result


def prep_nics(original: Callable[..., None], self: Instance, nic_spec: list[dict[str, Any]], **rest: Any) -> None:
    """RunInstances NetworkInterface: interfaces made for the instance go with it unless the request says otherwise.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_InstanceNetworkInterfaceSpecification.html
    """
    nic_spec = nic_spec or [{"DeviceIndex": 0}]
    for nic in nic_spec:
        if "NetworkInterfaceId" not in nic:
            nic.setdefault("DeleteOnTermination", True)
    original(self, nic_spec, **rest)


# --- security groups of instances and interfaces


def _get_security_groups(self: Instance) -> list[SecurityGroup]:
    """Answer DescribeInstances groupSet: the groups of interface 0, however they were given or changed.

    A terminated instance has none.
    """
    if self.state == "terminated":
        return []
    nics = getattr(self, "nics", {})
    return nics[0]._group_set if 0 in nics else self._launch_security_groups  # type: ignore[attr-defined,no-any-return]


def _set_security_groups(self: Instance, groups: list[SecurityGroup]) -> None:
    """Answer ModifyInstanceAttribute Groups: replaces the groups of interface 0."""
    self._launch_security_groups = groups  # type: ignore[attr-defined]
    if 0 in getattr(self, "nics", {}):
        self.nics[0]._group_set = list(groups)


def _group_set(self: NetworkInterface) -> list[SecurityGroup]:
    """Answer DescribeNetworkInterfaces groupSet: the interface's own groups, without those of its instance."""
    return self._group_set


def set_shutdown_behavior(original: Callable[..., bool], self: InstanceResponse) -> bool:
    """Answer ModifyInstanceAttribute InstanceInitiatedShutdownBehavior."""
    behavior = self._get_param("InstanceInitiatedShutdownBehavior.Value")
    if behavior is None:
        return original(self)
    self.error_on_dryrun()
    self.ec2_backend.modify_instance_attribute(
        self._get_param("InstanceId"), "instance_initiated_shutdown_behavior", behavior
    )
    return True


def set_groups(original: Callable[..., bool], self: InstanceResponse) -> bool:
    """Answer ModifyInstanceAttribute: leaves the security groups alone when the request has none.

    moto takes every attribute it does not know for an empty list of groups.
    """
    return original(self) if self._get_param("Groups") else False


def _association(original: property) -> property:
    def association(self: NetworkInterface) -> dict[str, Any] | None:
        """DescribeInstances, DescribeNetworkInterfaces association: absent, not empty, without a public address."""
        found: dict[str, Any] = original.__get__(self)
        return found or None

    return property(association)


def _rule_description(self: SecurityGroupRule) -> str | None:
    """Answer DescribeSecurityGroupRules: the description of a rule that refers to a group, not only to a CIDR."""
    return self.ip_range.get("Description") or self.source_group.get("Description")


# --- the rest of an instance's life


def terminate(original: Callable[..., Any], self: Instance) -> Any:
    """Answer TerminateInstances: interfaces that outlive the instance are detached and available again."""
    previous_state = original(self)
    for nic in self.nics.values():
        nic.instance = nic.attachment_id = nic.attach_time = None
        nic.status = "available"
    return previous_state


def _network_interfaces(self: Instance) -> list[NetworkInterface]:
    """Answer DescribeInstances networkInterfaceSet: a terminated instance has none."""
    return [] if self.state == "terminated" else list(self.nics.values())


def _monitoring(enabled: bool) -> Callable[[Monitoring], ActionResult]:
    def answer(self: Monitoring) -> ActionResult:
        self.error_on_dryrun()
        instances = self.ec2_backend.get_multi_instances_by_id(self._get_param("InstanceIds", []))
        for instance in instances:
            instance.monitoring_state = "enabled" if enabled else "disabled"
        state = {"State": "pending" if enabled else "disabling"}
        return ActionResult({"InstanceMonitorings": [{"InstanceId": i.id, "Monitoring": state} for i in instances]})

    answer.__doc__ = f"""{"Monitor" if enabled else "Unmonitor"}Instances: sets detailed monitoring.

    Answers with the state between; DescribeInstances then shows the final one.
    """
    return answer


# --- volumes and snapshots


def create_volume(original: Callable[..., Volume], self: EBSBackend, *args: Any, **kwargs: Any) -> Volume:
    """CreateVolume, RunInstances: the throughput a gp3 volume has when none is given, the key of its snapshot."""
    volume = original(self, *args, **kwargs)
    if volume.volume_type == "gp3":
        volume.throughput = volume.throughput or _GP3_THROUGHPUT
    if volume.snapshot_id and volume.encrypted and not volume.kms_key_id:
        volume.kms_key_id = self.get_snapshot(volume.snapshot_id).kms_key_id
    return volume


def create_snapshot(
    original: Callable[..., Snapshot], self: EBSBackend, volume_id: str, *a: Any, **kw: Any
) -> Snapshot:
    """CreateSnapshot: has the volume's key, and the volume's size of that moment however the volume grows later."""
    snapshot = original(self, volume_id, *a, **kw)
    snapshot.volume = copy.copy(snapshot.volume)
    snapshot.kms_key_id = snapshot.volume.kms_key_id
    return snapshot


def describe_snapshots(self: ElasticBlockStore) -> ActionResult:
    """Answer DescribeSnapshots OwnerIds: account ids, or "self" for the caller's; moto shows those of the images too.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSnapshots.html
    """
    owners = {self.current_account if owner == "self" else owner for owner in self._get_param("OwnerIds", [])}
    snapshots = self.ec2_backend.describe_snapshots(
        snapshot_ids=self._get_param("SnapshotIds", []), filters=self._filters_from_querystring()
    )
    return ActionResult({"Snapshots": [s for s in snapshots if not owners or s.owner_id in owners]})


# --- NAT gateways


def delete_nat_gateway(original: Callable[..., NatGateway], self: Any, nat_gateway_id: str) -> NatGateway:
    """Answer DeleteNatGateway: disassociates the address and deletes the gateway's network interface.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteNatGateway.html
    """
    gateway = original(self, nat_gateway_id)
    for address in self.addresses:
        if address.eni is gateway._eni:
            self.disassociate_address(association_id=address.association_id)
    self.enis.pop(gateway._eni.id, None)
    return gateway


def install() -> None:
    """Put the closures of this module into moto."""
    replace(AmiBackend, "_load_amis", load_images)
    wrap(InstanceResponse, "_parse_block_device_mapping", parse_block_device_mapping)
    wrap(InstanceResponse, "run_instances", run_instances)
    wrap(Instance, "prep_nics", prep_nics)
    add(Instance, "security_groups", property(_get_security_groups, _set_security_groups))
    replace(NetworkInterface, "group_set", property(_group_set))
    replace(NetworkInterface, "association", _association(vars(NetworkInterface)["association"]))
    wrap(InstanceResponse, "_dot_value_instance_attribute_handler", set_shutdown_behavior)
    wrap(InstanceResponse, "_security_grp_instance_attribute_handler", set_groups)
    replace(SecurityGroupRule, "description", property(_rule_description))
    wrap(Instance, "terminate", terminate)
    replace(Instance, "network_interfaces", property(_network_interfaces))
    replace(Monitoring, "monitor_instances", _monitoring(enabled=True))
    replace(Monitoring, "unmonitor_instances", _monitoring(enabled=False))
    wrap(EBSBackend, "create_volume", create_volume)
    wrap(EBSBackend, "create_snapshot", create_snapshot)
    replace(ElasticBlockStore, "describe_snapshots", describe_snapshots)
    wrap(NatGatewayBackend, "delete_nat_gateway", delete_nat_gateway)
