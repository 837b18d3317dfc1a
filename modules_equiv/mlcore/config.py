"""Settings of mlcore."""

from typing import Annotated, Any

from pydantic import AfterValidator, ValidationInfo, field_validator

from constructs_lib import checks, cidr_checks, regions
from constructs_lib.instance_types import host_type
from constructs_lib.refused import RefusedError
from constructs_lib.settings_model import SettingsModel, Unset


class MlCoreConfig(SettingsModel):
    """Configure the network, the jump host and the shared file system.

    az: of the first public subnet, the private subnet, the jump host and the file system. az_2: of the second public
    subnet. When validated with the context {"region": Region}, both must be in that region.
    jump_ami: an AMI id, or None to look it up. restored_folder: a folder that AWS Backup restored, or None.
    """

    az: str
    az_2: str
    vpc_cidr: Annotated[str, AfterValidator(cidr_checks.vpc_cidr)] = "10.20.0.0/20"
    jump_instance_type: Annotated[str, AfterValidator(host_type)] = "t3.nano"
    jump_ami: Annotated[Annotated[str, AfterValidator(checks.ami_id)] | None, Unset] = None
    allow_efs_destroy: bool = False
    restored_folder: Annotated[Annotated[str, AfterValidator(checks.restored_folder)] | None, Unset] = None

    @field_validator("az", "az_2")
    @classmethod
    def _zone(cls, zone: str, info: ValidationInfo) -> str:
        context: dict[str, Any] = info.context or {}
        regions.check_zone(zone, context.get("region"))
        if info.field_name == "az_2" and zone == info.data.get("az"):
            others = regions.region_of_zone(zone)
            choice = [other for other in others.zones if other != zone] if others else []
            raise RefusedError(
                f"az and az_2 are both {zone}; the second public subnet must be in another zone.",
                f"Choose another zone for az_2: {', '.join(choice)}. Or set az too.",
            )
        return zone
