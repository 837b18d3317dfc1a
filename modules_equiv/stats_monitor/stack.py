"""stats-monitor: one machine with Grafana over CloudWatch and TensorBoard over the checkpoints."""

from pathlib import Path
from typing import Final

from cdktf import TerraformResourceLifecycle
from cdktf_cdktf_provider_aws.ssm_parameter import SsmParameter
from constructs import Construct

from constructs_lib import instance_types, packed_user_data, user_data
from constructs_lib.base_stack import BaseStack
from constructs_lib.boot_status import BootStatus
from constructs_lib.deployment import Deployment
from constructs_lib.iam import EC2, ServiceRole, allow, efs_client
from constructs_lib.machine import Machine
from constructs_lib.persistent_volume import PersistentVolume
from modules_equiv.mlcore.outputs import MlCoreOutputs
from modules_equiv.stats_monitor.config import StatsMonitorConfig

STACK: Final = "stats-monitor"

_HERE: Final = Path(__file__).parent
_BOOT_FILES: Final = [
    user_data.LIBRARY,
    user_data.DISKS,
    user_data.MEMORY,
    *sorted((_HERE / "boot").iterdir()),
    _HERE / "dashboards" / "machines.json",
]

# Grafana's CloudWatch data source: https://grafana.com/docs/grafana/latest/datasources/aws-cloudwatch/configure/
_GRAFANA_READS: Final = [
    "cloudwatch:DescribeAlarmsForMetric",
    "cloudwatch:DescribeAlarmHistory",
    "cloudwatch:DescribeAlarms",
    "cloudwatch:ListMetrics",
    "cloudwatch:GetMetricData",
    "cloudwatch:GetInsightRuleReport",
    "logs:DescribeLogGroups",
    # These take the id of a query, which only its starter knows, and no log group.
    "logs:StopQuery",
    "logs:GetQueryResults",
    "ec2:DescribeTags",
    "ec2:DescribeInstances",
    "ec2:DescribeRegions",
    "tag:GetResources",
]

# These read a log group, so they are limited to ours:
# https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazoncloudwatchlogs.html
_GRAFANA_READS_LOGS: Final = ["logs:GetLogGroupFields", "logs:StartQuery", "logs:GetLogEvents"]

_PASSWORD_LENGTH: Final = 32


class StatsMonitorStack(BaseStack):
    """Create the metrics host. Output: `metrics_ip_addr`, its private address (Grafana :3000, TensorBoard :6006)."""

    def __init__(self, scope: Construct, *, deployment: Deployment, config: StatsMonitorConfig, key_name: str) -> None:
        super().__init__(scope, STACK, deployment=deployment)
        core = MlCoreOutputs.from_remote_state(self)

        self.grafana_password = self._grafana_password()
        # Grafana's data outlives the machine and the stack.
        self.grafana_data = PersistentVolume(
            self,
            "grafana",
            name=f"{deployment.name} Grafana Volume",
            availability_zone=core.subnet_pvt.availability_zone,
            volume=config.data_volume,
            restore="latest",
            snapshot_on_destroy=config.snapshot_on_destroy,
        )
        self.status = BootStatus(self, "metrics")
        self.access = ServiceRole(
            self,
            "stats_instance_role",
            deployment=deployment,
            service=EC2,
            name="stats_instance_role",
            policy_id="cloudwatch_stats_monitor",
            policy_name="cloudwatch_stats_monitor",
            statements=[
                allow(_GRAFANA_READS, ["*"]),
                allow(
                    _GRAFANA_READS_LOGS, [f"arn:aws:logs:{deployment.region}:*:log-group:/ml-infra/{deployment.name}/*"]
                ),
                allow(["ssm:GetParameter"], [self.grafana_password.arn]),
                efs_client(core.efs_file_system.arn, core.efs_file_system.access_point_arn, write=False),
                self.status.write,
            ],
        )
        core.required_by(self)
        self.metrics = Machine(
            Construct(self, "machine"),
            "metrics",
            name=f"{deployment.name} ML Model Monitor - Metrics Instance",
            instance_type=config.instance_type,
            ami=config.ami,
            image_parameter=instance_types.find(config.instance_type).image_parameter,
            subnet_id=core.subnet_pvt.id,
            security_group_ids=[core.allow_ml_core_sg.id, core.allow_ml_core_egress.id],
            key_name=key_name,
            public_ip=False,
            root_volume=config.root_volume,
            role=self.access,
            # Grafana runs in a container: the metadata service's answer needs one more hop.
            metadata_hop_limit=2,
            user_data_base64=packed_user_data.render(
                values={
                    **self.boot_values(),
                    **core.mount_values(),
                    **self.status.values,
                    "GRAFANA_VOLUME_ID": self.grafana_data.volume.id,
                    "GRAFANA_IMAGE": config.grafana_image,
                    "GRAFANA_PASSWORD_PARAMETER": self.grafana_password.name,
                    "TENSORBOARD_VERSION": config.tensorboard_version,
                },
                files=_BOOT_FILES,
                main="metrics.sh",
            ),
        )
        self.grafana_data.attach("grafana", self.metrics.instance.id)
        self.export({"metrics_ip_addr": self.metrics.instance.private_ip})

    def _grafana_password(self) -> SsmParameter:
        """Create a SecureString whose value is generated and never stored in the state, a plan or user data."""
        return SsmParameter(
            self,
            "grafana_admin",
            # Below /ml-infra: a parameter may not begin with aws or ssm, as a deployment's name may.
            name=f"/ml-infra/{self.deployment.name}/{STACK}/grafana-admin-password",
            type="SecureString",
            description="Password of Grafana's user admin",
            value_wo=self.random_password("grafana_password", length=_PASSWORD_LENGTH),
            # Increment it to generate a new password.
            value_wo_version=1,
            # For any change other than the version, even one by hand, hashicorp/aws 5.100.0 sends an empty value:
            # internal/service/ssm/parameter.go, resourceParameterUpdate.
            lifecycle=TerraformResourceLifecycle(ignore_changes=["description", "allowed_pattern"]),
        )
