"""The shared file system. It stores checkpoints and traces, so losing it is the worst failure."""

from collections.abc import Sequence

from cdktf import ITerraformDependable, TerraformResourceLifecycle
from cdktf_cdktf_provider_aws.efs_access_point import (
    EfsAccessPoint,
    EfsAccessPointPosixUser,
    EfsAccessPointRootDirectory,
    EfsAccessPointRootDirectoryCreationInfo,
)
from cdktf_cdktf_provider_aws.efs_backup_policy import (
    EfsBackupPolicy,
    EfsBackupPolicyBackupPolicy,
)
from cdktf_cdktf_provider_aws.efs_file_system import (
    EfsFileSystem,
    EfsFileSystemLifecyclePolicy,
)
from cdktf_cdktf_provider_aws.efs_file_system_policy import EfsFileSystemPolicy
from cdktf_cdktf_provider_aws.efs_mount_target import EfsMountTarget
from constructs import Construct

from constructs_lib.deployment import Deployment
from constructs_lib.iam import policy_document

# The first regular user of Ubuntu's images and of SageMaker notebooks, so that both can change each other's files.
TRAINING_UID = 1000


class SharedFileSystem(Construct):
    """Create a One Zone EFS: encrypted, backed up, protected from destroy, and reachable only over TLS with IAM.

    Machines mount it through one access point (`/ml` of the file system, as uid 1000), so none has root access.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        deployment: Deployment,
        availability_zone: str,
        subnet_id: str,
        security_group_id: str,
        allow_destroy: bool,
        restored_folder: str | None,
        depends_on: Sequence[ITerraformDependable],
    ) -> None:
        super().__init__(scope, id)
        lifecycle = None if allow_destroy else TerraformResourceLifecycle(prevent_destroy=True)
        self.file_system = EfsFileSystem(
            self,
            "core",
            creation_token=deployment.prefixed("gaudi_ml_core_efs"),
            availability_zone_name=availability_zone,
            encrypted=True,
            # Bursting gave 150 KiB/s per GiB, too slow for the GPUs. Elastic requires generalPurpose:
            # https://docs.aws.amazon.com/efs/latest/ug/performance.html
            throughput_mode="elastic",
            performance_mode="generalPurpose",
            lifecycle_policy=[EfsFileSystemLifecyclePolicy(transition_to_ia="AFTER_30_DAYS")],
            tags={"Name": deployment.prefixed("gaudi_ml_core_efs")},
            lifecycle=lifecycle,
        )
        satellites = Construct(self, "satellites")
        EfsBackupPolicy(
            satellites,
            "core",
            file_system_id=self.file_system.id,
            backup_policy=EfsBackupPolicyBackupPolicy(status="ENABLED"),
        )
        # A file system policy without an Allow also denies every client without an IAM identity:
        # https://docs.aws.amazon.com/efs/latest/ug/iam-access-control-nfs-efs.html
        EfsFileSystemPolicy(
            Construct(self, "policy"),
            "core",
            file_system_id=self.file_system.id,
            policy=policy_document(
                {
                    "Sid": "TlsOnly",
                    "Effect": "Deny",
                    "Principal": {"AWS": "*"},
                    "Action": "*",
                    "Resource": self.file_system.arn,
                    "Condition": {"Bool": {"aws:SecureTransport": "false"}},
                }
            ),
        )
        self.access_point = EfsAccessPoint(
            Construct(self, "access"),
            "core",
            file_system_id=self.file_system.id,
            posix_user=EfsAccessPointPosixUser(uid=TRAINING_UID, gid=TRAINING_UID),
            root_directory=EfsAccessPointRootDirectory(
                path="/ml",
                creation_info=EfsAccessPointRootDirectoryCreationInfo(
                    owner_uid=TRAINING_UID, owner_gid=TRAINING_UID, permissions="0755"
                ),
            ),
            tags={"Name": deployment.prefixed("ml")},
        )
        self.restored = self._restored(restored_folder, deployment) if restored_folder else None
        self.mount_target = EfsMountTarget(
            self,
            "ds_core_mnt_target",
            file_system_id=self.file_system.id,
            subnet_id=subnet_id,
            security_groups=[security_group_id],
            depends_on=list(depends_on),
            # A changed network would detach it from running machines: Terraform refuses that plan.
            lifecycle=lifecycle,
        )

    def _restored(self, folder: str, deployment: Deployment) -> EfsAccessPoint:
        """Create an access point to the folder that AWS Backup restored outside `/ml`; "/" for the whole file system.

        The folder exists already, with its owner. A misspelled one is not created, so mounting it fails.
        """
        return EfsAccessPoint(
            Construct(self, "restore"),
            "restored",
            file_system_id=self.file_system.id,
            posix_user=EfsAccessPointPosixUser(uid=TRAINING_UID, gid=TRAINING_UID),
            root_directory=EfsAccessPointRootDirectory(path="/" if folder == "/" else f"/{folder}/ml"),
            tags={"Name": deployment.prefixed("restored")},
        )
