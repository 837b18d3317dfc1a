"""One embedded AWS for all end-to-end tests, and the CLI as a person in the README's shell runs it."""

import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest

from embedded_aws import control
from modules_equiv.settings import load_settings
from ops.core import environment
from tests.embedded_aws.conftest import started
from tools import local

_CONTROL_CHARACTERS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Finished:
    """A command that ended: its exit status and everything it said, without colours."""

    status: int
    said: str

    def ok(self) -> "Finished":
        assert self.status == 0, self.said
        return self

    def refused(self) -> "Finished":
        assert self.status != 0, self.said
        return self


@dataclass(frozen=True)
class Shell:
    """The environment of `make local-shell`, on a server and in folders of the test's own."""

    variables: dict[str, str]
    region: str = "us-east-1"
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def run(self, *command: str, cwd: Path = environment.ROOT, settings: Mapping[str, str] | None = None) -> Finished:
        process = self.start(*command, cwd=cwd, settings=settings)
        try:
            said, _ = process.communicate(timeout=500)
        finally:
            end(process)
        return Finished(process.returncode, _CONTROL_CHARACTERS.sub("", said))

    def start(
        self, *command: str, cwd: Path = environment.ROOT, settings: Mapping[str, str] | None = None
    ) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**self.variables, **(settings or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # Terraform is the CLI's grandchild, and holds the state's lock for as long as it lives.
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def cdktf(self, *arguments: str, **settings: str) -> Finished:
        return self.run("cdktf", *arguments, settings=settings)

    def aws(self, service: Any) -> Any:
        return boto3.client(
            service,
            region_name=self.region,
            endpoint_url=self.variables["AWS_ENDPOINT_URL"],
            aws_access_key_id=self.variables["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.variables["AWS_SECRET_ACCESS_KEY"],
        )


@pytest.fixture(scope="session")
def new_shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Shell]]:
    """Starts an embedded AWS with its state bucket and key pair; each call gives a new, empty one."""
    folders: list[Path] = []

    def make() -> Shell:
        folder = tmp_path_factory.mktemp("embedded")
        folders.append(folder)
        endpoint = started(folder)
        base = {key: value for key, value in os.environ.items() if not key.startswith(("ML_INFRA_", "AWS_"))}
        base |= {key: value for key, value in os.environ.items() if key == "ML_INFRA_PROVIDER_MIRROR"}
        base |= {"CI": "1", "ML_INFRA_SETTINGS": os.devnull}
        settings = load_settings(environ=base | environment.LOCAL_SETTINGS)
        local.prepare_account(settings, endpoint, folder)
        variables = local.variables(endpoint, settings.deployment.region, base)
        variables |= {
            "CDKTF_OUTPUT": str(folder / "cdktf.out"),
            # Before the real one: with it every call says which stack it is for.
            "PATH": os.pathsep.join([str(terraform_that_tells_its_stack(folder)), variables["PATH"]]),
        }
        return Shell(variables)

    yield make
    for folder in folders:
        control.stop(folder)


def terraform_that_tells_its_stack(folder: Path) -> Path:
    """A folder with a `terraform` that is the real one, in whose calls to AWS is the name of the folder it runs in.

    The CLI runs it in the stack's folder. It sets the variable itself, to one value for all stacks.
    """
    real = shutil.which("terraform")
    assert real is not None
    program = folder / "terraform of a stack" / "terraform"
    program.parent.mkdir()
    lines = [
        "#!/bin/sh",
        'export TF_APPEND_USER_AGENT="stack/${PWD##*/}"',
        # Of boto3 in what Terraform runs: https://docs.aws.amazon.com/sdkref/latest/guide/feature-appid.html
        'export AWS_SDK_UA_APP_ID="${PWD##*/}"',
        f'exec {shlex.quote(real)} "$@"',
        "",
    ]
    program.write_text("\n".join(lines), encoding="utf-8")
    program.chmod(0o755)
    return program.parent


@pytest.fixture(scope="module")
def shell(new_shell: Callable[[], Shell]) -> Iterator[Shell]:
    """One embedded AWS for a module's tests, which run in their order."""
    made = new_shell()
    yield made
    for process in made.started:
        end(process)


def end(process: "subprocess.Popen[str]") -> None:
    """Ends the process, if it still runs, with all that it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
