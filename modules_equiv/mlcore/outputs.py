"""The outputs of mlcore, declared once: Terraform outputs in mlcore, typed handles in the stacks that read them."""

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
    """Refer to a subnet's attributes."""

    id: str
    arn: str
    availability_zone: str
    availability_zone_id: str


@dataclass(frozen=True, kw_only=True)
class SecurityGroupHandle:
    """Refer to a security group's attributes."""

    id: str
    arn: str
    name: str


@dataclass(frozen=True, kw_only=True)
class MountTargetHandle:
    """Refer to an EFS mount target. `ip_address` is in its subnet."""

    id: str
    ip_address: str


@dataclass(frozen=True, kw_only=True)
class FileSystemHandle:
    """Refer to the shared file system and the access point through which it is mounted."""

    id: str
    arn: str
    access_point_id: str
    access_point_arn: str


@dataclass(frozen=True, kw_only=True)
class ParameterHandle:
    """Refer to an SSM parameter."""

    name: str
    arn: str


@dataclass(frozen=True, kw_only=True)
class MlCoreOutputs:
    """Declare the outputs of mlcore. A field has the output's name; a handle becomes an object with its fields.

    `efs_file_system` and `cloudwatch_agent_cfg` are this project's, the others the original's.
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
        """Declare one Terraform output per field."""
        stack.export(
            {
                field.name: value if isinstance(value, str) else dict(vars(value))
                for field in fields(self)
                for value in [getattr(self, field.name)]
            }
        )

    @staticmethod
    def required_by(stack: BaseStack) -> None:
        """Make Terraform refuse every plan of that stack except a destroy while mlcore does not exist."""
        require_outputs(stack, STACK)

    def mount_values(self) -> dict[str, str]:
        """Return the values with which boot scripts mount the shared file system."""
        return {
            "EFS_FILE_SYSTEM_ID": self.efs_file_system.id,
            "EFS_ACCESS_POINT_ID": self.efs_file_system.access_point_id,
            "EFS_MOUNT_TARGET_IP": self.efs_mount_target.ip_address,
        }

    @classmethod
    def from_remote_state(cls, stack: BaseStack, *, restored: bool = False) -> Self:
        """Return the outputs of mlcore in the same deployment, read from its state when Terraform plans `stack`.

        They are GONE if mlcore was destroyed; `required_by` makes that an error. restored: the same for RESTORED_ARN
        if mlcore does not publish it.
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
    """Return RESTORED_ARN for a stack that reads mlcore's outputs as `restored`."""
    return f"${{data.terraform_remote_state.{STACK}.outputs.{RESTORED_ARN}}}"
