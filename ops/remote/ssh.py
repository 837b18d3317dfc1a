"""OpenSSH's configuration for the machines of a deployment: for plain ssh, scp, rsync and VS Code, and for `ops`."""

import hashlib
import re
import shlex
import shutil
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from botocore.exceptions import ClientError

from ops.account.own_ssh import OwnSsh, material, public_of
from ops.core import files
from ops.core.environment import BUILD
from ops.core.errors import OpsError
from ops.core.session import Session
from ops.remote.hosts import MACHINES, Host, Machine

Via = Literal["jump", "ssm"]

USER: Final = "ubuntu"
# AWS's document for SSH through Session Manager, and the plugin that the AWS CLI needs for it:
# https://docs.aws.amazon.com/systems-manager/latest/userguide/session-manager-getting-started-enable-ssh-connections.html
SSM_DOCUMENT: Final = "AWS-StartSSHSession"
SSM_PROGRAMS: Final = {
    "aws": "the AWS CLI: https://docs.aws.amazon.com/cli/latest/userguide/getting-started-install.html",
    "session-manager-plugin": "https://docs.aws.amazon.com/systems-manager/latest/userguide/"
    "session-manager-working-with-install-plugin.html",
}


@dataclass(frozen=True, kw_only=True)
class Access:
    """How the machines are reached. identity: the private key's file, or the public one's, which picks the agent's."""

    via: Via
    identity: Path | None
    folder: Path
    region: str

    @property
    def known_hosts(self) -> Path:
        """The host keys of this deployment alone."""
        return self.folder / "known_hosts"


def folder(deployment: str) -> Path:
    """Return the folder with this deployment's ssh files; created by `write`."""
    return Path.home() / ".ssh" / "ml-infra" / deployment


def access(session: Session, *, via: Via, key: Path | None) -> Access:
    """Find the key, and for ssm the programs. Raises OpsError when a key or program is missing."""
    if via == "ssm":
        require_programs()
    place = folder(session.name)
    return Access(
        via=via, identity=_identity(session, key, place), folder=place, region=session.settings.deployment.region
    )


def require_programs() -> None:
    """Check for Session Manager's programs. Raises OpsError naming the missing ones."""
    if missing := [f"{name} ({where})" for name, where in SSM_PROGRAMS.items() if not shutil.which(name)]:
        raise OpsError("--via ssm needs programs that are not installed", fix=f"install {'; '.join(missing)}")


def require_reachable(machine: Machine, via: Via) -> None:
    """Check that Session Manager can reach the machine. Raises OpsError."""
    if via == "ssm" and not machine.ssm:
        others = ", ".join(one.name for one in MACHINES.values() if one.ssm)
        raise OpsError(
            f"Session Manager cannot reach {machine.name} (its role lacks AmazonSSMManagedInstanceCore), only {others}",
            fix="leave out --via ssm",
        )


def private_key(name: str) -> Path | None:
    """Return the private key of the key pair from its usual places, or None."""
    home = Path.home() / ".ssh"
    places = [home / name, home / f"{name}.pem", BUILD / "local" / f"{name}.pem"]
    return next((place for place in places if place.is_file()), None)


def _identity(session: Session, key: Path | None, place: Path) -> Path | None:
    if key is not None:
        if not key.expanduser().is_file():
            raise OpsError(f"{key} does not exist", fix="pass the private key of the key pair with --key")
        return key.expanduser().absolute()
    name = session.settings.access.ssh_keypair_name
    if found := private_key(name):
        return found
    # The key may be in an agent. Its public half picks it among many there: the jump host hears three offers only.
    try:
        pairs = session.client("ec2").describe_key_pairs(KeyNames=[name], IncludePublicKey=True)["KeyPairs"]
    except ClientError:
        return None  # a right that is missing, or a key pair that is gone: ssh offers what the agent has
    if not pairs or not pairs[0].get("PublicKey"):
        return None
    known = pairs[0]["PublicKey"].strip()
    # A key pair may be an imported key, under a name that ssh knows.
    own = OwnSsh(f"{session.name}-jump").key_files()
    if found := next((file for file in own if public_of(file) == material(known)), None):
        return found
    public = place / "key.pub"
    write(public, f"{known}\n".encode())
    return public


def reachable(hosts: Iterable[Host], missing: dict[str, str], via: Via) -> tuple[list[Host], dict[str, str]]:
    """Return the reachable hosts, and why the others are left out."""
    hosts, missing = list(hosts), dict(missing)
    has_jump = any(host.machine.public for host in hosts)
    found = []
    for host in hosts:
        if via == "ssm" and not host.machine.ssm:
            missing[host.machine.name] = "its role does not allow Session Manager"
        elif via == "jump" and not host.machine.public and not has_jump:
            missing[host.machine.name] = "it is behind the jump host, which is left out"
        else:
            found.append(host)
    return found, missing


_TITLE: Final = re.compile(r"# The machines of \S+ \((\S+)\), as ops ssh-config found them\.")


def region_of(file: Path) -> str | None:
    """Return the region of a configuration written earlier, or None."""
    try:
        found = _TITLE.match(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found[1] if found else None


def fragment(
    session: Session,
    hosts: Iterable[Host],
    missing: dict[str, str],
    how: Access,
    *,
    pinned: Collection[str],
    file: Path | None = None,
) -> str:
    """Return the configuration of `hosts`; a comment says why a machine is left out.

    pinned: the instances whose key is known. file: where the configuration will be, for `ssh -F`.
    """
    lines = [f"# The machines of {session.name} ({how.region}), as ops ssh-config found them."]
    hosts = list(hosts)
    for host in hosts:
        way = _way(host, how, file, pinned=host.instance_id in pinned)
        lines += ["", f"Host {host.alias}", *(f"    {line}" for line in way)]
    if hosts:
        lines += ["", f"Host {' '.join(host.alias for host in hosts)}", *(f"    {line}" for line in _shared(how))]
    lines += ["", *(f"# {name} is left out: {why}" for name, why in missing.items())] if missing else []
    return "\n".join(lines) + "\n"


def _way(host: Host, how: Access, file: Path | None, *, pinned: bool) -> list[str]:
    lines = [
        f"HostName {host.address}",
        # The key is remembered under the machine's id: another machine at the same address is another name.
        f"HostKeyAlias {host.instance_id}",
        # Whoever loses known_hosts is told so, instead of taking the next best key.
        f"StrictHostKeyChecking {'yes' if pinned else 'accept-new'}",
    ]
    if how.via == "ssm":
        lines.append(
            f"ProxyCommand aws ssm start-session --region {how.region} --target {host.instance_id} "
            f"--document-name {SSM_DOCUMENT} --parameters portNumber=%p"
        )
    elif not host.machine.public:
        jump = f"{host.deployment}-jump"
        # ProxyJump hands -F on without quotes, and a home folder may have a space.
        command = f"ProxyCommand ssh -F {shlex.quote(str(file)).replace('%', '%%')} -W '[%h]:%p' {jump}"
        lines.append(command if file else f"ProxyJump {jump}")
    return lines


def _shared(how: Access) -> list[str]:
    lines = [f"User {USER}"]
    if how.identity:
        lines += [f"IdentityFile {quoted(how.identity)}", "IdentitiesOnly yes"]
    return [
        *lines,
        f"UserKnownHostsFile {quoted(how.known_hosts)}",
        "HashKnownHosts no",
        "CheckHostIP no",
        "UpdateHostKeys no",
        "ConnectTimeout 15",
        "ServerAliveInterval 15",
        "ServerAliveCountMax 3",
    ]


def quoted(path: Path, *, tokens: bool = True) -> str:
    """Return the path quoted for ssh_config; % begins a token where `tokens` are known. Raises OpsError for a quote."""
    text = str(path)
    if '"' in text or "\n" in text:
        raise OpsError(f"ssh cannot use the path {text!r}", fix="move it to a path without quotation marks")
    return f'"{text.replace("%", "%%") if tokens else text}"'


def run_file(session: Session, hosts: Sequence[Host], how: Access, *, pinned: Collection[str], ask: bool) -> Path:
    """Write the file for `ssh -F`: the fragment, then the person's own configuration for everything else.

    ask: whether ssh may ask for a passphrase; otherwise it fails rather than wait for somebody.
    """
    own = Path.home() / ".ssh" / "config"
    file = how.folder / _run_name(hosts, how, ask=ask)
    text = fragment(session, hosts, {}, how, pinned=pinned, file=file) + "\n".join(
        [
            "",
            "Host *",
            # A connection shared with others would outlive the command, and end with theirs.
            "    ControlMaster no",
            "    ControlPath none",
            *([] if ask else ["    BatchMode yes"]),
            f"    Include {quoted(own, tokens=False)}",
            "    Include /etc/ssh/ssh_config",
            "",
        ]
    )
    return write(file, text.encode())


def _run_name(hosts: Sequence[Host], how: Access, *, ask: bool) -> str:
    """Return one file name for each kind of access, so that commands do not overwrite each other's file.

    Where the machines are at this moment is not in it: of that, whoever comes last knows best.
    """
    way = [how.via, how.region, "ask" if ask else "batch", str(how.identity), *(host.machine.name for host in hosts)]
    return f"ops-{hashlib.sha256(chr(0).join(way).encode()).hexdigest()[:12]}.config"


def write(path: Path, content: bytes) -> Path:
    """Write a file that only its owner may read, in one step, in a folder that only its owner may enter."""
    private_folder(path.parent)
    replace(path, content, mode=0o600)
    return path


def replace(path: Path, content: bytes, *, mode: int) -> None:
    """Replace a file as `files.replace` does. Raises OpsError."""
    try:
        files.replace(path, content, mode=mode)
    except OSError as error:
        raise OpsError(f"{path} cannot be written: {error.strerror}") from None


def private_folder(path: Path) -> None:
    """Create a deployment's folder, which only its owner may enter."""
    try:
        for each in (path.parent.parent, path.parent, path):  # ~/.ssh, ml-infra, the deployment
            each.mkdir(mode=0o700, exist_ok=True, parents=True)
        path.chmod(0o700)
    except OSError as error:
        raise OpsError(f"cannot create {path}: {error.strerror}") from None
