"""train-model-dev: a SageMaker notebook in the private network, for development and data preparation."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cdktf import TerraformResourceLifecycle
from cdktf_cdktf_provider_aws.sagemaker_code_repository import (
    SagemakerCodeRepository,
    SagemakerCodeRepositoryGitConfig,
)
from cdktf_cdktf_provider_aws.sagemaker_notebook_instance import (
    SagemakerNotebookInstance,
    SagemakerNotebookInstanceInstanceMetadataServiceConfiguration,
)
from cdktf_cdktf_provider_aws.sagemaker_notebook_instance_lifecycle_configuration import (
    SagemakerNotebookInstanceLifecycleConfiguration,
)
from constructs import Construct

from constructs_lib import user_data
from constructs_lib.base_stack import BaseStack
from constructs_lib.boot_status import BootStatus
from constructs_lib.cloudwatch_agent import NVIDIA, AgentConfiguration
from constructs_lib.deployment import Deployment
from constructs_lib.iam import (
    CLOUDWATCH_AGENT,
    SAGEMAKER,
    ServiceRole,
    Statement,
    allow,
    efs_client,
    s3_prefix,
)
from constructs_lib.notebook_types import has_nvidia_gpus
from constructs_lib.terraform_text import expression
from modules_equiv.mlcore.outputs import MlCoreOutputs, restored_access_point_arn
from modules_equiv.train_model_dev.config import TrainModelDevConfig

STACK: Final = "train-model-dev"

_BOOT_FILES: Final = [user_data.LIBRARY, Path(__file__).parent / "boot" / "notebook.sh"]

# A lifecycle script is at most 16384 characters in base64:
# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_NotebookInstanceLifecycleHook.html
_LIFECYCLE_SCRIPT_LIMIT: Final = 16384 * 3 // 4

# SageMaker's log group of all notebooks; each has streams that begin with its name:
# https://docs.aws.amazon.com/sagemaker/latest/dg/logging-cloudwatch.html
_NOTEBOOK_LOGS: Final = "/aws/sagemaker/NotebookInstances"

_DESCRIBES: Final = [
    "ec2:DescribeDhcpOptions",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcs",
]


def _network_interface(region: str, subnet_arn: str, security_group_arns: Sequence[str]) -> list[Statement]:
    """Allow a notebook in a VPC to create its network interface in its subnet, with its security groups.

    SageMaker then permits its own account to attach it. AWS does not document whether that call names the service
    (`ec2:AuthorizedService`, as CodeBuild's does) or an account. With a wrong condition, the notebook could not start.

    https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-roles.html; resources and condition keys:
    https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
    """
    interfaces = [f"arn:aws:ec2:{region}:*:network-interface/*"]
    here: dict[str, dict[str, object]] = {"ArnEquals": {"ec2:Subnet": subnet_arn}}
    return [
        allow(_DESCRIBES, ["*"]),
        allow(["ec2:CreateNetworkInterface"], [subnet_arn, *security_group_arns]),
        allow(["ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface"], interfaces, here),
        allow(["ec2:CreateNetworkInterfacePermission", "ec2:DeleteNetworkInterfacePermission"], interfaces, here),
    ]


def _logs(region: str, notebook: str) -> list[Statement]:
    """Allow writing to this notebook's log streams."""
    group = f"arn:aws:logs:{region}:*:log-group:{_NOTEBOOK_LOGS}"
    return [
        allow(["logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams"], [group, f"{group}:*"]),
        allow(["logs:PutLogEvents"], [f"{group}:log-stream:{notebook}/*"]),
    ]


class TrainModelDevStack(BaseStack):
    """Create a notebook that is opened through the owner's AWS identity and has an address only in the private subnet.

    restored: mlcore publishes a folder that AWS Backup restored, and the notebook may read it.
    """

    def __init__(
        self, scope: Construct, *, deployment: Deployment, config: TrainModelDevConfig, restored: bool = False
    ) -> None:
        super().__init__(scope, STACK, deployment=deployment)
        core = MlCoreOutputs.from_remote_state(self, restored=restored)
        name = deployment.prefixed("dev-gaudi-sagemaker-nb-instance")

        self.status = BootStatus(self, "notebook")
        self.access = ServiceRole(
            self,
            "sagemaker_nb_role",
            deployment=deployment,
            service=SAGEMAKER,
            name="sagemaker_nb_role",
            policy_id="sagemaker_nb",
            policy_name="sagemaker_nb",
            statements=[
                efs_client(core.efs_file_system.arn, core.efs_file_system.access_point_arn, write=True),
                *([efs_client(core.efs_file_system.arn, restored_access_point_arn(), write=False)] if restored else []),
                self.status.write,
                *_network_interface(
                    deployment.region,
                    core.subnet_pvt.arn,
                    [core.allow_ml_core_sg.arn, core.allow_ml_core_egress.arn],
                ),
                allow(
                    ["sagemaker:DescribeNotebookInstance", "sagemaker:StopNotebookInstance"],
                    [f"arn:aws:sagemaker:{deployment.region}:*:notebook-instance/{name}"],
                ),
                *_logs(deployment.region, name),
                *s3_prefix(config.data_s3_uri, write=False, key_arn=config.data_s3_kms_key_arn),
                *s3_prefix(config.output_s3_uri, write=True, key_arn=config.output_s3_kms_key_arn),
            ],
            managed_policies={"sagemaker_nb_cloudwatch_agent": CLOUDWATCH_AGENT},
        )
        core.required_by(self)
        self.repository = SagemakerCodeRepository(
            self,
            "dcgan",
            code_repository_name=deployment.prefixed("msls-pytorch-dcgan"),
            git_config=SagemakerCodeRepositoryGitConfig(repository_url=config.code_repository),
        )
        self.gpu_metrics = (
            AgentConfiguration(
                self,
                "cloudwatch_agent_gpu_cfg",
                deployment=deployment,
                name="cw_agent__notebook_gpu",
                file=NVIDIA,
            )
            if has_nvidia_gpus(config.instance_type)
            else None
        )
        script = user_data.render(
            values={
                **self.boot_values(),
                **core.mount_values(),
                **self.status.values,
                "CLOUDWATCH_AGENT_PARAMETER": core.cloudwatch_agent_cfg.name,
                "CLOUDWATCH_GPU_PARAMETER": self.gpu_metrics.parameter.name if self.gpu_metrics else "",
            },
            files=_BOOT_FILES,
            main="notebook.sh",
            limit=_LIFECYCLE_SCRIPT_LIMIT,
        )
        self.on_start = SagemakerNotebookInstanceLifecycleConfiguration(
            self,
            "mount_efs",
            # The notebook runs it at every start. The name depends on the script, so that a changed script changes the
            # notebook too: the provider stops and restarts it.
            name=f'${{format("{deployment.prefixed("mount-efs")}-%s", substr(sha256({expression(script)}), 0, 8))}}',
            on_start=f"${{base64encode({expression(script)})}}",
            # The notebook must switch to the new one before the old one is deleted.
            lifecycle=TerraformResourceLifecycle(create_before_destroy=True),
        )
        self.notebook = SagemakerNotebookInstance(
            self,
            "notebook_instance",
            name=name,
            role_arn=self.access.role.arn,
            instance_type=config.instance_type,
            volume_size=config.volume_size_gb,
            # No platform_identifier: the default is Amazon Linux 2023, which provider 5.100.0 does not accept.
            subnet_id=core.subnet_pvt.id,
            security_groups=[core.allow_ml_core_sg.id, core.allow_ml_core_egress.id],
            direct_internet_access="Disabled",
            lifecycle_config_name=self.on_start.name,
            default_code_repository=self.repository.code_repository_name,
            instance_metadata_service_configuration=SagemakerNotebookInstanceInstanceMetadataServiceConfiguration(
                minimum_instance_metadata_service_version="2"
            ),
            # Depends on the policies: without them, the notebook's network interface cannot be created.
            depends_on=self.access.attachments,
        )
        region = deployment.region
        console = f"https://{region}.console.aws.amazon.com/sagemaker/home?region={region}#/notebook-instances"
        # The target of the console's "Open JupyterLab", which signs a URL for the user who is logged in.
        self.export({"notebook_name": name, "notebook_url": f"{console}/openNotebook/{name}?view=lab"})
