"""An EBS volume that is snapshotted on destroy and restored from the snapshot on the next deploy."""

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


class PersistentVolume(Construct):
    """Create `aws_ebs_volume.<id>`: gp3, encrypted. Destroying it takes a snapshot, from which a new one starts.

    name: the tag Name, by which its snapshots are found.
    restore: "latest" (this deployment's newest snapshot of it), "none" (a blank volume) or a snapshot id.
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
            # Every plan looks it up again, but only the creation uses it.
            lifecycle=TerraformResourceLifecycle(ignore_changes=["snapshot_id"]),
            # The destroy waits for the snapshot, and the first snapshot of a full volume takes long.
            timeouts=EbsVolumeTimeouts(delete="3h"),
        )

    def attach(self, id: str, instance_id: str) -> None:
        """Create `aws_volume_attachment.<id>`."""
        VolumeAttachment(
            Construct(self, "attachment"),
            id,
            # EC2 requires a name; the machine finds the volume by its id.
            device_name="/dev/sdh",
            volume_id=self.volume.id,
            instance_id=instance_id,
            # Detaching a mounted volume from a running machine loses unwritten data.
            stop_instance_before_detaching=True,
        )

    def _snapshot(self, id: str, name: str, restore: str, deployment: str) -> str | None:
        if restore == "none":
            return None
        if restore != "latest":
            return restore
        # The ids are sorted newest first. A snapshot that Terraform takes has the volume's tags. An incomplete snapshot
        # is not skipped: EC2 refuses it, which is better than starting from older data without notice.
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
