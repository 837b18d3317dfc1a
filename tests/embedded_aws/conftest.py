"""One embedded AWS for the session, and boto3 clients for it."""

import contextlib
import random
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import psutil
import pytest

from embedded_aws import control

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_efs import EFSClient
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_ssm import SSMClient

ClientFactory = Callable[..., Any]


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[control.Endpoint]:
    build_dir = tmp_path_factory.mktemp("embedded aws")  # folders have spaces
    yield started(build_dir)
    control.stop(build_dir)


@pytest.fixture(scope="session")
def client(endpoint: control.Endpoint) -> Iterator[ClientFactory]:
    """Makes clients that reach the embedded AWS whatever the environment says, and closes them."""
    made: list[Any] = []

    def make(service: str, region: str = "us-east-1") -> Any:
        session = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name=region)
        made.append(session.client(service, endpoint_url=endpoint.url))  # type: ignore[call-overload]
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture(scope="session")
def ec2(client: ClientFactory) -> "EC2Client":
    return client("ec2")  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def efs(client: ClientFactory) -> "EFSClient":
    return client("efs")  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def sagemaker(client: ClientFactory) -> "SageMakerClient":
    return client("sagemaker")  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def ssm(client: ClientFactory) -> "SSMClient":
    return client("ssm")  # type: ignore[no-any-return]


def free_port() -> int:
    """A port that nothing listens on, and that the system gives to no connection by itself."""
    for port in random.sample(range(20_000, _first_given_port()), 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((control.HOST, port))
            return port
    raise AssertionError("100 ports are all taken")


def _first_given_port() -> int:
    # Linux; others begin at 49152 or, like FreeBSD, above it.
    settings = Path("/proc/sys/net/ipv4/ip_local_port_range")
    first = int(settings.read_text().split()[0]) if settings.exists() else 49_152
    return max(first, 21_000)  # with a wider range nothing is kept from the system


def started(build_dir: Path) -> control.Endpoint:
    """An embedded AWS on a free port; on another one when somebody else was quicker to take it."""
    for _ in range(5):
        port = free_port()
        try:
            return control.start(port, build_dir=build_dir)
        except control.EmbeddedAwsError as error:
            if not re.search(r"cannot be used|Address already in use", str(error)):
                raise
            refusal = error
    raise refusal


def is_running(pid: int) -> bool:
    """Whether the process lives; one that only waits for its parent does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
