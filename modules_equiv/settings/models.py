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
    """Configure the deployment. `name` is the prefix of every AWS name, `project` is a tag.

    max_hourly_usd: the maximum cost of one stack in US dollars an hour; None for no limit.
    """

    name: Annotated[str, AfterValidator(checks.deployment_name)] = "ml-core"
    project: Annotated[str, AfterValidator(checks.tag_value)] = "msls-dcgan"
    region: Annotated[str, AfterValidator(regions.deployment_region)] = "us-east-1"
    max_hourly_usd: Annotated[Annotated[Decimal, BeforeValidator(checks.hourly_limit)] | None, Unset] = None


class AccessConfig(SettingsModel):
    """Configure access: the IPv4 blocks that may reach the jump host, and the EC2 key pair of every machine."""

    # Not strict, since TOML has lists and a frozen model needs a tuple. The items are strict.
    deployer_cidrs: Annotated[
        tuple[Annotated[str, AfterValidator(cidr_checks.deployer_cidr)], ...],
        Field(strict=False),
        AfterValidator(cidr_checks.deployer_cidrs),
    ]
    ssh_keypair_name: Annotated[str, AfterValidator(checks.key_pair_name)]


class StateConfig(SettingsModel):
    """Configure the location of Terraform's state, an existing S3 bucket. use_path_style: for S3-compatible servers.

    kms_key_arn: for buckets whose policy requires a key; None for the bucket's default encryption.
    """

    bucket: Annotated[str, AfterValidator(checks.bucket_name)]
    prefix: Annotated[str, AfterValidator(checks.state_prefix)] = "ml-core"
    region: Annotated[str, AfterValidator(regions.state_region)]
    use_path_style: bool = False
    kms_key_arn: Annotated[Annotated[str, AfterValidator(checks.kms_key_arn)] | None, Unset] = None


class Settings(SettingsModel):
    """Hold all settings, checked. Create it with `load_settings`, which adds the defaults that depend on the region."""

    deployment: DeploymentConfig
    access: AccessConfig
    state: StateConfig
    mlcore: MlCoreConfig
    stats_monitor: StatsMonitorConfig
    train_model: TrainModelConfig
    train_model_dev: TrainModelDevConfig

    def stack_deployment(self) -> Deployment:
        """Return the part that every stack shares."""
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
