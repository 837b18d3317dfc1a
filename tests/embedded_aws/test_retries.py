"""A call that an SDK sends again after its connection broke: executed once, answered twice."""

import socket
import threading
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from typing import Any, NamedTuple

import pytest
from werkzeug.test import Client

from embedded_aws import control
from embedded_aws.retries import OnceOnly
from tests.embedded_aws.conftest import ClientFactory

_SECONDS = 120  # at most: a server that is busy with others answers late
_SIGNED = "AWS4-HMAC-SHA256 Credential=test/20261126/us-east-1/ec2/aws4_request, SignedHeaders=host, Signature=0"


class Answer(NamedTuple):
    status: int
    body: bytes


class Call(NamedTuple):
    """CreateRoute, which takes no client token, as the AWS provider sends it."""

    endpoint: control.Endpoint
    form: str
    invocation: str

    def sent(self, attempt: int) -> HTTPConnection:
        connection = HTTPConnection(control.HOST, self.endpoint.port, timeout=_SECONDS)
        headers = {
            "Authorization": _SIGNED,
            "Content-Type": "application/x-www-form-urlencoded",
            "Amz-Sdk-Invocation-Id": self.invocation,
            "Amz-Sdk-Request": f"attempt={attempt}; max=25",
        }
        connection.request("POST", "/", self.form, headers)
        return connection

    def answered(self, attempt: int) -> Answer:
        connection = self.sent(attempt)
        response = connection.getresponse()
        answer = Answer(response.status, response.read())
        connection.close()
        return answer


@pytest.fixture
def route(client: ClientFactory, endpoint: control.Endpoint, request: pytest.FixtureRequest) -> Iterator[Call]:
    """A route to the internet that a table does not have yet."""
    ec2 = client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.77.0.0/16")["Vpc"]["VpcId"]
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    yield Call(
        endpoint,
        "Action=CreateRoute&Version=2016-11-15"
        f"&RouteTableId={table}&DestinationCidrBlock=0.0.0.0%2F0&GatewayId={gateway}",
        request.node.name,
    )
    assert [
        r["DestinationCidrBlock"] for r in ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"][0]["Routes"]
    ] == [
        "10.77.0.0/16",
        "0.0.0.0/0",
    ]
    ec2.delete_route_table(RouteTableId=table)
    ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    ec2.delete_internet_gateway(InternetGatewayId=gateway)
    ec2.delete_vpc(VpcId=vpc)


def test_a_client_that_lost_the_answer_gets_it_and_nothing_is_made_twice(route: Call) -> None:
    lost = route.sent(1)
    lost.sock.shutdown(socket.SHUT_RDWR)
    lost.close()

    again = route.answered(2)
    assert again.status == 200
    assert b"<return>true</return>" in again.body
    assert route.answered(3) == again


def test_another_call_is_executed(route: Call) -> None:
    assert route.answered(1).status == 200

    other = route._replace(invocation="another").answered(2)
    assert other.status == 400
    assert b"RouteAlreadyExists" in other.body
    # Nor is the same attempt once more a retry: that has a number of its own.
    assert b"RouteAlreadyExists" in route.answered(1).body


def test_the_log_tells_of_the_lost_connection_and_of_the_retry(route: Call) -> None:
    with socket.create_connection((control.HOST, route.endpoint.port), _SECONDS) as cut:
        cut.sendall(b"POST /cut HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nAmz-Sdk-Invocation-Id: cut\r\n\r\nAct")
        cut.shutdown(socket.SHUT_WR)
        while cut.recv(1000):  # until the server has closed, which it does after it has written the log
            pass
    assert route.answered(1) == route.answered(2)

    log = route.endpoint.log_file.read_text(encoding="utf-8")
    assert "connection lost: POST /cut (cut): ConnectionError('3 of 10 bytes came in')" in log
    assert f"POST / CreateRoute ({route.invocation}): another attempt had acted, and this one gets its answer" in log


class Counting:
    """A WSGI application that answers one status after the other, and counts."""

    def __init__(self, *statuses: str, wait: Callable[[], Any] = lambda: None) -> None:
        self.statuses = statuses
        self.calls = 0
        self._wait = wait

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        self.calls += 1
        number = self.calls
        self._wait()
        start_response(self.statuses[min(number, len(self.statuses)) - 1], [("Content-Type", "text/plain")])
        return [b"answer ", str(number).encode()]


def post(application: Any, attempt: int, invocation: str = "one", path: str = "/", method: str = "POST") -> Answer:
    headers = {"Amz-Sdk-Invocation-Id": invocation, "Amz-Sdk-Request": f"attempt={attempt}; max=25"}
    response = Client(application).open(path, method=method, headers=headers)
    return Answer(response.status_code, response.data)


@pytest.mark.parametrize("refusal", ["500 Internal Server Error", "503 Slow Down", "400 Throttling", "409 Conflict"])
def test_what_was_refused_is_executed_again(refusal: str) -> None:
    """The client tries these again on purpose: it got the answer and wants another one."""
    once = OnceOnly(Counting(refusal, refusal, "200 OK"))

    assert post(once, 1).status == int(refusal[:3])
    assert post(once, 2).status == int(refusal[:3])
    assert [post(once, attempt) for attempt in (3, 4)] == [(200, b"answer 3")] * 2


def test_what_failed_without_an_answer_is_executed_again() -> None:
    failures: list[Exception] = [ConnectionError("cut off")]

    def fail_once() -> None:
        if failures:
            raise failures.pop()

    once = OnceOnly(Counting("200 OK", wait=fail_once))
    with pytest.raises(ConnectionError):
        post(once, 1)

    assert post(once, 2) == (200, b"answer 2")


def test_a_retry_waits_for_the_attempt_that_is_being_executed() -> None:
    entered, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        entered.set()
        assert go_on.wait(_SECONDS)

    application = Counting("200 OK", wait=wait)
    once = OnceOnly(application)
    answers: list[Answer] = []
    threads = [threading.Thread(target=lambda n=n: answers.append(post(once, n))) for n in (1, 2, 3)]
    threads[0].start()
    assert entered.wait(_SECONDS)
    for thread in threads[1:]:
        thread.start()
    assert answers == []
    go_on.set()
    for thread in threads:
        thread.join(_SECONDS)
    assert answers == [(200, b"answer 1")] * 3
    assert application.calls == 1


def test_a_first_attempt_that_comes_after_the_second_is_not_executed() -> None:
    once = OnceOnly(Counting("200 OK"))

    assert [post(once, attempt) for attempt in (2, 1)] == [(200, b"answer 1")] * 2


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_only_reads_is_executed_every_time(method: str) -> None:
    application = Counting("200 OK")
    once = OnceOnly(application)

    for attempt in (1, 2):
        post(once, attempt, method=method)
    assert application.calls == 2


def test_a_call_that_was_sent_on_to_another_place_is_another_one() -> None:
    once = OnceOnly(Counting("200 OK"))

    assert post(once, 1, path="/here").body == b"answer 1"
    assert post(once, 2, path="/there").body == b"answer 2"


@pytest.mark.parametrize("bound", [{"most_answers": 2}, {"most_bytes": 2 * len(b"answer 1Content-Typetext/plain")}])
def test_what_is_remembered_is_bounded(bound: dict[str, int]) -> None:
    once = OnceOnly(Counting("200 OK"), **bound)
    for invocation in ("one", "two", "three"):
        post(once, 1, invocation)

    assert post(once, 2, "three").body == b"answer 3"
    assert post(once, 2, "two").body == b"answer 2"
    assert post(once, 2, "one").body == b"answer 4"
