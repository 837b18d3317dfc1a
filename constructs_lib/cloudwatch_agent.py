"""The CloudWatch agent's configuration, in an SSM parameter that the agents read."""

import json
from pathlib import Path

from cdktf_cdktf_provider_aws.ssm_parameter import SsmParameter
from constructs import Construct

from constructs_lib.deployment import Deployment
from constructs_lib.terraform_text import lines, literal

# Metrics of NVIDIA GPUs, to append to another configuration. The agent fails with it if nvidia-smi is missing.
NVIDIA = Path(__file__).with_name("cloudwatch_agent_nvidia.json")

# The managed policy CloudWatchAgentServerPolicy allows reading parameters with this prefix only:
# https://docs.aws.amazon.com/aws-managed-policy/latest/reference/CloudWatchAgentServerPolicy.html
READABLE_PREFIX = "AmazonCloudWatch-"
# Standard parameters: https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html
_STANDARD_PARAMETER_BYTES = 4096


class AgentConfigurationError(ValueError):
    """Report an agent configuration that does not fit into a standard SSM parameter."""


class AgentConfiguration(Construct):
    """Create `aws_ssm_parameter.<id>` with a compact agent configuration file, under a name that agents may read.

    file: without the section "agent", whose defaults (60 s, as root) are right. A SageMaker notebook has its own, and
    the agent does not merge two that differ.
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch-Agent-Configuration-File-Details.html
    name: becomes `AmazonCloudWatch-<deployment>-<name>`. Raises AgentConfigurationError over 4096 bytes.
    """

    def __init__(self, scope: Construct, id: str, *, deployment: Deployment, name: str, file: Path) -> None:
        super().__init__(scope, id)
        # Compact, except for the two line ends that `lines` requires.
        compact = json.dumps(json.loads(file.read_text(encoding="utf-8")), separators=(",", ":"))
        compact = f"{{\n{compact[1:]}\n"
        if len(compact.encode()) > _STANDARD_PARAMETER_BYTES:
            raise AgentConfigurationError(
                f"{file}: {len(compact.encode())} bytes in compact form; a standard SSM parameter holds "
                f"{_STANDARD_PARAMETER_BYTES}: remove metrics that are not needed"
            )
        self.parameter = SsmParameter(
            self,
            id,
            name=READABLE_PREFIX + deployment.prefixed(name),
            type="String",
            description="CloudWatch agent configuration",
            value=lines(literal(compact)),
        )
