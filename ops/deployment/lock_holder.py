"""Whether the Terraform that took a state's lock can still be at work."""

import re
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import psutil

from constructs_lib import errored_state
from ops.core.session import Session
from ops.core.stack_names import state_place
from ops.deployment.locks import Lock

_PROGRAMS: Final = frozenset({"terraform", "terraform.exe", "tofu", "tofu.exe"})
_CHDIR: Final = re.compile(r"--?chdir=(.+)")


class Holder(NamedTuple):
    """at work: these processes of this machine work on that state. gone: none does, and this machine took the lock.

    unknown: these processes are other users', and what they work on cannot be seen. elsewhere: another machine took it.
    """

    is_: Literal["at work", "gone", "unknown", "elsewhere"]
    pids: tuple[int, ...] = ()

    @property
    def processes(self) -> str:
        """Their ids, for a sentence."""
        return f"process{'es' if len(self.pids) > 1 else ''} {', '.join(map(str, self.pids))}"


def holder(session: Session, lock: Lock, processes: Iterable[Any] | None = None) -> Holder:
    """Return who holds the lock. Only Terraform counts: a CLI whose Terraform was killed releases no lock."""
    # Terraform writes user@host: https://github.com/hashicorp/terraform/blob/v1.11.4/internal/states/statemgr/locker.go
    if lock.who.rpartition("@")[2] != socket.gethostname():
        return Holder("elsewhere")
    place = state_place(session.settings, lock.stack)
    endpoint = _endpoint(session.environment)
    at_work: dict[int, int] = {}
    hidden = []
    for process in psutil.process_iter() if processes is None else processes:
        try:
            if process.name() not in _PROGRAMS or process.status() == psutil.STATUS_ZOMBIE:
                continue
            if errored_state.place(_folder(process)) == place and _endpoint(process.environ()) == endpoint:
                at_work[process.pid] = process.ppid()
        except psutil.NoSuchProcess:
            continue
        except (psutil.Error, OSError):
            hidden.append(process.pid)
    if at_work:
        # What a Terraform is about to start looks like another one for a moment.
        return Holder("at work", tuple(pid for pid, parent in at_work.items() if parent not in at_work))
    return Holder("unknown", tuple(hidden)) if hidden else Holder("gone")


def _endpoint(variables: Mapping[str, str]) -> str:
    """Return whose S3 it is: "" for AWS, else the URL of an embedded AWS with the same bucket names."""
    return variables.get("AWS_ENDPOINT_URL_S3") or variables.get("AWS_ENDPOINT_URL") or ""


def _folder(process: Any) -> Path:
    """Return the working directory of a Terraform process."""
    folder = Path(process.cwd())
    for word in process.cmdline()[1:]:
        if changed := _CHDIR.fullmatch(word):
            folder /= changed[1]
    return folder
