"""Credentials that end in the middle of a deploy, with the real CLI: what is paid for is found again, and only once."""

import signal
from collections.abc import Callable, Iterator
from dataclasses import replace

import psutil
import pytest

from ops.core.environment import LOCAL_BUCKET
from tests.e2e.conftest import Shell, end
from tests.e2e.proxy import Call, Fault, Verdict, expired_after, gateway
from tests.e2e.test_lifecycle import TAG, planned, stack_folder, state

LOCK = "ml-core/ml-core/us-east-1/mlcore.tfstate.tflock"


def impatient(shell: Shell) -> Verdict:
    """A person who ends Terraform at the third try of a call.

    The provider tries again on EC2's RequestExpired, which a clock that is off causes too: after 8 minutes it still did
    (seen from hashicorp/aws 5.100.0 in 2026-11), and said nothing.
    """
    interrupted = False

    def verdict(call: Call) -> Fault | None:
        nonlocal interrupted
        if call.attempt == 3 and not interrupted:
            interrupted = True
            for process in psutil.Process(shell.started[-1].pid).children(recursive=True):
                if process.name() == "terraform":
                    process.send_signal(signal.SIGINT)
        return None

    return verdict


@pytest.fixture(scope="module")
def expired(new_shell: Callable[[], Shell]) -> Iterator[Shell]:
    """After a deploy of mlcore whose credentials ended when the VPC and the file system were there."""
    shell = new_shell()
    with gateway(shell.variables["AWS_ENDPOINT_URL"]) as between:
        # The last call of the file system's creation is the second one here.
        between.verdicts += [impatient(shell), expired_after("CreateSubnet", "DescribeLifecycleConfiguration")]
        through = replace(shell, variables={**shell.variables, "AWS_ENDPOINT_URL": between.url})
        through.cdktf("deploy", "mlcore", "--auto-approve").refused()
    yield shell
    for process in shell.started:
        end(process)


def test_no_run_goes_by_what_is_in_the_bucket(expired: Shell) -> None:
    """Nothing is there but the lock; a second deploy would build all of it again."""
    keys = [each["Key"] for each in expired.aws("s3").list_objects_v2(Bucket=LOCAL_BUCKET)["Contents"]]
    assert LOCK in keys
    assert (stack_folder(expired, "mlcore") / "errored.tfstate").exists()

    expired.aws("s3").delete_object(Bucket=LOCAL_BUCKET, Key=LOCK)
    said = expired.cdktf("deploy", "mlcore", "--auto-approve").refused().said

    assert "ops push-state mlcore" in " ".join(said.split())
    assert len(expired.aws("ec2").describe_vpcs(Filters=TAG)["Vpcs"]) == 1


def test_pushed_the_next_deploy_makes_nothing_twice(expired: Shell) -> None:
    (vpc,) = expired.aws("ec2").describe_vpcs(Filters=TAG)["Vpcs"]
    (file_system,) = expired.aws("efs").describe_file_systems()["FileSystems"]

    said = expired.run("python", "-m", "ops", "push-state").ok().said

    assert "mlcore: the state is now in S3" in " ".join(said.split())
    known = {
        f"{resource['type']}.{resource['name']}": instance["attributes"]["id"]
        for resource in state(expired, "mlcore")["resources"]
        for instance in resource["instances"]
    }
    assert known["aws_vpc.core"] == vpc["VpcId"]
    assert known["aws_efs_file_system.core"] == file_system["FileSystemId"]
    changes = planned(expired, "mlcore")
    # What was at work at that moment may be there in part, and is then replaced; this one was not begun.
    assert changes["aws_instance.jump"] == ["create"]
    assert "aws_vpc.core" not in changes
    assert "aws_efs_file_system.core" not in changes
