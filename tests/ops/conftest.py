"""What is made once for all tests of ops: two embedded AWS, one deployment by Terraform, three machines with sshd."""

from collections.abc import Iterator

import botocore.session
import pytest
from botocore.loaders import create_loader

from embedded_aws import control
from tests.ops import sshd_support, status_support, support
from tests.ops.sshd_support import World
from tests.ops.status_support import Place


@pytest.fixture(scope="session", autouse=True)
def models() -> Iterator[None]:
    """botocore reads its descriptions of the services once, and not again for every command that runs in here."""
    with pytest.MonkeyPatch.context() as patch:
        shared = create_loader(None)
        patch.setattr(botocore.session, "create_loader", lambda *_: shared)
        yield


@pytest.fixture(scope="session")
def empty_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[control.Endpoint]:
    """An embedded AWS that any test may empty; nothing in it outlives a test."""
    with support.embedded_aws(tmp_path_factory.mktemp("embedded aws")) as endpoint:  # folders have spaces
        yield endpoint


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[control.Endpoint]:
    """An embedded AWS with many deployments, told apart by their names."""
    with support.embedded_aws(tmp_path_factory.mktemp("embedded aws")) as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def prepared(endpoint: control.Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The state bucket and the key pair; what is deployed has a name of its own."""
    return status_support.prepared(endpoint, tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="session")
def deployed(prepared: Place) -> Place:
    """train-model and train-model-dev, by Terraform."""
    status_support.deploy(prepared)
    return prepared


@pytest.fixture(scope="session")
def world(endpoint: control.Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Three machines with sshd. A test leaves them as it found them."""
    with sshd_support.world(endpoint, tmp_path_factory.mktemp("a world")) as made:
        yield made
