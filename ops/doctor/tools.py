"""What must be on this machine: Terraform and its provider, Node and the cdktf CLI, ssh; for a worker rsync."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from constructs_lib import variables as table
from ops.core.environment import ROOT
from ops.core.errors import OpsError
from ops.core.terraform import PROVIDER_VERSION, TerraformError, find_provider, require_terraform
from ops.doctor.report import Finding, ok, problem
from ops.remote.rsync import require_rsync
from ops.remote.ssh import SSM_PROGRAMS

_SECONDS: Final = 30


def terraform() -> Iterator[Finding]:
    """Check that Terraform is installed and new enough."""
    try:
        yield ok("terraform", require_terraform())
    except TerraformError as error:
        yield problem("terraform", error.problem, error.fix)


def variables() -> Iterator[Finding]:
    """Check that no variable changes what Terraform does. The project's shells clear them."""
    for name, row in table.found(os.environ, "app", "refused"):
        yield problem("environment", f"{name} is set: {row.why}", f"unset {name}, or use make shell")


def provider() -> Iterator[Finding]:
    """Check that `terraform init` will find the AWS provider."""
    try:
        source = find_provider()
    except TerraformError as error:
        yield problem("AWS provider", error.problem, error.fix)
        return
    where = f"the mirror {source.mirror}" if source.mirror else source.configuration or "Terraform's registry"
    yield ok("AWS provider", f"hashicorp/aws {PROVIDER_VERSION} from {where}")


def cdktf(root: Path = ROOT) -> Iterator[Finding]:
    """Check the project's own Node and CLI against the versions in package.json."""
    try:
        pins = json.loads((root / "package.json").read_text(encoding="utf-8"))
        oldest, pin = _numbers(pins["engines"]["node"]), str(pins["dependencies"]["cdktf-cli"])
    except (OSError, ValueError, KeyError, TypeError):
        yield problem("cdktf", f"{root / 'package.json'} is missing or incomplete", "git checkout package.json")
        return
    yield _node(root / ".venv" / "bin" / "node", oldest)
    yield _cli(root / "node_modules", pin)


def _node(program: Path, oldest: tuple[int, ...]) -> Finding:
    version = _first_line([str(program), "--version"])
    if version is None:
        return problem("node", f"{program} does not run", "make setup")
    numbers = _numbers(version)
    # A newer major cannot load the prebuilt node-pty of cdktf-cli 0.21, and does not even start it.
    if numbers[:1] != oldest[:1] or numbers < oldest:
        wanted = ".".join(str(number) for number in oldest)
        return problem("node", f"{version}, but the cdktf CLI needs {wanted} or a newer {oldest[0]}", "make setup")
    return ok("node", version)


def _cli(modules: Path, pin: str) -> Finding:
    program = modules / ".bin" / "cdktf"
    try:
        package = json.loads((modules / "cdktf-cli" / "package.json").read_text(encoding="utf-8"))
        version = str(package["version"])
        if not os.access(program, os.X_OK):
            raise FileNotFoundError(program)
    except (OSError, ValueError, KeyError, TypeError):
        return problem("cdktf", f"{program} is missing or incomplete", "make setup")
    if version != pin:
        return problem("cdktf", f"{version} is installed, but package.json pins {pin}", "make setup")
    return ok("cdktf", version)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))


def ssh() -> Iterator[Finding]:
    """Check for the OpenSSH client, which every connection to a machine needs."""
    if shutil.which("ssh") is None:
        yield problem("ssh", "ssh is not on the PATH", "install the OpenSSH client (package openssh-client)")
        return
    said = _first_line(["ssh", "-V"]) or "unknown version"
    yield ok("ssh", re.split(r"[, ]", said)[0])


def rsync() -> Iterator[Finding]:
    """Check for rsync, which ops push and ops pull need."""
    try:
        require_rsync()
    except OpsError as error:
        yield problem("rsync", f"{error.problem}; ops push and ops pull need it", error.fix)
        return
    yield ok("rsync", (_first_line(["rsync", "--version"]) or "unknown version").replace("  ", " "))


def session_manager() -> Iterator[Finding]:
    """Check for the programs that reach the worker without an open port."""
    missing = [program for program in SSM_PROGRAMS if shutil.which(program) is None]
    if missing:
        only = "needed only for --via ssm of ops ssh, push, pull and tunnel"
        yield ok("Session Manager", f"not installed: {', '.join(missing)}; {only}")
    else:
        yield ok("Session Manager", " and ".join(SSM_PROGRAMS))


def _first_line(command: Sequence[str]) -> str | None:
    """Return the first line that a program prints; None when it does not run."""
    try:
        answer = subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = (answer.stdout or answer.stderr).strip().splitlines()
    return lines[0] if answer.returncode == 0 and lines else None


LOOKS: Final[Mapping[str, Callable[[], Iterator[Finding]]]] = MappingProxyType(
    {"environment": variables, "terraform": terraform, "AWS provider": provider, "cdktf": cdktf, "ssh": ssh}
)
# Of those who train.
LOOKS_FOR_THE_WORKER: Final[Mapping[str, Callable[[], Iterator[Finding]]]] = MappingProxyType(
    {"rsync": rsync, "Session Manager": session_manager}
)
