"""`ops start` and `ops stop` against the embedded AWS."""

import io
import json
from typing import Any

import pytest
from botocore.exceptions import ClientError
from rich.console import Console

from modules_equiv.settings import load_settings
from ops.core import polling
from ops.core.environment import LOCAL_BUCKET
from ops.core.errors import OpsError
from ops.core.polling import Progress
from ops.core.session import Session
from ops.deployment import machines, power
from ops.deployment.machines import Machine
from tests.ops.status_support import Place, copied, instance, instance_id, notebook_status
from tests.unit.synthesis import MINIMAL

pytestmark = pytest.mark.system

QUIET = Progress(Console(file=io.StringIO()), None)


@pytest.fixture(scope="module")
def place(deployed: Place) -> Place:
    return copied(deployed, "switch-test")


@pytest.fixture(scope="module")
def worker(place: Place) -> str:
    return instance_id(place)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two looks."""
    monkeypatch.setattr(polling, "EVERY", 0.1)


def state(place: Place, worker: str) -> str:
    return str(instance(place, worker)["State"]["Name"])


def data_volume(place: Place, state: dict[str, Any] | None = None) -> dict[str, Any]:
    """What the state of train-model says of it."""
    body = place.aws("s3").get_object(Bucket=LOCAL_BUCKET, Key=place.key("train-model"))["Body"].read()
    resources = (state or json.loads(body))["resources"]
    (found,) = [one for one in resources if one["type"] == "aws_ebs_volume"]
    attributes: dict[str, Any] = found["instances"][0]["attributes"]
    return attributes


class TestWorker:
    """In their order: the tests find the worker as the one before left it."""

    def test_stop_waits_and_says_what_keeps_costing(self, place: Place, worker: str) -> None:
        finished = place.ops("stop", "worker")

        assert finished.status == 0, finished.err
        assert state(place, worker) == "stopped"
        assert f"worker ({worker}) is stopped" in finished.out
        # Root: 130 x 0.08 = 10.40. Data: 50 x 0.08 + 5000 x 0.005 + 875 x 0.04 = 4 + 25 + 35 = 64.00.
        assert "its disks still cost $74.40 a month" in finished.words
        assert "50 GiB gp3, 8,000 IOPS, 1,000 MiB/s: $64.00 a month" in finished.words
        assert "130 GiB gp3, 3,000 IOPS, 125 MiB/s: $10.40 a month" in finished.words
        # The embedded deployment's volume has no final_snapshot.
        assert (
            f"cdktf destroy train-model ends that too and DELETES the data volume {data_volume(place)['id']} "
            "permanently"
        ) in finished.words
        assert "kept as a snapshot" not in finished.words
        assert finished.err.splitlines()[0] == "worker: asking AWS"

    def test_a_destroy_that_keeps_a_snapshot_is_told_by_what_is_deployed(self, place: Place, worker: str) -> None:
        s3, key = place.aws("s3"), place.key("train-model")
        before = s3.get_object(Bucket=LOCAL_BUCKET, Key=key)["Body"].read()
        state = json.loads(before)
        volume = data_volume(place, state)
        volume["final_snapshot"] = True
        s3.put_object(Bucket=LOCAL_BUCKET, Key=key, Body=json.dumps(state))
        # The settings of today do not count.
        finished = place.ops("stop", "worker", ML_INFRA_TRAIN_MODEL__DATA_VOLUME__SNAPSHOT_ON_DESTROY="false")
        s3.put_object(Bucket=LOCAL_BUCKET, Key=key, Body=before)

        assert finished.status == 0, finished.err
        assert (
            f"cdktf destroy train-model ends that too; the data volume {volume['id']} is kept as a snapshot, "
            "$0.05 a GB a month"
        ) in finished.words
        assert "DELETES" not in finished.words

    def test_stop_again_changes_nothing(self, place: Place, worker: str) -> None:
        finished = place.ops("stop", "worker")

        assert finished.status == 0
        assert f"worker ({worker}) is already stopped" in finished.words

    def test_start_waits_and_names_the_next_step(self, place: Place, worker: str) -> None:
        finished = place.ops("start", "worker")

        assert finished.status == 0
        assert state(place, worker) == "running"
        assert "ops wait worker" in finished.out
        assert "worker: running" in finished.err

    def test_start_again_changes_nothing(self, place: Place, worker: str) -> None:
        found = place.ops("start", "worker", "--json").document

        assert (found["before"], found["changed"], found["machine"]["state"]) == ("running", False, "running")

    def test_without_waiting(self, place: Place, worker: str) -> None:
        found = place.ops("stop", "worker", "--no-wait", "--json").document

        assert (found["before"], found["changed"], found["machine"]["id"]) == ("running", True, worker)
        assert found["remarks"][0] == "its disks still cost $74.40 a month:"
        assert state(place, worker) in ("stopping", "stopped")

    def test_in_another_region_the_price_of_the_disks_is_unknown(
        self, place: Place, worker: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        place.enter(monkeypatch)
        settings = place.session().settings
        abroad = settings.model_copy(
            update={"deployment": settings.deployment.model_copy(update={"region": "eu-west-1"})}
        )

        class Here(Session):
            def client(self, service: str, region: str | None = None) -> object:
                return super().client(service, "us-east-1")

        total, lines = machines.disks(Here(abroad, place.variables), worker)

        assert total is None
        assert len(lines) == 2
        assert all("unknown (the price table is of us-east-1, not of eu-west-1)" in line for line in lines)

    def test_terminated_cannot_be_started(self, place: Place, worker: str) -> None:
        place.aws("ec2").terminate_instances(InstanceIds=[worker])

        for command in ("start", "stop"):
            finished = place.ops(command, "worker")
            assert finished.status == 1
            assert f"worker ({worker}) is terminated" in finished.err
            assert "cdktf deploy train-model" in finished.err


class TestNotebook:
    def test_stop_waits_until_it_is_off(self, place: Place) -> None:
        finished = place.ops("stop", "notebook")

        assert finished.status == 0
        assert notebook_status(place) == "Stopped"
        assert "its volume still costs money (unknown" in finished.words

    def test_start_waits_until_it_is_in_service(self, place: Place) -> None:
        finished = place.ops("start", "notebook", "--json")

        assert notebook_status(place) == "InService"
        assert (finished.document["before"], finished.document["machine"]["state"]) == ("Stopped", "InService")

    def test_start_while_it_still_stops_waits_for_both(self, place: Place) -> None:
        place.aws("sagemaker").stop_notebook_instance(NotebookInstanceName="switch-test-notebook")

        found = place.ops("start", "notebook", "--json").document

        assert (found["before"], found["changed"], found["machine"]["state"]) == ("Stopping", True, "InService")

    def test_start_while_it_still_stops_is_refused_without_waiting(self, place: Place) -> None:
        place.aws("sagemaker").stop_notebook_instance(NotebookInstanceName="switch-test-notebook")

        finished = place.ops("start", "notebook", "--no-wait")

        assert finished.status == 1
        assert "notebook is still stopping" in finished.err


class Refusing:
    """What EC2 answers when it has no machine of the type left; moto always has one."""

    def start_instances(self, **_: object) -> None:
        error = {"Code": "InsufficientInstanceCapacity", "Message": "We currently do not have sufficient capacity."}
        raise ClientError({"Error": error}, "StartInstances")  # type: ignore[typeddict-item]


class RefusingSession(Session):
    def client(self, service: str, region: str | None = None) -> object:
        return Refusing()


class TestWhatTheEmbeddedAwsDoesNotDo:
    """States that moto passes over: the answers of AWS are given here, and what is made of them is ours."""

    @pytest.fixture
    def session(self) -> Session:
        return RefusingSession(load_settings(environ=MINIMAL))

    def answers(self, patch: pytest.MonkeyPatch, *states: Machine) -> list[Machine]:
        left = list(states)
        patch.setattr(machines, "deployed_id", lambda session, name: "i-1")
        patch.setattr(machines, "look_at", lambda session, name, id: left.pop(0) if len(left) > 1 else left[0])
        return left

    def test_no_capacity_says_so_and_what_else_can_be_done(
        self, session: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.answers(monkeypatch, Machine("worker", "i-1", "stopped", "p4d.24xlarge", None))

        with pytest.raises(
            OpsError, match=r"InsufficientInstanceCapacity(.|\n)*no capacity for p4d.24xlarge in this zone"
        ):
            power.start(session, "worker", seconds=60, show=QUIET)

    def test_one_that_stays_pending_is_not_waited_for_for_ever(
        self, session: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.answers(monkeypatch, Machine("worker", "i-1", "pending", "p4d.24xlarge", None))

        with pytest.raises(OpsError, match="worker is still pending after 1 s: ops status"):
            power.start(session, "worker", seconds=1, show=QUIET)

    def test_a_notebook_that_fails_to_start(self, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
        pending = Machine("notebook", "nb", "Pending", "ml.t3.medium", None)
        failed = pending._replace(state="Failed", failure="no address left in the subnet")
        self.answers(monkeypatch, pending, failed)

        with pytest.raises(OpsError, match=r"notebook is failed \(no address left in the subnet\): cdktf deploy"):
            power.start(session, "notebook", seconds=60, show=QUIET)


class TestWrongInput:
    @pytest.mark.parametrize("command", ["start", "stop"])
    def test_only_what_costs_by_the_hour_and_can_be_spared(self, place: Place, command: str) -> None:
        finished = place.ops(command, "jump")

        assert finished.status == 2
        assert "'jump' is not one of 'worker', 'notebook'" in finished.err

    def test_a_stack_that_is_not_deployed(self, place: Place) -> None:
        finished = place.ops("stop", "worker", "--json", ML_INFRA_DEPLOYMENT__NAME="nobody")

        assert finished.status == 1
        assert finished.document["error"] == "there is no worker: train-model is not deployed. cdktf deploy train-model"
