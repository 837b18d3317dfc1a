"""Terraform and the real AWS provider accept every stack under every kind of settings."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from ops.core import environment
from tests.unit.synthesis import Json, synthesize

pytestmark = pytest.mark.system

ALL = ("mlcore", "stats-monitor", "train-model", "train-model-dev")

KEY = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-44cd-86ef-1234567890ab"
# Everything that can be set, in another region.
EVERYTHING = {
    "DEPLOYMENT__NAME": "ada",
    "DEPLOYMENT__REGION": "eu-central-1",
    "MLCORE__VPC_CIDR": "172.18.0.0/16",
    "MLCORE__JUMP_AMI": "ami-0123456789abcdef0",
    "MLCORE__ALLOW_EFS_DESTROY": "true",
    "MLCORE__RESTORED_FOLDER": "aws-backup-restore_2026-11-30T10-15-00-123456Z",
    "STATS_MONITOR__AMI": "ami-0123456789abcdef0",
    "TRAIN_MODEL__AMI": "ami-0123456789abcdef0",
    "TRAIN_MODEL__INSTANCE_TYPE": "dl1.24xlarge",
    "TRAIN_MODEL__DATA_S3_URI": "s3://pics/msls",
    "TRAIN_MODEL__DATA_S3_KMS_KEY_ARN": KEY,
    "TRAIN_MODEL__OUTPUT_S3_URI": "s3://out/runs",
    "TRAIN_MODEL__OUTPUT_S3_KMS_KEY_ARN": KEY,
    "TRAIN_MODEL__DATA_VOLUME__RESTORE": "snap-0123456789abcdef0",
    "TRAIN_MODEL_DEV__INSTANCE_TYPE": "ml.g5.xlarge",
    "TRAIN_MODEL_DEV__DATA_S3_URI": "s3://pics",
    "TRAIN_MODEL_DEV__DATA_S3_KMS_KEY_ARN": KEY,
    "TRAIN_MODEL_DEV__OUTPUT_S3_URI": "s3://out/notebook",
    "TRAIN_MODEL_DEV__OUTPUT_S3_KMS_KEY_ARN": KEY,
    "STATE__USE_PATH_STYLE": "true",
    "STATE__KMS_KEY_ARN": KEY,
}

CASES = [
    *[pytest.param(stack, {}, id=f"{stack}-minimal") for stack in ALL],
    *[pytest.param(stack, EVERYTHING, id=f"{stack}-everything-gaudi") for stack in ALL],
    pytest.param("train-model", {"TRAIN_MODEL__INSTANCE_TYPE": "trn1.32xlarge"}, id="train-model-neuron"),
    pytest.param("train-model", {"TRAIN_MODEL__INSTANCE_TYPE": "t3.large"}, id="train-model-none"),
    pytest.param("train-model", {"TRAIN_MODEL__DATA_VOLUME__RESTORE": "none"}, id="train-model-blank-volume"),
]


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return environment.commands(os.environ, build=tmp_path_factory.mktemp("build"))


def validate(configuration: Json, folder: Path, variables: dict[str, str]) -> Json:
    (folder / "cdk.tf.json").write_text(json.dumps(configuration), encoding="utf-8")
    subprocess.run(
        ["terraform", "init", "-backend=false", "-input=false", "-no-color"],
        cwd=folder,
        env=variables,
        check=True,
        capture_output=True,
        text=True,
    )
    answer = subprocess.run(
        ["terraform", "validate", "-json"], cwd=folder, env=variables, check=False, capture_output=True, text=True
    )
    result: Json = json.loads(answer.stdout)
    return result


@pytest.mark.parametrize(("stack", "settings"), CASES)
def test_valid_and_without_a_warning(
    stack: str, settings: dict[str, str], tmp_path: Path, variables: dict[str, str]
) -> None:
    result = validate(synthesize(**settings)[stack], tmp_path, variables)

    assert result["diagnostics"] == []
    assert result["valid"] is True


def test_a_mistake_would_be_seen(tmp_path: Path, variables: dict[str, str]) -> None:
    configuration = synthesize()["train-model"]
    configuration["resource"]["aws_ebs_volume"]["msls"]["throughput"] = 1001

    result = validate(configuration, tmp_path, variables)

    assert result["valid"] is False
    assert "to be in the range (125 - 1000)" in json.dumps(result["diagnostics"])
