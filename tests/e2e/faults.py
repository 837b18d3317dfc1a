"""What goes wrong in the middle of a run, made on purpose at a chosen call to AWS, and the one way back from it.

A moment is the N-th call that changes something, of AWS, a state or a lock: no time, and the same on a slow machine.
The embedded AWS keeps everything in memory, so killing it would test that all of an account is gone. What a person
meets is that AWS does not answer for a while: connections that end without an answer.
"""

import json
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil

from ops.core.environment import LOCAL_BUCKET
from tests.e2e.conftest import Finished, Shell, end
from tests.e2e.proxy import HANG_UP, Call, Fault, Gateway, gateway
from tests.e2e.test_lifecycle import STACKS, left_over, stack_folder

DENIED = Fault("UnauthorizedOperation", "You are not authorized to perform this operation.", 403)
# Of this suite alone: ops unlock looks for Terraforms of this machine that work on the same state, of other tests too.
PREFIX = "faults"
STATES = f"{PREFIX}/ml-core/us-east-1"


@dataclass
class Moment:
    """Something that happens once, at the `at`-th call that changes something.

    kind: cli, terraform, all: the CLI, one Terraform or everything is killed; denied: the call is forbidden; silence:
    AWS does not answer this call and the next two.
    """

    kind: str
    at: int
    shell: Shell
    seen: int = 0
    silent: int = 0
    happened: list[str] = field(default_factory=list)

    def __call__(self, call: Call) -> Fault | None:
        if self.silent:
            self.silent -= 1
            return HANG_UP
        if not call.changes or self.happened:
            return None
        self.seen += 1
        # A lock is what all of it goes by: who cannot take it does nothing at all.
        if self.seen < self.at or (self.kind == "denied" and call.service == "s3"):
            return None
        return self._happen(call)

    def _happen(self, call: Call) -> Fault | None:
        self.happened.append(f"{self.kind} at call {self.seen}: {call.service} {call.action}")
        match self.kind:
            case "denied":
                return DENIED
            case "silence":
                self.silent = 2
                return HANG_UP
            case "cli":
                kill([psutil.Process(self.shell.started[-1].pid)])
            case "terraform":
                kill([random.Random(self.at).choice(terraforms(self.shell))])
            case "all":
                kill([psutil.Process(self.shell.started[-1].pid), *everything(self.shell)])
        return None


@contextmanager
def behind_a_gateway(made: Shell, **settings: str) -> Iterator[tuple[Shell, Gateway]]:
    """Give a shell whose calls all go through a gateway, and whose states have this suite's prefix."""
    with gateway(made.variables["AWS_ENDPOINT_URL"]) as door:
        own = {"ML_INFRA_STATE__PREFIX": PREFIX, **settings, "AWS_ENDPOINT_URL": door.url}
        shell = replace(made, variables=made.variables | own)
        yield shell, door
        for process in shell.started:
            end(process)
        kill(everything(shell))


def moments(shell: Shell, seed: int, kinds: tuple[str, ...], *, first: int, last: int) -> list[Moment]:
    """One of each kind, at calls that the seed chooses between these two."""
    chosen = random.Random(seed).sample(range(first, last + 1), len(kinds))
    return [Moment(kind, at, shell) for kind, at in zip(kinds, sorted(chosen), strict=True)]


def kill(processes: list[psutil.Process]) -> None:
    """kill -9."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def terraforms(shell: Shell) -> list[psutil.Process]:
    """The Terraforms that work for this shell, not what runs them, by the name of their stack."""
    found = {}
    for process in everything(shell):
        with suppress(psutil.Error):
            if process.name() == "terraform":
                found[process.cwd()] = process
    return [found[folder] for folder in sorted(found)]


def everything(shell: Shell) -> list[psutil.Process]:
    """Everything that this shell's runs of Terraform have started, the provider too."""
    output = shell.variables["CDKTF_OUTPUT"]
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.cwd().startswith(f"{output}/stacks/") and process.environ().get("CDKTF_OUTPUT") == output:
                found.append(process)
    return found


def hit(shell: Shell, door: Gateway, happening: list[Moment], *command: str, **settings: str) -> Finished:
    """Runs the command, with what happens, and waits until nothing of it is left."""
    with door.under(*happening):
        finished = shell.cdktf(*command, "--auto-approve", **settings)
        # A Terraform whose CLI is gone ends what it is at; a provider whose Terraform is gone has nobody to end it.
        for _ in range(600):
            if not terraforms(shell):
                break
            time.sleep(0.2)
        kill(everything(shell))
    return finished


def state(shell: Shell, stack: str) -> dict[str, Any]:
    """The stack's state as it is in S3."""
    answer = shell.aws("s3").get_object(Bucket=LOCAL_BUCKET, Key=f"{STATES}/{stack}.tfstate")
    found: dict[str, Any] = json.load(answer["Body"])
    return found


def ids(shell: Shell, stack: str) -> dict[str, str]:
    """The id of everything that the stack manages, by address."""
    return {
        f"{resource['type']}.{resource['name']}": resource["instances"][0]["attributes"]["id"]
        for resource in state(shell, stack)["resources"]
        if resource["mode"] == "managed"
    }


def recover(shell: Shell) -> list[str]:
    """The documented way, but for its last step, which is the same command again. Returns what was adopted."""
    for stack in STACKS:
        if (stack_folder(shell, stack) / "errored.tfstate").exists():
            shell.run("python", "-m", "ops", "push-state", stack).ok()
    for stack in locked(shell):
        shell.run("python", "-m", "ops", "unlock", stack, "--yes").ok()
    said = shell.run("python", "-m", "ops", "adopt", "--yes").ok().said
    return [line for line in said.splitlines() if ": aws_" in line]


def locked(shell: Shell) -> list[str]:
    """The stacks whose state is locked."""
    answer = shell.aws("s3").list_objects_v2(Bucket=LOCAL_BUCKET, Prefix=STATES)
    keys = [each["Key"] for each in answer.get("Contents", [])]
    return [Path(key).name.removesuffix(".tfstate.tflock") for key in keys if key.endswith(".tflock")]


def orphans(shell: Shell) -> list[str]:
    """What there is in AWS and in no state."""
    known = "".join(str(state(shell, stack)) for stack in STACKS)
    return [each for each in left_over(shell) if each not in known and each.rpartition("/")[2] not in known]


def differing(shell: Shell, **settings: str) -> dict[str, str]:
    """The stacks that a plan would change, with the plan."""
    command = ("terraform", "plan", "-input=false", "-no-color", "-detailed-exitcode", "-lock=false")

    def plan(stack: str) -> Finished:
        return shell.run(*command, cwd=stack_folder(shell, stack), settings=settings)

    with ThreadPoolExecutor(2) as pool:
        plans = dict(zip(STACKS, pool.map(plan, STACKS), strict=True))
    return {stack: each.said for stack, each in plans.items() if each.status != 0}


def happened(happening: list[Moment]) -> Iterator[str]:
    """What came about: a run may end before a later moment."""
    for moment in happening:
        yield from moment.happened
