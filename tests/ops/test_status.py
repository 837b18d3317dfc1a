"""`ops status` and `ops wait` against the embedded AWS, with real Terraform states."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from rich.console import Console

from ops.core import durations, polling
from ops.core.aws_errors import NotAwsError
from ops.core.polling import Progress, poll
from ops.deployment import boot_report, boot_wait
from ops.deployment.machines import Machine
from tests.ops.status_support import Place, instance, instance_id, now, stage
from tests.ops.support import Finished

pytestmark = pytest.mark.system

LONG_AGO = "2020-01-01T00:00:00Z"
MOMENT = r"\d{4}-\d\d-\d\d \d\d:\d\d UTC"


@pytest.fixture(scope="module")
def empty(prepared: Place) -> Place:
    return prepared.named("nobody")


@pytest.fixture(scope="module")
def place(deployed: Place) -> Place:
    return deployed


@pytest.fixture(scope="module")
def worker(place: Place) -> str:
    return instance_id(place)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two looks."""
    monkeypatch.setattr(polling, "EVERY", 0.1)


def machine_in(finished: Finished, name: str) -> dict[str, object]:
    (found,) = [machine for machine in finished.document["machines"] if machine["name"] == name]
    result: dict[str, object] = found
    return result


class TestNothingDeployed:
    def test_is_a_fine_answer(self, empty: Place) -> None:
        finished = empty.ops("status")

        assert finished.status == 0
        assert finished.out.count("not deployed") == 4
        assert "nothing is deployed: cdktf deploy mlcore stats-monitor" in finished.words

    def test_as_json(self, empty: Place) -> None:
        found = empty.ops("status", "--json").document

        assert [stack["name"] for stack in found["stacks"]] == [
            "mlcore",
            "stats-monitor",
            "train-model",
            "train-model-dev",
        ]
        assert {(stack["deployed"], stack["resources"], stack["lock"]) for stack in found["stacks"]} == {
            (False, 0, None)
        }
        assert found["machines"] == []

    def test_it_says_where_the_states_are(self, empty: Place) -> None:
        said = "".join(empty.ops("status").out.split())

        assert empty.key("mlcore").endswith("/us-east-1/mlcore.tfstate")
        assert f"stateins3://ml-core-local-state/{empty.key('mlcore').removesuffix('mlcore.tfstate')}" in said

    @pytest.mark.parametrize("machine", ["jump", "metrics", "worker", "notebook"])
    def test_wait_says_which_stack_to_deploy(self, empty: Place, machine: str) -> None:
        stack = {"jump": "mlcore", "metrics": "stats-monitor", "worker": "train-model", "notebook": "train-model-dev"}
        finished = empty.ops("wait", machine)

        assert finished.status == 1
        assert f"cdktf deploy {stack[machine]}" in finished.err

    def test_a_bucket_that_is_not_there_is_not_nothing_deployed(self, empty: Place) -> None:
        finished = empty.ops("status", "--json", ML_INFRA_STATE__BUCKET="no-such-bucket")

        assert finished.status == 1
        assert finished.document == {
            "error": "the state bucket no-such-bucket does not exist: ops bootstrap creates it"
        }

    def test_aws_that_does_not_answer_is_one_line(self, empty: Place) -> None:
        finished = empty.ops("status", AWS_ENDPOINT_URL="http://127.0.0.1:9")

        assert finished.status == 1
        assert finished.out == ""
        assert finished.err.strip().splitlines()[-1].startswith("ops: AWS cannot be reached")

    def test_a_state_that_is_none(self, empty: Place) -> None:
        s3, key = empty.aws("s3"), empty.key("mlcore")
        s3.put_object(Bucket="ml-core-local-state", Key=key, Body=b"{")
        finished = empty.ops("status")
        s3.delete_object(Bucket="ml-core-local-state", Key=key)

        assert finished.status == 1
        assert "mlcore.tfstate is not a Terraform state" in finished.err


class TestStatus:
    def test_stacks(self, place: Place) -> None:
        stacks = {stack["name"]: stack for stack in place.ops("status", "--json").document["stacks"]}

        # What deploy_worker and deploy_notebook describe: 6 and 3 resources; data sources do not count.
        assert {name: (stack["deployed"], stack["resources"]) for name, stack in stacks.items()} == {
            "mlcore": (False, 0),
            "stats-monitor": (False, 0),
            "train-model": (True, 6),
            "train-model-dev": (True, 3),
        }
        head = place.aws("s3").head_object(
            Bucket="ml-core-local-state", Key="ml-core/ml-core/us-east-1/train-model.tfstate"
        )
        assert stacks["train-model"]["modified"] == f"{head['LastModified']:%Y-%m-%dT%H:%M:%SZ}"
        assert stacks["train-model"]["serial"] >= 1

    def test_machines_are_as_ec2_and_sagemaker_show_them(self, place: Place, worker: str) -> None:
        finished = place.ops("status", "--json")
        shown = instance(place, worker)

        found = machine_in(finished, "worker")
        assert {key: found[key] for key in ("id", "stack", "state", "type", "private_address", "public_address")} == {
            "id": worker,
            "stack": "train-model",
            "state": "running",
            "type": "g6.12xlarge",
            "private_address": shown["PrivateIpAddress"],
            "public_address": shown["PublicIpAddress"],
        }
        notebook = machine_in(finished, "notebook")
        assert (notebook["id"], notebook["state"], notebook["type"]) == (
            "ml-core-notebook",
            "InService",
            "ml.t3.medium",
        )

    def test_cost_so_far_is_time_by_price_and_unknown_where_it_is(self, place: Place) -> None:
        finished = place.ops("status", "--json")

        found = machine_in(finished, "worker")
        began, at = datetime.fromisoformat(str(found["launched"])), datetime.fromisoformat(finished.document["at"])
        # g6.12xlarge: 4.6016 an hour; the times shown are cut to seconds.
        expected = Decimal("4.6016") / 3600 * int((at - began).total_seconds())
        assert abs(Decimal(str(found["usd_since_start"])) - expected) <= Decimal("4.6016") / 3600 + Decimal("0.0001")
        notebook = machine_in(finished, "notebook")
        assert notebook["usd_since_start"] is None
        assert "not verified" in str(notebook["usd_unknown_because"])
        said = finished.document["usd_since_start_is"]
        assert said.startswith("machine hours since the machine's start")
        assert "disks, addresses, NAT and EFS are in ops cost" in said

    def test_text_fits_80_columns(self, place: Place) -> None:
        finished = place.ops("status")

        assert finished.status == 0
        assert max(len(line.rstrip()) for line in finished.out.splitlines()) <= 80
        assert "g6.12xlarge" in finished.out
        assert "notebook: cost unknown" in finished.out
        assert "cost so far" not in finished.out
        assert "\nmachine hours: cost since start; disks, addresses, NAT and EFS are in ops cost\n" in finished.text

    def test_boot_with_what_failed_and_its_last_log_lines(self, place: Place, worker: str) -> None:
        stages = [stage("data"), stage("efs", ms=90_500, error="mount: timed out | /efs is not mounted")]
        place.report("worker", state="degraded: efs", machine=worker, boot=now(), stages=stages)

        said = place.ops("status").text
        boot = machine_in(place.ops("status", "--json"), "worker")["boot"]

        assert f"worker {worker}, boot: degraded: efs" in said
        assert "ok     data 1.2 s" in said
        assert "FAILED efs 90.5 s\n         mount: timed out\n         /efs is not mounted\n" in said
        assert isinstance(boot, dict)
        assert (boot["state"], boot["current"]) == ("degraded: efs", True)
        assert boot["stages"][1] == {
            "stage": "efs",
            "ms": 90500,
            "ok": False,
            "log": ["mount: timed out", "/efs is not mounted"],
        }

    def test_a_held_lock_is_shown(self, place: Place) -> None:
        s3, key = place.aws("s3"), "ml-core/ml-core/us-east-1/train-model.tfstate.tflock"
        body = (
            '{"ID":"0f2c8a52","Operation":"OperationTypeApply","Info":"","Who":"ada@laptop","Version":"1.11.4",'
            '"Created":"2026-11-25T20:00:00.885607817Z","Path":"x"}'
        )
        s3.put_object(Bucket="ml-core-local-state", Key=key, Body=body)
        said, found = place.ops("status").words, place.ops("status", "--json").document
        s3.delete_object(Bucket="ml-core-local-state", Key=key)

        assert "train-model: the state is locked who ada@laptop since 2026-11-25 20:00 UTC" in said
        assert "ops unlock train-model" in said
        assert [stack["lock"] and stack["lock"]["who"] for stack in found["stacks"]] == [None, None, "ada@laptop", None]


class TestPriceOfTime:
    AT = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)

    @pytest.mark.parametrize(
        ("state", "kind", "hours", "region", "usd"),
        [
            # 4.6016 x 10; 21.957642 x 2.5
            ("running", "g6.12xlarge", 10, "us-east-1", Decimal("46.016")),
            ("running", "p4d.24xlarge", 2.5, "us-east-1", Decimal("54.894105")),
            ("stopped", "g6.12xlarge", 10, "us-east-1", Decimal(0)),
            ("running", "m5.large", 10, "us-east-1", None),
            ("running", "g6.12xlarge", 10, "eu-west-1", None),
        ],
    )
    def test_hours_by_price(self, state: str, kind: str, hours: float, region: str, usd: Decimal | None) -> None:
        machine = Machine("worker", "i-1", state, kind, self.AT - timedelta(hours=hours))

        found, why = machine.spent(self.AT, region)

        assert found == usd
        assert bool(why) == (state == "stopped" or usd is None)


class TestWait:
    def test_ready(self, place: Place, worker: str) -> None:
        place.report("worker", state="ready", machine=worker, boot=now(), stages=[stage("data"), stage("efs")])

        finished = place.ops("wait", "worker")

        assert finished.status == 0
        # EC2 does not tell of a reboot: a person sees which boot it is.
        assert re.search(rf"worker is ready \({worker}; the boot of {MOMENT} took 2 s\)", finished.words)
        assert "worker: efs done in 1 s" in finished.err
        assert finished.err.splitlines()[0] == "worker: asking AWS"

    def test_ready_as_json_and_nothing_else_on_stdout(self, place: Place, worker: str) -> None:
        place.report("worker", state="ready", machine=worker, boot=now(), stages=[stage("data")])

        found = place.ops("wait", "worker", "--json").document

        assert (found["ready"], found["problem"], found["machine"]["id"]) == (True, None, worker)
        assert [stage["stage"] for stage in found["boot"]["stages"]] == ["data"]

    def test_stages_are_shown_as_they_end(self, place: Place, worker: str, monkeypatch: pytest.MonkeyPatch) -> None:
        place.enter(monkeypatch)
        boot, said = now(), []
        coming = [("running efs", [stage("data")]), ("ready", [stage("data"), stage("efs")])]
        place.report("worker", state="running data", machine=worker, boot=boot, stages=[])

        class Watching(Progress):
            """The machine goes on whenever somebody has looked."""

            def now(self, text: str) -> None:
                super().now(text)
                state, stages = coming.pop(0)
                place.report("worker", state=state, machine=worker, boot=boot, stages=stages)

            def passed(self, text: str) -> None:
                said.append(text)

        outcome = boot_wait.wait(place.session(), "worker", 60, Watching(Console(), None))

        assert outcome.problem is None
        assert said == [
            "worker: running data",
            "worker: data done in 1 s",
            "worker: running efs",
            "worker: efs done in 1 s",
        ]

    def test_degraded_names_the_stage_and_its_last_log_lines(self, place: Place, worker: str) -> None:
        stages = [stage("data"), stage("efs", error="mount: timed out|/efs is not mounted"), stage("agent", error="no")]
        place.report("worker", state="degraded: efs agent", machine=worker, boot=now(), stages=stages)

        finished = place.ops("wait", "worker")

        assert finished.status == 1
        assert re.search(rf"worker: the boot of {MOMENT} ended degraded: efs agent", finished.words)
        assert "FAILED efs 1.2 s\n         mount: timed out\n         /efs is not mounted\n" in finished.text
        assert "ops ssh worker: /var/lib/ml-infra/efs.log, /var/lib/ml-infra/agent.log" in finished.words
        assert "ok " not in finished.out

    def test_failed(self, place: Place, worker: str) -> None:
        place.report("worker", state="failed", machine=worker, boot=now(), stages=[])

        finished = place.ops("wait", "worker", "--json")

        assert finished.status == 1
        assert re.fullmatch(rf"worker: the boot of {MOMENT} failed", finished.document["problem"])
        assert finished.document["ready"] is False

    def test_a_report_of_an_earlier_machine_does_not_count(self, place: Place) -> None:
        place.report("worker", state="ready", machine="i-0123456789abcdef0", boot=now(), stages=[])

        finished = place.ops("wait", "worker", "--timeout", "1s")

        assert finished.status == 1
        assert "the last report is from an earlier machine (i-0123456789abcdef0)" in finished.words

    def test_a_report_of_an_earlier_start_does_not_count(self, place: Place, worker: str) -> None:
        place.report("worker", state="ready", machine=worker, boot=LONG_AGO, stages=[])

        finished = place.ops("wait", "worker", "--timeout", "1s", "--json")

        assert finished.status == 1
        assert "from an earlier start (2020-01-01 00:00 UTC)" in finished.document["problem"]
        assert finished.document["ready"] is False

    def test_a_failure_of_an_earlier_start_does_not_count_either(self, place: Place, worker: str) -> None:
        place.report("worker", state="failed", machine=worker, boot=LONG_AGO, stages=[stage("efs", error="old")])

        finished = place.ops("wait", "worker", "--timeout", "1s")

        assert "is not ready after 1 s" in finished.words
        assert "old" not in finished.out

    def test_a_report_that_cannot_be_read_is_not_ready(self, place: Place) -> None:
        name = "/ml-infra/ml-core/train-model/worker/boot-status"
        place.aws("ssm").put_parameter(Name=name, Value='{"state":"ready"}', Overwrite=True)

        finished = place.ops("wait", "worker", "--timeout", "1s")

        assert finished.status == 1
        assert "the report is unreadable" in finished.words

    def test_without_a_parameter_there_is_nothing_to_wait_for(self, place: Place) -> None:
        name = "/ml-infra/ml-core/train-model/worker/boot-status"
        place.aws("ssm").delete_parameter(Name=name)
        finished = place.ops("wait", "worker")
        place.aws("ssm").put_parameter(Name=name, Value="{}", Type="String")

        assert finished.status == 1
        assert f"no boot-status parameter ({name})" in finished.words

    def test_notebook(self, place: Place) -> None:
        # It reports the id of an instance that SageMaker does not show.
        place.report("notebook", state="ready", machine="i-0aaaaaaaaaaaaaaaa", boot=now(), stages=[stage("efs")])

        assert place.ops("wait", "notebook").status == 0

        place.report("notebook", state="ready", machine="i-0aaaaaaaaaaaaaaaa", boot=LONG_AGO, stages=[])
        assert place.ops("wait", "notebook", "--timeout", "1s").status == 1

    def test_ctrl_c(self, place: Place, worker: str) -> None:
        place.report("worker", state="running data", machine=worker, boot=now(), stages=[])
        process = place.start("wait", "worker")
        process.says("running data")

        assert process.interrupt() == 130

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["wrker"], "'wrker' is not one of"),
            ([], "Missing argument"),
            (["worker", "--timeout", "soon"], '"soon" is not a duration; write it like 90s, 30m or 1h30m'),
            (["worker", "--timeout", "0"], "is not a duration"),
        ],
    )
    def test_a_wrong_command_line(self, empty: Place, arguments: list[str], said: str) -> None:
        finished = empty.ops("wait", *arguments)

        assert finished.status == 2
        assert said in finished.err


class TestMachineThatDoesNotRun:
    """Last in this module: the worker ends here."""

    def test_stopped(self, place: Place, worker: str) -> None:
        place.report("worker", state="ready", machine=worker, boot=now(), stages=[])
        place.aws("ec2").stop_instances(InstanceIds=[worker])

        finished = place.ops("wait", "worker")
        shown = machine_in(place.ops("status", "--json"), "worker")

        assert finished.status == 1
        assert "worker is stopped ops start worker" in finished.words
        assert (shown["state"], shown["usd_since_start"]) == ("stopped", "0.0000")
        boot = shown["boot"]
        assert isinstance(boot, dict)
        assert (boot["state"], boot["current"], boot["why_not"]) == ("ready", False, "the machine is stopped")

    def test_terminated(self, place: Place, worker: str) -> None:
        place.aws("ec2").terminate_instances(InstanceIds=[worker])

        finished = place.ops("wait", "worker", "--json")

        assert finished.status == 1
        assert finished.document["problem"].startswith("worker is terminated")
        assert finished.document["way_out"] == "cdktf deploy train-model"
        assert machine_in(place.ops("status", "--json"), "worker")["state"] == "terminated"


class TestSpans:
    @pytest.mark.parametrize(
        ("text", "seconds"), [("90s", 90), ("30m", 1800), ("1h30m", 5400), ("2h", 7200), ("45", 45)]
    )
    def test_read(self, text: str, seconds: int) -> None:
        assert durations.seconds(text) == seconds

    @pytest.mark.parametrize(
        ("seconds", "said"),
        [
            (0, "0 s"),
            (4, "4 s"),
            (60, "1 min"),
            (125, "2 min 5 s"),
            (3600, "1 h"),
            (12_000, "3 h 20 min"),
            (187_200, "2 d 4 h"),
        ],
    )
    def test_said(self, seconds: int, said: str) -> None:
        assert durations.span_of(seconds) == said

    def test_a_moment_without_a_zone_is_none(self) -> None:
        assert durations.read("2026-11-25T21:00:00") is None
        assert durations.read("2026-11-25T21:00:00Z") == datetime(2026, 11, 25, 21, tzinfo=UTC)


class TestReport:
    @pytest.mark.parametrize("text", ["no JSON", "[]", '{"state":"ready"}', '{"state":"ready","stages":[{"x":1}]}'])
    def test_what_cannot_be_read_is_not_ready(self, text: str) -> None:
        assert boot_report.parsed(text).state == "unreadable report"

    def test_a_boot_in_the_second_of_the_launch_is_this_boot(self) -> None:
        launched = datetime(2026, 11, 25, 21, 0, 0, 900_000, tzinfo=UTC)
        machine = Machine("worker", "i-1", "running", "t3.large", launched)
        report = boot_report.parsed('{"state":"ready","machine":"i-1","boot":"2026-11-25T21:00:00Z","stages":[]}')

        assert boot_report.stale(report, machine) is None


def refused(code: str, status: int) -> ClientError:
    answer = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "DescribeInstances")  # type: ignore[arg-type]


TRANSIENT = [
    EndpointConnectionError(endpoint_url="x"),
    refused("RequestLimitExceeded", 503),
    refused("ThrottlingException", 400),
    refused("Throttling", 400),
    refused("InternalError", 500),
    refused("Unavailable", 503),
    NotAwsError(asked="DescribeInstances", came="a web page"),
]


class TestPoll:
    @pytest.mark.parametrize("trouble", TRANSIENT, ids=str)
    def test_what_passes_is_tried_again(self, trouble: Exception) -> None:
        answers: list[object] = [trouble, trouble, None, trouble, "there"]

        def look() -> object:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        assert poll(look, every=0, seconds=600) == "there"

    @pytest.mark.parametrize(
        "trouble", [refused("UnauthorizedOperation", 403), refused("ExpiredToken", 400), NoCredentialsError()]
    )
    def test_what_does_not_pass_ends_it(self, trouble: Exception) -> None:
        tried = []

        def look() -> None:
            tried.append(1)
            raise trouble

        with pytest.raises(type(trouble)):
            poll(look, every=0, seconds=600)
        assert len(tried) == 1

    def test_a_time_that_is_over_without_any_answer_says_why(self) -> None:
        def look() -> None:
            raise EndpointConnectionError(endpoint_url="x")

        with pytest.raises(EndpointConnectionError):
            poll(look, every=0, seconds=0)

    def test_a_connection_that_fails_now_and_then_is_tried_again(self) -> None:
        answers = [EndpointConnectionError(endpoint_url="x"), None, EndpointConnectionError(endpoint_url="x"), "there"]

        def look() -> object:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        assert poll(look, every=0, seconds=60) == "there"
        assert answers == []

    def test_one_that_never_works_is_not_tried_for_ever(self) -> None:
        tried = []

        def look() -> None:
            tried.append(1)
            raise EndpointConnectionError(endpoint_url="x")

        with pytest.raises(EndpointConnectionError):
            poll(look, every=0, seconds=600)
        assert len(tried) == 5
