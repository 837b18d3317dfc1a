"""What mlcore publishes, declared once: Terraform outputs on its side, typed handles on the side of who reads them."""

from dataclasses import dataclass, fields
from typing import Self

from constructs import Construct

from constructs_lib.base_stack import BaseStack
from constructs_lib.remote_state import GONE, remote_state, require_outputs

STACK = "mlcore"
# Published only while mlcore.restored_folder is set: the access point's ARN, and the command that mounts it.
RESTORED_ARN = "restored_access_point_arn"
RESTORED_MOUNT = "restored_mount"


@dataclass(frozen=True, kw_only=True)
class SubnetHandle:
    """A subnet: Terraform references to its attributes."""

    id: str
    arn: str
    availability_zone: str
    availability_zone_id: str


@dataclass(frozen=True, kw_only=True)
class SecurityGroupHandle:
    """A security group."""

    id: str
    arn: str
    name: str


@dataclass(frozen=True, kw_only=True)
class MountTargetHandle:
    """An EFS mount target; `ip_address` is in the subnet it was made in."""

    id: str
    ip_address: str


@dataclass(frozen=True, kw_only=True)
class FileSystemHandle:
    """The shared file system and the access point through which it is mounted."""

    id: str
    arn: str
    access_point_id: str
    access_point_arn: str


@dataclass(frozen=True, kw_only=True)
class ParameterHandle:
    """An SSM parameter."""

    name: str
    arn: str


@dataclass(frozen=True, kw_only=True)
class MlCoreOutputs:
    """The outputs of mlcore. A field's name is the output's; a handle becomes an object with the handle's fields.

    `efs_file_system` and `cloudwatch_agent_cfg` are ours, the others the original's.
    """

    vpc_id: str
    subnet_pub: SubnetHandle
    subnet_pub_2: SubnetHandle
    subnet_pvt: SubnetHandle
    allow_ml_core_sg: SecurityGroupHandle
    allow_from_deployer_sg: SecurityGroupHandle
    allow_ml_core_egress: SecurityGroupHandle
    efs_mount_target: MountTargetHandle
    efs_file_system: FileSystemHandle
    cloudwatch_agent_cfg: ParameterHandle
    jump_ip_addr: str

    def publish(self, stack: BaseStack) -> None:
        """Declares one Terraform output per field."""
        stack.export(
            {
                field.name: value if isinstance(value, str) else dict(vars(value))
                for field in fields(self)
                for value in [getattr(self, field.name)]
            }
        )

    @staticmethod
    def required_by(stack: BaseStack) -> None:
        """Has Terraform plan nothing but a destroy of that stack when mlcore is gone."""
        require_outputs(stack, STACK)

    def mount_values(self) -> dict[str, str]:
        """What boot scripts need to mount the shared file system."""
        return {
            "EFS_FILE_SYSTEM_ID": self.efs_file_system.id,
            "EFS_ACCESS_POINT_ID": self.efs_file_system.access_point_id,
            "EFS_MOUNT_TARGET_IP": self.efs_mount_target.ip_address,
        }

    @classmethod
    def from_remote_state(cls, stack: BaseStack, *, restored: bool = False) -> Self:
        """The outputs of the mlcore of the same deployment, read from its state when Terraform plans `stack`.

        They read GONE when mlcore was destroyed; `required_by` makes that an error. restored: so does RESTORED_ARN,
        while mlcore does not publish it.
        """
        defaults: dict[str, object] = {
            field.name: GONE if field.type is str else {part.name: GONE for part in fields(field.type)}  # type: ignore[arg-type]
            for field in fields(cls)
        }
        if restored:
            defaults[RESTORED_ARN] = GONE
        state = remote_state(Construct(stack, "remote_state"), STACK, deployment=stack.deployment, defaults=defaults)

        def read(name: str, kind: type[object]) -> object:
            if kind is str:
                return state.get_string(name)
            return kind(**{field.name: state.get_string(f"{name}.{field.name}") for field in fields(kind)})  # type: ignore[arg-type]

        return cls(**{field.name: read(field.name, field.type) for field in fields(cls)})  # type: ignore[arg-type]


def restored_access_point_arn() -> str:
    """RESTORED_ARN for a stack that reads mlcore's outputs as `restored`."""
    return f"${{data.terraform_remote_state.{STACK}.outputs.{RESTORED_ARN}}}"
