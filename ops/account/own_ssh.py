"""What the person's own ssh configuration says for a machine: which agent is asked, and which key files are tried."""

import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_SECONDS: Final = 20


@dataclass(frozen=True)
class Agent:
    """The agent that ssh asks. socket: None where there is none. named: by IdentityAgent, not by SSH_AUTH_SOCK alone.

    keys: the public keys that it holds; None when it does not answer.
    """

    socket: str | None
    named: bool
    keys: frozenset[str] | None


class OwnSsh:
    """What `ssh -G` says of a host's alias, with the configuration that `ops` gives to ssh."""

    def __init__(self, alias: str) -> None:
        own = str(Path.home() / ".ssh" / "config")
        # Not simply `ssh -G`, which takes the home folder from the system and not from HOME.
        files = "" if '"' in own else f'Include "{own}"\n'
        said = _run(["ssh", "-G", "-F", "/dev/stdin", alias], stdin=f"{files}Include /etc/ssh/ssh_config\n")
        pairs = [line.partition(" ")[::2] for line in said.stdout.splitlines()] if said else []
        self._agent = next((value for key, value in pairs if key == "identityagent"), None)
        self._files = [value for key, value in pairs if key == "identityfile"]

    def agent(self) -> Agent:
        """Return the agent, asked for its keys. IdentityAgent as ssh_config(5) has it."""
        socket, is_named = self._socket()
        if not socket:
            return Agent(None, is_named, frozenset())
        listed = _run(["ssh-add", "-L"], SSH_AUTH_SOCK=socket)
        # 1: it has no keys. 2: it does not answer.
        if listed is None or listed.returncode > 1:
            return Agent(socket, is_named, None)
        return Agent(socket, is_named, frozenset(materials(listed.stdout.splitlines())))

    def key_files(self) -> list[Path]:
        """Return the key files that ssh tries and that are there; its defaults where the person has named none."""
        found = [Path(value).expanduser() for value in self._files if "%" not in value]
        return [file for file in found if file.is_file()]

    def _socket(self) -> tuple[str | None, bool]:
        if self._agent is None or self._agent == "SSH_AUTH_SOCK":
            return os.environ.get("SSH_AUTH_SOCK"), False
        if self._agent == "none":
            return None, True
        variable = re.fullmatch(r"\$\{?(\w+)\}?", self._agent)
        return (os.environ.get(variable[1]) if variable else str(Path(self._agent).expanduser())), True


def public_of(file: Path) -> str | None:
    """Return the public key of a private one; None when it cannot be derived (a passphrase, and no .pub file)."""
    said = _run(["ssh-keygen", "-y", "-P", "", "-f", str(file)])
    if said and said.returncode == 0 and (found := material(said.stdout)) is not None:
        return found
    beside = file.with_name(f"{file.name}.pub")
    return material(beside.read_text(encoding="utf-8", errors="replace")) if beside.is_file() else None


def materials(lines: Iterable[str]) -> Iterable[str]:
    """Return the public keys in these lines."""
    return (found for line in lines if (found := material(line)) is not None)


def material(line: str) -> str | None:
    """Return type and key of "ssh-ed25519 AAAA… comment"; None if the line is not a public key."""
    parts = line.split()
    return " ".join(parts[:2]) if len(parts) >= 2 and parts[1].startswith("AAAA") else None


def _run(command: Sequence[str], stdin: str = "", **variables: str) -> "subprocess.CompletedProcess[str] | None":
    """Return the finished process; None when it cannot run, or takes too long."""
    environment = {**os.environ, **variables}
    try:
        return subprocess.run(
            command,
            input=stdin,
            env=environment,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
