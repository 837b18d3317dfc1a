"""Host keys: what cloud-init prints on a machine's console, pinned before the first contact."""

import base64
import binascii
import fcntl
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from botocore.exceptions import ClientError

from ops.core.errors import OpsError
from ops.core.session import Session
from ops.remote.hosts import Host
from ops.remote.ssh import private_folder, write

# What cloud-init's tools/write-ssh-key-fingerprints prints at a machine's first boot: the content of every
# /etc/ssh/ssh_host_*key.pub between these lines. An older one sends it through the log, which puts its name before.
# https://docs.cloud-init.io/en/latest/reference/modules.html#keys-to-console
_BEGIN: Final = "-----BEGIN SSH HOST KEY KEYS-----"
_END: Final = "-----END SSH HOST KEY KEYS-----"
# RFC 4253 6.6, RFC 5656 3.1, RFC 8709 4: how many fields the key has after its type. DSA is no key any more.
_FIELDS: Final = {
    "ssh-ed25519": 1,
    "ecdsa-sha2-nistp256": 2,
    "ecdsa-sha2-nistp384": 2,
    "ecdsa-sha2-nistp521": 2,
    "ssh-rsa": 2,
}
_KEY: Final = re.compile(rf"(?:^|\s)({'|'.join(_FIELDS)}) ([A-Za-z0-9+/]+={{0,2}})(?=\s|$)")


@dataclass(frozen=True, kw_only=True)
class Pinned:
    """Whose keys are known, by instance id; a remark for each reason why others are not."""

    ids: frozenset[str]
    remarks: tuple[str, ...] = ()


def pin(session: Session, hosts: Sequence[Host], known_hosts: Path) -> Pinned:
    """Add the keys in the console output of `hosts` to known_hosts, unless the machine is already known."""
    found: dict[str, list[str]] = {}
    wanting: dict[str, list[str]] = {}
    known = _known(known_hosts)
    for host in hosts:
        if host.instance_id in known:
            continue
        try:
            keys = _on_console(session, host.instance_id)
            why = "the console output does not show it"
        except ClientError as error:
            keys, why = [], f"AWS refused GetConsoleOutput: {error.response['Error']['Code']}"
        if keys:
            found[host.instance_id] = keys
        else:
            wanting.setdefault(why, []).append(host.machine.name)
    if found:
        _add(known_hosts, found)
    return Pinned(
        ids=known | found.keys(),
        remarks=tuple(
            f"trusting the host key of {', '.join(names)} on first contact ({why})" for why, names in wanting.items()
        ),
    )


def from_console(output: str) -> list[str]:
    """Return the keys in the last complete block, each `TYPE BASE64`; skips kernel messages in between."""
    before, _, _ = output.rpartition(_END)
    _, begin, block = before.rpartition(_BEGIN)
    if not begin:
        return []
    keys = (found.groups() for line in block.splitlines() if (found := _KEY.search(line)))
    return [f"{kind} {blob}" for kind, blob in keys if _is_whole(kind, blob)]


def _is_whole(kind: str, blob: str) -> bool:
    """Return whether the key is complete: RFC 4251 5 puts its length before each field."""
    try:
        rest = base64.b64decode(blob, validate=True)
    except binascii.Error:
        return False
    fields = []
    while len(rest) >= 4:
        length = int.from_bytes(rest[:4])
        if len(rest) < 4 + length:
            return False
        fields.append(rest[4 : 4 + length])
        rest = rest[4 + length :]
    return not rest and len(fields) == 1 + _FIELDS[kind] and fields[0] == kind.encode()


def _on_console(session: Session, instance_id: str) -> list[str]:
    """Return the keys in the console output. Raises ClientError and BotoCoreError."""
    ec2 = session.client("ec2")
    # "By default, the console output returns buffered information that was posted shortly after an instance transition
    # state"; the latest one is for Nitro only, and has the last 64 KB:
    # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_GetConsoleOutput.html
    try:
        if keys := from_console(ec2.get_console_output(InstanceId=instance_id, Latest=True).get("Output", "")):
            return keys
    except ClientError as error:
        if error.response["Error"]["Code"] != "UnsupportedOperation":
            raise
    return from_console(ec2.get_console_output(InstanceId=instance_id).get("Output", ""))


def _known(known_hosts: Path) -> frozenset[str]:
    """Return the host names in the file, as `ops` and ssh with HashKnownHosts off write them."""
    lines = (line.split() for line in _content(known_hosts).decode(errors="replace").splitlines())
    return frozenset(name for line in lines if line and line[0][0] not in "#@|" for name in line[0].split(","))


def _add(known_hosts: Path, found: dict[str, list[str]]) -> None:
    private_folder(known_hosts.parent)
    with _alone(known_hosts.parent):
        known = _known(known_hosts)  # somebody else may have been here meanwhile
        lines = _lines((id, keys) for id, keys in found.items() if id not in known)
        content = _content(known_hosts)
        if content and not content.endswith(b"\n"):
            content += b"\n"
        write(known_hosts, content + lines)


def _lines(found: Iterable[tuple[str, list[str]]]) -> bytes:
    return "".join(f"{id} {key}\n" for id, keys in found for key in keys).encode()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Lock the folder against another `ops` that adds keys."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _content(known_hosts: Path) -> bytes:
    try:
        return known_hosts.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise OpsError(f"{known_hosts} cannot be read: {error.strerror}") from None
