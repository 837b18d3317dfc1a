"""Calls that the embedded AWS does not implement, its own pages, and what surrounds the gaps."""

import contextlib
import json
import socket
import threading
import urllib.error
import urllib.request
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from moto.moto_server.werkzeug_app import DomainDispatcherApplication
from werkzeug.test import Client

from embedded_aws.control import HOST, Endpoint
from embedded_aws.server import Application
from tests.embedded_aws.conftest import ClientFactory

UNIMPLEMENTED = [  # protocol, service, boto3 method, its arguments, API name
    ("ec2", "ec2", "describe_placement_groups", {}, "DescribePlacementGroups"),
    (
        "query",
        "iam",
        "get_context_keys_for_custom_policy",
        {"PolicyInputList": ["{}"]},
        "GetContextKeysForCustomPolicy",
    ),
    ("json", "ssm", "start_session", {"Target": "i-0123456789abcdef0"}, "StartSession"),
    ("rest-json", "efs", "describe_replication_configurations", {}, "DescribeReplicationConfigurations"),
    ("rest-xml", "route53", "list_cidr_collections", {}, "ListCidrCollections"),
    ("a service moto lacks", "dlm", "get_lifecycle_policies", {}, "GetLifecyclePolicies"),
]


def page(endpoint: Endpoint, path: str) -> Any:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{endpoint.url}/_embedded/{path}", timeout=120) as answer:
        return json.load(answer)


@pytest.mark.parametrize(
    ("service", "method", "arguments", "operation"),
    [row[1:] for row in UNIMPLEMENTED],
    ids=[r[0] for r in UNIMPLEMENTED],
)
def test_an_unimplemented_call_is_an_error_that_names_it(
    client: ClientFactory, endpoint: Endpoint, service: str, method: str, arguments: dict[str, Any], operation: str
) -> None:
    with pytest.raises(ClientError) as error:
        getattr(client(service), method)(**arguments)
    response: Any = error.value.response
    assert response["Error"]["Code"] == "NotImplementedByEmbeddedAWS"
    assert f"does not implement {service} {operation}" in response["Error"]["Message"]
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 501
    assert response["ResponseMetadata"]["RetryAttempts"] == 0
    recorded = [(gap["service"], gap["operation"], gap["code"]) for gap in page(endpoint, "gaps")]
    assert (service, operation, "NotImplementedByEmbeddedAWS") in recorded


def test_a_gap_is_listed_once_with_its_count(client: ClientFactory, endpoint: Endpoint) -> None:
    def count() -> int:
        return sum(gap["count"] for gap in page(endpoint, "gaps") if gap["operation"] == "DescribeMovingAddresses")

    assert count() == 0
    for _ in range(2):
        with pytest.raises(ClientError):
            client("ec2").describe_moving_addresses()
    assert count() == 2
    assert len([gap for gap in page(endpoint, "gaps") if gap["operation"] == "DescribeMovingAddresses"]) == 1


CALLS = [  # service, boto3 method, its arguments; the service as IAM writes it, the API's name, for S3 the object
    ("ec2", "describe_vpcs", {}, "ec2", "DescribeVpcs", ""),
    ("ssm", "describe_parameters", {}, "ssm", "DescribeParameters", ""),
    ("efs", "describe_access_points", {}, "elasticfilesystem", "DescribeAccessPoints", ""),
    ("s3", "list_object_versions", {"Bucket": "nobody-made-it"}, "s3", "ListObjectVersions", "nobody-made-it"),
    ("s3", "head_object", {"Bucket": "nobody-made-it", "Key": "a/b.c"}, "s3", "HeadObject", "nobody-made-it/a/b.c"),
]


@pytest.mark.parametrize(("service", "method", "arguments", "signed_for", "operation", "object"), CALLS)
def test_every_call_is_listed_with_the_stack_that_made_it(
    endpoint: Endpoint,
    service: Any,
    method: str,
    arguments: dict[str, str],
    signed_for: str,
    operation: str,
    object: str,
) -> None:
    config = Config(user_agent_extra=f"stack/of-{method}", s3={"addressing_style": "path"})
    session = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1")
    asking = session.client(service, endpoint_url=endpoint.url, config=config)
    for _ in range(2):
        with contextlib.suppress(ClientError):
            getattr(asking, method)(**arguments)
    asking.close()

    assert [call for call in page(endpoint, "calls") if call["stack"] == f"of-{method}"] == [
        {"stack": f"of-{method}", "service": signed_for, "operation": operation, "object": object, "count": 2}
    ]


def test_a_failure_inside_is_told_apart_from_a_missing_call(client: ClientFactory) -> None:
    with pytest.raises(ClientError) as error:  # moto looks the id up without asking whether it is there
        client("efs").describe_file_system_policy(FileSystemId="fs-0123456789abcdef0")
    response: Any = error.value.response
    assert response["Error"]["Code"] == "FailedInEmbeddedAWS"
    assert "efs DescribeFileSystemPolicy" in response["Error"]["Message"]
    assert response["ResponseMetadata"]["RetryAttempts"] == 0


def test_an_error_of_aws_stays_what_it_is(client: ClientFactory) -> None:
    with pytest.raises(ClientError) as error:
        client("s3").head_object(Bucket="nobody-made-it", Key="state")
    response: Any = error.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 404


def test_requests_are_answered_one_at_a_time_and_health_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    inside: list[int] = []
    together: list[int] = []
    entered, go_on = threading.Event(), threading.Event()

    def answer(self: DomainDispatcherApplication, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        inside.append(1)
        together.append(len(inside))
        entered.set()
        go_on.wait(120)
        inside.pop()
        return []

    monkeypatch.setattr(DomainDispatcherApplication, "__call__", answer)
    application = Application()
    threads = [threading.Thread(target=application, args=({"PATH_INFO": "/"}, None)) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert entered.wait(120)
    assert Client(application).get("/_embedded/health").json is not None
    go_on.set()
    for thread in threads:
        thread.join(120)
    assert together == [1, 1, 1]


def test_health(endpoint: Endpoint) -> None:
    assert page(endpoint, "health") == {
        "ok": True,
        "server": "embedded-aws",
        "pid": endpoint.pid,
        "version": {"moto": "5.2.5"},
    }


def test_an_unknown_own_page_is_not_found(endpoint: Endpoint) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404") as error:
        page(endpoint, "nothing")
    error.value.close()


@pytest.mark.parametrize("policy", ["AmazonSSMManagedInstanceCore", "CloudWatchAgentServerPolicy"])
def test_managed_policies_are_present(client: ClientFactory, policy: str) -> None:
    found = client("iam").get_policy(PolicyArn=f"arn:aws:iam::aws:policy/{policy}")["Policy"]
    assert found["PolicyName"] == policy


def test_a_web_page_gets_no_leave_to_read_answers(endpoint: Endpoint) -> None:
    request = urllib.request.Request(f"{endpoint.url}/", headers={"Origin": "https://example.com"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=120) as answer:
        assert answer.headers["Access-Control-Allow-Origin"] is None


def test_an_answer_comes_in_one_piece(endpoint: Endpoint) -> None:
    """The AWS provider loses what comes after the headers when its own goroutines are slow."""
    for _ in range(20):
        with socket.create_connection((HOST, endpoint.port), timeout=120) as connection:
            connection.sendall(b"GET /_embedded/health HTTP/1.1\r\nHost: here\r\n\r\n")
            assert connection.recv(2**20).endswith(b"}\n")


def test_a_client_that_waits_for_leave_to_send_its_body_gets_it(endpoint: Endpoint) -> None:
    with socket.create_connection((HOST, endpoint.port), timeout=120) as connection:
        head = b"POST /_embedded/nothing HTTP/1.1\r\nHost: here\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n"
        connection.sendall(head)
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
        connection.sendall(b"x")
        assert connection.recv(1000).startswith(b"HTTP/1.1 404")
