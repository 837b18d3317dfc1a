"""Settings of train-model-dev."""

from typing import Annotated, Final

from pydantic import AfterValidator, field_validator

from constructs_lib import checks
from constructs_lib.gp3 import in_range
from constructs_lib.notebook_types import notebook_type
from constructs_lib.settings_model import SettingsModel, Unset

REPOSITORY: Final = "https://github.com/DMW2151/msls-pytorch-dcgan"
# SageMaker API reference, NotebookInstanceVolumeSizeInGB. The provider does not check it.
VOLUME_SIZE_GB: Final = (5, 16_384)


class TrainModelDevConfig(SettingsModel):
    """Configure the notebook. volume_size_gb: GiB. data_s3_uri and output_s3_uri: as for the worker."""

    instance_type: Annotated[str, AfterValidator(notebook_type)] = "ml.t3.medium"
    volume_size_gb: int = 20
    code_repository: Annotated[str, AfterValidator(checks.repository_url)] = REPOSITORY
    data_s3_uri: Annotated[Annotated[str, AfterValidator(checks.s3_uri)] | None, Unset] = None
    data_s3_kms_key_arn: Annotated[Annotated[str, AfterValidator(checks.kms_key_arn)] | None, Unset] = None
    output_s3_uri: Annotated[Annotated[str, AfterValidator(checks.s3_output_uri)] | None, Unset] = None
    output_s3_kms_key_arn: Annotated[Annotated[str, AfterValidator(checks.kms_key_arn)] | None, Unset] = None

    @field_validator("volume_size_gb")
    @classmethod
    def _volume_size(cls, size: int) -> int:
        return in_range(size, VOLUME_SIZE_GB, "GiB")
