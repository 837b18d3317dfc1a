"""A tunnel: a port of a machine on localhost, for as long as a person wants it."""

import errno
import http.client
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from ops.core import durations
from ops.core.errors import OpsError
from ops.remote import processes, reach

_SILENCE: Final = 4.0  # seconds; EC2's network says within three that nobody is at an address
_UNPRIVILEGED: Final = 1024
_HIGHEST: Final = 65535


@dataclass(frozen=True, kw_only=True)
class Service:
    """What is forwarded. path: what it answers over HTTP; None where only the port is known."""

    title: str
    port: int
    machine: str
    path: str | None = None
    remark: str | None = None


SERVICES: Final[Mapping[str, Service]] = MappingProxyType(
    {
        "grafana": Service(title="Grafana", port=3000, machine="metrics", path="/api/health"),
        "tensorboard": Service(title="TensorBoard", port=6006, machine="metrics", path="/"),
        "jupyter": Service(
            title="Jupyter on the worker",
            port=8888,
            machine="worker",
            path="/api",
            remark="`jupyter server list` on the worker shows the token. For the SageMaker notebook: ops notebook.",
        ),
    }
)


@dataclass(frozen=True, kw_only=True)
class Route:
    """ssh's arguments up to the machine it logs in to, and the end of the tunnel as seen from there."""

    ssh: Sequence[str]
    alias: str
    destination: str  # HOST:PORT


def free_port(wanted: int) -> int:
    """Return `wanted`, or the next free local port. Raises OpsError when there is none."""
    port = wanted
    while port <= _HIGHEST:
        try:
            _claim(port)
        except PermissionError:
            port = max(port + 8000, _UNPRIVILEGED)  # below 1024 only root may listen
        except OSError:
            port += 1
        else:
            return port
    raise OpsError(f"no local port from {wanted} up is free", fix="choose another with --local-port")


def _claim(port: int) -> None:
    """Check that the port is free on both addresses of localhost. Raises OSError when it is not."""
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        try:
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that linger do not count
                probe.bind((address, port))
            with socket.socket(family) as probe:
                # macOS lets a second program have one address of a port that a first has on all.
                if probe.connect_ex((address, port)) == 0:
                    raise OSError(errno.EADDRINUSE, "in use")
        except OSError as error:
            if family == socket.AF_INET6 and error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                continue  # a machine without IPv6
            raise


class Tunnel:
    """Keeps one tunnel up. `serve` returns never: it ends with an exception, and then no ssh is left.

    route: asked anew before each connection, since machines stop and move; raises OpsError to end the tunnel.
    say: gets a remark for the person. ready: called once, when the service answered for the first time.
    """

    def __init__(
        self,
        service: Service,
        *,
        port: int,
        route: Callable[[], Route],
        say: Callable[[str], None],
        ready: Callable[[int], None],
        patience: float,
    ) -> None:
        self._service = service
        self._port = port
        self._route = route
        self._say = say
        self._ready = ready
        self._patience = patience
        self._until = time.monotonic() + patience
        self._was_ready = False

    def serve(self) -> None:
        """Keep the tunnel up. Raises OpsError without an answer in `patience` seconds, and when a retry cannot help."""
        failures = 0
        told = False
        while True:
            route = self._route()
            if not told:
                self._say(f"connecting to {route.alias}")
                told = True
            # Given up between looking for it and using it: somebody else may have it by now.
            if (port := free_port(self._port)) != self._port:
                self._say(f"local port {self._port} is in use; using {port}")
                self._port = port
            with processes.Child(self._command(route)) as ssh:
                connected = self._connected(ssh)
                if connected:
                    failures = 0
                    self._serve_connected(ssh)
                status = ssh.wait()
                why = processes.reason(ssh.said, status)
                if error := processes.permanent_error(ssh.said):
                    raise error
            if not self._was_ready and time.monotonic() >= self._until:
                raise OpsError(f"no connection within {durations.span_of(self._patience)}: {why}", fix=reach.MAYBE)
            failures += 1
            pause = processes.pause(failures)
            what = "connection lost" if connected else "no connection"
            self._say(f"{what} ({why}): retrying in {pause:.0f} s")
            time.sleep(pause)

    def _command(self, route: Route) -> list[str]:
        return [
            *route.ssh,
            "-N",
            "-T",
            "-o",
            "ExitOnForwardFailure=yes",
            "-L",
            f"localhost:{self._port}:{route.destination}",
            route.alias,
        ]

    def _connected(self, ssh: processes.Child) -> bool:
        """Wait until ssh listens, which it does once logged in. False when it ended instead."""
        while ssh.poll() is None:
            if ssh.listens(self._port):
                return True
            time.sleep(0.1)
        return False

    def _serve_connected(self, ssh: processes.Child) -> None:
        if self._was_ready:
            self._say(f"reconnected: localhost:{self._port}")
            return
        told = False
        while ssh.poll() is None:
            if self._answers():
                self._was_ready = True
                self._ready(self._port)
                return
            if error := processes.permanent_error(ssh.said):
                raise error
            if time.monotonic() >= self._until:
                refused = [line.partition("open failed: ")[2] for line in ssh.said if line.startswith("channel ")]
                why = f" ({refused[-1]})" if refused else ""
                raise OpsError(
                    f"connected, but {self._service.title} "
                    f"did not answer within {durations.span_of(self._patience)}{why}",
                    fix=f"check that it is running: ops status shows how {self._service.machine} booted",
                )
            if not told:
                self._say(f"connected; waiting for {self._service.title} to answer")
                told = True
            time.sleep(1)

    def _answers(self) -> bool:
        return _http_answers(self._port, self._service.path) if self._service.path else _tcp_answers(self._port)


def _http_answers(port: int, path: str) -> bool:
    """Return whether an HTTP server answers there, with any status."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}{path}", timeout=10):
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return True
    except (OSError, http.client.HTTPException):
        return False


def _tcp_answers(port: int) -> bool:
    """Return whether the far end answers. ssh accepts every connection, and closes it if nothing listens there."""
    with socket.socket() as probe:
        probe.settimeout(_SILENCE)
        try:
            probe.connect(("127.0.0.1", port))
            return probe.recv(1) != b""
        except TimeoutError:
            return True  # it listens and waits for us to speak
        except OSError:
            return False
