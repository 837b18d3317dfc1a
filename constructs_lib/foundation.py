"""Protect a stack that others depend on: Terraform refuses to destroy it while their states hold resources.

The CLI destroys mlcore after the other stacks, but treats a Terraform that was killed by a signal as successful
(cdktf-cli 0.21.0: `onExit(({ exitCode }) => …)` in cli-core's models/pty-process.ts ignores the signal). It would then
destroy the network and the file system while machines are running.

A resource that depends on everything else in its stack is destroyed first. If its destroy-time provisioner fails, no
other resource is destroyed:
https://developer.hashicorp.com/terraform/language/resources/provisioners/syntax#destroy-time-provisioners
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from cdktf import TerraformResource

from constructs_lib.base_stack import BaseStack
from constructs_lib.terraform_text import literal, writes_hcl

# `terraform_data.stacks_above`, of Terraform's built-in provider.
KIND: Final = "terraform_data"
ID: Final = "stacks_above"

_COMMAND: Final = 'python3 -c "$CHECK"'
_CHECK: Final = Path(__file__).parent / "holds_nothing.py"


def keep_until_gone(stack: BaseStack, above: Sequence[str]) -> None:
    """Make Terraform refuse to destroy `stack` while the state of a stack in `above` holds resources or is locked.

    Call it last: resources that are added to the stack afterwards are not protected.
    """
    deployment = stack.deployment
    resources = [one for one in stack.node.find_all() if isinstance(one, TerraformResource)]
    depends_on = sorted(f"{one.terraform_resource_type}.{one.node.id}" for one in resources)
    given = {
        "bucket": deployment.state_bucket,
        "region": deployment.state_region,
        "path_style": str(deployment.state_use_path_style).lower(),
        "states": json.dumps({each: deployment.state_key(each) for each in above}),
    }
    # A destroy-time provisioner may refer only to its own resource.
    environment = {name.upper(): f"${{self.input.{name}}}" for name in given}
    environment |= {"STACK": stack.node.id, "CHECK": literal(_CHECK.read_text(encoding="utf-8"))}
    provisioner = {"when": "destroy", "command": _COMMAND, "environment": environment}
    body = {"input": given, "depends_on": depends_on, "provisioner": [{"local-exec": provisioner}]}
    if writes_hcl():
        stack.add_hcl(_hcl(given, depends_on, environment))
    else:
        stack.add_override(f"resource.{KIND}.{ID}", body)


def _hcl(given: dict[str, Any], depends_on: Sequence[str], environment: dict[str, str]) -> str:
    # JSON's strings are HCL's: https://developer.hashicorp.com/terraform/language/expressions/strings
    inputs = "\n".join(f"    {name} = {json.dumps(value)}" for name, value in given.items())
    variables = "\n".join(f"      {name} = {json.dumps(value)}" for name, value in environment.items())
    return (
        f'resource "{KIND}" "{ID}" {{\n  input = {{\n{inputs}\n  }}\n\n'
        f'  provisioner "local-exec" {{\n    when    = destroy\n    command = {json.dumps(_COMMAND)}\n'
        f"    environment = {{\n{variables}\n    }}\n  }}\n\n  depends_on = [{', '.join(depends_on)}]\n}}"
    )
