"""S3: what a state bucket's set-up needs."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError

from tests.embedded_aws.conftest import ClientFactory

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@pytest.fixture
def s3(client: ClientFactory) -> "S3Client":
    return client("s3")  # type: ignore[no-any-return]


def deny(bucket: str, **condition: object) -> str:
    statement = {
        "Sid": "No",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement | condition]})


def test_a_policy_against_clear_text_denies_nothing_on_loopback(s3: "S3Client") -> None:
    s3.create_bucket(Bucket="tls-only")
    policy = deny("tls-only", Condition={"Bool": {"aws:SecureTransport": "false"}})
    s3.put_bucket_policy(Bucket="tls-only", Policy=policy)

    s3.put_object(Bucket="tls-only", Key="state", Body=b"x")

    assert s3.get_object(Bucket="tls-only", Key="state")["Body"].read() == b"x"
    assert json.loads(s3.get_bucket_policy(Bucket="tls-only")["Policy"]) == json.loads(policy)


def test_a_policy_without_a_condition_still_denies(s3: "S3Client") -> None:
    s3.create_bucket(Bucket="closed")
    s3.put_bucket_policy(Bucket="closed", Policy=deny("closed"))

    with pytest.raises(ClientError) as refused:
        s3.put_object(Bucket="closed", Key="state", Body=b"x")

    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_a_bucket_without_lifecycle_rules_says_so(s3: "S3Client") -> None:
    s3.create_bucket(Bucket="ageless")

    with pytest.raises(ClientError) as refused:
        s3.get_bucket_lifecycle_configuration(Bucket="ageless")

    assert refused.value.response["Error"]["Code"] == "NoSuchLifecycleConfiguration"


def test_a_lifecycle_rule_keeps_how_many_versions_stay(s3: "S3Client") -> None:
    s3.create_bucket(Bucket="aging")
    s3.put_bucket_lifecycle_configuration(
        Bucket="aging",
        LifecycleConfiguration={
            "Rules": [
                {
                    "ID": "plain",
                    "Filter": {"Prefix": "a/"},
                    "Status": "Enabled",
                    "NoncurrentVersionExpiration": {"NoncurrentDays": 3},
                },
                {
                    "ID": "keeps",
                    "Filter": {"Prefix": "b/"},
                    "Status": "Enabled",
                    "NoncurrentVersionExpiration": {"NoncurrentDays": 5, "NewerNoncurrentVersions": 7},
                },
            ]
        },
    )

    rules = s3.get_bucket_lifecycle_configuration(Bucket="aging")["Rules"]

    assert [rule["NoncurrentVersionExpiration"] for rule in rules] == [
        {"NoncurrentDays": 3},
        {"NoncurrentDays": 5, "NewerNoncurrentVersions": 7},
    ]


def test_a_key_that_is_too_long_is_refused(s3: "S3Client") -> None:
    s3.create_bucket(Bucket="long-keys")
    s3.put_object(Bucket="long-keys", Key="é" * 512, Body=b"x")
    calls: list[Callable[[str], object]] = [
        lambda key: s3.put_object(Bucket="long-keys", Key=key, Body=b"x"),
        lambda key: s3.get_object(Bucket="long-keys", Key=key),
        lambda key: s3.delete_object(Bucket="long-keys", Key=key),
    ]
    for call in calls:
        with pytest.raises(ClientError) as refused:
            call("é" * 512 + "x")
        assert refused.value.response["Error"]["Code"] == "KeyTooLongError"
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    with pytest.raises(ClientError) as unseen:
        s3.head_object(Bucket="long-keys", Key="k" * 1025)
    assert unseen.value.response["Error"]["Code"] == "400"
