"""The app itself in a process of its own, as the cdktf CLI runs it: settings in, Terraform JSON out."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from constructs_lib import variables
from ops.core.environment import ROOT
from ops.core.errors import FixableError

# A synthesis takes seconds, and some 15 s where the provider's import is not made cheap.
_SECONDS: Final = 300
# What a run of the CLI around this program tells its app.
_OF_THE_CLI: Final = ("CDKTF_", "SYNTH_HCL_OUTPUT")


class SynthesisError(FixableError):
    """The stacks cannot be synthesized. The fix includes the end of the app's output."""


def synthesized(environment: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return the Terraform JSON of every stack by name, without the cost limit. Raises SynthesisError."""
    with tempfile.TemporaryDirectory() as folder:
        # The limit is about deploying, and here nobody does.
        synthesize(Path(folder), {**environment, "ML_INFRA_DEPLOYMENT__MAX_HOURLY_USD": ""})
        files = Path(folder).glob("stacks/*/cdk.tf.json")
        return {file.parent.name: json.loads(file.read_text(encoding="utf-8")) for file in files}


def synthesize(folder: Path, environment: Mapping[str, str]) -> None:
    """Write every stack below `folder`, under the settings that `environment` names. Raises SynthesisError."""
    # Without what only Terraform would stumble over, which does not run here.
    kept = {
        name: value
        for name, value in variables.cleaned(environment, "shell").items()
        if not name.startswith(_OF_THE_CLI)
    }
    kept |= {
        "CDKTF_OUTDIR": str(folder),
        # The Node of the virtual environment, which jsii was tried with.
        "PATH": os.pathsep.join([str(ROOT / ".venv" / "bin"), environment.get("PATH", os.defpath)]),
    }
    app = [sys.executable, "main.py"]
    try:
        run = subprocess.run(
            app,
            cwd=ROOT,
            env=kept,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise SynthesisError(
            f"synthesis did not finish within {_SECONDS} s", fix="run cdktf synth to see why"
        ) from None
    if run.returncode != 0:
        said = (run.stderr or run.stdout).strip()[-2000:]
        raise SynthesisError("synthesis failed", fix=f"run make setup, then cdktf synth. The output was:\n{said}")
