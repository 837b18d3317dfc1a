"""mlcore: network, security groups, jump host, shared file system, CloudWatch agent configuration."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cdktf_cdktf_provider_aws.efs_access_point import EfsAccessPoint
from cdktf_cdktf_provider_aws.security_group import SecurityGroup
from cdktf_cdktf_provider_aws.subnet import Subnet
from constructs import Construct

from constructs_lib import instance_types, packed_user_data, user_data
from constructs_lib.base_stack import BaseStack
from constructs_lib.boot_status import BootStatus
from constructs_lib.cloudwatch_agent import AgentConfiguration
from constructs_lib.deployment import Deployment
from constructs_lib.foundation import keep_until_gone
from constructs_lib.iam import EC2, ServiceRole
from constructs_lib.machine import Machine
from modules_equiv.mlcore.config import MlCoreConfig
from modules_equiv.mlcore.file_system import SharedFileSystem
from modules_equiv.mlcore.network import Network, SecurityGroups
from modules_equiv.mlcore.outputs import (
    RESTORED_ARN,
    RESTORED_MOUNT,
    STACK,
    FileSystemHandle,
    MlCoreOutputs,
    MountTargetHandle,
    ParameterHandle,
    SecurityGroupHandle,
    SubnetHandle,
)

_HERE: Final = Path(__file__).parent
_BOOT_FILES: Final = [user_data.LIBRARY, user_data.MEMORY, *sorted((_HERE / "boot").iterdir())]


class MlCoreStack(BaseStack):
    """Create the resources that the other stacks depend on, and publish `outputs` for them.

    deployer_cidrs: IPv4 blocks that may reach the jump host's port 22. key_name: an EC2 key pair in the region.
    above: the stacks that read the outputs. Terraform refuses to destroy this one while they have resources.
    """

    def __init__(
        self,
        scope: Construct,
        *,
        deployment: Deployment,
        config: MlCoreConfig,
        deployer_cidrs: Sequence[str],
        key_name: str,
        above: Sequence[str],
    ) -> None:
        super().__init__(scope, STACK, deployment=deployment)
        self.network = Network(
            self, "network", deployment=deployment, vpc_cidr=config.vpc_cidr, az=config.az, az_2=config.az_2
        )
        self.security_groups = SecurityGroups(
            self,
            "security_groups",
            deployment=deployment,
            vpc_id=self.network.vpc.id,
            vpc_cidr=config.vpc_cidr,
            deployer_cidrs=deployer_cidrs,
        )
        groups = self.security_groups
        self.shared_file_system = SharedFileSystem(
            self,
            "shared_file_system",
            deployment=deployment,
            availability_zone=config.az,
            subnet_id=self.network.subnet_pvt.id,
            security_group_id=groups.allow_ml_core_vpc.id,
            allow_destroy=config.allow_efs_destroy,
            restored_folder=config.restored_folder,
            # The mount target's interface uses the group, so it must be destroyed first.
            depends_on=[groups.allow_ml_core_vpc],
        )
        self.agent_configuration = AgentConfiguration(
            self,
            "cloudwatch_agent_cfg",
            deployment=deployment,
            name="cw_agent__config",
            file=_HERE / "cloudwatch_agent.json",
        )
        self.jump_status = BootStatus(self, "jump")
        self.jump_access = ServiceRole(
            self,
            "jump",
            deployment=deployment,
            service=EC2,
            name="jump",
            policy_id="jump",
            policy_name="jump",
            statements=[self.jump_status.write],
        )
        self.jump = Machine(
            Construct(self, "machine"),
            "jump",
            name=f"{deployment.name} ML Core - Jump Instance",
            instance_type=config.jump_instance_type,
            ami=config.jump_ami,
            image_parameter=instance_types.find(config.jump_instance_type).image_parameter,
            subnet_id=self.network.subnet_pub.id,
            security_group_ids=[groups.allow_ml_core_vpc.id, groups.allow_deployer_sg.id, groups.allow_egress.id],
            key_name=key_name,
            public_ip=True,
            role=self.jump_access,
            user_data_base64=packed_user_data.render(
                values={**self.boot_values(), **self.jump_status.values},
                files=_BOOT_FILES,
                main="jump.sh",
            ),
        )

        file_system = self.shared_file_system
        parameter = self.agent_configuration.parameter
        self.outputs = MlCoreOutputs(
            vpc_id=self.network.vpc.id,
            subnet_pub=_subnet_handle(self.network.subnet_pub),
            subnet_pub_2=_subnet_handle(self.network.subnet_pub_2),
            subnet_pvt=_subnet_handle(self.network.subnet_pvt),
            allow_ml_core_sg=_group_handle(groups.allow_ml_core_vpc),
            allow_from_deployer_sg=_group_handle(groups.allow_deployer_sg),
            allow_ml_core_egress=_group_handle(groups.allow_egress),
            efs_mount_target=MountTargetHandle(
                id=file_system.mount_target.id, ip_address=file_system.mount_target.ip_address
            ),
            efs_file_system=FileSystemHandle(
                id=file_system.file_system.id,
                arn=file_system.file_system.arn,
                access_point_id=file_system.access_point.id,
                access_point_arn=file_system.access_point.arn,
            ),
            cloudwatch_agent_cfg=ParameterHandle(name=parameter.name, arn=parameter.arn),
            jump_ip_addr=self.jump.instance.public_ip,
        )
        self.outputs.publish(self)
        if file_system.restored:
            self._publish_restored(file_system.file_system.id, file_system.restored)
        keep_until_gone(self, above)

    def _publish_restored(self, file_system_id: str, point: EfsAccessPoint) -> None:
        """Publish access to the folder that AWS Backup restored, with the options with which lib.sh mounts /efs."""
        options = f"ro,tls,iam,accesspoint={point.id}"
        self.export(
            {
                RESTORED_ARN: point.arn,
                RESTORED_MOUNT: f"sudo mkdir -p /mnt/restored && "
                f"sudo mount -t efs -o {options} {file_system_id}:/ /mnt/restored",
            }
        )


def _subnet_handle(subnet: Subnet) -> SubnetHandle:
    return SubnetHandle(
        id=subnet.id,
        arn=subnet.arn,
        availability_zone=subnet.availability_zone,
        availability_zone_id=subnet.availability_zone_id,
    )


def _group_handle(group: SecurityGroup) -> SecurityGroupHandle:
    return SecurityGroupHandle(id=group.id, arn=group.arn, name=group.name)
