"""`make local` after its embedded AWS was killed in the middle of a deploy: the same command leads on."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from embedded_aws import control
from ops.core import environment
from ops.core.environment import LOCAL_BUCKET
from tests.e2e.conftest import Finished, Shell, end
from tests.e2e.faults import kill
from tests.e2e.test_lifecycle import left_over, page
from tests.embedded_aws.conftest import free_port
from tools import local

ROUNDS = range(int(os.environ.get("FAULT_ROUNDS", "1")))
# In a folder of the test's own, and mlcore alone: it has what can be lost.
PROGRAM = """\
import sys
from pathlib import Path
from tools import local
local.BUILD = Path(sys.argv[1])
local.SERVER_DIR = local.BUILD / "embedded-aws"
local.DEPLOYS = (("mlcore",),)
sys.exit(local.main([sys.argv[2]]))
"""
# Seconds. The provider tries a call that finds no server nine times more, with growing pauses.
LONGEST = 400


class MakeLocal:
    """`make local` in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._variables = {name: value for name, value in os.environ.items() if not name.startswith("ML_INFRA_")}
        if mirror := os.environ.get("ML_INFRA_PROVIDER_MIRROR"):
            self._variables["ML_INFRA_PROVIDER_MIRROR"] = mirror
        self._variables |= {control.PORT_VARIABLE: str(free_port()), "ML_INFRA_SETTINGS": os.devnull}
        self._running: subprocess.Popen[str] | None = None

    def start(self, what: str) -> "subprocess.Popen[str]":
        self._running = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(self.folder), what],
            cwd=environment.ROOT,
            env=self._variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        return self._running

    def run(self, what: str) -> Finished:
        return finished(self.start(what))

    def server(self) -> control.Endpoint | None:
        return control.status(self.folder / "embedded-aws")

    def has_met(self, call: str) -> bool:
        """Whether the server runs and was asked for this."""
        server = self.server()
        return server is not None and call in {each["operation"] for each in page(server.url, "calls")}

    def shell(self) -> Shell:
        server = self.server()
        assert server is not None
        return Shell(local.variables(server, "us-east-1", self._variables))

    def end(self) -> None:
        if self._running:
            end(self._running)
        control.stop(self.folder / "embedded-aws")


def finished(process: "subprocess.Popen[str]") -> Finished:
    said, _ = process.communicate(timeout=LONGEST)
    return Finished(process.returncode, said)


def wait_until(true: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    """Returns when it is true. The command must still run then."""
    deadline = time.monotonic() + 200
    while not true():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture
def make_local(tmp_path: Path) -> Iterator[MakeLocal]:
    made = MakeLocal(tmp_path / "a build folder")
    yield made
    made.end()


@pytest.mark.parametrize("seed", ROUNDS)
def test_after_a_kill_of_the_embedded_aws_the_same_command_leads_on(make_local: MakeLocal, seed: int) -> None:
    """All of the account is gone with it. What Terraform kept of it on this machine must not be in the way."""
    # Each comes when Terraform has something in its state.
    call = random.Random(seed).choice(["CreateSubnet", "CreateNatGateway", "CreateMountTarget", "RunInstances"])
    process = make_local.start("up")
    wait_until(lambda: make_local.has_met(call), process)
    server = make_local.server()
    assert server is not None
    kill([psutil.Process(server.pid)])
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does at Ctrl-C
    interrupted = finished(process)

    assert interrupted.status == 130, interrupted.said
    assert "`make local` continues from here" in interrupted.said
    output = make_local.folder / "local" / "cdktf.out"
    assert (output / "stacks" / "mlcore" / "errored.tfstate").exists()

    make_local.run("up").ok()

    shell = make_local.shell()
    keys = [each["Key"] for each in shell.aws("s3").list_objects_v2(Bucket=LOCAL_BUCKET)["Contents"]]
    assert [key for key in keys if key.endswith(".tflock")] == []
    (key,) = [key for key in keys if key.endswith("mlcore.tfstate")]
    state = shell.aws("s3").get_object(Bucket=LOCAL_BUCKET, Key=key)["Body"].read().decode()
    assert json.loads(state)["outputs"].keys() >= {"subnet_pvt", "jump_ip_addr"}
    assert [each for each in left_over(shell) if each.rpartition("/")[2] not in state] == []
    plan = ("terraform", "plan", "-input=false", "-no-color", "-detailed-exitcode")
    shell.run(*plan, cwd=output / "stacks" / "mlcore").ok()
