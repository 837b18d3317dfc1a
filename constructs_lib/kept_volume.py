"""An EBS volume whose content outlives it."""

from cdktf import TerraformResourceLifecycle
from cdktf_cdktf_provider_aws.data_aws_ebs_snapshot_ids import (
    DataAwsEbsSnapshotIds,
    DataAwsEbsSnapshotIdsFilter,
)
from cdktf_cdktf_provider_aws.ebs_volume import EbsVolume, EbsVolumeTimeouts
from cdktf_cdktf_provider_aws.volume_attachment import VolumeAttachment
from constructs import Construct

from constructs_lib.base_stack import BaseStack
from constructs_lib.gp3 import Gp3Volume


class KeptVolume(Construct):
    """`aws_ebs_volume.<id>`: gp3, encrypted; a snapshot is taken when it is destroyed, and a new one starts from it.

    name: the tag Name, by which its snapshots are found again.
    restore: "latest" (this deployment's newest snapshot of it), "none" (a blank volume) or a snapshot's id.
    """

    def __init__(
        self,
        stack: BaseStack,
        id: str,
        *,
        name: str,
        availability_zone: str,
        volume: Gp3Volume,
        restore: str,
        snapshot_on_destroy: bool,
    ) -> None:
        super().__init__(stack, f"{id}_volume")
        self.volume = EbsVolume(
            self,
            id,
            availability_zone=availability_zone,
            type="gp3",
            size=volume.size_gb,
            iops=volume.iops,
            throughput=volume.throughput_mbps,
            encrypted=True,
            snapshot_id=self._snapshot(id, name, restore, stack.deployment.name),
            final_snapshot=snapshot_on_destroy,
            tags={"Name": name},
            # Looked up again at every plan, but only the first creation uses it.
            lifecycle=TerraformResourceLifecycle(ignore_changes=["snapshot_id"]),
            # The snapshot is waited for, and a first snapshot of a full volume takes its time.
            timeouts=EbsVolumeTimeouts(delete="3h"),
        )

    def attach(self, id: str, instance_id: str) -> None:
        """`aws_volume_attachment.<id>`."""
        VolumeAttachment(
            Construct(self, "attachment"),
            id,
            # A name EC2 wants; on the machine the volume is found by its id.
            device_name="/dev/sdh",
            volume_id=self.volume.id,
            instance_id=instance_id,
            # Pulling a mounted volume off a running machine loses what was not yet written.
            stop_instance_before_detaching=True,
        )

    def _snapshot(self, id: str, name: str, restore: str, deployment: str) -> str | None:
        if restore == "none":
            return None
        if restore != "latest":
            return restore
        # The ids come newest first. A snapshot that Terraform takes carries the volume's tags. One that is not complete
        # yet is not passed over: EC2 then refuses, which is better than silently starting from older data.
        snapshots = DataAwsEbsSnapshotIds(
            Construct(self, "restore"),
            id,
            owners=["self"],
            filter=[
                DataAwsEbsSnapshotIdsFilter(name="tag:Name", values=[name]),
                DataAwsEbsSnapshotIdsFilter(name="tag:deployment", values=[deployment]),
            ],
        )
        return f"${{try(data.{snapshots.terraform_resource_type}.{snapshots.node.id}.ids[0], null)}}"
