"""Notebook types: what the provider accepts and Amazon Linux 2023 notebooks take."""

import pytest

from constructs_lib.notebook_types import NOTEBOOK_TYPES, PROVIDER_TYPES, notebook_type
from constructs_lib.refused import RefusedError


@pytest.mark.parametrize(
    "name",
    [
        "ml.t3.medium",
        "ml.g4dn.xlarge",
        "ml.g5.48xlarge",
        "ml.g6.48xlarge",
        "ml.p4d.24xlarge",
        "ml.p4de.24xlarge",
        "ml.p5.48xlarge",
        "ml.trn1.2xlarge",
        "ml.inf2.xlarge",
        "ml.m7i.48xlarge",
        "ml.c7i.large",
        "ml.r7i.24xlarge",
    ],
)
def test_accepted(name: str) -> None:
    assert notebook_type(name) == name


def test_counts() -> None:
    # 172 in the provider's message; 11 of them are p2, p3, p3dn or inf1.
    assert len(PROVIDER_TYPES) == 172
    assert len(NOTEBOOK_TYPES) == 161


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("ml.p3.2xlarge", "ml.g5.2xlarge"),
        ("ml.p3.8xlarge", "ml.g5.8xlarge"),
        ("ml.p2.xlarge", "ml.g5.xlarge"),
        ("ml.p3dn.24xlarge", "ml.p4d.24xlarge"),
        ("ml.g3.4xlarge", "ml.g5.4xlarge"),
        ("ml.inf1.24xlarge", "ml.inf2.24xlarge"),
    ],
)
def test_excluded_by_al2023(typed: str, meant: str) -> None:
    with pytest.raises(RefusedError) as refused:
        notebook_type(typed)
    assert f"Amazon Linux 2023 notebooks do not support {typed}" in refused.value.reason
    assert refused.value.fix == f"Did you mean {meant}?"


@pytest.mark.parametrize(
    ("typed", "fix"),
    [
        ("t3.medium", "Did you mean ml.t3.medium?"),
        ("ml.t3.mediun", "Did you mean ml.t3.medium?"),
        ("ml.g6e.xlarge", "Did you mean ml.g6.xlarge?"),
        ("?", "Choose one such as ml.t3.medium or ml.g5.xlarge."),
    ],
)
def test_unknown_to_the_provider(typed: str, fix: str) -> None:
    with pytest.raises(RefusedError) as refused:
        notebook_type(typed)
    assert f'does not know the notebook type "{typed}"' in refused.value.reason
    assert refused.value.fix == fix
