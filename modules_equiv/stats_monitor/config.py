"""Settings of stats-monitor."""

from typing import Annotated

from pydantic import AfterValidator

from constructs_lib import checks
from constructs_lib.gp3 import Gp3Volume
from constructs_lib.instance_types import metrics_type
from constructs_lib.settings_model import SettingsModel, Unset


class MetricsRootVolume(Gp3Volume):
    """The metrics host's root volume."""

    size_gb: int = 10


class StatsMonitorConfig(SettingsModel):
    """The metrics host: Grafana in a container, TensorBoard from a package. ami: an image id, or None to look it up.

    snapshot_on_destroy: of the volume that holds what people made in Grafana.
    """

    instance_type: Annotated[str, AfterValidator(metrics_type)] = "t3.medium"
    ami: Annotated[Annotated[str, AfterValidator(checks.ami_id)] | None, Unset] = None
    grafana_image: Annotated[str, AfterValidator(checks.image_reference)] = "grafana/grafana:13.2.3"
    tensorboard_version: Annotated[str, AfterValidator(checks.version)] = "2.20.0"
    snapshot_on_destroy: bool = True
    root_volume: MetricsRootVolume = MetricsRootVolume()
