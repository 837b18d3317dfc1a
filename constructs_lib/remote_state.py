"""What one stack reads of another: its outputs, from its state in S3 and nowhere else."""

from collections.abc import Mapping
from typing import Any, Final

from cdktf import DataTerraformRemoteStateS3, Precondition, TerraformResource, TerraformResourceLifecycle
from constructs import Construct

from constructs_lib.deployment import Deployment

# What an output reads as once the stack that published it is gone.
GONE: Final = "gone"


def remote_state(
    scope: Construct, stack: str, *, deployment: Deployment, defaults: Mapping[str, Any]
) -> DataTerraformRemoteStateS3:
    """The state of a stack of the same deployment, as `data.terraform_remote_state.<stack>`.

    Terraform fails at plan with "Unable to find remote state" when that stack was never deployed.
    defaults: what its outputs are once it was destroyed: without them even a destroy ends in "Unsupported attribute".
    """
    return DataTerraformRemoteStateS3(
        scope,
        _name(stack),
        bucket=deployment.state_bucket,
        key=deployment.state_key(stack),
        region=deployment.state_region,
        use_path_style=deployment.state_use_path_style or None,
        defaults=dict(defaults),
    )


def require_outputs(resource: TerraformResource, stack: str) -> None:
    """Has Terraform refuse every plan but a destroy while an output of that stack is GONE.

    A precondition of one resource refuses the whole plan, and a destroy does not ask for it:
    https://developer.hashicorp.com/terraform/language/expressions/custom-conditions
    """
    outputs = f"data.terraform_remote_state.{_name(stack)}.outputs"
    resource.lifecycle = TerraformResourceLifecycle(
        precondition=[
            Precondition(
                condition=f'${{!strcontains(jsonencode({outputs}), "\\"{GONE}\\"")}}',
                error_message=f"{stack} is not deployed, or was destroyed in part, and this stack stands on it: "
                f"cdktf deploy {stack}. To destroy this stack it is not needed.",
            )
        ]
    )


def _name(stack: str) -> str:
    return stack.replace("-", "_")
