"""Settings of stats-monitor."""

from typing import Annotated

from pydantic import AfterValidator, field_validator

from constructs_lib import checks
from constructs_lib.gp3 import Gp3Volume
from constructs_lib.instance_types import metrics_type
from constructs_lib.refused import RefusedError
from constructs_lib.settings_model import SettingsModel, Unset


class MetricsRootVolume(Gp3Volume):
    """Configure the metrics host's root volume."""

    size_gb: int = 10


class GrafanaVolume(Gp3Volume):
    """Configure the volume of Grafana's data: some MB of dashboards, users and preferences, and added plugins."""

    size_gb: int = 4

    @field_validator("size_gb")
    @classmethod
    def _room_for_plugins(cls, size_gb: int) -> int:
        # Grafana's own plugins take some 260 MB when they are updated; XFS needs 300 MB.
        if size_gb < 2:
            raise RefusedError(
                f"{size_gb} GiB fills up when plugins are added, and Grafana cannot save anything on a full disk.",
                "The minimum is 2.",
            )
        return size_gb


class StatsMonitorConfig(SettingsModel):
    """Configure the metrics host: Grafana in a container, TensorBoard from a package.

    ami: an AMI id, or None to look it up. snapshot_on_destroy: whether to keep a snapshot of Grafana's data volume.
    """

    instance_type: Annotated[str, AfterValidator(metrics_type)] = "t3.medium"
    ami: Annotated[Annotated[str, AfterValidator(checks.ami_id)] | None, Unset] = None
    grafana_image: Annotated[str, AfterValidator(checks.image_reference)] = "grafana/grafana:13.2.3"
    tensorboard_version: Annotated[str, AfterValidator(checks.version)] = "2.20.0"
    snapshot_on_destroy: bool = True
    root_volume: MetricsRootVolume = MetricsRootVolume()
    data_volume: GrafanaVolume = GrafanaVolume()
