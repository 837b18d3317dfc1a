"""The CloudWatch agent's configuration, where the agents fetch it."""

import json
from pathlib import Path

from cdktf_cdktf_provider_aws.ssm_parameter import SsmParameter
from constructs import Construct

from constructs_lib.deployment import Deployment
from constructs_lib.terraform_text import lines, literal

# Metrics of NVIDIA GPUs, to append to another configuration; the agent fails by it where nvidia-smi is missing.
NVIDIA = Path(__file__).with_name("cloudwatch_agent_nvidia.json")

# The managed policy CloudWatchAgentServerPolicy lets a machine read parameters with this prefix only:
# https://docs.aws.amazon.com/aws-managed-policy/latest/reference/CloudWatchAgentServerPolicy.html
READABLE_PREFIX = "AmazonCloudWatch-"
# Standard parameters: https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html
_STANDARD_PARAMETER_BYTES = 4096


class AgentConfigurationError(ValueError):
    """An agent configuration does not fit into a standard SSM parameter."""


class AgentConfiguration(Construct):
    """`aws_ssm_parameter.<id>`: an agent configuration file, compact, under a name that agents may read.

    file: without a section "agent", whose defaults (60 s, as root) are right: a SageMaker notebook brings one, and
    two that differ are not merged.
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch-Agent-Configuration-File-Details.html
    name: becomes `AmazonCloudWatch-<deployment>-<name>`. Raises AgentConfigurationError over 4096 bytes.
    """

    def __init__(self, scope: Construct, id: str, *, deployment: Deployment, name: str, file: Path) -> None:
        super().__init__(scope, id)
        # Compact, but for the two line ends that `lines` asks for.
        compact = json.dumps(json.loads(file.read_text(encoding="utf-8")), separators=(",", ":"))
        compact = f"{{\n{compact[1:]}\n"
        if len(compact.encode()) > _STANDARD_PARAMETER_BYTES:
            raise AgentConfigurationError(
                f"{file}: {len(compact.encode())} bytes when compact, and a standard SSM parameter takes "
                f"{_STANDARD_PARAMETER_BYTES}: remove metrics that nobody looks at"
            )
        self.parameter = SsmParameter(
            self,
            id,
            name=READABLE_PREFIX + deployment.prefixed(name),
            type="String",
            description="CloudWatch agent configuration",
            value=lines(literal(compact)),
        )
