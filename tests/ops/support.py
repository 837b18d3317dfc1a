"""`ops` for tests: in this process, or as one of its own, and what came of it."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
import psutil
from typer import rich_utils

from embedded_aws import control
from ops.cli import main
from ops.core.environment import ROOT
from tests.embedded_aws.conftest import free_port

_SECONDS = 300.0  # a command takes 2 s; on a machine that does other things, too, much longer
# What the person at this machine has set, and what makes colours where there is no terminal.
_NOT_INHERITED = ("AWS_", "ML_", "SSH_")
_STYLES = ("no_color", "force_color", "py_colors", "github_actions", "http_proxy", "https_proxy")
_MIRROR = "ML_INFRA_PROVIDER_MIRROR"


@dataclass(frozen=True)
class Finished:
    """A run of `ops` that ended."""

    status: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """The last line on stderr; on a slow machine there are lines of progress before it."""
        return self.err.splitlines()[-1] if self.err else ""

    @property
    def document(self) -> Any:
        """What --json printed: one JSON document on stdout and nothing beside it."""
        return json.loads(self.out)

    @property
    def text(self) -> str:
        """stdout without the spaces at the ends of lines."""
        return "\n".join(line.rstrip() for line in self.out.splitlines()) + "\n"

    @property
    def words(self) -> str:
        """stdout on one line, wherever it was wrapped."""
        return " ".join(self.out.split())


class Running:
    """An `ops` that runs, and what it has said so far."""

    def __init__(self, process: "subprocess.Popen[bytes]", out: Path, err: Path) -> None:
        self.process = process
        self._out = out
        self._err = err

    @property
    def out(self) -> str:
        return self._out.read_text(errors="replace")

    @property
    def err(self) -> str:
        return self._err.read_text(errors="replace")

    def says(self, text: str) -> None:
        """Waits until it has said `text`, on stdout or stderr."""
        wait_for(
            f"{text!r} in {self.out!r} {self.err!r}",
            lambda: text in self.out + self.err or self.process.poll() is not None,
        )
        assert text in self.out + self.err, f"it ended with {self.process.poll()}: {self.err}"

    def family(self) -> list[psutil.Process]:
        """What it has started, and what that has."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def interrupt(self, number: int = signal.SIGINT) -> int:
        """Ctrl-C, and its exit status."""
        self.process.send_signal(number)
        return self.ended().status

    def ended(self) -> Finished:
        """Its result, once it is over."""
        status = self.process.wait(_SECONDS)
        assert "Traceback" not in self.err, self.err
        return Finished(status, self.out, self.err)


@contextmanager
def embedded_aws(folder: Path) -> Iterator[control.Endpoint]:
    """An embedded AWS of the tests' own."""
    yield control.start(free_port(), build_dir=folder)
    control.stop(folder)


def client(url: str, service: str, region: str = "us-east-1") -> Any:
    """A client of the embedded AWS, whatever the environment says."""
    session = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name=region)
    return session.client(service, endpoint_url=url)  # type: ignore[call-overload]


def environment(endpoint: control.Endpoint) -> dict[str, str]:
    """Of somebody whose account is on this embedded AWS and who has set nothing else."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_NOT_INHERITED) and name.lower() not in _STYLES
    }
    inherited |= {name: value for name, value in os.environ.items() if name == _MIRROR}
    return {**inherited, **control.environment(endpoint), "AWS_MAX_ATTEMPTS": "1", "COLUMNS": "80"}


def run(arguments: tuple[str, ...], variables: Mapping[str, str], *, cwd: Path = ROOT, stdin: str = "") -> Finished:
    """`ops` in this process: all of the program but its start, which takes longer than most of what it does."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, variables, clear=True),
        mock.patch.object(rich_utils, "FORCE_TERMINAL", None),  # read from the environment when it was imported
        mock.patch.object(sys, "stdin", io.StringIO(stdin)),
        mock.patch.object(os, "execvp", side_effect=AssertionError("this would replace the tests: run a process")),
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        status = main(list(arguments))
    assert "Traceback" not in err.getvalue(), err.getvalue()
    return Finished(status, out.getvalue(), err.getvalue())


def start(arguments: tuple[str, ...], variables: Mapping[str, str], folder: Path, *, cwd: Path = ROOT) -> Running:
    """`python -m ops` as a process; what it says goes to files in `folder`."""
    name = uuid.uuid4().hex
    out, err = folder / f"{name}.out", folder / f"{name}.err"
    with out.open("wb") as output, err.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "ops", *arguments],
            cwd=cwd,
            env={**variables, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
        )
    return Running(process, out, err)


def wait_for(what: str, condition: Callable[[], Any]) -> Any:
    """What `condition` gives once it is true."""
    end = time.monotonic() + _SECONDS
    while not (found := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"waited {_SECONDS:.0f} s for {what}")
        time.sleep(0.02)
    return found
