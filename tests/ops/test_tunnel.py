"""`ops tunnel` through a real jump host that is killed and started again."""

import json
import signal
import socket
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from ops.remote import forwarding
from ops.remote.forwarding import free_port as next_free
from tests.embedded_aws.conftest import free_port, is_running
from tests.ops import sshd_support as support
from tests.ops.sshd_support import DEPLOYMENT, GATEWAY, METRICS, World
from tests.ops.support import Running, wait_for

pytestmark = pytest.mark.system

# One connection, one line, and no word of HTTP.
_GREETER = """
import socket, sys
server = socket.create_server((sys.argv[1], int(sys.argv[2])))
while True:
    connection, _ = server.accept()
    connection.sendall(b"hello")
    connection.close()
"""
# Takes connections and says nothing before it is spoken to.
_SILENT = """
import socket, sys
server = socket.create_server((sys.argv[1], int(sys.argv[2])))
kept = []
while True:
    kept.append(server.accept())
"""


@pytest.fixture(scope="module")
def grafana(world: World) -> None:
    """Listens on the private address alone, as the real one does."""
    world.boxes["metrics"].serve(METRICS, 3000, content={"index.html": "Grafana", "api/health": "{}"})


@contextmanager
def tunnel(world: World, *arguments: str, **variables: str) -> Iterator[Running]:
    running = world.start("tunnel", *arguments, **variables)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.interrupt()


def fetch(port: int) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://localhost:{port}/", timeout=60) as answer:
        text: str = answer.read().decode()
        return text


def greeting(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        return connection.recv(10)


def fetched(port: int) -> str | None:
    try:
        return fetch(port)
    except OSError:
        return None


def end(running: Running, *, number: int = signal.SIGINT, status: int = 0) -> None:
    """Ends it and sees that no ssh is left."""
    family = running.family()
    assert [process.name() for process in family].count("ssh") >= 1
    assert running.interrupt(number) == status, running.err
    assert [process for process in family if is_running(process.pid)] == []


class TestWhatItShows:
    def test_grafana_with_the_way_to_its_password(self, world: World, grafana: None) -> None:
        port = free_port()
        with tunnel(world, "grafana", "--local-port", str(port)) as running:
            running.says("Ctrl-C closes the tunnel.")
            assert f"Grafana: http://localhost:{port}\n" in running.out
            assert (
                "aws ssm get-parameter --region us-east-1 "
                f"--name /ml-infra/{DEPLOYMENT}/stats-monitor/grafana-admin-password "
                "--with-decryption --query Parameter.Value --output text\n"
            ) in running.out
            assert fetch(port) == "Grafana"
            end(running)
        assert "tunnel closed" in running.err
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=60)

    def test_as_json(self, world: World, grafana: None) -> None:
        port = free_port()
        with tunnel(world, "grafana", "--json", "--local-port", str(port)) as running:
            running.says("password_command")
            wait_for("the whole document", lambda: running.out.endswith("}\n"))
            document = json.loads(running.out)
            assert (document["url"], document["local_port"]) == (f"http://localhost:{port}", port)
            assert document["password_command"].startswith("aws ssm get-parameter ")
            end(running)

    def test_jupyter_on_the_workers_own_localhost(self, world: World) -> None:
        server = world.boxes["worker"].serve("127.0.0.1", 8888, content={"index.html": "Jupyter"})
        port = free_port()
        try:
            with tunnel(world, "jupyter", "--local-port", str(port)) as running:
                running.says(f"Jupyter on the worker: http://localhost:{port}")
                assert fetch(port) == "Jupyter"
                end(running)
        finally:
            world.boxes["worker"].end(server)

    @pytest.mark.parametrize(("program", "first"), [(_GREETER, b"hello"), (_SILENT, None)])
    def test_any_port_of_the_worker(self, world: World, program: str, first: bytes | None) -> None:
        server = world.boxes["worker"].run(sys.executable, "-c", program, "127.0.0.1", "7001")
        port = free_port()
        try:
            with tunnel(world, "7001", "--local-port", str(port)) as running:
                running.says(f"port 7001: localhost:{port}")
                with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
                    assert first is None or connection.recv(10) == first
                end(running)
        finally:
            world.boxes["worker"].end(server)

    def test_a_port_of_another_machine(self, world: World) -> None:
        server = world.boxes["jump"].run(sys.executable, "-c", _GREETER, "127.0.0.1", "7002")
        port = free_port()
        try:
            with tunnel(world, "7002", "--to", "jump", "--local-port", str(port)) as running:
                running.says("Ctrl-C closes the tunnel.")
                assert greeting(port) == b"hello"
                end(running)
        finally:
            world.boxes["jump"].end(server)

    def test_grafana_through_session_manager_comes_from_the_worker(
        self, world: World, grafana: None, tmp_path: Path
    ) -> None:
        """Session Manager does not know the metrics host."""
        path = f"{support.session_manager(tmp_path, world.boxes['worker'])}:{world.environment['PATH']}"
        port = free_port()
        with (
            world.boxes["jump"].down(),
            tunnel(world, "grafana", "--via", "ssm", "--local-port", str(port), PATH=path) as running,
        ):
            running.says("Ctrl-C closes the tunnel.")
            assert fetch(port) == "Grafana"
            end(running)


class TestWaiting:
    def test_until_the_service_answers(self, world: World) -> None:
        port = free_port()
        with tunnel(world, "7003", "--local-port", str(port)) as running:
            running.says("connected; waiting for port 7003 to answer")
            assert running.out == ""
            server = world.boxes["worker"].run(sys.executable, "-c", _GREETER, "127.0.0.1", "7003")
            running.says(f"port 7003: localhost:{port}")
            assert greeting(port) == b"hello"
            end(running)
            world.boxes["worker"].end(server)

    def test_not_for_ever(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """Time passes for the service alone: the logins before it take what they take."""
        passed = 0.0
        asked = forwarding._tcp_answers

        def answers(port: int) -> bool:
            nonlocal passed
            passed += 1300
            return asked(port)

        clock = SimpleNamespace(monotonic=lambda: time.monotonic() + passed, sleep=time.sleep)
        monkeypatch.setattr(forwarding, "_tcp_answers", answers)
        monkeypatch.setattr(forwarding, "time", clock)
        said = world.ops("tunnel", "7004", "--timeout", "1h", "--local-port", str(free_port()))
        assert said.status == 1
        assert "connected, but port 7004 did not answer within 1 h (connect failed: Connection refused)" in said.err
        assert passed == 3900
        assert "ops status" in said.err
        assert said.out == ""

    def test_ctrl_c_before_it_is_ready(self, world: World) -> None:
        with tunnel(world, "7004", "--local-port", str(free_port())) as running:
            running.says("waiting for port 7004")
            end(running, status=130)


class TestLocalPort:
    def test_a_port_in_use_gives_way_to_the_next(self, world: World, grafana: None) -> None:
        with two_free_ports() as (taken, following), tunnel(world, "grafana", "--local-port", str(taken)) as running:
            running.says("Ctrl-C closes the tunnel.")
            assert f"local port {taken} is in use; using {following}" in running.err
            assert f"Grafana: http://localhost:{following}\n" in running.out
            assert fetch(following) == "Grafana"
            end(running)

    @pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::1"])
    def test_whoever_listens_where_a_browser_looks_has_the_port(self, address: str) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            taken = socket.create_server((address, 0), family=family)
        except OSError:
            support.cannot(f"nothing can listen on {address} here")
        with taken:
            port = taken.getsockname()[1]
            assert next_free(port) > port

    def test_a_port_that_was_just_in_use_is_free(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            with socket.create_connection(("127.0.0.1", port)):
                connection, _ = server.accept()
                connection.close()  # this side keeps the port in TIME_WAIT
        assert next_free(port) == port


class TestLostConnections:
    def test_the_jump_host_goes_and_comes_back(self, world: World, grafana: None) -> None:
        port = free_port()
        with tunnel(world, "grafana", "--local-port", str(port)) as running:
            running.says("Ctrl-C closes the tunnel.")
            assert fetch(port) == "Grafana"

            with world.boxes["jump"].down():
                running.says("connection lost")
                running.says("no connection")  # a try while nobody answers
                assert fetched(port) is None
            running.says(f"reconnected: localhost:{port}")
            assert wait_for("Grafana", lambda: fetched(port)) == "Grafana"
            # What it said when it was ready is said once.
            assert running.out.count("Grafana:") == 1
            end(running)

    def test_the_worker_behind_it_goes_and_comes_back(self, world: World) -> None:
        server = world.boxes["worker"].serve("127.0.0.1", 8888, content={"index.html": "Jupyter"})
        port = free_port()
        try:
            with tunnel(world, "jupyter", "--local-port", str(port)) as running:
                running.says("Ctrl-C closes the tunnel.")
                with world.boxes["worker"].down():
                    running.says("connection lost")
                running.says("reconnected")
                assert wait_for("Jupyter", lambda: fetched(port)) == "Jupyter"
                end(running)
        finally:
            world.boxes["worker"].end(server)

    def test_ctrl_c_while_it_is_down(self, world: World, grafana: None) -> None:
        with tunnel(world, "grafana", "--local-port", str(free_port())) as running:
            running.says("Ctrl-C closes the tunnel.")
            with world.boxes["jump"].down():
                running.says("no connection")
                assert running.interrupt() == 0

    def test_ctrl_c_while_the_jump_host_does_not_answer_at_all(self, world: World) -> None:
        """ssh waits for its connection then, which a process of its own is making."""
        jump = world.boxes["jump"]
        jump.network("ip", "route", "replace", "blackhole", f"{GATEWAY}/32")
        try:
            with tunnel(world, "jupyter", "--local-port", str(free_port())) as running:
                wait_for("both", lambda: [one.name() for one in running.family()].count("ssh") == 2)
                end(running, status=130)
        finally:
            jump.network("ip", "route", "replace", f"{GATEWAY}/32", "dev", "eth0", "src", world.jump_address)
        assert world.process("ssh", "jump", "--", "true").status == 0

    def test_a_worker_that_is_stopped_ends_it(self, world: World) -> None:
        server = world.boxes["worker"].serve("127.0.0.1", 8888, content={"index.html": "Jupyter"})
        ec2 = world.aws("ec2")
        try:
            with tunnel(world, "jupyter", "--json", "--local-port", str(free_port())) as running:
                running.says("local_port")
                ec2.stop_instances(InstanceIds=[world.ids["worker"]])
                with world.boxes["worker"].down():
                    said = running.ended()
        finally:
            ec2.start_instances(InstanceIds=[world.ids["worker"]])
            world.boxes["worker"].end(server)
        assert said.status == 1
        assert "worker is stopped" in said.err
        assert "ops start worker" in said.err
        assert said.document["service"] == "Jupyter on the worker"  # still one document

    def test_aws_out_of_reach_does_not_end_it(self, world: World, grafana: None) -> None:
        """The endpoint goes away with the network; the way that was known is tried again."""
        port = free_port()
        with (
            support.relay(world) as (endpoint, cut),
            tunnel(world, "grafana", "--local-port", str(port), AWS_ENDPOINT_URL=endpoint) as running,
        ):
            running.says("Ctrl-C closes the tunnel.")
            cut()
            with world.boxes["jump"].down():
                running.says("connection lost")
            running.says("reconnected")
            assert wait_for("Grafana", lambda: fetched(port)) == "Grafana"
            end(running)

    def test_sigterm_leaves_no_ssh_either(self, world: World, grafana: None) -> None:
        with tunnel(world, "grafana", "--local-port", str(free_port())) as running:
            running.says("Ctrl-C closes the tunnel.")
            end(running, number=signal.SIGTERM, status=128 + signal.SIGTERM)


class TestHopeless:
    def test_a_key_that_is_not_taken_is_not_tried_again(
        self, world: World, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        key = tmp_path_factory.mktemp("keys") / "wrong"
        support.sh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
        said = world.ops("tunnel", "grafana", "--key", str(key))
        assert said.status == 1
        assert "Permission denied (publickey)" in said.err
        assert "--key FILE" in said.err
        assert "retrying" not in said.err

    def test_nobody_at_the_jump_host(self, world: World) -> None:
        with world.boxes["jump"].down():
            said = world.ops("tunnel", "grafana", "--timeout", "2")
        assert said.status == 1
        assert "no connection within 2 s" in said.err
        assert "Connection refused" in said.err
        assert "access.deployer_cidrs" in said.err

    def test_a_machine_that_does_not_forward(self, world: World) -> None:
        config = world.boxes["worker"].path("/etc/test-sshd/config")
        kept = config.read_text()
        with world.boxes["worker"].down():
            config.write_text(f"{kept}AllowTcpForwarding no\n")
        try:
            said = world.ops("tunnel", "jupyter")
        finally:
            with world.boxes["worker"].down():
                config.write_text(kept)
        assert said.status == 1
        assert "administratively prohibited" in said.err
        assert "AllowTcpForwarding" in said.err

    def test_a_stopped_metrics_host(self, world: World) -> None:
        ec2 = world.aws("ec2")
        ec2.stop_instances(InstanceIds=[world.ids["metrics"]])
        try:
            said = world.ops("tunnel", "grafana")
        finally:
            ec2.start_instances(InstanceIds=[world.ids["metrics"]])
        assert said.status == 1
        assert "metrics is stopped" in said.err

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["grafanna"], "'grafanna' is neither a service nor a port"),
            (["0"], "'0' is neither a service nor a port"),
            (["70000"], "'70000' is neither a service nor a port"),
            (["grafana", "--to", "moon"], "there is no machine 'moon'"),
        ],
    )
    def test_a_wrong_command_line(self, world: World, arguments: list[str], message: str) -> None:
        said = world.ops("tunnel", *arguments)
        assert said.status == 2
        assert message in said.err


@contextmanager
def two_free_ports() -> Iterator[tuple[int, int]]:
    """A port that is taken while the block runs, and the next, which is free."""
    while True:
        taken = socket.create_server(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        if port < 65535 and next_free(port + 1) == port + 1:
            break
        taken.close()
    with taken:
        yield port, port + 1
