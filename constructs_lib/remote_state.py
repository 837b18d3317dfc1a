"""What one stack reads of another: its outputs, from its state in S3 and nowhere else."""

import json
from collections.abc import Mapping
from typing import Any, Final

from cdktf import DataTerraformRemoteStateS3
from constructs import Construct

from constructs_lib.base_stack import BaseStack
from constructs_lib.deployment import Deployment
from constructs_lib.terraform_text import writes_hcl

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


def require_outputs(above: BaseStack, stack: str) -> None:
    """Has Terraform refuse every plan of `above` but a destroy while an output of `stack` is GONE.

    A precondition of one resource refuses the whole plan, and a destroy does not ask for it:
    https://developer.hashicorp.com/terraform/language/expressions/custom-conditions
    It is that of a resource which is in Terraform's state only, since cdktf writes no precondition that HCL would take.
    """
    kind, id = "terraform_data", f"{_name(stack)}_is_there"
    condition = f'!strcontains(jsonencode(data.terraform_remote_state.{_name(stack)}.outputs), "\\"{GONE}\\"")'
    error = (
        f"{stack} is not deployed, or was destroyed in part, and this stack stands on it: cdktf deploy {stack}. "
        "To destroy this stack it is not needed."
    )
    if writes_hcl():
        above.add_hcl(
            f'resource "{kind}" "{id}" {{\n  lifecycle {{\n    precondition {{\n      condition = {condition}\n'
            f"      error_message = {json.dumps(error)}\n    }}\n  }}\n}}"
        )
    else:
        check = {"condition": f"${{{condition}}}", "error_message": error}
        above.add_override(f"resource.{kind}.{id}", {"lifecycle": {"precondition": [check]}})


def _name(stack: str) -> str:
    return stack.replace("-", "_")
