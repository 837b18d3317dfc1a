"""ops doctor: names that are taken by what no state of this deployment knows. The names are written here by hand."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from embedded_aws import control
from ops.core import synthesis
from tests.ops.aws_support import BUCKET, Answer, Person, clear, front, reset
from tests.ops.support import Finished

pytestmark = pytest.mark.system

ASSUMED = json.dumps({"Version": "2012-10-17", "Statement": []})
ALLOWED = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]}
)
PASSWORD = "/ml-infra/ml-core/stats-monitor/grafana-admin-password"
Aws = Callable[[str], Any]


def role(aws: Aws, name: str) -> None:
    aws("iam").create_role(RoleName=name, AssumeRolePolicyDocument=ASSUMED)


def policy(aws: Aws, name: str) -> None:
    aws("iam").create_policy(PolicyName=name, PolicyDocument=ALLOWED)


def profile(aws: Aws, name: str) -> None:
    aws("iam").create_instance_profile(InstanceProfileName=name)


def parameter(aws: Aws, name: str) -> None:
    aws("ssm").put_parameter(Name=name, Value="x", Type="SecureString" if name == PASSWORD else "String")


def file_system(aws: Aws, token: str) -> None:
    aws("efs").create_file_system(CreationToken=token)


def log_group(aws: Aws, name: str) -> None:
    aws("logs").create_log_group(logGroupName=name)


def notebook(aws: Aws, name: str) -> None:
    of = "arn:aws:iam::123456789012:role/somebody"
    aws("sagemaker").create_notebook_instance(NotebookInstanceName=name, InstanceType="ml.t3.medium", RoleArn=of)


def repository(aws: Aws, name: str) -> None:
    config = {"RepositoryUrl": "https://example.com/a.git"}
    aws("sagemaker").create_code_repository(CodeRepositoryName=name, GitConfig=config)


Maker = Callable[[Aws, str], None]
# Everything that AWS refuses to make twice, by stack: what doctor calls it, how it is made, its name, its address.
TAKEN: Mapping[str, list[tuple[str, Maker, str, str]]] = {
    "mlcore": [
        ("IAM role", role, "ml-core-us-east-1-jump", "aws_iam_role.jump"),
        ("IAM policy", policy, "ml-core-us-east-1-jump", "aws_iam_policy.jump"),
        ("instance profile", profile, "ml-core-us-east-1-jump", "aws_iam_instance_profile.jump"),
        ("EFS creation token", file_system, "ml-core-gaudi_ml_core_efs", "aws_efs_file_system.core"),
        (
            "SSM parameter", parameter, "AmazonCloudWatch-ml-core-cw_agent__config",
            "aws_ssm_parameter.cloudwatch_agent_cfg",
        ),
        (
            "SSM parameter", parameter, "/ml-infra/ml-core/mlcore/jump/boot-status",
            "aws_ssm_parameter.jump_boot_status",
        ),
    ],
    "stats-monitor": [
        ("IAM role", role, "ml-core-us-east-1-stats_instance_role", "aws_iam_role.stats_instance_role"),
        ("SSM parameter", parameter, PASSWORD, "aws_ssm_parameter.grafana_admin"),
    ],
    "train-model": [
        ("log group", log_group, "/ml-infra/ml-core/train-model/training", "aws_cloudwatch_log_group.training"),
        ("IAM policy", policy, "ml-core-us-east-1-ml_worker", "aws_iam_policy.worker"),
        (
            "SSM parameter", parameter, "AmazonCloudWatch-ml-core-cw_agent__gpu",
            "aws_ssm_parameter.cloudwatch_agent_gpu_cfg",
        ),
    ],
    "train-model-dev": [
        ("IAM role", role, "ml-core-us-east-1-sagemaker_nb_role", "aws_iam_role.sagemaker_nb_role"),
        (
            "notebook", notebook, "ml-core-dev-gaudi-sagemaker-nb-instance",
            "aws_sagemaker_notebook_instance.notebook_instance",
        ),
        ("code repository", repository, "ml-core-msls-pytorch-dcgan", "aws_sagemaker_code_repository.dcgan"),
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def stacks(empty_endpoint: control.Endpoint, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The stacks of this person's settings, synthesized once."""
    person = Person(tmp_path_factory.mktemp("stacks"), empty_endpoint)
    person.write()
    return synthesis.synthesized(person.environment())


@pytest.fixture
def person(empty_endpoint: control.Endpoint, tmp_path: Path, stacks: dict[str, Any]) -> Iterator[Person]:
    """Somebody with a state bucket, and with nothing else in an account."""
    reset(empty_endpoint)
    person = Person(tmp_path, empty_endpoint)
    person.write()
    person.aws("s3").create_bucket(Bucket=BUCKET)
    with mock.patch.object(synthesis, "synthesized", return_value=stacks):
        yield person
    reset(empty_endpoint)


def names(ended: Finished, stack: str) -> list[tuple[str, str, str]]:
    """State, detail and fix of what is said of a stack's names."""
    found = [each for each in ended.document["findings"] if each["subject"] == f"names: {stack}"]
    return [(each["state"], each["detail"], each["fix"] or "") for each in found]


def has_state(person: Person, stack: str, *resources: tuple[str, str], **attributes: str) -> None:
    """The stack's state, with these types and names in it."""
    instances = [{"attributes": attributes}]
    managed = [{"mode": "managed", "type": kind, "name": name, "instances": instances} for kind, name in resources]
    state = json.dumps({"version": 4, "serial": 1, "outputs": {}, "resources": managed})
    key = f"ml-core/ml-core/us-east-1/{stack}.tfstate"
    person.aws("s3").put_object(Bucket=BUCKET, Key=key, Body=state.encode())


@pytest.mark.parametrize("stack", TAKEN)
def test_names_that_are_taken_where_the_state_is_empty(person: Person, stack: str) -> None:
    for _, make, name, _ in TAKEN[stack]:
        make(person.aws, name)

    ((state, detail, fix),) = names(person.ops("doctor", stack, "--json"), stack)

    assert state == "problem"
    assert f"not in s3://{BUCKET}/ml-core/ml-core/us-east-1/{stack}.tfstate:" in detail
    listed = detail.partition("tfstate: ")[2].partition(". A deploy")[0].split(", ")
    assert sorted(listed) == sorted(f"{kind} {name}" for kind, _, name, _ in TAKEN[stack])
    assert "choose another deployment.name" in fix
    assert sorted(fix.partition("for ")[2].rstrip(")").split(", ")) == sorted(row[3] for row in TAKEN[stack])


def test_an_empty_account_has_every_name_free(person: Person) -> None:
    ended = person.ops("doctor", "--json")

    # Counted by hand in the stacks. mlcore: role, policy, profile, file system, two parameters, three groups.
    assert [names(ended, stack)[0][:2] for stack in TAKEN] == [
        ("ok", "all 9 names are free"),
        ("ok", "all 5 names are free"),
        ("ok", "all 6 names are free"),
        ("ok", "all 5 names are free"),
    ]


def test_names_are_looked_for_where_there_is_no_state_bucket(person: Person) -> None:
    clear(person.endpoint)
    role(person.aws, "ml-core-us-east-1-jump")

    ((state, detail, _),) = names(person.ops("doctor", "mlcore", "--json"), "mlcore")

    assert (state, "IAM role ml-core-us-east-1-jump" in detail) == ("problem", True)


def test_what_the_state_knows_is_its_own_and_what_it_lacks_is_not(person: Person) -> None:
    """A deploy that ended at a name that was taken has the rest in its state."""
    role(person.aws, "ml-core-us-east-1-stats_instance_role")
    parameter(person.aws, PASSWORD)
    has_state(person, "stats-monitor", ("aws_iam_role", "stats_instance_role"))

    ((state, detail, _),) = names(person.ops("doctor", "stats-monitor", "--json"), "stats-monitor")

    assert state == "problem"
    assert f": SSM parameter {PASSWORD}. A deploy" in detail


def test_a_security_group_of_another_one_in_the_vpc(person: Person) -> None:
    """Its name counts within its VPC only, so not while the state has none."""
    ec2 = person.aws("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.20.0.0/20")["Vpc"]["VpcId"]
    group = "ml-core-allow_ssh_from_deployer"
    ec2.create_security_group(GroupName=group, Description="x", VpcId=vpc)
    assert names(person.ops("doctor", "mlcore", "--json"), "mlcore")[0][0] == "ok"

    has_state(person, "mlcore", ("aws_vpc", "core"), id=vpc)

    ((state, detail, _),) = names(person.ops("doctor", "mlcore", "--json"), "mlcore")
    assert (state, f"security group {group}. A deploy" in detail) == ("problem", True)


def test_what_may_not_be_looked_for_is_unknown(person: Person) -> None:
    log_group(person.aws, "/ml-infra/ml-core/train-model/training")
    denied = {"GetParameter": lambda _: Answer.json_error("AccessDeniedException")}

    with front(person.endpoint, denied) as url:
        found = names(person.ops("doctor", "train-model", "--json", AWS_ENDPOINT_URL=url), "train-model")

    assert [state for state, _, _ in found] == ["problem", "unknown"]
    assert "SSM parameter AmazonCloudWatch-ml-core-cw_agent__gpu (these credentials may not call" in found[1][1]


def test_stacks_that_cannot_be_synthesized_are_unknown(person: Person) -> None:
    with mock.patch.object(synthesis, "synthesized", side_effect=synthesis.SynthesisError("no Node")):
        ended = person.ops("doctor", "mlcore", "--json")

    (found,) = [each for each in ended.document["findings"] if each["subject"] == "names"]
    assert (found["state"], found["detail"]) == ("unknown", "no Node")
