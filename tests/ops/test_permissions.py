"""`ops permissions`: policies that allow the table of actions, and nothing else."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from embedded_aws import control
from modules_equiv.settings import load_settings
from ops.core.stack_names import STACKS
from ops.doctor.actions import Group, groups
from ops.doctor.policies import policies, size
from tests.ops.aws_support import Person, clear
from tools import permissions_page

ACCOUNT = "210987654321"
KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/11111111-2222-3333-4444-555555555555"
SETTINGS = load_settings(
    environ={
        "ML_INFRA_SETTINGS": os.devnull,
        "ML_INFRA_ACCESS__DEPLOYER_CIDRS": "203.0.113.7/32",
        "ML_INFRA_ACCESS__SSH_KEYPAIR_NAME": "k",
        "ML_INFRA_STATE__BUCKET": "my-bucket-x",
    }
)
EVERYTHING = [group for stack in STACKS for group in groups(SETTINGS, stack, ACCOUNT, state_kms_key=KEY)]


def rights(made: list[dict[str, Any]]) -> set[tuple[str, str]]:
    """Return every (action, resource) that the policies allow."""
    return {
        (action, resource)
        for policy in made
        for statement in policy["Statement"]
        for action in statement["Action"]
        for resource in statement["Resource"]
    }


def stream(text: str) -> list[dict[str, Any]]:
    """Read JSON documents that follow one another."""
    found, rest = [], text.strip()
    while rest:
        document, end = json.JSONDecoder().raw_decode(rest)
        found.append(document)
        rest = rest[end:].strip()
    return found


@pytest.fixture
def person(empty_endpoint: control.Endpoint, tmp_path: Path) -> Person:
    clear(empty_endpoint)
    person = Person(tmp_path, empty_endpoint)
    person.write()
    return person


class TestPolicies:
    def test_they_allow_the_table_and_nothing_else(self) -> None:
        table = {(name, group.resource) for group in EVERYTHING for name in group.names}

        # CloudWatch Logs takes a group's ARN with ":*" for what is not about tags.
        assert {(action, resource.removesuffix(":*")) for action, resource in rights(policies(EVERYTHING))} == table

    def test_an_action_with_arns_in_the_table_is_never_allowed_on_everything(self) -> None:
        made = rights(policies(EVERYTHING))
        named = {action for action, resource in made if resource != "*"}

        assert [action for action, resource in made if resource == "*" and action in named] == []
        assert [action for action, _ in made if "*" in action] == []

    def test_log_groups_have_the_form_that_each_action_takes(self) -> None:
        group = f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:/ml-infra/ml-core/train-model/training"

        assert {(action, of) for action, of in rights(policies(EVERYTHING)) if ":log-group:" in of} == {
            ("logs:CreateLogGroup", f"{group}:*"),
            ("logs:DeleteLogGroup", f"{group}:*"),
            ("logs:PutRetentionPolicy", f"{group}:*"),
            ("logs:ListTagsForResource", group),
            ("logs:TagResource", group),
        }

    def test_a_role_is_passed_to_its_service_only(self) -> None:
        passed = [
            (statement["Resource"], statement["Condition"])
            for policy in policies(groups(SETTINGS, "train-model-dev", ACCOUNT))
            for statement in policy["Statement"]
            if statement["Action"] == ["iam:PassRole"]
        ]

        assert [condition for _, condition in passed] == [
            {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}
        ]

    @pytest.mark.parametrize("stacks", [*[[stack] for stack in STACKS], list(STACKS)])
    def test_each_fits_into_a_managed_policy(self, stacks: list[str]) -> None:
        made = policies(group for stack in stacks for group in groups(SETTINGS, stack, ACCOUNT))

        assert max(size(policy) for policy in made) <= 6144
        assert len(made) == (2 if len(stacks) > 1 else 1)

    def test_white_space_does_not_count(self) -> None:
        assert size({"Version": "a b"}) == len('{"Version":"ab"}')

    def test_one_that_is_too_large_is_split_between_statements(self) -> None:
        many = [Group("s3", ("GetObject", f"Put{number}"), f"arn:aws:s3:::{'x' * 2000}{number}") for number in range(5)]

        made = policies(many)

        assert [len(policy["Statement"]) for policy in made] == [2, 2, 1]
        assert rights(made) == {(name, group.resource) for group in many for name in group.names}


def test_one_stack_is_one_policy_ready_to_attach(person: Person) -> None:
    ended = person.ops("permissions", "train-model")

    assert (ended.status, ended.err) == (0, "")
    policy = json.loads(ended.out)
    assert policy.keys() == {"Version", "Statement"}
    assert policy["Version"] == "2012-10-17"
    created = person.aws("iam").create_policy(PolicyName="deploy", PolicyDocument=ended.out)
    assert created["Policy"]["PolicyName"] == "deploy"


def test_all_stacks_are_several_policies(person: Person) -> None:
    ended = person.ops("permissions")

    assert ended.status == 0
    made = stream(ended.out)
    assert len(made) == 2
    assert "These are 2 policies: attach each one." in " ".join(ended.err.split())
    document = person.ops("permissions", "--json").document
    assert document.keys() == {"stacks", "account", "policies"}
    assert document["stacks"] == list(STACKS)
    assert document["account"] == "123456789012"
    assert [each["name"] for each in document["policies"]] == ["ml-core-deploy-1", "ml-core-deploy-2"]
    assert [each["document"] for each in document["policies"]] == made


def test_each_to_its_own_file(person: Person, tmp_path: Path) -> None:
    folder = tmp_path / "new folder" / "policies"

    ended = person.ops("permissions", "--out", str(folder))

    assert (ended.status, ended.out) == (0, "")
    files = sorted(folder.iterdir())
    assert [file.name for file in files] == ["ml-core-deploy-1.json", "ml-core-deploy-2.json"]
    assert [json.loads(file.read_text()) for file in files] == stream(person.ops("permissions").out)


def test_with_an_account_aws_is_not_called(person: Person) -> None:
    ended = person.ops("permissions", "mlcore", "--account", ACCOUNT, AWS_ENDPOINT_URL="http://127.0.0.1:9")

    assert ended.status == 0
    assert f"arn:aws:iam::{ACCOUNT}:role/" in ended.out
    assert "123456789012" not in ended.out


def test_the_key_of_the_state_bucket_is_in_it(person: Person) -> None:
    s3 = person.aws("s3")
    bucket = json.loads(person.ops("permissions", "mlcore").out)["Statement"][0]["Resource"][0].rpartition(":")[2]
    s3.create_bucket(Bucket=bucket)
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KEY}}
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})

    allowed = rights([json.loads(person.ops("permissions", "mlcore").out)])

    assert {("kms:Decrypt", KEY), ("kms:GenerateDataKey", KEY)} <= allowed


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["train-modle"], "unknown stack 'train-modle'"),
        (["--account", "12"], "--account: '12' is not an account number of 12 digits"),
    ],
)
def test_a_wrong_command_line(person: Person, arguments: list[str], error: str) -> None:
    ended = person.ops("permissions", *arguments)

    assert (ended.status, ended.out) == (2, "")
    assert error in " ".join(ended.err.split())


def test_the_page_is_what_the_command_writes() -> None:
    written = permissions_page.PAGE.read_text(encoding="utf-8")

    assert written == permissions_page.page(), "run: python -m tools.permissions_page"
