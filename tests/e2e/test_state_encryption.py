"""How Terraform's S3 backend, set up as the stacks do it, encrypts what it writes."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ops.core.environment import LOCAL_BUCKET
from tests.e2e.conftest import Finished, Shell

KEY = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-44cd-86ef-1234567890ab"
NAMED = "arn:aws:kms:us-east-1:123456789012:key/ffffabcd-12ab-44cd-86ef-1234567890ab"


@pytest.fixture(scope="module")
def encrypting_shell(new_shell: Callable[[], Shell]) -> Shell:
    """Its state bucket encrypts with a key of its owner's, as a company may ask for it."""
    shell = new_shell()
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KEY}}
    shell.aws("s3").put_bucket_encryption(Bucket=LOCAL_BUCKET, ServerSideEncryptionConfiguration={"Rules": [rule]})
    return shell


@pytest.mark.parametrize(("settings", "key"), [({}, KEY), ({"ML_INFRA_STATE__KMS_KEY_ARN": NAMED}, NAMED)])
def test_state_and_lock_are_encrypted_with_the_buckets_key_or_the_named_one(
    encrypting_shell: Shell, tmp_path: Path, settings: dict[str, str], key: str
) -> None:
    shell = encrypting_shell
    shell.cdktf("synth", "--output", str(tmp_path), **settings).ok()
    stack = json.loads((tmp_path / "stacks" / "mlcore" / "cdk.tf.json").read_text(encoding="utf-8"))
    folder = tmp_path / "backend only"
    folder.mkdir()
    configuration = {"terraform": {"backend": stack["terraform"]["backend"]}, "output": {"one": {"value": key}}}
    (folder / "main.tf.json").write_text(json.dumps(configuration), encoding="utf-8")

    shell.run("terraform", "init", "-input=false", cwd=folder).ok()
    shell.run("terraform", "apply", "-input=false", "-auto-approve", cwd=folder).ok()

    s3, state = shell.aws("s3"), stack["terraform"]["backend"]["s3"]["key"]
    written = s3.list_object_versions(Bucket=LOCAL_BUCKET, Prefix=state)["Versions"]
    newest = {version["Key"]: version["VersionId"] for version in reversed(written)}
    assert set(newest) == {state, f"{state}.tflock"}
    for name, version in newest.items():
        head = s3.head_object(Bucket=LOCAL_BUCKET, Key=name, VersionId=version)
        assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", key), name


def test_another_encryption_is_nothing_to_migrate(encrypting_shell: Shell, tmp_path: Path) -> None:
    """As after an update of this project, or with another key: Terraform would end with a question."""
    shell, folder = encrypting_shell, tmp_path / "stacks" / "mlcore"

    def init(**more: object) -> Finished:
        """With the backend of the stack, and of nothing else."""
        file = folder / "cdk.tf.json"
        backend = json.loads(file.read_text(encoding="utf-8"))["terraform"]["backend"]
        configuration = {"terraform": {"backend": {"s3": {**backend["s3"], **more}}}}
        file.write_text(json.dumps(configuration), encoding="utf-8")
        return shell.run("terraform", "init", "-input=false", cwd=folder)

    shell.cdktf("synth", "--output", str(tmp_path)).ok()
    init(encrypt=True).ok()
    assert "Backend configuration changed" in init(encrypt=None).refused().said

    shell.cdktf("synth", "--output", str(tmp_path)).ok()
    init().ok()
