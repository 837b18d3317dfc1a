"""Where a machine writes how its boot went."""

from cdktf import TerraformResourceLifecycle
from cdktf_cdktf_provider_aws.ssm_parameter import SsmParameter
from constructs import Construct

from constructs_lib.base_stack import BaseStack
from constructs_lib.iam import Statement, allow
from constructs_lib.terraform_text import lines

# What is there until the machine has written: the same form (constructs_lib/boot/lib.sh, `publish`).
_NOT_YET = '{"state":"not reported yet",\n"stages":[]}\n'


class BootStatus(Construct):
    """`aws_ssm_parameter.<machine>_boot_status`: one machine's state and stages as JSON, at most 4096 bytes.

    `write` lets the machine's role write this parameter and no other. Terraform makes and removes the parameter and
    leaves its value alone.
    """

    def __init__(self, stack: BaseStack, machine: str) -> None:
        super().__init__(stack, f"{machine}_status")
        self.parameter = SsmParameter(
            self,
            f"{machine}_boot_status",
            # A leading "aws" or "ssm" is refused, and a deployment may be called that.
            name=f"/ml-infra/{stack.deployment.name}/{stack.node.id}/{machine}/boot-status",
            type="String",
            description="How the last boot went",
            value=lines(_NOT_YET),
            lifecycle=TerraformResourceLifecycle(ignore_changes=["value"]),
        )

    @property
    def write(self) -> Statement:
        """The one statement that the machine's role needs."""
        return allow(["ssm:PutParameter"], [self.parameter.arn])

    @property
    def values(self) -> dict[str, str]:
        """What the boot scripts are told."""
        return {"STATUS_PARAMETER": self.parameter.name}
