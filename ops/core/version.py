"""The version of this project, and the versions of the programs that it works with."""

import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from ops.core.environment import ROOT
from ops.core.terraform import PROVIDER_VERSION, TerraformError, require_terraform

VERSION: Final = "0.9.0"

_GIT_SECONDS: Final = 10


def versions(root: Path = ROOT) -> str:
    """Return one line: this project's version and commit, and the version of each program, or that it is missing."""
    python = ".".join(str(number) for number in sys.version_info[:3])
    parts = (
        f"ops {VERSION} ({_commit(root)})",
        f"Terraform {_terraform()}",
        f"hashicorp/aws {PROVIDER_VERSION}",
        f"cdktf {_cdktf()}",
        f"cdktf-cli {_cli(root)}",
        f"Python {python}",
    )
    return ", ".join(parts)


def _commit(root: Path) -> str:
    git = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        described = subprocess.run(
            git, capture_output=True, encoding="utf-8", errors="replace", check=False, timeout=_GIT_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown commit"
    return described.stdout.strip() or "no git checkout"


def _terraform() -> str:
    try:
        return require_terraform()
    except TerraformError as error:
        return f"missing or unusable ({error.problem})"
    except OSError as error:
        return f"missing or unusable ({error})"


def _cdktf() -> str:
    try:
        return version("cdktf")
    except PackageNotFoundError:
        return "missing: run make setup"


def _cli(root: Path) -> str:
    try:
        package = json.loads((root / "node_modules" / "cdktf-cli" / "package.json").read_text(encoding="utf-8"))
        return str(package["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return "missing: run make setup"
