"""Starting and stopping the embedded AWS as a process of its own."""

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

HOST = "127.0.0.1"  # never another: there is no authentication behind this door
DEFAULT_PORT = 5577
PORT_VARIABLE = "ML_EMBEDDED_AWS_PORT"
# The id of a process: a server started with it ends when that process has ended, however it ended.
ENDS_WITH = "ML_EMBEDDED_AWS_ENDS_WITH"
DEFAULT_BUILD_DIR = Path(__file__).resolve().parents[1] / "build" / "embedded-aws"

_PROJECT_ROOT = Path(__file__).resolve().parents[1]
_MODULE = "embedded_aws"
_START_TIMEOUT = 90.0  # seconds; about 5 on a laptop
_ANSWER_TIMEOUT = 90.0  # seconds, for one that lives and does not answer
_HEALTH_TIMEOUT = 30.0  # seconds, where a process listens but is starved of the processor
_STOP_TIMEOUT = 10.0  # seconds, then it is killed: there is nothing in it to save
_PAUSE = 0.1  # seconds between two looks
_LOG_TAIL = 15  # lines


class EmbeddedAwsError(Exception):
    """The embedded AWS cannot be started or stopped. The message ends with what to do."""


@dataclass(frozen=True)
class Endpoint:
    """A running embedded AWS: where it listens, its process, and the folder of its files."""

    port: int
    pid: int
    build_dir: Path

    @property
    def url(self) -> str:
        """The value for AWS_ENDPOINT_URL."""
        return f"http://{HOST}:{self.port}"

    @property
    def log_file(self) -> Path:
        """What the server printed since it was started."""
        return _log_file(self.build_dir)


def default_port() -> int:
    """Return the port of ML_EMBEDDED_AWS_PORT, else 5577. Raises EmbeddedAwsError when the variable holds no port."""
    text = os.environ.get(PORT_VARIABLE) or str(DEFAULT_PORT)
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise EmbeddedAwsError(
            f"{PORT_VARIABLE}={text!r} is not a port: set it to a number from 1 to 65535, or unset it."
        )
    return int(text)


def start(port: int | None = None, *, build_dir: Path = DEFAULT_BUILD_DIR) -> Endpoint:
    """Start the server in the background and waits until it answers; does nothing when it runs already.

    `port` None means the running one's, else `default_port()`. Raises EmbeddedAwsError when the port is taken, when
    it runs on another port than asked for, and when it does not come up.
    """
    build_dir = build_dir.resolve()
    build_dir.mkdir(parents=True, exist_ok=True)
    with _lock(build_dir):
        wanted = default_port() if port is None else port
        running = _wait_until_healthy(build_dir)
        if running:
            if running.port != wanted and (port is not None or os.environ.get(PORT_VARIABLE)):
                raise EmbeddedAwsError(
                    f"the embedded AWS already runs on port {running.port}, not {wanted}. Use that one, or stop it "
                    f"first with `python -m {_MODULE} stop` (which deletes everything in it)."
                )
            return running
        _stop_recorded(build_dir)  # alive, and did not answer all that time
        _refuse_taken_port(wanted)
        return _spawn(wanted, build_dir)


def status(build_dir: Path = DEFAULT_BUILD_DIR) -> Endpoint | None:
    """Return the server that was started with this folder, or None when it does not run or does not answer."""
    build_dir = build_dir.resolve()
    recorded = _recorded_process(build_dir)
    if recorded is None:
        return None
    process, port = recorded
    return Endpoint(port, process.pid, build_dir) if _healthy(port, process.pid) else None


def _wait_until_healthy(build_dir: Path) -> Endpoint | None:
    """Return the running server, or None; wait as long as for a new one, whose start would lose its content."""
    deadline = time.monotonic() + _ANSWER_TIMEOUT
    while (found := status(build_dir)) is None:
        if _recorded_process(build_dir) is None or time.monotonic() > deadline:
            return None
        time.sleep(_PAUSE)
    return found


def stop(build_dir: Path = DEFAULT_BUILD_DIR) -> bool:
    """End the server that was started with this folder. Returns False when there was none."""
    build_dir = build_dir.resolve()
    if not build_dir.is_dir():
        return False
    with _lock(build_dir):
        return _stop_recorded(build_dir)


def environment(endpoint: Endpoint, *, region: str = "us-east-1") -> dict[str, str]:
    """Return the variables with which Terraform, the CLI and boto3 talk to the embedded AWS and to nothing else.

    They also hide a person's own account: profiles, session token and configuration files. Lay them over os.environ.
    """
    # An own file with an empty profile: boto3 refuses an empty AWS_PROFILE, and one of a file that lacks it.
    config = endpoint.build_dir / "aws-config"
    config.write_text("[default]\n")
    # boto3 sends loopback through a proxy unless told otherwise.
    no_proxy = ",".join(filter(None, [os.environ.get("NO_PROXY") or os.environ.get("no_proxy"), HOST, "localhost"]))
    return {
        "AWS_ENDPOINT_URL": endpoint.url,
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "false",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_SESSION_TOKEN": "",
        "AWS_PROFILE": "default",
        "AWS_DEFAULT_PROFILE": "default",
        "AWS_CONFIG_FILE": str(config),
        "AWS_SHARED_CREDENTIALS_FILE": str(config),
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
    }


def end_with(pid: str | None) -> None:
    """Have this process end soon after that one; None is nobody."""
    if not pid:
        return

    def wait() -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(int(pid)).wait()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def _state_file(build_dir: Path) -> Path:
    return build_dir / "process.json"


def _log_file(build_dir: Path) -> Path:
    return build_dir / "server.log"


@contextmanager
def _lock(build_dir: Path) -> Iterator[None]:
    """Lock the folder, so that a second start waits and finds the first one's server."""
    with (build_dir / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _recorded_process(build_dir: Path) -> tuple[psutil.Process, int] | None:
    """Return the process in the state file, when it lives and is the one that was started: ids are used again."""
    try:
        state = json.loads(_state_file(build_dir).read_text())
        process = psutil.Process(state["pid"])
        # By its mark, not by its creation time: on Linux that moves with every correction of the clock.
        same = f"--mark={state['mark']}" in process.cmdline()
        if same and process.status() != psutil.STATUS_ZOMBIE:
            return process, int(state["port"])
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        pass
    return None


def _stop_recorded(build_dir: Path) -> bool:
    recorded = _recorded_process(build_dir)
    if recorded is not None:
        process, _ = recorded
        process.terminate()
        _, alive = psutil.wait_procs([process], timeout=_STOP_TIMEOUT)
        for survivor in alive:
            survivor.kill()
        psutil.wait_procs(alive, timeout=_STOP_TIMEOUT)
    _state_file(build_dir).unlink(missing_ok=True)
    return recorded is not None


def _healthy(port: int, pid: int) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{HOST}:{port}/_embedded/health", timeout=_HEALTH_TIMEOUT) as response:
            answer = json.load(response)
    except (OSError, ValueError):
        return False
    return isinstance(answer, dict) and answer.get("ok") is True and answer.get("pid") == pid


def _refuse_taken_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that linger do not count
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise EmbeddedAwsError(
                f"port {port} on {HOST} cannot be used ({error.strerror}); its owner is {_holder(port)}. "
                f"End that process, or set {PORT_VARIABLE} to a free port."
            ) from error


def _holder(port: int) -> str:
    try:
        for connection in psutil.net_connections(kind="tcp"):
            listens = connection.status == psutil.CONN_LISTEN and getattr(connection.laddr, "port", None) == port
            if listens and connection.pid:
                return f"process {connection.pid} ({' '.join(psutil.Process(connection.pid).cmdline())})"
    except psutil.Error:  # macOS shows other processes' connections to root only
        pass
    return "an unknown process"


def _spawn(port: int, build_dir: Path) -> Endpoint:
    endpoint_log = _log_file(build_dir)
    # Nothing of the caller's AWS settings may steer the server, and moto's own are set by `serve`.
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MOTO_"))}
    mark = uuid.uuid4().hex
    with endpoint_log.open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", _MODULE, "serve", "--port", str(port), f"--mark={mark}"],
            cwd=_PROJECT_ROOT,
            env=clean | {"PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _state_file(build_dir).write_text(json.dumps({"pid": child.pid, "port": port, "mark": mark}))
    deadline = time.monotonic() + _START_TIMEOUT
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise _start_error(f"ended with code {child.returncode} while starting", build_dir)
        if _healthy(port, child.pid):
            child.returncode = 0  # it outlives this process on purpose, of which Popen would warn
            return Endpoint(port, child.pid, build_dir)
        time.sleep(_PAUSE)
    error = _start_error(f"did not answer within {_START_TIMEOUT:.0f} s", build_dir)
    _stop_recorded(build_dir)
    raise error


def _start_error(what: str, build_dir: Path) -> EmbeddedAwsError:
    _state_file(build_dir).unlink(missing_ok=True)
    log = _log_file(build_dir)
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-_LOG_TAIL:])
    return EmbeddedAwsError(f"the embedded AWS {what}. Its last log lines:\n{tail}\nFull log: {log}")
