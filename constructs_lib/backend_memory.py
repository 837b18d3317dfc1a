"""Manage the backend configuration that Terraform recorded when a stack was initialized."""

import json
from pathlib import Path
from typing import Any, Final

from constructs_lib.deployment import Deployment

_PLACE: Final = ("bucket", "key", "region", "use_path_style")
_ENCRYPTION: Final = ("encrypt", "kms_key_id")


def forget_other_encryption(folder: Path, stack: str, deployment: Deployment) -> None:
    """Let `terraform init` start over if only the encryption of the state changed.

    For any change, Terraform fails with "Backend configuration changed" and asks to migrate the state; a change of
    encryption does not move it. Other changes are left to Terraform. folder: the stack's, with its `.terraform`.
    """
    file = folder / ".terraform" / "terraform.tfstate"
    try:
        remembered: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))["backend"]["config"]
        there = {name: remembered.get(name) for name in (*_PLACE, *_ENCRYPTION)}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return
    key_arn = deployment.state_kms_key_arn
    now = {
        "bucket": deployment.state_bucket,
        "key": deployment.state_key(stack),
        "region": deployment.state_region,
        "use_path_style": deployment.state_use_path_style or None,
        "encrypt": True if key_arn else None,
        "kms_key_id": key_arn,
    }
    if there != now and all(there[name] == now[name] for name in _PLACE):
        file.unlink(missing_ok=True)
