"""Whether a person gets in from where they are: their address against the blocks that are let in, and who is silent."""

import ipaddress
import socket
import subprocess
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from ops.account.own_address import seen_address
from ops.core.errors import OpsError
from ops.core.session import Session
from ops.deployment.stacks import read_stack

MAYBE: Final = "your address may have changed; check access.deployer_cidrs in settings.toml"

# A security group drops what it does not let in without a word. An SSH server in the farthest region answers in half a
# second; with the question for one's own address the answer to a silent one is there within 15.
_SECONDS: Final = 8.0
_SSH_SECONDS: Final = 10
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
# The status with which ssh ends when it does not connect.
_STATUS: Final = 255


class Standing(NamedTuple):
    """One's own address, and the blocks that are let in. deployed: None where mlcore is not."""

    address: str
    wanted: tuple[str, ...]
    deployed: tuple[str, ...] | None

    @property
    def is_let_in(self) -> bool:
        """Whether the jump host hears this address now."""
        return _within(self.address, self.wanted if self.deployed is None else self.deployed)

    @property
    def problem(self) -> tuple[str, str] | None:
        """What keeps this address out, now or after the next deploy, and the fix."""
        change = f'add "{self.address}/32" to access.deployer_cidrs in settings.toml'
        only = ", ".join(self.wanted if self.deployed is None else self.deployed)
        if _within(self.address, self.wanted):
            if self.is_let_in:
                return None
            return (
                f"your address {self.address} is in access.deployer_cidrs, but the deployed security group allows only "
                f"{only}",
                "cdktf deploy mlcore",
            )
        if self.deployed is not None and self.is_let_in:
            return f"the next deploy of mlcore would block your address {self.address}", change
        then = "" if self.deployed is None else ", then: cdktf deploy mlcore"
        return f"your address is {self.address}, but the jump host allows only {only}", f"{change}{then}"


def on_this_machine(session: Session) -> bool:
    """Return whether this is the embedded AWS, which only this machine reaches."""
    return urlsplit(session.environment.get("AWS_ENDPOINT_URL") or "").hostname in _LOOPBACK


def standing(session: Session) -> Standing | None:
    """Return the own address and the allowed blocks; None on the embedded AWS.

    Raises OpsError, BotoCoreError, ClientError.
    """
    if on_this_machine(session):
        return None
    seen = seen_address()
    if seen.doubt:
        raise seen.doubt
    state = read_stack(session, "mlcore")
    group = state.attributes("aws_security_group", "allow_deployer_sg") if state else None
    deployed = [block for rule in group.get("ingress") or [] for block in rule["cidr_blocks"]] if group else None
    return Standing(
        seen.address,
        tuple(session.settings.access.deployer_cidrs),
        None if deployed is None else tuple(deployed),
    )


def warning(session: Session) -> str | None:
    """Return in one line why this machine's address is blocked, and the fix; None if it is not, or unknown."""
    try:
        found = standing(session)
    except (OpsError, BotoCoreError, ClientError):
        return None
    if found is None or found.problem is None:
        return None
    what, fix = found.problem
    return f"{what}: {fix}"


def look(session: Session, ssh: Sequence[str], alias: str) -> str | None:
    """Try the port that `ssh ALIAS` connects to first; return a remark if nothing answers.

    Raises OpsError where that is no wonder: one's own address is not let in.
    """
    if on_this_machine(session):
        return None
    hop = _first_hop(ssh, alias)
    if hop is None or not _is_silent(*hop):
        return None
    silent = f"{hop[0]} does not answer on port {hop[1]}"
    try:
        found = standing(session)
    except (OpsError, BotoCoreError, ClientError):
        return f"{silent}: {MAYBE}"
    if found is None or found.problem is None:
        return (
            f"{silent}, although your address is allowed: check that SSH may leave this network and the jump host is up"
        )
    what, fix = found.problem
    if found.is_let_in:
        return f"{silent}. Also, {what}: {fix}"
    raise OpsError(f"{silent}: {what}", fix=f"{fix}. Or reach the worker with --via ssm", status=_STATUS)


def _within(address: str, blocks: Iterable[str]) -> bool:
    return any(ipaddress.ip_address(address) in ipaddress.ip_network(block, strict=False) for block in blocks)


def _first_hop(ssh: Sequence[str], alias: str) -> tuple[str, int] | None:
    """Return where ssh connects to; None behind the person's own proxy settings."""
    try:
        said = subprocess.run(
            [*ssh, "-G", alias],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_SSH_SECONDS,
            check=False,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    options = dict(line.split(" ", 1) for line in said.splitlines() if " " in line)
    if any(options.get(way, "none") != "none" for way in ("proxycommand", "proxyjump")):
        return None
    host, port = options.get("hostname"), options.get("port", "")
    return (host, int(port)) if host and port.isdecimal() else None


def _is_silent(host: str, port: int) -> bool:
    """Return whether nothing answers. ssh reports a refused connection or a missing network better itself."""
    try:
        with socket.create_connection((host, port), timeout=_SECONDS):
            return False
    except TimeoutError:
        return True
    except OSError:
        return False
