"""Settings of train-model."""

from typing import Annotated, Final

from pydantic import AfterValidator

from constructs_lib import checks
from constructs_lib.gp3 import Gp3Volume
from constructs_lib.instance_types import InstanceType, find, worker_type
from constructs_lib.settings_model import SettingsModel, Unset

REPOSITORY: Final = "https://github.com/DMW2151/msls-pytorch-dcgan"
# A commit that contains model/msls/run_dcgan.py, the training program. Pinned, so that every worker gets the same code.
REVISION: Final = "0ca5ec37e61831a4dff3b3aea1b42a4415340f76"


class WorkerRootVolume(Gp3Volume):
    """Configure the worker's root volume, for the deep learning image and the containers."""

    size_gb: int = 130


class DataVolume(Gp3Volume):
    """Configure the volume of training data. The defaults fed the accelerators in a measurement with 45 GB of images.

    restore: "latest" (the newest snapshot of this deployment), "none" (a blank volume) or a snapshot id.
    """

    size_gb: int = 50
    iops: int = 8_000
    throughput_mbps: int = 1_000
    restore: Annotated[str, AfterValidator(checks.restore_source)] = "latest"
    snapshot_on_destroy: bool = True


class TrainModelConfig(SettingsModel):
    """Configure the worker. ami: an AMI id, or None to look up the type's image.

    data_s3_uri: bucket or prefix to read. output_s3_uri: the only prefix to write to. Both without a final slash.
    …_kms_key_arn: the customer-managed key of the URI's bucket, if it has one.
    """

    instance_type: Annotated[str, AfterValidator(worker_type)] = "g6.12xlarge"
    ami: Annotated[Annotated[str, AfterValidator(checks.ami_id)] | None, Unset] = None
    training_repository: Annotated[str, AfterValidator(checks.repository_url)] = REPOSITORY
    training_revision: Annotated[str, AfterValidator(checks.git_revision)] = REVISION
    data_s3_uri: Annotated[Annotated[str, AfterValidator(checks.s3_uri)] | None, Unset] = None
    data_s3_kms_key_arn: Annotated[Annotated[str, AfterValidator(checks.kms_key_arn)] | None, Unset] = None
    output_s3_uri: Annotated[Annotated[str, AfterValidator(checks.s3_output_uri)] | None, Unset] = None
    output_s3_kms_key_arn: Annotated[Annotated[str, AfterValidator(checks.kms_key_arn)] | None, Unset] = None
    root_volume: WorkerRootVolume = WorkerRootVolume()
    data_volume: DataVolume = DataVolume()

    @property
    def worker(self) -> InstanceType:
        """Return the row of the chosen instance type."""
        return find(self.instance_type)
