"""The SSM parameter in which a machine reports its boot."""

from cdktf import TerraformResourceLifecycle
from cdktf_cdktf_provider_aws.ssm_parameter import SsmParameter
from constructs import Construct

from constructs_lib.base_stack import BaseStack
from constructs_lib.iam import Statement, allow
from constructs_lib.terraform_text import lines

# The initial value, in the form that the machine writes (constructs_lib/boot/lib.sh, `publish`).
_NOT_YET = '{"state":"not reported yet",\n"stages":[]}\n'


class BootStatus(Construct):
    """Create `aws_ssm_parameter.<machine>_boot_status`: one machine's state and stages as JSON, at most 4096 bytes.

    `write` allows the machine's role to write this parameter only. Terraform creates and deletes the parameter, and
    ignores its value.
    """

    def __init__(self, stack: BaseStack, machine: str) -> None:
        super().__init__(stack, f"{machine}_status")
        self.parameter = SsmParameter(
            self,
            f"{machine}_boot_status",
            # SSM refuses names that start with "aws" or "ssm", as a deployment's name may.
            name=f"/ml-infra/{stack.deployment.name}/{stack.node.id}/{machine}/boot-status",
            type="String",
            description="How the last boot went",
            value=lines(_NOT_YET),
            lifecycle=TerraformResourceLifecycle(ignore_changes=["value"]),
        )

    @property
    def write(self) -> Statement:
        """Return the statement for the machine's role."""
        return allow(["ssm:PutParameter"], [self.parameter.arn])

    @property
    def values(self) -> dict[str, str]:
        """Return the values for the boot scripts."""
        return {"STATUS_PARAMETER": self.parameter.name}
