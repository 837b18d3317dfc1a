"""Running ssh and rsync: what they say is kept, and nothing of them is left behind."""

import contextlib
import os
import re
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import IO, Final, Self

import psutil

from ops.core.errors import OpsError

_LONGEST_PAUSE: Final = 30.0  # seconds between two tries
_GRACE: Final = 5.0  # seconds; rsync puts away what has arrived


class Child:
    """A program that ends with the `with` block, together with everything that it started.

    on_output: gets the lines that it writes to stdout, from a thread of its own; without it they are thrown away.
    """

    def __init__(self, command: Sequence[str], *, on_output: Callable[[str], None] | None = None) -> None:
        self._said: deque[str] = deque(maxlen=50)
        try:
            self._process = subprocess.Popen(
                command,
                env={**os.environ, "LC_ALL": "C"},  # their messages are read below
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if on_output else subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
        except FileNotFoundError:
            raise OpsError(f"{command[0]} is not installed", fix="install it and try again") from None
        assert self._process.stderr is not None

        def keep(line: str) -> None:
            if line.strip():
                self._said.append(line.strip())

        self._readers = [_reader(self._process.stderr, keep)]
        if on_output:
            assert self._process.stdout is not None
            self._readers.append(_reader(self._process.stdout, on_output))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        processes = _tree(self._process.pid)
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
        _gone, alive = psutil.wait_procs(processes, timeout=_GRACE)
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()
        for reader in self._readers:
            reader.join(_GRACE)

    @property
    def said(self) -> list[str]:
        """Its last lines on stderr until now."""
        return list(self._said)

    def poll(self) -> int | None:
        """Return the exit status, or None while it runs."""
        return self._process.poll()

    def wait(self) -> int:
        """Wait for the end; return the exit status once all output was read."""
        status = self._process.wait()
        for reader in self._readers:
            reader.join(_GRACE)
        return status

    def listens(self, port: int) -> bool:
        """Return whether this process listens on the port."""
        try:
            connections = psutil.Process(self._process.pid).net_connections(kind="tcp")
        except psutil.Error:
            return False  # it has just ended
        return any(one.status == psutil.CONN_LISTEN and one.laddr[1] == port for one in connections)


def _tree(pid: int) -> list[psutil.Process]:
    """Return the process and all below it; ssh's connection through the jump host is a process of its own."""
    try:
        parent = psutil.Process(pid)
        return [*parent.children(recursive=True), parent]
    except psutil.NoSuchProcess:
        return []


def _reader(stream: IO[bytes], handle: Callable[[str], None]) -> threading.Thread:
    def read() -> None:
        # rsync ends the lines of its progress with a carriage return.
        rest = b""
        with stream:
            while piece := os.read(stream.fileno(), 65536):
                *lines, rest = (rest + piece).replace(b"\r", b"\n").split(b"\n")
                for line in lines:
                    handle(line.decode(errors="replace"))
            if rest:
                handle(rest.decode(errors="replace"))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Make SIGTERM and SIGHUP end the program as Ctrl-C does, with clean-up; the status is 128 + signal."""

    def end(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    # What the caller has ignored (nohup) stays so.
    numbers = [one for one in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(one) is not signal.SIG_IGN]
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# What ssh says (OpenSSH 9) when trying again cannot help, and what can. rsync's "Permission denied (13)" is another.
_PERMANENT: Final = {
    r"permission denied \([a-z]": "the machine rejects the key; load the right one (ssh-add) or pass --key FILE",
    "host key verification failed": "the machine's host key differs from the known one; if you know "
    "why, delete the lines with its id from the known_hosts file in ~/.ssh/ml-infra",
    "too many authentication failures": "the agent offers too many keys; pass the right one with --key FILE",
    "bad configuration option": "ssh rejects its configuration; see the file and line that it names",
    "bad owner or permissions": "others may change this ssh configuration file; run chmod go-w on it",
    "bad permissions": "others may read the private key; run chmod 600 on it",
    "administratively prohibited": "the machine does not allow forwarding; see AllowTcpForwarding in its sshd_config",
}


def permanent_error(output: Sequence[str]) -> OpsError | None:
    """Return the error in ssh's output that another try would meet too; None if a retry may succeed."""
    for line in output:
        for pattern, fix in _PERMANENT.items():
            if re.search(pattern, line, re.IGNORECASE):
                return OpsError(line, fix=fix)
    return None


def pause(failures: int) -> float:
    """Return the seconds until the next try, after that many failures in a row: 1, 2, 4 … 30."""
    return min(2.0 ** (failures - 1), _LONGEST_PAUSE)


def reason(said: Sequence[str], status: int) -> str:
    """Return why ssh ended, in its own words."""
    # What failed first is the cause, and what follows its echo. Channel 0 is the way on from the jump host; the others
    # are what a tunnel carries.
    passed_over = ("Warning: Permanently added", *(f"channel {number}" for number in range(1, 10)))
    telling = [line for line in said if not line.startswith(passed_over)]
    return (
        telling[0].removeprefix("channel 0: open failed: ").rstrip(".")
        if telling
        else f"ssh ended with status {status}"
    )
