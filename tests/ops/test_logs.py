"""`ops logs` against the embedded AWS."""

import time
from typing import Any

import pytest
from botocore.exceptions import ClientError

from modules_equiv.settings import load_settings
from ops.core.session import Session
from ops.deployment import training_log
from ops.deployment.training_log import TrainingLog
from tests.ops.status_support import Place, copied, instance_id, now, stage
from tests.ops.support import Running, wait_for
from tests.unit.synthesis import MINIMAL

pytestmark = pytest.mark.system

GROUP = "/ml-infra/logs-test/train-model/training"


@pytest.fixture(scope="module")
def place(deployed: Place) -> Place:
    return copied(deployed, "logs-test")


@pytest.fixture(scope="module")
def worker(place: Place) -> str:
    return instance_id(place)


def write(place: Place, worker: str, *lines: str) -> None:
    at = int(time.time() * 1000)
    events = [{"timestamp": at + number, "message": line} for number, line in enumerate(lines)]
    place.aws("logs").put_log_events(logGroupName=GROUP, logStreamName=worker, logEvents=events)


class TestTrainingLog:
    """In their order: the log grows."""

    def test_a_worker_that_is_not_deployed(self, place: Place) -> None:
        finished = place.ops("logs", "worker", ML_INFRA_DEPLOYMENT__NAME="nobody")

        assert finished.status == 1
        assert "there is no worker: train-model is not deployed" in finished.err

    def test_nothing_written_yet(self, place: Place, worker: str) -> None:
        finished = place.ops("logs", "worker")

        assert finished.status == 1
        assert finished.out == ""
        assert f"the worker {worker} has not written a training log yet" in finished.err

    def test_following_what_is_not_there_yet(self, place: Place, worker: str) -> None:
        process = place.start("logs", "worker", "-f")
        process.says("waiting")
        place.aws("logs").create_log_stream(logGroupName=GROUP, logStreamName=worker)
        write(place, worker, "epoch 0: loss 1.0")

        assert lines(process, 1) == ["epoch 0: loss 1.0"]
        assert process.interrupt() == 130

    def test_the_last_lines_oldest_first_and_as_they_are(self, place: Place, worker: str) -> None:
        write(place, worker, *(f"epoch {number}: [bold]{'x' * 100}[/bold]" for number in range(1, 31)))

        finished = place.ops("logs", "worker", "--lines", "3")

        assert finished.status == 0
        # Wider than the terminal and with what rich would read as style: neither wrapped nor changed.
        assert finished.out.splitlines() == [f"epoch {number}: [bold]{'x' * 100}[/bold]" for number in (28, 29, 30)]

    def test_all_there_is_when_asked_for_more(self, place: Place, worker: str) -> None:
        assert len(place.ops("logs", "worker", "--lines", "500").out.splitlines()) == 31

    def test_json(self, place: Place, worker: str) -> None:
        found = place.ops("logs", "worker", "-n", "1", "--json").document

        assert (found["group"], found["stream"]) == (GROUP, worker)
        assert [line["text"][:9] for line in found["lines"]] == ["epoch 30:"]

    def test_follow_shows_new_lines_once_until_ctrl_c(self, place: Place, worker: str) -> None:
        process = place.start("logs", "worker", "-f", "--lines", "1")
        assert lines(process, 1)[0].startswith("epoch 30:")
        write(place, worker, "epoch 31: loss 0.1", "epoch 32: loss 0.1")
        assert lines(process, 3)[1:] == ["epoch 31: loss 0.1", "epoch 32: loss 0.1"]
        write(place, worker, "epoch 33: loss 0.1")
        assert lines(process, 4)[3:] == ["epoch 33: loss 0.1"]

        assert process.interrupt() == 130
        assert len(process.out.splitlines()) == 4

    def test_a_group_that_is_gone(self, place: Place, worker: str) -> None:
        place.aws("logs").delete_log_group(logGroupName=GROUP)

        finished = place.ops("logs", "worker", "--json")

        assert finished.status == 1
        assert finished.document["error"].startswith(f"the log group {GROUP} does not exist: cdktf deploy train-model")


class Answers:
    """CloudWatch Logs with these answers, then with nothing new."""

    def __init__(self, *answers: ClientError | str) -> None:
        self.left = list(answers)
        self.tokens: list[object] = []

    def get_log_events(self, **arguments: object) -> dict[str, Any]:
        self.tokens.append(arguments.get("nextToken"))
        answer = self.left.pop(0)
        if isinstance(answer, ClientError):
            raise answer
        return {"events": [{"timestamp": 0, "message": answer}], "nextForwardToken": f"after {answer}"}


class TestTrouble:
    @pytest.fixture(autouse=True)
    def quick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(training_log, "EVERY", 0)

    def log(self, answers: Answers) -> TrainingLog:
        class Fake(Session):
            def client(self, service: str, region: str | None = None) -> object:
                return answers

        return TrainingLog(Fake(load_settings(environ=MINIMAL)), "i-1")

    def test_what_passes_does_not_end_a_follow(self) -> None:
        throttled, broken = refused("ThrottlingException", 400), refused("InternalFailure", 500)
        answers = Answers("one", throttled, broken, throttled, broken, "two", broken, "three")

        found = self.log(answers).follow()

        assert [next(found).text for _ in range(3)] == ["one", "two", "three"]
        # Read on where it was.
        assert answers.tokens == [None, *["after one"] * 5, *["after two"] * 2]

    def test_many_in_a_row_and_what_does_not_pass_do(self) -> None:
        for trouble in ([refused("ThrottlingException", 400)] * 5, [refused("AccessDeniedException", 400)]):
            answers = Answers("one", *trouble)
            found = self.log(answers).follow()

            assert next(found).text == "one"
            with pytest.raises(ClientError):
                next(found)
            assert answers.left == []


def refused(code: str, status: int) -> ClientError:
    answer = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "GetLogEvents")  # type: ignore[arg-type]


class TestBoot:
    def test_stages_and_errors(self, place: Place, worker: str) -> None:
        stages = [stage("data"), stage("efs", error="mount: timed out|/efs is not mounted")]
        place.report("worker", state="degraded: efs", machine=worker, boot=now(), stages=stages)

        finished = place.ops("logs", "worker", "--boot")
        found = place.ops("logs", "worker", "--boot", "--json").document

        assert finished.status == 0
        assert "worker boot: degraded: efs\n" in finished.out
        assert "FAILED efs 1.2 s\n         mount: timed out\n         /efs is not mounted\n" in finished.text
        assert found["boot"]["stages"][1]["log"] == ["mount: timed out", "/efs is not mounted"]

    def test_an_earlier_machines_report_is_shown_as_that(self, place: Place, worker: str) -> None:
        place.report("worker", state="ready", machine="i-0123456789abcdef0", boot=now(), stages=[])

        said = place.ops("logs", "worker", "--boot").words

        assert "worker boot: ready (the last report is from an earlier machine (i-0123456789abcdef0))" in said


class TestWrongInput:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["jump"], "only the worker has a training log: for the boot log of jump: ops logs jump --boot"),
            (["worker", "--boot", "-f"], "--boot and --follow exclude each other: ops wait worker follows"),
            (["worker", "-f", "--json"], "--json and --follow exclude each other"),
            (["worker", "--lines", "0"], "0 is not in the range"),
            (["wroker"], "'wroker' is not one of"),
        ],
    )
    def test_is_refused(self, place: Place, arguments: list[str], said: str) -> None:
        finished = place.ops("logs", *arguments)

        assert finished.status == 2
        assert said in finished.err


def lines(process: Running, count: int) -> list[str]:
    """What it has shown, once it is that many."""
    wait_for(f"{count} lines", lambda: process.out.count("\n") >= count)
    return process.out.splitlines()
