"""Refuse a destroy that would fail at the shared file system, before it destroys anything else."""

import textwrap
from collections.abc import Sequence
from typing import Final

from constructs_lib.cli_run import CliRun

_WIDTH: Final = 80


class ProtectedError(Exception):
    """Report a run that would destroy what the settings protect. str() is the whole message, 80 columns wide."""


def check_protection(run: CliRun | None, *, allow_efs_destroy: bool, core: str, stacks: Sequence[str]) -> None:
    """Raise ProtectedError if the run is a destroy that includes `core`, whose file system the settings protect.

    Terraform refuses it too (prevent_destroy), but only after the other stacks, since `core` is destroyed last. If the
    CLI's command is unknown, the check is left to Terraform.
    """
    if allow_efs_destroy or run is None or run.command != "destroy" or not run.selects(core):
        return
    others = [stack for stack in stacks if stack != core and run.selects(stack)] or [
        stack for stack in stacks if stack != core
    ]
    paragraphs = [
        f"{core} contains the shared file system with every checkpoint, and is protected. Nothing was destroyed.",
        "To destroy everything else:",
        "To destroy the file system and its content too, set mlcore.allow_efs_destroy = true in settings.toml, or run:",
    ]
    filled = [textwrap.fill(text, _WIDTH, break_on_hyphens=False) for text in paragraphs]
    asked = " ".join(f"'{pattern}'" if "*" in pattern or "?" in pattern else pattern for pattern in run.patterns)
    raise ProtectedError(
        f"{filled[0]}\n\n{filled[1]}\n\n    cdktf destroy {' '.join(others)}\n\n{filled[2]}\n\n"
        f"    ML_INFRA_MLCORE__ALLOW_EFS_DESTROY=true cdktf destroy {asked}"
    )
