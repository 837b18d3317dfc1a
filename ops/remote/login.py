"""From a machine's name to an ssh command line that reaches it now."""

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from ops.core.console import progress_console
from ops.core.errors import OpsError
from ops.core.session import Session
from ops.remote import host_keys, reach, ssh
from ops.remote.hosts import MACHINES, Host, Machine, find_running


@dataclass(frozen=True, kw_only=True)
class Login:
    """ssh's command line up to the alias, the machine, and what a person should know of it."""

    ssh: list[str]
    host: Host
    remarks: tuple[str, ...] = ()


def open_session() -> Session:
    """Open the deployment and check for ssh. On the embedded AWS, print that nothing answers."""
    session = Session.open()
    if shutil.which("ssh") is None:
        raise OpsError("ssh is not installed", fix="apt-get install openssh-client")
    if reach.on_this_machine(session):
        say("this is the embedded AWS: its machines have made-up addresses, and nothing answers there")
    return session


def login(session: Session, machine: Machine, *, via: ssh.Via, key: Path | None) -> Login:
    """Look where the machine is.

    Raises OpsError when it, or the jump host before it, does not run or is not there, and when nothing answers since
    this machine's address is not let in.

    Whoever calls it says the remarks.
    """
    ssh.require_reachable(machine, via)
    how = ssh.access(session, via=via, key=key)
    host = find_running(session, machine)
    hosts = [host]
    if via == "jump" and not machine.public:
        hosts.append(find_running(session, MACHINES["jump"]))
    keys = host_keys.pin(session, hosts, how.known_hosts)
    remarks = list(keys.remarks)
    if how.identity is None:
        name = session.settings.access.ssh_keypair_name
        remarks.append(
            f"no private key ~/.ssh/{name} or ~/.ssh/{name}.pem: ssh tries its own keys and the agent (or use --key)"
        )
    file = ssh.run_file(session, hosts, how, pinned=keys.ids, ask=may_ask())
    command = ["ssh", "-F", str(file)]
    if via == "jump" and (silent := reach.look(session, command, hosts[-1].alias)):
        remarks.append(silent)
    return Login(ssh=command, host=host, remarks=tuple(remarks))


T = TypeVar("T")


class Way(Generic[T]):
    """The way to a machine at this moment; the last one when AWS cannot be asked. Says each remark once.

    ask: gives the way and the remarks on it. first: what it gave a moment ago, which is the answer to the first call.
    """

    def __init__(
        self,
        ask: Callable[[], tuple[T, Sequence[str]]],
        say: Callable[[str], None],
        *,
        first: tuple[T, Sequence[str]],
    ) -> None:
        self._ask = ask
        self._say = say
        self._said: set[str] = set()
        self._last, remarks = first
        self._remark(remarks)
        self._is_new = True

    def __call__(self) -> T:
        if self._is_new:
            self._is_new = False
            return self._last
        try:
            self._last, remarks = self._ask()
        except (BotoCoreError, ClientError):
            # The network is down, or the login has expired meanwhile: ssh may work all the same.
            return self._last
        self._remark(remarks)
        return self._last

    def _remark(self, remarks: Sequence[str]) -> None:
        for remark in remarks:
            if remark not in self._said:
                self._said.add(remark)
                self._say(remark)


def may_ask() -> bool:
    """Return whether there is a terminal to ask on."""
    return sys.stdin.isatty()


def say(text: str, console: Console | None = None) -> None:
    """Print a remark on stderr; `console` is the one that shows progress at the moment."""
    console = console or progress_console()
    # Elsewhere than on a terminal a remark stays one line.
    console.print(f"ops: {text}", style="dim", highlight=False, markup=False, soft_wrap=not console.is_terminal)
