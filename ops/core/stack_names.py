"""The stacks, and where the state of each one is."""

from collections.abc import Sequence
from typing import Final

from constructs_lib.refused import did_you_mean
from modules_equiv.settings import Settings
from ops.core.errors import OpsError

STACKS: Final = ("mlcore", "stats-monitor", "train-model", "train-model-dev")


def chosen(names: Sequence[str]) -> list[str]:
    """Return the named stacks in their order, or all of them if none is named. Raises OpsError as `require_stack`."""
    for name in names:
        require_stack(name)
    return [stack for stack in STACKS if stack in names or not names]


def state_key(settings: Settings, stack: str) -> str:
    """Return the key of the stack's state in the state bucket. The lock's is the same, followed by .tflock."""
    return settings.stack_deployment().state_key(stack)


def state_place(settings: Settings, stack: str) -> str:
    """Return the s3:// URL of the stack's state."""
    return f"s3://{settings.state.bucket}/{state_key(settings, stack)}"


def require_stack(name: str) -> None:
    """Refuse an unknown stack name. Raises OpsError (a wrong command line)."""
    if name not in STACKS:
        hint = did_you_mean(name, STACKS, otherwise=f"The stacks are {', '.join(STACKS)}.")
        raise OpsError(f"unknown stack {name!r}", fix=hint[0].lower() + hint[1:], status=2)
