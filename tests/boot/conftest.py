"""What machines are made with, once a session; the machines of a test are gone after it."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.boot import machines
from tests.boot.machine import Machine
from tests.boot.workshop import CannotError, Ground, Workshop, prepared


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """These tests are for CI to run: there, what is missing is a failure."""
    try:
        with prepared(tmp_path_factory.mktemp("ground")) as made:
            yield made
    except CannotError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


def short_folder() -> Path:
    """mkfs.btrfs takes two loop devices for one when the first 63 characters of their files' paths are the same."""
    return Path(tempfile.mkdtemp(prefix="boot-"))


@contextmanager
def cleaned(made: Workshop) -> Iterator[Workshop]:
    """Takes away what it made, when setting up fails too."""
    try:
        yield made
    finally:
        made.clean()


@pytest.fixture(scope="session")
def settled_worker(ground: Ground) -> Iterator[Machine]:
    with cleaned(Workshop(short_folder(), ground)) as made:
        machine = made.machine()
        machine.insert(made.disk(), "nvme1n1", machines.VOLUME_ID)
        status = machine.first_boot(made.worker())
        assert (status.state, status.failed) == ("ready", {})
        machine.stop()
        yield machine


@pytest.fixture
def workshop(ground: Ground, settled_worker: Machine) -> Iterator[Workshop]:
    with cleaned(Workshop(short_folder(), ground, settled_worker)) as made:
        yield made
