"""Settings of mlcore."""

from typing import Annotated, Any

from pydantic import AfterValidator, ValidationInfo, field_validator

from constructs_lib import checks, cidr_checks, regions
from constructs_lib.instance_types import host_type
from constructs_lib.refused import RefusedError
from constructs_lib.settings_model import SettingsModel, Unset


class MlCoreConfig(SettingsModel):
    """The network, the jump host and the shared file system.

    az: public and private subnet, jump host, file system; az_2: the second public subnet. Validated with the context
    {"region": Region}, both must be zones of that region. jump_ami: an image id, or None to look the image up.
    restored_folder: what AWS Backup restored and the machines are to read, or None.
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
                f"az and az_2 are both {zone}, and the second public subnet is there to be elsewhere.",
                f"Choose another for az_2: {', '.join(choice)}. Or set az too.",
            )
        return zone
