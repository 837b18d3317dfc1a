"""The environment in which the plain cdktf commands work: against AWS, or against the embedded AWS."""

import codecs
import locale
import os
from collections.abc import Mapping
from pathlib import Path

from constructs_lib import variables
from constructs_lib.variables import Place
from ops.core import terraform

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"

# What the CLI runs as Terraform: https://developer.hashicorp.com/terraform/cdktf/cli-reference/cli-configuration
_TERRAFORM = Path(__file__).resolve().parent / "terraform_for_cli.py"

# When one stack fails while others run, the CLI (0.21.0) waits for them, but nobody has yet asked for the failure, and
# Node would end the CLI and take their Terraforms with it. It is asked for at the end. Whatever is not, still makes the
# exit status 1: https://nodejs.org/docs/latest-v22.x/api/cli.html#--unhandled-rejectionsmode
_NODE_OPTIONS = "--unhandled-rejections=warn-with-error-code"
_NODE_MEMORY = "--max-old-space-size=4096"  # MiB; as cdktf-cli 0.21.0 has it by default

# What the embedded AWS fills in for a person who has no account. The address is one reserved for documentation (RFC
# 5737).
LOCAL_KEY_PAIR = "ml-core-local"
LOCAL_BUCKET = "ml-core-local-state"
LOCAL_SETTINGS = {
    "ML_INFRA_ACCESS__DEPLOYER_CIDRS": "203.0.113.10/32",
    "ML_INFRA_ACCESS__SSH_KEYPAIR_NAME": LOCAL_KEY_PAIR,
    "ML_INFRA_STATE__BUCKET": LOCAL_BUCKET,
    "ML_INFRA_STATE__USE_PATH_STYLE": "true",
}


def commands(
    base: Mapping[str, str] = os.environ, *, root: Path = ROOT, build: Path = BUILD, place: Place = "shell"
) -> dict[str, str]:
    """Return `base` with the project's Python, Node, cdktf CLI and Terraform settings, without conflicting variables.

    Raises terraform.TerraformError, RefusedVariableError.
    """
    variables.refuse(base, place)
    base = variables.cleaned(base, place)
    terraform.require_terraform(base)
    path = os.pathsep.join(
        [str(root / ".venv" / "bin"), str(root / "node_modules" / ".bin"), base.get("PATH", os.defpath)]
    )
    return {
        **base,
        **terraform.find_provider(base).environment(build, base),
        "PATH": path,
        "VIRTUAL_ENV": str(root / ".venv"),
        "TERRAFORM_BINARY_NAME": str(_TERRAFORM),
        "NODE_OPTIONS": _node_options(base.get("NODE_OPTIONS", "")),
        # Neither Terraform nor the CLI asks the outside whether there is a newer version.
        "CHECKPOINT_DISABLE": "1",
        "DISABLE_VERSION_CHECK": "1",
        # Or the CLI names a cache of its own, which the Terraforms of all stacks would write at once.
        "CDKTF_DISABLE_PLUGIN_CACHE_ENV": "1",
        # Whatever the locale: files, and what programs say to each other, are UTF-8.
        "PYTHONUTF8": "1",
        **_terminal(base),
    }


def _node_options(given: str) -> str:
    """Return the person's options and ours. A shell within a shell has them already."""
    # The CLI sets this one, but only where nothing else is set, and otherwise complains at every command.
    memory = "" if "--max-old-space-size" in given.replace("_", "-") else _NODE_MEMORY
    ours = "" if _NODE_OPTIONS in given else _NODE_OPTIONS
    return " ".join(filter(None, (given, memory, ours)))


def _terminal(base: Mapping[str, str]) -> dict[str, str]:
    """Return the terminal's encoding where it is not UTF-8, which PYTHONUTF8 would take it for."""
    encoding = locale.getencoding()
    # ASCII is that of no locale (C, POSIX), with which Python, too, takes a terminal for one of UTF-8.
    if base.get("PYTHONIOENCODING") or codecs.lookup(encoding).name in ("utf-8", "ascii"):
        return {}
    return {"PYTHONIOENCODING": f"{encoding}:replace"}
