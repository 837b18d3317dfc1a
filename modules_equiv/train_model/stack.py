"""train-model: the training machine, its data volume and its permissions."""

from hashlib import sha256
from pathlib import Path
from typing import Final

from cdktf import Annotations
from cdktf_cdktf_provider_aws.cloudwatch_log_group import CloudwatchLogGroup
from constructs import Construct

from constructs_lib import packed_user_data, user_data
from constructs_lib.base_stack import BaseStack
from constructs_lib.boot_status import BootStatus
from constructs_lib.cloudwatch_agent import NVIDIA, READABLE_PREFIX, AgentConfiguration
from constructs_lib.deployment import Deployment
from constructs_lib.iam import (
    CLOUDWATCH_AGENT,
    EC2,
    SSM_CORE,
    ServiceRole,
    deny_reading_parameters,
    efs_client,
    s3_prefix,
)
from constructs_lib.instance_types import NEURON_ROOT_GIB
from constructs_lib.machine import Machine
from constructs_lib.persistent_volume import PersistentVolume
from modules_equiv.mlcore.outputs import MlCoreOutputs, restored_access_point_arn
from modules_equiv.train_model.config import TrainModelConfig

STACK: Final = "train-model"

_HERE: Final = Path(__file__).parent

# Days. Without a retention time, CloudWatch keeps and bills logs forever.
_LOG_RETENTION_DAYS: Final = 90


class TrainModelStack(BaseStack):
    """Create the worker. Output: `worker_ip_addr`, its private address.

    The data survives: destroying the stack takes a snapshot of the data volume, and the next deploy starts from the
    latest one. restored: mlcore publishes a folder that AWS Backup restored, and the worker may read it.
    """

    def __init__(
        self,
        scope: Construct,
        *,
        deployment: Deployment,
        config: TrainModelConfig,
        key_name: str,
        restored: bool = False,
    ) -> None:
        super().__init__(scope, STACK, deployment=deployment)
        core = MlCoreOutputs.from_remote_state(self, restored=restored)
        machine_type = config.worker
        if machine_type.notice:
            Annotations.of(self).add_warning(machine_type.notice)
        if machine_type.family == "neuron" and not config.ami and config.root_volume.size_gb < NEURON_ROOT_GIB:
            # Only a warning: the size of the image is known when the machine is launched.
            Annotations.of(self).add_warning(
                f"{machine_type.name}: its image needs a root volume of {NEURON_ROOT_GIB} GiB, but "
                f"train_model.root_volume.size_gb is {config.root_volume.size_gb}. EC2 will refuse a volume smaller "
                f"than the image, after the stack's other resources were created. Set it to {NEURON_ROOT_GIB}."
            )

        self.status = BootStatus(self, "worker")
        self.training_log = CloudwatchLogGroup(
            self,
            "training",
            name=f"/ml-infra/{deployment.name}/{STACK}/training",
            retention_in_days=_LOG_RETENTION_DAYS,
        )
        self.access = ServiceRole(
            self,
            "worker",
            deployment=deployment,
            service=EC2,
            name="ml_worker",
            policy_id="worker",
            policy_name="ml_worker",
            statements=[
                efs_client(core.efs_file_system.arn, core.efs_file_system.access_point_arn, write=True),
                *([efs_client(core.efs_file_system.arn, restored_access_point_arn(), write=False)] if restored else []),
                self.status.write,
                # The training code must not read Grafana's password or other secrets.
                deny_reading_parameters(but=f"{READABLE_PREFIX}{deployment.name}-"),
                *s3_prefix(config.data_s3_uri, write=False, key_arn=config.data_s3_kms_key_arn),
                *s3_prefix(config.output_s3_uri, write=True, key_arn=config.output_s3_kms_key_arn),
            ],
            managed_policies={"worker_cloudwatch_agent": CLOUDWATCH_AGENT, "worker_ssm": SSM_CORE},
        )
        core.required_by(self)
        self.gpu_metrics = (
            AgentConfiguration(
                self,
                "cloudwatch_agent_gpu_cfg",
                deployment=deployment,
                name="cw_agent__gpu",
                file=NVIDIA,
            )
            if machine_type.family == "nvidia"
            else None
        )
        self.msls = PersistentVolume(
            self,
            "msls",
            name=f"{deployment.name} MSLS Volume",
            availability_zone=core.subnet_pvt.availability_zone,
            volume=config.data_volume,
            restore=config.data_volume.restore,
            snapshot_on_destroy=config.data_volume.snapshot_on_destroy,
        )
        self.worker = Machine(
            Construct(self, "machine"),
            "worker",
            name=f"{deployment.name} ML Core - Worker Instance",
            instance_type=machine_type.name,
            ami=config.ami,
            image_parameter=machine_type.image_parameter,
            subnet_id=core.subnet_pvt.id,
            security_group_ids=[core.allow_ml_core_sg.id, core.allow_ml_core_egress.id],
            key_name=key_name,
            public_ip=False,
            root_volume=config.root_volume,
            role=self.access,
            user_data_base64=packed_user_data.render(
                values={
                    **self.boot_values(),
                    **core.mount_values(),
                    **self.status.values,
                    "DATA_VOLUME_ID": self.msls.volume.id,
                    "BOOT_PROFILE": machine_type.family,
                    # Replaces the machine if the type needs another image, although changes of the image are ignored.
                    "IMAGE": sha256((config.ami or machine_type.image_parameter).encode()).hexdigest()[:8],
                    "ACCELERATOR_COUNT": str(machine_type.accelerator_count),
                    "CLOUDWATCH_AGENT_PARAMETER": core.cloudwatch_agent_cfg.name,
                    "CLOUDWATCH_GPU_PARAMETER": self.gpu_metrics.parameter.name if self.gpu_metrics else "",
                    "TRAINING_REPOSITORY": config.training_repository,
                    "TRAINING_REVISION": config.training_revision,
                    "TRAINING_LOG_GROUP": self.training_log.name,
                    "DATA_S3_URI": config.data_s3_uri or "",
                    "OUTPUT_S3_URI": config.output_s3_uri or "",
                },
                files=[
                    user_data.LIBRARY,
                    user_data.DISKS,
                    _HERE / "boot" / "worker.sh",
                    _HERE / "boot" / "train.sh",
                    _HERE / "boot" / "sitecustomize.py",
                    _HERE / "boot" / f"profile_{machine_type.family}.sh",
                ],
                main="worker.sh",
            ),
        )
        self.msls.attach("worker", self.worker.instance.id)
        self.export({"worker_ip_addr": self.worker.instance.private_ip})
