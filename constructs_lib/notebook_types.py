"""The instance types of SageMaker notebooks: those that the AWS provider accepts, except those that AL2023 excludes.

Provider: the list in the error of `terraform validate` with hashicorp/aws 5.100.0 (aws_sagemaker_notebook_instance,
instance_type). Exclusions: what SageMaker documents for its AL2023 notebook platform, read 2026-11.
"""

from types import MappingProxyType
from typing import Final

from constructs_lib.refused import RefusedError, did_you_mean

_FAMILIES: Final = {
    "t2": "medium large xlarge 2xlarge",
    "t3": "medium large xlarge 2xlarge",
    "m4": "xlarge 2xlarge 4xlarge 10xlarge 16xlarge",
    "m5": "xlarge 2xlarge 4xlarge 12xlarge 24xlarge",
    "m5d": "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge",
    "m6i": "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 32xlarge",
    "m6id": "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 32xlarge",
    "m7i": "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 48xlarge",
    "c4": "xlarge 2xlarge 4xlarge 8xlarge",
    "c5": "xlarge 2xlarge 4xlarge 9xlarge 18xlarge",
    "c5d": "xlarge 2xlarge 4xlarge 9xlarge 18xlarge",
    "c6i": "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 32xlarge",
    "c6id": "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 32xlarge",
    "c7i": "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 48xlarge",
    "r5": "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge",
    "r6i": "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 32xlarge",
    "r6id": "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 32xlarge",
    "r7i": "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 48xlarge",
    "g4dn": "xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge",
    "g5": "xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 48xlarge",
    "g6": "xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 48xlarge",
    "p2": "xlarge 8xlarge 16xlarge",
    "p3": "2xlarge 8xlarge 16xlarge",
    "p3dn": "24xlarge",
    "p4d": "24xlarge",
    "p4de": "24xlarge",
    "p5": "48xlarge",
    "inf1": "xlarge 2xlarge 6xlarge 24xlarge",
    "inf2": "xlarge 8xlarge 24xlarge 48xlarge",
    "trn1": "2xlarge 32xlarge",
    "trn1n": "32xlarge",
}
PROVIDER_TYPES: Final = frozenset(
    f"ml.{family}.{size}" for family, sizes in _FAMILIES.items() for size in sizes.split()
)

# Family -> the family to use instead.
EXCLUDED_BY_AL2023: Final = MappingProxyType({"p2": "g5", "p3": "g5", "p3dn": "p4d", "g3": "g5", "inf1": "inf2"})

# Without those in EXCLUDED_BY_AL2023.
_NVIDIA: Final = frozenset({"g4dn", "g5", "g6", "p4d", "p4de", "p5"})

NOTEBOOK_TYPES: Final = frozenset(name for name in PROVIDER_TYPES if name.split(".")[1] not in EXCLUDED_BY_AL2023)


def notebook_type(name: str) -> str:
    """Return `name` if a notebook can have this type. Raises RefusedError with the closest type otherwise."""
    if name in NOTEBOOK_TYPES:
        return name
    family = name.split(".")[1] if name.count(".") == 2 else ""
    if successor := EXCLUDED_BY_AL2023.get(family):
        instead = sorted(other for other in NOTEBOOK_TYPES if other.startswith(f"ml.{successor}."))
        raise RefusedError(
            f"Amazon Linux 2023 notebooks do not support {name}, and SageMaker creates no other notebooks.",
            did_you_mean(name, instead, otherwise=f"Choose one of {', '.join(instead)}."),
        )
    raise RefusedError(
        f'The pinned AWS provider (hashicorp/aws 5.100.0) does not know the notebook type "{name}".',
        did_you_mean(name, sorted(NOTEBOOK_TYPES), otherwise="Choose one such as ml.t3.medium or ml.g5.xlarge."),
    )


def has_nvidia_gpus(name: str) -> bool:
    """Return True if notebooks of this type have NVIDIA GPUs."""
    return name.split(".")[1] in _NVIDIA
