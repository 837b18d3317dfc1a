"""The gateway: calls go through it as they are, and a fault reaches the SDK as AWS's own does."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError

from tests.e2e.conftest import Shell
from tests.e2e.proxy import HANG_UP, Call, Fault, Gateway, Rule, broken, expired, gateway, throttled

NO_CAPACITY = Fault("InsufficientInstanceCapacity", "We currently do not have sufficient <capacity>.", 500)


@pytest.fixture
def between(shell: Shell) -> Iterator[Gateway]:
    with gateway(shell.variables["AWS_ENDPOINT_URL"]) as made:
        yield made


def client(between: Gateway, service: Any, attempts: int = 1) -> Any:
    return boto3.client(
        service,
        region_name="us-east-1",
        endpoint_url=between.url,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": attempts, "mode": "standard"}),
    )


CALLS: list[tuple[str, str, dict[str, Any], str, tuple[str, int], tuple[str, int]]] = [
    ("ec2", "describe_vpcs", {}, "DescribeVpcs", ("RequestExpired", 400), ("RequestLimitExceeded", 503)),
    ("iam", "list_roles", {}, "ListRoles", ("ExpiredToken", 403), ("Throttling", 400)),
    ("sts", "get_caller_identity", {}, "GetCallerIdentity", ("ExpiredToken", 403), ("Throttling", 400)),
    ("s3", "list_buckets", {}, "ListBuckets", ("ExpiredToken", 400), ("SlowDown", 503)),
    (
        "ssm",
        "describe_parameters",
        {},
        "DescribeParameters",
        ("ExpiredTokenException", 400),
        ("ThrottlingException", 400),
    ),
    (
        "efs",
        "describe_file_systems",
        {},
        "DescribeFileSystems",
        ("ExpiredTokenException", 400),
        ("ThrottlingException", 400),
    ),
    (
        "cloudwatch",
        "list_metrics",
        {},
        "ListMetrics",
        ("ExpiredTokenException", 400),
        ("ThrottlingException", 400),
    ),
]


@pytest.mark.parametrize(("service", "method", "arguments", "action", "expiry", "throttling"), CALLS)
def test_a_fault_comes_in_the_words_and_the_format_of_the_service(
    between: Gateway,
    service: str,
    method: str,
    arguments: dict[str, Any],
    action: str,
    expiry: tuple[str, int],
    throttling: tuple[str, int],
) -> None:
    call = getattr(client(between, service), method)
    call(**arguments)
    for verdict, expected in ((expired, expiry), (throttled, throttling)):
        with between.under(verdict), pytest.raises(ClientError) as error:
            call(**arguments)
        response: Any = error.value.response
        assert (response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]) == expected
        assert response["Error"]["Message"] == verdict(between.calls[-1][0]).message
    call(**arguments)

    assert [each.action for each, _ in between.calls] == [action] * 4
    assert between.met() == [f"{service} {action}"] * 2


def test_text_and_bytes_arrive_as_they_were_sent(between: Gateway) -> None:
    s3 = client(between, "s3")
    s3.create_bucket(Bucket="through-the-gateway")
    content = bytes(range(256)) * 5000
    s3.put_object(Bucket="through-the-gateway", Key="a b/ä+%41", Body=content)

    assert s3.get_object(Bucket="through-the-gateway", Key="a b/ä+%41")["Body"].read() == content
    assert s3.head_object(Bucket="through-the-gateway", Key="a b/ä+%41")["ContentLength"] == len(content)


def test_a_rule_counts_what_it_is_about(between: Gateway) -> None:
    ec2 = client(between, "ec2")
    rule = Rule(NO_CAPACITY, services=["ec2"], actions=["DescribeVpcs"], first=2, times=1)
    with between.under(rule):
        ec2.describe_vpcs()
        ec2.describe_subnets()
        with pytest.raises(ClientError, match="sufficient <capacity>"):
            ec2.describe_vpcs()
        ec2.describe_vpcs()

    assert (rule.seen, rule.met) == (3, 1)


def test_only_what_changes_something(between: Gateway) -> None:
    ec2, s3 = client(between, "ec2"), client(between, "s3")
    with between.under(Rule(broken, only_changes=True, unless=lambda call: call.service == "s3")):
        ec2.describe_vpcs()
        s3.create_bucket(Bucket="left-alone-by-the-rule")
        with pytest.raises(ClientError, match="InternalError"):
            ec2.create_vpc(CidrBlock="10.0.0.0/16")


def test_a_fraction_is_the_same_for_the_same_seed(between: Gateway) -> None:
    def pattern(seed: int) -> list[bool]:
        rule = Rule(throttled, fraction=0.3, seed=seed)
        call = Call(1, "ec2", "DescribeVpcs", "POST", "/", 1, "ec2")
        return [rule(call) is not None for _ in range(200)]

    assert pattern(1) == pattern(1) != pattern(2)
    assert 40 <= sum(pattern(1)) <= 80


def test_an_sdk_tries_a_throttled_call_again(between: Gateway) -> None:
    with between.under(Rule(throttled, times=1)):
        client(between, "ec2", attempts=2).describe_vpcs()

    assert [(call.attempt, bool(fault)) for call, fault in between.calls] == [(1, True), (2, False)]


def test_hanging_up_is_a_connection_that_ends_without_an_answer(between: Gateway) -> None:
    with between.under(Rule(HANG_UP)), pytest.raises(ConnectionClosedError):
        client(between, "ec2").describe_vpcs()
