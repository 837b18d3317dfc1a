"""`ops stop worker` while a training runs, as the log in CloudWatch tells."""

import re
import sys
import time
from collections.abc import Iterator
from typing import Any

import pexpect
import pytest
from botocore.exceptions import ClientError

from ops.core import polling
from ops.core.environment import ROOT
from ops.deployment import training_run
from tests.ops.status_support import Place, copied, instance, instance_id
from tests.ops.support import Finished

pytestmark = pytest.mark.system

GROUP = "/ml-infra/run-test/train-model/training"
# As modules_equiv/train_model/boot/train.sh writes it.
ENDED = "== 2026-11-30T12:00:00Z ended with exit status 0"
STOPPED = "== 2026-11-30T12:00:00Z ended by train stop"


@pytest.fixture(scope="module")
def place(deployed: Place) -> Place:
    return copied(deployed, "run-test")


@pytest.fixture(scope="module")
def worker(place: Place) -> str:
    return instance_id(place)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two looks."""
    monkeypatch.setattr(polling, "EVERY", 0.1)


@pytest.fixture(autouse=True)
def again(place: Place, worker: str) -> Iterator[None]:
    """Each test has a worker that runs and whose log is empty."""
    logs = place.aws("logs")
    logs.create_log_stream(logGroupName=GROUP, logStreamName=worker)
    yield
    logs.delete_log_stream(logGroupName=GROUP, logStreamName=worker)
    place.report("worker", state="not reported yet", stages=[])
    place.aws("ec2").start_instances(InstanceIds=[worker])


def write(place: Place, worker: str, *lines: str, later: float = 5.0) -> None:
    """Seconds after now, since moto's machine was started a moment ago."""
    at = int((time.time() + later) * 1000)
    events = [{"timestamp": at + number, "message": line} for number, line in enumerate(lines)]
    place.aws("logs").put_log_events(logGroupName=GROUP, logStreamName=worker, logEvents=events)


def state(place: Place, worker: str) -> Any:
    return instance(place, worker)["State"]["Name"]


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_where_nobody_can_be_asked_it_runs_on(place: Place, worker: str, options: list[str]) -> None:
    write(place, worker, "epoch 7: loss 0.3")

    finished = place.ops("stop", "worker", *options)

    assert finished.status == 1
    assert "according to its log, a training is running on the worker" in finished.err
    assert "epoch 7: loss 0.3. Nothing was stopped: ops stop worker --yes" in " ".join(finished.err.split())
    assert state(place, worker) == "running"


@pytest.mark.parametrize(
    "lines",
    [[], ["epoch 7: loss 0.3", ENDED], ["epoch 7: loss 0.3", STOPPED]],
    ids=["never", "ended", "stopped"],
)
def test_without_a_training_nothing_is_asked(place: Place, worker: str, lines: list[str]) -> None:
    if lines:
        write(place, worker, *lines)

    assert place.ops("stop", "worker").status == 0
    assert state(place, worker) == "stopped"


def test_yes(place: Place, worker: str) -> None:
    write(place, worker, "epoch 7: loss 0.3")

    assert place.ops("stop", "worker", "--yes").status == 0
    assert state(place, worker) == "stopped"


def test_one_from_before_the_last_start_is_over(place: Place, worker: str) -> None:
    write(place, worker, "epoch 7: loss 0.3", later=-86_400)

    assert place.ops("stop", "worker").status == 0


def test_one_from_before_the_last_boot_is_over(place: Place, worker: str) -> None:
    """EC2 does not tell of a reboot, but the machine does."""
    write(place, worker, "epoch 7: loss 0.3")
    place.report("worker", state="ready", machine=worker, boot="2099-01-01T00:00:00Z", stages=[])

    assert place.ops("stop", "worker").status == 0


@pytest.mark.parametrize(("answer", "after", "status"), [("", "running", 1), ("y", "stopped", 0)])
def test_a_person_is_asked(place: Place, worker: str, answer: str, after: str, status: int) -> None:
    write(place, worker, "epoch 7: loss 0.3")
    child = pexpect.spawn(
        sys.executable,
        ["-m", "ops", "stop", "worker"],
        cwd=str(ROOT),
        env={**place.variables, "TERM": "xterm"},
        timeout=100,
        dimensions=(40, 200),
        encoding="utf-8",
    )
    child.expect(r"Stop the worker\? .*\[y/N\]")
    asked = Finished(0, re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", str(child.before)), "")
    child.sendline(answer)
    child.expect(pexpect.EOF)
    child.close()

    assert "epoch 7: loss 0.3" in asked.words
    assert child.exitstatus == status
    assert state(place, worker) == after


def test_rights_to_the_log_that_are_missing_keep_nothing_running(
    place: Place, worker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object) -> None:
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "GetLogEvents")

    monkeypatch.setattr(training_run, "TrainingLog", denied)

    finished = place.ops("stop", "worker")

    assert finished.status == 0
    assert "cannot tell whether a training is running" in finished.err
