"""Simple Storage Service."""

import json
from collections.abc import Callable
from typing import Any, Final

from moto.s3.exceptions import S3ClientError
from moto.s3.models import FakeBucket
from moto.s3.responses import S3Response

from embedded_aws.gaps.patching import wrap

_TLS = "aws:SecureTransport"


def get_permission(original: Callable[..., Any], self: FakeBucket, action: str, resource: str) -> Any:
    """Bucket policies: a statement about requests without TLS concerns none here, where moto takes it for all.

    The server has no TLS because it listens on loopback only. moto denies where a condition does not hold; on AWS such
    a statement does not apply. https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition.html
    """
    policy = self.policy
    if policy is None:
        return original(self, action, resource)
    document = json.loads(policy)
    statements = document["Statement"] if isinstance(document["Statement"], list) else [document["Statement"]]
    document["Statement"] = [each for each in statements if not _is_about_clear_text(each)]
    self.policy = json.dumps(document).encode()
    try:
        return original(self, action, resource)
    finally:
        self.policy = policy


def _is_about_clear_text(statement: dict[str, Any]) -> bool:
    tested = statement.get("Condition", {}).get("Bool", {}).get(_TLS)
    return str(tested).lower() == "false"


def set_lifecycle(original: Callable[..., None], self: FakeBucket, rules: list[dict[str, Any]]) -> None:
    """Answer PutBucketLifecycleConfiguration: remembers NewerNoncurrentVersions, which moto forgets."""
    original(self, rules)
    for rule, given in zip(self.rules, rules, strict=True):
        expiration = given.get("NoncurrentVersionExpiration") or {}
        rule.newer_noncurrent_versions = expiration.get("NewerNoncurrentVersions")  # type: ignore[attr-defined]


def serialized(original: Callable[..., Any], self: S3Response, action_result: Any) -> Any:
    """Answer GetBucketLifecycleConfiguration: shows NewerNoncurrentVersions.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_NoncurrentVersionExpiration.html
    """
    shows = self.data.get("Action") == "GetBucketLifecycleConfiguration"
    if shows and isinstance(action_result.result, dict):  # an error passes here too
        kept = self.backend.get_bucket_lifecycle(self.bucket_name)
        for rule, shown in zip(kept, action_result.result.get("Rules", []), strict=False):
            newer = getattr(rule, "newer_noncurrent_versions", None)
            if newer is not None and "NoncurrentVersionExpiration" in shown:
                shown["NoncurrentVersionExpiration"]["NewerNoncurrentVersions"] = newer
    return original(self, action_result)


class _KeyTooLongError(S3ClientError):
    code = "KeyTooLongError"

    def __init__(self) -> None:
        super().__init__("Your key is too long")


_LONGEST_KEY: Final = 1024  # bytes of UTF-8, https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html


def key_response(original: Callable[..., Any], self: S3Response, request: Any, full_url: str) -> Any:
    """Every call with a key: one that is too long is refused, for reading too.

    https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html#ErrorCodeList
    """
    if len(self.parse_key_name().encode()) > _LONGEST_KEY:
        raise _KeyTooLongError
    return original(self, request, full_url)


def install() -> None:
    """Put the closures of this module into moto."""
    wrap(FakeBucket, "get_permission", get_permission)
    wrap(FakeBucket, "set_lifecycle", set_lifecycle)
    wrap(S3Response, "serialized", serialized)
    wrap(S3Response, "_key_response", key_response)
