"""Every name that the stacks give is one that ops doctor looks for."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from ops.deployment.lookups import LOOKUPS
from ops.doctor.names import SECURITY_GROUP
from tests.unit.synthesis import synthesize

# The arguments that are names, and the ones that only name what another resource is.
_NAME = re.compile(r"(?:.*_)?(?:name|token|identifier|id)|bucket")


def given_names(**overrides: str) -> Iterator[tuple[str, str, str]]:
    """Type, argument and value of each name with the deployment's in it, and nothing that Terraform makes."""
    for document in synthesize(DEPLOYMENT__NAME="zebra", **overrides).values():
        for kind, named in document["resource"].items():
            for body in named.values():
                yield from ((kind, key, value) for key, value in body.items() if is_name(key, value))


def is_name(key: str, value: Any) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(key) is not None and "zebra" in value and "${" not in value


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"TRAIN_MODEL__INSTANCE_TYPE": "trn1.2xlarge"},
        {"TRAIN_MODEL_DEV__INSTANCE_TYPE": "ml.g5.xlarge"},
    ],
)
def test_doctor_looks_for_every_name(overrides: dict[str, str]) -> None:
    """A new kind of resource with a name of its own needs a look-up."""
    given = set(given_names(**overrides))

    looked_for = {kind: lookup.attribute for kind, lookup in LOOKUPS.items()} | {SECURITY_GROUP: "name"}
    assert {(kind, key) for kind, key, _ in given} == {
        ("aws_cloudwatch_log_group", "name"),
        ("aws_efs_file_system", "creation_token"),
        ("aws_iam_instance_profile", "name"),
        ("aws_iam_policy", "name"),
        ("aws_iam_role", "name"),
        ("aws_sagemaker_code_repository", "code_repository_name"),
        ("aws_sagemaker_notebook_instance", "name"),
        ("aws_security_group", "name"),
        ("aws_ssm_parameter", "name"),
    }
    assert {(kind, key) for kind, key, _ in given} <= looked_for.items()
