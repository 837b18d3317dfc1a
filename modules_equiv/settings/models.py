"""The settings and their types."""

from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from constructs_lib import checks, cidr_checks, regions
from constructs_lib.deployment import Deployment
from constructs_lib.settings_model import SettingsModel, Unset
from modules_equiv.mlcore.config import MlCoreConfig
from modules_equiv.stats_monitor.config import StatsMonitorConfig
from modules_equiv.train_model.config import TrainModelConfig
from modules_equiv.train_model_dev.config import TrainModelDevConfig


class DeploymentConfig(SettingsModel):
    """Whose machines these are, where, and at what price. `name` begins the AWS name of everything, `project` is a tag.

    max_hourly_usd: the most that any one stack may cost an hour, in US dollars; None for no limit.
    """

    name: Annotated[str, AfterValidator(checks.deployment_name)] = "ml-core"
    project: Annotated[str, AfterValidator(checks.tag_value)] = "msls-dcgan"
    region: Annotated[str, AfterValidator(regions.deployment_region)] = "us-east-1"
    max_hourly_usd: Annotated[Annotated[Decimal, BeforeValidator(checks.hourly_limit)] | None, Unset] = None


class AccessConfig(SettingsModel):
    """Who gets in: the IPv4 blocks that may reach the jump host, and the EC2 key pair of every machine."""

    # Not strict, since TOML has lists and a frozen model wants a tuple; the items stay strict.
    deployer_cidrs: Annotated[
        tuple[Annotated[str, AfterValidator(cidr_checks.deployer_cidr)], ...],
        Field(strict=False),
        AfterValidator(cidr_checks.deployer_cidrs),
    ]
    ssh_keypair_name: Annotated[str, AfterValidator(checks.key_pair_name)]


class StateConfig(SettingsModel):
    """Where Terraform's state is: an S3 bucket that exists. use_path_style: for S3-like servers only.

    kms_key_arn: for buckets that take only what names its key; None for the bucket's own encryption.
    """

    bucket: Annotated[str, AfterValidator(checks.bucket_name)]
    prefix: Annotated[str, AfterValidator(checks.state_prefix)] = "ml-core"
    region: Annotated[str, AfterValidator(regions.state_region)]
    use_path_style: bool = False
    kms_key_arn: Annotated[Annotated[str, AfterValidator(checks.kms_key_arn)] | None, Unset] = None


class Settings(SettingsModel):
    """All settings, checked. `load_settings` makes them and fills in what follows from the region."""

    deployment: DeploymentConfig
    access: AccessConfig
    state: StateConfig
    mlcore: MlCoreConfig
    stats_monitor: StatsMonitorConfig
    train_model: TrainModelConfig
    train_model_dev: TrainModelDevConfig

    def stack_deployment(self) -> Deployment:
        """The part that every stack shares."""
        return Deployment(
            name=self.deployment.name,
            project=self.deployment.project,
            region=self.deployment.region,
            state_bucket=self.state.bucket,
            state_prefix=self.state.prefix,
            state_region=self.state.region,
            state_use_path_style=self.state.use_path_style,
            state_kms_key_arn=self.state.kms_key_arn,
        )
