"""Read the outputs of one stack in another, from its state in S3."""

import json
from collections.abc import Mapping
from typing import Any, Final

from cdktf import DataTerraformRemoteStateS3
from constructs import Construct

from constructs_lib.base_stack import BaseStack
from constructs_lib.deployment import Deployment
from constructs_lib.terraform_text import writes_hcl

# The value of an output after the stack that published it was destroyed.
GONE: Final = "gone"


def remote_state(
    scope: Construct, stack: str, *, deployment: Deployment, defaults: Mapping[str, Any]
) -> DataTerraformRemoteStateS3:
    """Return the state of a stack in the same deployment, as `data.terraform_remote_state.<stack>`.

    The plan fails with "Unable to find remote state" if that stack was never deployed.
    defaults: the outputs after it was destroyed. Without them, even a destroy fails with "Unsupported attribute".
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
    """Make Terraform refuse every plan of `above` except a destroy while an output of `stack` is GONE.

    A failed precondition of one resource fails the whole plan; a destroy does not evaluate it:
    https://developer.hashicorp.com/terraform/language/expressions/custom-conditions
    The resource exists in Terraform's state only. cdktf cannot write a precondition that is valid in HCL.
    """
    kind, id = "terraform_data", f"{_name(stack)}_is_there"
    condition = f'!strcontains(jsonencode(data.terraform_remote_state.{_name(stack)}.outputs), "\\"{GONE}\\"")'
    error = (
        f"This stack depends on {stack}, which is not deployed or was partly destroyed. Run: cdktf deploy {stack}. "
        "You can destroy this stack without it."
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
