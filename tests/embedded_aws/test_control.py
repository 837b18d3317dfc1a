"""Starting and stopping the server: idempotent, bounded, and never ending a process that is not its own."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from embedded_aws import control
from tests.embedded_aws.conftest import free_port, is_running, started


@pytest.fixture
def build_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.delenv("ML_EMBEDDED_AWS_PORT", raising=False)
    yield tmp_path / "a folder"
    control.stop(tmp_path / "a folder")


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


def test_it_ends_with_the_process_that_it_is_to_end_with(
    build_dir: Path, bystander: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(control.ENDS_WITH, str(bystander.pid))
    server = psutil.Process(control.start(free_port(), build_dir=build_dir).pid)
    bystander.kill()
    bystander.wait()

    server.wait(timeout=60)  # raises when it does not


def write_state(build_dir: Path, *, pid: int, mark: str, port: int) -> None:
    build_dir.mkdir()
    (build_dir / "process.json").write_text(json.dumps({"pid": pid, "mark": mark, "port": port}))


def test_it_starts_once_and_stops(build_dir: Path) -> None:
    assert control.status(build_dir) is None
    port = free_port()
    first = control.start(port, build_dir=build_dir)
    assert (first.port, first.url) == (port, f"http://127.0.0.1:{port}")
    assert is_running(first.pid)
    assert control.start(port, build_dir=build_dir) == first
    assert control.start(build_dir=build_dir) == first  # no port asked for: the running one will do
    assert control.status(build_dir) == first
    assert control.stop(build_dir) is True
    assert not is_running(first.pid)
    assert control.status(build_dir) is None
    assert control.stop(build_dir) is False


def test_it_listens_on_loopback_only(endpoint: control.Endpoint) -> None:
    listening = [c.laddr for c in psutil.Process(endpoint.pid).net_connections() if c.status == psutil.CONN_LISTEN]
    assert listening == [("127.0.0.1", endpoint.port)]


def test_it_starts_again_after_it_was_killed(build_dir: Path) -> None:
    port = free_port()
    first = control.start(port, build_dir=build_dir)
    psutil.Process(first.pid).kill()
    psutil.wait_procs([psutil.Process(first.pid)], timeout=60)
    second = control.start(port, build_dir=build_dir)
    assert second.pid != first.pid
    assert is_running(second.pid)


def test_a_server_that_answers_late_is_waited_for_and_keeps_what_is_in_it(
    build_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = started(build_dir)
    healthy, late = control._healthy, [False, False, False]
    monkeypatch.setattr(control, "_healthy", lambda port, pid: late.pop() if late else healthy(port, pid))

    assert control.start(first.port, build_dir=build_dir) == first
    assert late == []
    assert is_running(first.pid)


def test_a_server_that_never_answers_is_replaced(build_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = started(build_dir)
    healthy = control._healthy
    monkeypatch.setattr(control, "_healthy", lambda port, pid: pid != first.pid and healthy(port, pid))
    monkeypatch.setattr(control, "_ANSWER_TIMEOUT", 0)

    second = control.start(first.port, build_dir=build_dir)
    assert second.pid != first.pid
    assert not is_running(first.pid)


def test_a_running_server_is_known_after_the_clock_was_set(build_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = started(build_dir)
    monkeypatch.setattr(psutil.Process, "create_time", lambda _: 1.0)  # on Linux it follows the clock

    assert control.status(build_dir) == first
    assert control.stop(build_dir) is True
    assert not is_running(first.pid)


def test_another_port_than_the_running_one_is_refused(build_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running = control.start(free_port(), build_dir=build_dir)
    other = free_port()
    with pytest.raises(control.EmbeddedAwsError, match=f"already runs on port {running.port}, not {other}") as error:
        control.start(other, build_dir=build_dir)
    assert "python -m embedded_aws stop" in str(error.value)
    monkeypatch.setenv("ML_EMBEDDED_AWS_PORT", str(other))
    with pytest.raises(control.EmbeddedAwsError, match="already runs"):
        control.start(build_dir=build_dir)


def test_a_taken_port_names_its_holder_and_the_way_out(build_dir: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(control.EmbeddedAwsError) as error:
            control.start(port, build_dir=build_dir)
    message = str(error.value)
    assert message.startswith(f"port {port} on 127.0.0.1 cannot be used")
    assert message.endswith("set ML_EMBEDDED_AWS_PORT to a free port.")
    if sys.platform == "linux":  # elsewhere only root may look
        assert f"process {os.getpid()} (" in message
    assert control.status(build_dir) is None


def test_a_server_that_dies_at_start_shows_its_last_lines(build_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "_MODULE", "embedded_aws.no_such_module")
    with pytest.raises(control.EmbeddedAwsError) as error:
        control.start(free_port(), build_dir=build_dir)
    assert "ended with code 1 while starting" in str(error.value)
    assert "No module named embedded_aws.no_such_module" in str(error.value)
    assert str(error.value).endswith(f"Full log: {build_dir / 'server.log'}")
    assert not (build_dir / "process.json").exists()


def test_a_reused_process_id_is_left_alone(build_dir: Path, bystander: subprocess.Popen[bytes]) -> None:
    write_state(build_dir, pid=bystander.pid, mark="ours", port=free_port())  # its command line is another
    assert control.status(build_dir) is None
    assert control.stop(build_dir) is False
    assert is_running(bystander.pid)


def test_a_server_of_another_start_is_left_alone(build_dir: Path, endpoint: control.Endpoint) -> None:
    write_state(build_dir, pid=endpoint.pid, mark="ours", port=endpoint.port)
    assert control.status(build_dir) is None
    assert control.stop(build_dir) is False
    assert is_running(endpoint.pid)


@pytest.mark.parametrize("content", ["", "not JSON", "[]", '{"pid": 1}', '{"pid": "x", "mark": "x", "port": 1}'])
def test_a_damaged_state_file_counts_as_none(build_dir: Path, content: str) -> None:
    build_dir.mkdir()
    (build_dir / "process.json").write_text(content)
    assert control.status(build_dir) is None
    assert control.stop(build_dir) is False


@pytest.mark.parametrize("value", ["x", "0", "65536", "-1", "5577.5"])
def test_a_port_variable_without_a_port_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("ML_EMBEDDED_AWS_PORT", value)
    with pytest.raises(control.EmbeddedAwsError, match="ML_EMBEDDED_AWS_PORT"):
        control.default_port()


def test_the_port_variable_and_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ML_EMBEDDED_AWS_PORT", raising=False)
    assert control.default_port() == 5577
    monkeypatch.setenv("ML_EMBEDDED_AWS_PORT", "6001")
    assert control.default_port() == 6001


def test_the_environment_reaches_the_embedded_aws_and_hides_the_persons_account(
    endpoint: control.Endpoint, tmp_path: Path
) -> None:
    person = tmp_path / "person"
    person.write_text(
        "[work]\naws_access_key_id = AKIAREALREALREALREAL\naws_secret_access_key = real\nregion = eu-north-1\n"
    )
    persons_own = {
        "AWS_PROFILE": "work",
        "AWS_CONFIG_FILE": str(person),
        "AWS_SHARED_CREDENTIALS_FILE": str(person),
        "AWS_SESSION_TOKEN": "real",
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
    }
    program = (
        "import boto3; sts = boto3.client('sts'); "
        "print(sts.meta.endpoint_url, sts.meta.region_name, sts.get_caller_identity()['Account'], "
        "boto3.Session().get_credentials().access_key)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **persons_own, **control.environment(endpoint, region="eu-west-1")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (result.stdout.split(), result.stderr) == ([endpoint.url, "eu-west-1", "123456789012", "test"], "")
