"""`ops` ssh, ssh-config, tunnel, push and pull."""

import os
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from ops.commands import remote_copy
from ops.commands.options import Json, Key, Timeout, ViaOption, completed_from, seconds_in
from ops.core.console import show_json
from ops.core.errors import OpsError
from ops.core.progress import progress
from ops.core.session import Session
from ops.remote import forwarding, host_keys, hosts, processes, ssh, ssh_include
from ops.remote.forwarding import SERVICES, Route, Service, Tunnel
from ops.remote.hosts import MACHINES, Machine
from ops.remote.login import Way, login, may_ask, open_session, say


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("ssh")(ssh_command)
    app.command("ssh-config")(ssh_config)
    app.command()(tunnel)
    remote_copy.register(app)


def ssh_command(
    machine: Annotated[
        str,
        typer.Argument(
            metavar="jump|worker|metrics",
            help="The machine; the user is ubuntu.",
            autocompletion=completed_from(*MACHINES),
        ),
    ],
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- COMMAND...]", help="Run this command instead of a shell.", show_default=False),
    ] = None,
    via: ViaOption = "jump",
    key: Key = None,
    as_json: Json = False,
) -> int:
    """Log in to a machine, or run one command there and exit with its status.

    As with ssh, the remote shell interprets the command. With --json, prints its status, stdout and stderr. Takes the
    host key from the machine's console output; if it is not there, trusts the first key and prints a note.

    Example: `ops ssh worker`, or `ops ssh worker -- 'du -sh /data/*'`
    """
    where = hosts.machine_named(machine)
    if as_json and not command:
        raise OpsError("--json needs a command", fix="for example: ops ssh worker --json -- nvidia-smi -L", status=2)
    session = open_session()
    with progress(f"Looking up the address of {machine} …"):
        found = login(session, where, via=via, key=key)
    for remark in found.remarks:
        say(remark)
    terminal = sys.stdin.isatty() and sys.stdout.isatty() and not as_json
    # Without a command ssh itself asks for a terminal where it has one.
    line = [
        *found.ssh,
        *(["-t"] if terminal and command else []),
        found.host.alias,
        *(["--", *command] if command else []),
    ]
    if as_json:
        ran = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace")
        document = {"machine": machine, "status": ran.returncode, "stdout": ran.stdout, "stderr": ran.stderr}
        show_json(document)
        return ran.returncode
    return _become(line)


def _become(line: list[str]) -> NoReturn:
    """Replace this program with ssh, which then owns signals, terminal and exit status."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execvp(line[0], line)


def ssh_config(
    write: Annotated[
        bool, typer.Option("--write", help="Write ~/.ssh/ml-infra/DEPLOYMENT/config and include it.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --write: do not ask.")] = False,
    via: ViaOption = "jump",
    key: Key = None,
    as_json: Json = False,
) -> int:
    """Print the ssh configuration with which ssh, scp, rsync and VS Code reach the machines.

    With --write, these work: `ssh ml-core-worker`, `scp FILE ml-core-worker:/data/`, and the host ml-core-worker in VS
    Code. Run it again after a machine was replaced or the jump host was restarted, which changes its address. A stopped
    jump host has no address: it is left out, and so are the machines behind it.

    Example: `ops ssh-config --write`
    """
    session = open_session()
    with progress("Looking up the addresses of the machines …"):
        how = ssh.access(session, via=via, key=key)
        found, missing = ssh.reachable(*hosts.deployed(session), via)
        if not found:
            raise OpsError(f"no machine is reachable: {'; '.join(f'{name}: {why}' for name, why in missing.items())}")
        keys = host_keys.pin(session, found, how.known_hosts)
    for remark in keys.remarks:
        say(remark)
    text = ssh.fragment(session, found, missing, how, pinned=keys.ids)
    file = how.folder / "config"
    if write:
        _write(text, session, yes=yes, as_json=as_json)
    if as_json:
        document = {
            "deployment": session.name,
            "hosts": [_described(host) for host in found],
            "left_out": missing,
            "config": text,
            "written": str(file) if write else None,
        }
        show_json(document)
    elif not write:
        print(text, end="")
    else:
        for host in found:
            print(f"ssh {host.alias}")
    return 0


def _described(host: hosts.Host) -> dict[str, Any]:
    return {
        "alias": host.alias,
        "machine": host.machine.name,
        "instance": host.instance_id,
        "address": host.address,
        "state": host.state,
        "moved_from": host.moved_from,
    }


def _write(text: str, session: Session, *, yes: bool, as_json: bool) -> None:
    file = ssh.folder(session.name) / "config"
    own = ssh_include.config_file()
    changes = [f"{'overwrite' if file.exists() else 'create'} {file}{_of_another_region(file, session)}"]
    if not ssh_include.is_included():
        changes.append(f"add this line at the top of {own}: {ssh_include.include_line()}")
    if not yes:
        if as_json or not may_ask():
            raise OpsError(f"this would {'; and '.join(changes)}. Nothing was changed", fix="pass --yes to do it")
        print("This will", *(f"  {change}" for change in changes), sep="\n", file=sys.stderr)
        if not typer.confirm("Continue?", err=True):
            raise OpsError("nothing was changed")
    ssh.write(file, text.encode())
    ssh_include.include()
    say(f"written: {file}")


def _of_another_region(file: Path, session: Session) -> str:
    """Return a warning if the file belongs to another region: the ssh names do not contain the region."""
    region = ssh.region_of(file)
    if region in (None, session.settings.deployment.region):
        return ""
    return f" (it belongs to {session.name} in {region}, whose machines then lose their ssh names)"


def tunnel(
    what: Annotated[
        str,
        typer.Argument(
            metavar="grafana|tensorboard|jupyter|PORT",
            help="The service or port to forward.",
            autocompletion=completed_from(*SERVICES),
        ),
    ],
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="worker|metrics|jump",
            help="The machine. Default: metrics for grafana and tensorboard, else worker.",
            show_default=False,
            autocompletion=completed_from(*MACHINES),
        ),
    ] = None,
    local_port: Annotated[
        int | None,
        typer.Option(
            "--local-port",
            min=1,
            max=65535,
            metavar="N",
            help="Local port. Default: the same, or the next free one.",
            show_default=False,
        ),
    ] = None,
    timeout: Timeout = "5m",
    via: ViaOption = "jump",
    key: Key = None,
    as_json: Json = False,
) -> int:
    """Forward a service to localhost: waits until it answers, prints its URL, reconnects if the connection breaks.

    Ctrl-C closes it. jupyter is a server that you started on the worker; for the SageMaker notebook use `ops notebook`.

    Example: `ops tunnel grafana`, or `ops tunnel 8080` for a port of the worker
    """
    service = _service(what)
    patience = seconds_in(timeout)
    machine = hosts.machine_named(to or service.machine)
    session = open_session()
    ready: list[int] = []

    def when_ready(port: int) -> None:
        ready.append(port)
        _show_ready(session, service, port, as_json=as_json)

    wanted = local_port or service.port
    # What is not deployed or not running is said before a port is looked for.
    where = partial(_route, session, service, machine, via=via, key=key)
    with progress(f"Looking up the address of {machine.name} …"):
        first = where()
    route = Way(where, say, first=first)
    port = forwarding.free_port(wanted)
    if port != wanted:
        say(f"local port {wanted} is in use; using {port}")
    try:
        with processes.ended_by_signals():
            Tunnel(service, port=port, route=route, say=say, ready=when_ready, patience=patience).serve()
    except KeyboardInterrupt:
        if not ready:
            raise
        say("tunnel closed")
    except OpsError as error:
        if not (ready and as_json):
            raise
        say(str(error))  # the one document on stdout is out already
        return error.status
    return 0


def _service(what: str) -> Service:
    if what in SERVICES:
        return SERVICES[what]
    if what == "notebook":
        raise OpsError("the notebook needs no tunnel", fix="ops notebook opens its Jupyter", status=2)
    if not what.isdecimal() or not 1 <= int(what) <= 65535:
        raise OpsError(
            f"{what!r} is neither a service nor a port", fix=f"use {', '.join(SERVICES)} or 1 to 65535", status=2
        )
    return Service(title=f"port {int(what)}", port=int(what), machine="worker")


def _route(
    session: Session, service: Service, machine: Machine, *, via: ssh.Via, key: Path | None
) -> tuple[Route, Sequence[str]]:
    if machine.name != "metrics":
        found = login(session, machine, via=via, key=key)
        # Jupyter and most programs that a person starts listen on the machine's localhost alone.
        return Route(ssh=found.ssh, alias=found.host.alias, destination=f"localhost:{service.port}"), found.remarks
    # Grafana listens on the private address alone, so the tunnel ends there, and any machine of the network will do to
    # come from: Session Manager knows the worker only.
    metrics = hosts.find_running(session, machine)
    found = login(session, MACHINES["worker" if via == "ssm" else "jump"], via=via, key=key)
    return Route(ssh=found.ssh, alias=found.host.alias, destination=f"{metrics.address}:{service.port}"), found.remarks


def _show_ready(session: Session, service: Service, port: int, *, as_json: bool) -> None:
    url = f"http://localhost:{port}" if service.path else None
    password = None
    if service is SERVICES["grafana"]:
        password = (
            f"aws ssm get-parameter --region {session.settings.deployment.region} "
            f"--name /ml-infra/{session.name}/stats-monitor/grafana-admin-password "
            "--with-decryption --query Parameter.Value --output text"
        )
    if as_json:
        document = {"service": service.title, "local_port": port, "url": url, "password_command": password}
        show_json(document)
        return
    lines = [f"{service.title}: {url or f'localhost:{port}'}"]
    if password:
        lines += ["User admin; this prints the password:", f"  {password}"]
    if service.remark:
        lines.append(service.remark)
    print(*lines, "Ctrl-C closes the tunnel.", sep="\n", flush=True)
