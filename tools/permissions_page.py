"""Write docs/permissions.md, from the table of actions that `ops doctor` checks."""

import json
import os
from pathlib import Path
from typing import Final

from modules_equiv.settings import load_settings
from ops.core.stack_names import STACKS
from ops.doctor.actions import groups
from ops.doctor.policies import MANAGED_POLICY_CHARACTERS, policies, size

PAGE: Final = Path(__file__).parent.parent / "docs" / "permissions.md"
_ACCOUNT: Final = "123456789012"
_SETTINGS: Final = {
    "ML_INFRA_SETTINGS": os.devnull,
    "ML_INFRA_ACCESS__DEPLOYER_CIDRS": "203.0.113.7/32",
    "ML_INFRA_ACCESS__SSH_KEYPAIR_NAME": "example",
    "ML_INFRA_STATE__BUCKET": "example-state-bucket",
}
_INTRODUCTION: Final = f"""# Permissions of a deployer

<!-- Written by `python -m tools.permissions_page`. Edit that program, not this page. -->

`ops permissions` prints the IAM policy that a person or a role needs to deploy, change and destroy all stacks with
your settings; `ops permissions train-model` prints it for one stack. The output is JSON that can be attached:

    ops permissions --out policies
    aws iam create-policy --policy-name ml-core-deploy-1 --policy-document file://policies/ml-core-deploy-1.json

A managed policy has at most {MANAGED_POLICY_CHARACTERS} characters without white space
([IAM quotas](https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html)). A larger policy is split:
the policies follow one another in the output, and `--out` writes each to its own file. Attach all of them. `--json`
prints one document with the stacks, the account and every policy with its name.

The account number is that of your credentials. With `--account NUMBER`, AWS is not called, so an administrator can
print the policies before you have credentials. A KMS key of the state bucket is then included only where
`state.kms_key_arn` names it.

`ops doctor` simulates the same table of actions. `Resource` is `*` where that table names no resource: for the actions
of EC2, EFS and SageMaker, and for actions that take no resource. Rights that other `ops` commands need besides are not
included, for example to create the state bucket or to open a session.

The policies below are those of the default settings, with account {_ACCOUNT} and bucket `example-state-bucket`.
"""


def page() -> str:
    """Return the page's text."""
    settings = load_settings(environ=_SETTINGS)
    parts = [_INTRODUCTION]
    for stack in STACKS:
        parts.append(f"\n## {stack}\n")
        for policy in policies(groups(settings, stack, _ACCOUNT)):
            parts.append(f"\n{size(policy)} characters:\n\n```json\n{json.dumps(policy, indent=2)}\n```\n")
    return "".join(parts)


def main() -> None:
    """Write the page."""
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
