"""Deploy, change and destroy while things go wrong at moments that a seed chooses; afterwards one way leads on.

Thirty moments: connections that break, calls that are refused, kill -9 of the CLI, of one Terraform and of all, no
capacity and throttling. One deployment serves all of them: a run that was hit is followed by the way back (`recover` of
tests/e2e/faults.py) and by the same command, which may be hit again. FAULT_ROUNDS=5 does all of it five times, each
with other moments.

The tests of this module build on each other, in their order.
"""

import os
from collections.abc import Callable, Iterator

import psutil
import pytest

from ops.core.environment import LOCAL_BUCKET
from tests.e2e.conftest import Shell
from tests.e2e.faults import (
    STATES,
    behind_a_gateway,
    differing,
    everything,
    happened,
    hit,
    ids,
    kill,
    locked,
    moments,
    orphans,
    recover,
    state,
    terraforms,
)
from tests.e2e.proxy import Call, Fault, Gateway, Rule, throttled
from tests.e2e.test_lifecycle import NO_SNAPSHOT, STACKS, gaps, left_over, stack_folder

ROUNDS = range(int(os.environ.get("FAULT_ROUNDS", "1")))
RELEASED = {"ML_INFRA_MLCORE__ALLOW_EFS_DESTROY": "true", **NO_SNAPSHOT}
CHANGED = {
    "ML_INFRA_ACCESS__DEPLOYER_CIDRS": "198.51.100.0/24",
    "ML_INFRA_STATS_MONITOR__INSTANCE_TYPE": "t3.large",
    "ML_INFRA_TRAIN_MODEL__DATA_VOLUME__SIZE_GB": "60",
}
# AWS's sentence, with its zones: https://repost.aws/knowledge-center/ec2-insufficient-capacity-errors
NO_CAPACITY = Fault(
    "InsufficientInstanceCapacity",
    "We currently do not have sufficient g6.12xlarge capacity in the Availability Zone you requested (us-east-1a). Our "
    "system will be working on provisioning additional capacity. You can currently get g6.12xlarge capacity by not "
    "specifying an Availability Zone in your request or choosing us-east-1b, us-east-1c.",
    500,
)


@pytest.fixture(scope="module")
def between(new_shell: Callable[[], Shell]) -> Iterator[tuple[Shell, Gateway]]:
    with behind_a_gateway(new_shell(), **RELEASED) as made:
        yield made


@pytest.fixture
def shell(between: tuple[Shell, Gateway]) -> Shell:
    return between[0]


@pytest.fixture
def door(between: tuple[Shell, Gateway]) -> Gateway:
    return between[1]


def words(text: str) -> str:
    """Without the frame that Terraform puts around an error."""
    return " ".join(text.replace("│", " ").split())


def survive(
    shell: Shell, door: Gateway, seed: int, kinds: tuple[str, ...], last: int, *command: str, **settings: str
) -> None:
    happening = moments(shell, seed, kinds, first=2, last=last)
    finished = hit(shell, door, happening, *command, **settings)
    came = list(happened(happening))
    # What ends a run is never taken for success.
    if any(not each.startswith("silence") for each in came):
        assert finished.status != 0, (came, finished.said)
    print(came, recover(shell))
    assert locked(shell) == [], came


@pytest.mark.parametrize("seed", ROUNDS)
class TestFaults:
    @pytest.mark.parametrize(
        ("kinds", "last"),
        [
            (("silence", "all"), 9),
            (("silence", "silence", "denied", "silence"), 20),
            (("silence", "silence", "terraform"), 20),
            (("silence", "silence", "denied", "cli"), 30),
        ],
    )
    def test_a_deploy_is_hit(self, shell: Shell, door: Gateway, seed: int, kinds: tuple[str, ...], last: int) -> None:
        survive(shell, door, 100 * seed + last + len(kinds), kinds, last, "deploy", "*")

    def test_without_capacity_it_ends_with_aws_own_sentence_and_what_to_change(
        self, shell: Shell, door: Gateway, seed: int
    ) -> None:
        """The provider's ten tries, and what else there is to make is made."""
        ours = Rule(NO_CAPACITY, services=["ec2"], actions=["RunInstances"])
        with door.under(ours):
            said = words(shell.cdktf("deploy", "*", "--auto-approve").refused().said)

        assert "choosing us-east-1b, us-east-1c" in said
        assert "train_model.instance_type" in said
        assert ours.met % 10 == 0
        assert locked(shell) == []

    def test_the_deploy_ends_well_though_one_call_in_ten_is_throttled(
        self, shell: Shell, door: Gateway, seed: int
    ) -> None:
        often = Rule(throttled, fraction=0.1, seed=seed)
        with door.under(often):
            shell.cdktf("deploy", "*", "--auto-approve").ok()

        assert often.met > 10
        assert orphans(shell) == []
        assert locked(shell) == []
        assert differing(shell) == {}

    def test_a_change_is_hit(self, shell: Shell, door: Gateway, seed: int) -> None:
        survive(shell, door, seed, ("silence", "silence", "denied", "cli"), 8, "deploy", "*", **CHANGED)

    def test_the_change_ends_well(self, shell: Shell, door: Gateway, seed: int) -> None:
        shell.cdktf("deploy", "*", "--auto-approve", **CHANGED).ok()

        assert orphans(shell) == []
        (volume,) = shell.aws("ec2").describe_volumes(
            Filters=[{"Name": "tag:Name", "Values": ["ml-core MSLS Volume"]}]
        )["Volumes"]
        assert volume["Size"] == 60

    def test_a_terraform_that_is_killed_keeps_mlcore_where_it_is(self, shell: Shell, door: Gateway, seed: int) -> None:
        """The others are finished, and mlcore is not begun."""
        killed: list[psutil.Process] = []

        def kill_the_workers(call: Call) -> None:
            for process in [] if killed or call.action != "TerminateInstances" else terraforms(shell):
                if process.cwd() == str(stack_folder(shell, "train-model")):
                    kill([process])
                    killed.append(process)

        before = state(shell, "mlcore")
        with door.under(kill_the_workers):
            said = shell.cdktf("destroy", "*", "--auto-approve", **CHANGED).refused().said
        kill(everything(shell))

        assert killed, said
        assert state(shell, "mlcore") == before
        held = {stack: bool(state(shell, stack)["resources"]) for stack in STACKS}
        assert held == {"mlcore": True, "stats-monitor": False, "train-model": True, "train-model-dev": False}, said

    def test_terraform_itself_destroys_nothing_of_mlcore(self, shell: Shell, seed: int) -> None:
        before = ids(shell, "mlcore")

        destroy = ("terraform", "destroy", "-auto-approve", "-no-color")
        said = words(shell.run(*destroy, cwd=stack_folder(shell, "mlcore")).refused().said)

        assert "No resource of mlcore was destroyed" in said
        assert "cdktf destroy train-model" in said
        assert "ops unlock train-model" in said
        assert ids(shell, "mlcore") == before
        recover(shell)

    def test_without_mlcore_a_stack_is_destroyed_and_not_deployed(self, shell: Shell, seed: int) -> None:
        """Its outputs are gone since a destroy was refused. Then all of it is."""
        s3, key = shell.aws("s3"), f"{STATES}/mlcore.tfstate"
        whole = s3.get_object(Bucket=LOCAL_BUCKET, Key=key)["Body"].read()
        document = state(shell, "mlcore")
        assert document["outputs"] == {}

        shell.cdktf("deploy", "train-model", "--auto-approve").refused()
        plan = ("terraform", "plan", "-input=false", "-no-color")
        said = words(shell.run(*plan, cwd=stack_folder(shell, "train-model")).refused().said)
        assert "depends on mlcore, which is not deployed or was partly destroyed" in said
        assert said.count("Error:") == 1
        assert "cdktf deploy mlcore" in shell.run("python", "-m", "ops", "status").ok().said

        s3.put_object(
            Bucket=LOCAL_BUCKET, Key=key, Body=str.encode(whole.decode().split('"resources"')[0] + '"resources":[]}')
        )
        try:
            shell.cdktf("destroy", "train-model", "--auto-approve", **CHANGED).ok()
        finally:
            s3.put_object(Bucket=LOCAL_BUCKET, Key=key, Body=whole)
        assert state(shell, "train-model")["resources"] == []

    @pytest.mark.parametrize(
        "kinds", [("silence", "silence", "denied", "silence"), ("silence", "silence", "terraform"), ("silence", "all")]
    )
    def test_a_destroy_is_hit(self, shell: Shell, door: Gateway, seed: int, kinds: tuple[str, ...]) -> None:
        survive(shell, door, 100 * seed + len(kinds), kinds, 8, "destroy", "*", **CHANGED)

    def test_the_destroy_leaves_nothing_though_three_calls_in_ten_are_throttled(
        self, shell: Shell, door: Gateway, seed: int
    ) -> None:
        often = Rule(throttled, fraction=0.3, seed=seed)
        with door.under(often):
            shell.cdktf("destroy", "*", "--auto-approve", **CHANGED).ok()

        assert often.met > 10
        assert [state(shell, stack)["resources"] for stack in STACKS] == [[], [], [], []]
        assert left_over(shell) == []
        assert locked(shell) == []
        assert gaps(shell) == []
