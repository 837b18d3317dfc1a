"""The address contract, and what every stack has."""

import json
from pathlib import Path

import pytest
from cdktf import Testing
from cdktf_cdktf_provider_aws.eip import Eip
from cdktf_cdktf_provider_aws.vpc import Vpc
from constructs import Construct

from constructs_lib.backend_memory import forget_other_encryption
from constructs_lib.base_stack import BaseStack, DuplicateAddressError
from constructs_lib.deployment import Deployment

ADA = Deployment(
    name="ada",
    project="p",
    region="eu-west-1",
    state_bucket="state",
    state_prefix="some/prefix",
    state_region="us-east-1",
    state_use_path_style=True,
)


def make(id: str = "one") -> BaseStack:
    return BaseStack(Testing.app(), id, deployment=ADA)


def test_an_address_is_the_constructs_id_however_deep() -> None:
    stack = make()
    Vpc(Construct(Construct(stack, "network"), "inner"), "core", cidr_block="10.0.0.0/16")

    assert list(json.loads(Testing.synth(stack))["resource"]["aws_vpc"]) == ["core"]


def test_different_types_may_share_a_name() -> None:
    stack = make()
    Vpc(Construct(stack, "a"), "core", cidr_block="10.0.0.0/16")
    Eip(Construct(stack, "b"), "core")

    assert set(json.loads(Testing.synth(stack))["resource"]) == {"aws_vpc", "aws_eip"}


def test_one_address_twice_is_refused_with_both_places() -> None:
    stack = make()
    Vpc(Construct(stack, "a"), "core", cidr_block="10.0.0.0/16")
    Vpc(Construct(stack, "b"), "core", cidr_block="10.1.0.0/16")

    with pytest.raises(RuntimeError, match=r"aws_vpc\.core exists twice.*one/a/core.*one/b/core"):
        Testing.synth(stack)


def test_the_refusal_has_a_type_of_its_own() -> None:
    stack = make()
    first = Vpc(Construct(stack, "a"), "core", cidr_block="10.0.0.0/16")
    second = Vpc(Construct(stack, "b"), "core", cidr_block="10.0.0.0/16")

    assert stack._allocate_logical_id(first) == "core"
    with pytest.raises(DuplicateAddressError, match="change one of the two ids"):
        stack._allocate_logical_id(second)


def test_state_is_under_prefix_deployment_region_and_stack() -> None:
    backend = json.loads(Testing.synth(make("train-model")))["terraform"]["backend"]["s3"]

    assert backend == {
        "bucket": "state",
        "key": "some/prefix/ada/eu-west-1/train-model.tfstate",
        "region": "us-east-1",
        "use_lockfile": True,
        "use_path_style": True,
    }


def test_a_random_password_is_ephemeral_in_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SYNTH_HCL_OUTPUT", raising=False)
    stack = make()

    reference = stack.random_password("secret", length=20)

    assert reference == "${ephemeral.aws_secretsmanager_random_password.secret.random_password}"
    found = json.loads(Testing.synth(stack))
    assert found["ephemeral"] == {
        "aws_secretsmanager_random_password": {"secret": {"password_length": 20, "exclude_punctuation": True}}
    }


def test_hcl_gets_what_cdktf_leaves_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNTH_HCL_OUTPUT", "true")
    stack = make()
    stack.random_password("secret", length=20)
    (tmp_path / "stacks" / "one").mkdir(parents=True)

    stack.write_hcl_supplement(str(tmp_path))

    written = (tmp_path / "stacks" / "one" / "supplement.tf").read_text(encoding="utf-8")
    assert 'required_version = ">= 1.11.0"' in written
    assert 'ephemeral "aws_secretsmanager_random_password" "secret" {\n  password_length     = 20\n' in written


REMEMBERED = {
    "bucket": "state", "key": "some/prefix/ada/eu-west-1/one.tfstate", "region": "us-east-1", "use_path_style": True,
    "encrypt": None, "kms_key_id": None, "use_lockfile": True, "profile": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("remembered", "forgotten"),
    [
        ({}, False),
        ({"encrypt": True}, True),
        ({"encrypt": True, "kms_key_id": "arn:aws:kms:us-east-1:123456789012:key/1"}, True),
        ({"encrypt": True, "bucket": "another"}, False),
        ({"encrypt": True, "key": "some/prefix/eve/eu-west-1/one.tfstate"}, False),
    ],
)
def test_a_backend_that_differs_in_its_encryption_alone_is_forgotten(
    tmp_path: Path, remembered: dict[str, object], forgotten: bool
) -> None:
    """Terraform would refuse to go on, and ask to migrate a state that stays where it is."""
    file = tmp_path / ".terraform" / "terraform.tfstate"
    file.parent.mkdir()
    document = {"version": 3, "backend": {"type": "s3", "config": {**REMEMBERED, **remembered}, "hash": 1}}
    file.write_text(json.dumps(document), encoding="utf-8")

    forget_other_encryption(tmp_path, "one", ADA)

    assert file.exists() is not forgotten


@pytest.mark.parametrize("text", ["", "[]", '{"backend": null}', '{"backend": {"config": []}}'])
def test_a_memory_that_cannot_be_read_is_left_to_terraform(tmp_path: Path, text: str) -> None:
    file = tmp_path / ".terraform" / "terraform.tfstate"
    file.parent.mkdir()
    file.write_text(text, encoding="utf-8")

    forget_other_encryption(tmp_path, "one", ADA)

    assert file.exists()
