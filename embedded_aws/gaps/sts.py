"""STS: who calls."""

from collections.abc import Callable
from typing import Any

from moto.sts.models import STSBackend

from embedded_aws.gaps.patching import wrap


def get_caller_identity(
    original: Callable[..., tuple[str, str, str]], self: Any, *args: Any, **kwargs: Any
) -> tuple[str, str, str]:
    """GetCallerIdentity: a user is IAM's, and its id begins with AIDA, where moto has a user of STS's for unknown keys.

    https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
    """
    id, arn, account = original(self, *args, **kwargs)
    if f":sts::{account}:user/" not in arn:
        return id, arn, account
    return "AIDAIOSFODNN7EXAMPLE", arn.replace(":sts:", ":iam:", 1), account


def install() -> None:
    """Put the closures of this module into moto."""
    wrap(STSBackend, "get_caller_identity", get_caller_identity)
