"""A jump host, a worker and a metrics host for real: sshd in network namespaces, and EC2 and S3 that know of them.

    this machine ── jump (its public address) ──┬── worker
                                                ├────┤
                                                └── metrics

Each is a root file system of its own (an overlay over this machine's) with the user ubuntu. The worker and the metrics
host have a route to the jump host and to each other, and this machine has none to them.
"""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import psutil
import pytest

from embedded_aws import control
from ops.core.environment import LOCAL_BUCKET, ROOT
from tests.embedded_aws.conftest import free_port
from tests.ops import support
from tests.ops.support import Finished, Running, wait_for
from tools import system_packages

DEPLOYMENT = "ssh-test"
# This machine, as the jump host sees it: link-local, so that it is no address of the network that this machine is in.
GATEWAY = "169.254.77.1"
JUMP = "10.20.1.10"
WORKER = "10.20.2.11"
METRICS = "10.20.2.12"

_SYSTEM = "/usr/local/sbin:/usr/sbin:/sbin"

# $1: an empty folder. A root file system that forgets, in namespaces of its own; then it waits for its end.
_BOOT = """
set -e
mount -t tmpfs -o mode=755 none "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
mount -t proc proc "$1/root/proc"
mount --rbind /dev "$1/root/dev"
ip link set lo up
chroot "$1/root" sh -ec '
id ubuntu >/dev/null 2>&1 || useradd --create-home --shell /bin/bash ubuntu
usermod -p "*" ubuntu
for folder in /data /efs /efs/trained_model; do mkdir -p $folder; chown ubuntu: $folder; done
rm -rf /home/ubuntu/.ssh
install -d -m 0700 -o ubuntu -g "$(id -gn ubuntu)" /home/ubuntu/.ssh
mkdir -p /run/sshd /etc/test-sshd
ssh-keygen -q -t ed25519 -N "" -f /etc/test-sshd/key
'
echo ready
exec sleep infinity
"""

_SSHD = """\
HostKey /etc/test-sshd/key
UsePAM no
PidFile none
PasswordAuthentication no
KbdInteractiveAuthentication no
Subsystem sftp internal-sftp
"""


def require() -> None:
    """Skips the test, or in CI fails it, where it cannot run."""
    if os.geteuid() != 0:
        cannot("these tests make network namespaces: run them as root")
    if missing := system_packages.missing(system_packages.OPS_TESTS):
        cannot(f"not installed: apt-get install {' '.join(sorted(set(missing.values())))}")
    tried = subprocess.run(
        ["unshare", "--mount", "--net", "--pid", "--fork", "true"], capture_output=True, text=True, check=False
    )
    if tried.returncode:
        cannot(f"namespaces are not allowed here ({tried.stderr.strip()}): use a privileged container")


def cannot(reason: str) -> NoReturn:
    """Skips the test, or in CI fails it."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def sh(*command: str) -> str:
    """Runs a command of this machine that must succeed."""
    environment = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:{_SYSTEM}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


class Box:
    """One machine: namespaces that live until `destroy`, and in them an sshd that can be killed and started."""

    def __init__(self, folder: Path, *, sshd_config: str) -> None:
        self._folder = folder
        folder.mkdir()
        # --propagation is private by default: nothing that is mounted shows outside.
        self._init = subprocess.Popen(
            # Whatever becomes of the tests, their network does not outlive them.
            [
                *["setpriv", "--pdeathsig", "KILL"],
                *["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"],
                *["sh", "-c", _BOOT, "sh", str(folder)],
            ],
            env={**os.environ, "PATH": f"{_SYSTEM}:{os.environ.get('PATH', '')}:/usr/bin:/bin"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._init.stdout is not None
        assert self._init.stdout.readline() == "ready\n"
        (inner,) = psutil.Process(self._init.pid).children()
        self.pid = inner.pid
        self._sshd: subprocess.Popen[bytes] | None = None
        self._services: list[subprocess.Popen[bytes]] = []
        self.path("/etc/test-sshd/config").write_text(_SSHD + sshd_config)

    def path(self, inside: str) -> Path:
        """A path of the machine, as this machine sees it."""
        return Path(f"/proc/{self.pid}/root{self._folder}/root{inside}")

    def authorize(self, public_key: str) -> None:
        """Lets the key in as ubuntu."""
        self.path("/home/ubuntu/.ssh/authorized_keys").write_text(public_key)

    def network(self, *command: str) -> None:
        """Runs a command of this machine in the machine's network."""
        sh("nsenter", f"--net=/proc/{self.pid}/ns/net", *command)

    def start_sshd(self) -> None:
        """Starts it and waits until it listens."""
        root = f"{self._folder}/root"
        command = ["chroot", root, "/usr/sbin/sshd", "-D", "-e", "-f", "/etc/test-sshd/config"]
        log = self._folder.with_suffix(".log")
        with log.open("ab") as output:
            before = output.tell()
            self._sshd = subprocess.Popen(
                ["nsenter", "--target", str(self.pid), "--mount", "--net", "--pid", *command],
                env={"PATH": f"{_SYSTEM}:/usr/bin:/bin"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=output,
            )
        wait_for("sshd", lambda: b"Server listening on 0.0.0.0" in log.read_bytes()[before:])

    def kill_sshd(self) -> None:
        """Ends it and every connection in the middle of what it does; what ran in them is left to find that out."""
        assert self._sshd is not None
        parent = psutil.Process(self._sshd.pid)
        for process in [parent, *parent.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.name().startswith("sshd"):
                    process.kill()
        parent.kill()
        self._sshd.wait()
        self._sshd = None

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """Its sshd and every connection are killed, and it is started again after the block."""
        self.kill_sshd()
        try:
            yield
        finally:
            self.start_sshd()

    def serve(self, address: str, port: int, *, content: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """An HTTP server on an address of the machine, with these files."""
        folder = self._folder.parent / f"served-{uuid.uuid4()}"
        for name, text in content.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return self.run(sys.executable, "-m", "http.server", str(port), "--bind", address, "--directory", str(folder))

    def run(self, *command: str) -> subprocess.Popen[bytes]:
        """A program of this machine in the machine's network; it ends with the machine."""
        process = subprocess.Popen(
            ["nsenter", f"--net=/proc/{self.pid}/ns/net", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._services.append(process)
        return process

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """Ends what `run` or `serve` started."""
        process.kill()
        process.wait()

    def destroy(self) -> None:
        """Ends everything in it, and with it its mounts and its network."""
        for service in self._services:
            self.end(service)
        if self._sshd is not None:
            self.kill_sshd()
        self._init.kill()
        self._init.wait()
        assert self._init.stdout is not None
        self._init.stdout.close()


# From the standard streams to a port and back.
_BRIDGE = """
import os, socket, sys, threading
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])))
def ahead():
    while data := os.read(0, 65536):
        connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)
threading.Thread(target=ahead, daemon=True).start()
while data := connection.recv(65536):
    os.write(1, data)
"""


def session_manager(folder: Path, worker: Box | None = None) -> Path:
    """A folder with stand-ins for the AWS CLI and its plugin, whose session goes to the worker instead of AWS.

    What the CLI was asked for is in the file `sessions` of `folder`.
    """
    programs = folder / "programs"
    programs.mkdir()
    (programs / "bridge.py").write_text(_BRIDGE)
    network = f"/proc/{worker.pid}/ns/net" if worker else "/nowhere"
    (programs / "aws").write_text(
        f'#!/bin/sh\necho "$*" >>"{folder}/sessions"\nfor last; do :; done\n'
        f'exec nsenter --net={network} {sys.executable} "{programs}/bridge.py" {WORKER} "${{last#portNumber=}}"\n'
    )
    (programs / "session-manager-plugin").write_text("#!/bin/sh\n")
    for name in ("aws", "session-manager-plugin"):
        (programs / name).chmod(0o755)
    return programs


@dataclass
class World:
    """An account in which the three machines run, the person's home, and `ops` in it."""

    name: str  # of the deployment
    folder: Path
    environment: dict[str, str]
    ids: dict[str, str]
    jump_address: str
    boxes: dict[str, Box] = field(default_factory=dict)
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def device(self) -> str:
        """This machine's end of the line to the jump host."""
        return f"mlssh{os.getpid()}"[:15]

    @property
    def key(self) -> Path:
        """The private key of the key pair, where `ops` looks for it."""
        return self.home / ".ssh" / f"{key_pair(self.name)}.pem"

    def aws(self, service: str) -> Any:
        return support.client(self.environment["AWS_ENDPOINT_URL"], service)

    def ops(self, *arguments: str, **variables: str) -> Finished:
        """Runs it in this process, in the person's home."""
        return support.run(arguments, {**self.environment, **variables}, cwd=self.home)

    def start(self, *arguments: str, **variables: str) -> Running:
        """A process; it does not outlive the world."""
        running = support.start(arguments, {**self.environment, **variables}, self.folder, cwd=self.home)
        self.started.append(running.process)
        return running

    def process(self, *arguments: str, **variables: str) -> Finished:
        """Runs it as a process to its end."""
        return self.start(*arguments, **variables).ended()

    def put_state(self, stack: str, outputs: Mapping[str, str], *, resources: int = 1) -> None:
        """A Terraform state with these outputs."""
        state = {
            "version": 4,
            "terraform_version": "1.11.4",
            "serial": 1,
            "lineage": str(uuid.uuid4()),
            "outputs": {name: {"value": value, "type": "string"} for name, value in outputs.items()},
            "resources": [{"mode": "managed", "type": "aws_instance", "name": "m", "instances": [{}]}] * resources,
            "check_results": None,
        }
        self.aws("s3").put_object(
            Bucket=LOCAL_BUCKET, Key=f"ml-core/{self.name}/us-east-1/{stack}.tfstate", Body=json.dumps(state)
        )

    def close(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.wait()
        for box in self.boxes.values():
            box.destroy()


def key_pair(deployment: str) -> str:
    """Its name; EC2 takes spaces."""
    return f"key of {deployment}"


def account(endpoint: control.Endpoint, folder: Path, name: str) -> World:
    """The account alone: three instances and their states, nothing behind the addresses."""
    home = folder / "home"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    environment = {
        **support.environment(endpoint),
        "PATH": f"{os.environ.get('PATH', '')}:{_SYSTEM}",
        "HOME": str(home),
        "ML_INFRA_SETTINGS": os.devnull,
        "ML_INFRA_DEPLOYMENT__NAME": name,
        "ML_INFRA_ACCESS__DEPLOYER_CIDRS": "203.0.113.10/32",
        "ML_INFRA_ACCESS__SSH_KEYPAIR_NAME": key_pair(name),
        "ML_INFRA_STATE__BUCKET": LOCAL_BUCKET,
    }
    world = World(name=name, folder=folder, environment=environment, ids={}, jump_address="")
    sh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(world.key))
    public = world.key.with_name(f"{world.key.name}.pub")
    _make_instances(world, public.read_bytes())
    public.unlink()
    return world


def _make_instances(world: World, public_key: bytes) -> None:
    world.aws("s3").create_bucket(Bucket=LOCAL_BUCKET)
    ec2 = world.aws("ec2")
    ec2.import_key_pair(KeyName=key_pair(world.name), PublicKeyMaterial=public_key)
    vpc = ec2.create_vpc(CidrBlock="10.20.0.0/20")["Vpc"]["VpcId"]
    for name, stack, address in (
        ("jump", "mlcore", JUMP),
        ("worker", "train-model", WORKER),
        ("metrics", "stats-monitor", METRICS),
    ):
        public = name == "jump"
        block = f"{address.rsplit('.', 1)[0]}.0/24"
        subnets = ec2.describe_subnets(Filters=[{"Name": "cidr-block", "Values": [block]}])["Subnets"]
        own = [one for one in subnets if one["VpcId"] == vpc]
        subnet = (own or [ec2.create_subnet(VpcId=vpc, CidrBlock=block)["Subnet"]])[0]["SubnetId"]
        interface = {"DeviceIndex": 0, "SubnetId": subnet, "PrivateIpAddress": address}
        (made,) = ec2.run_instances(
            ImageId=ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"],
            MinCount=1,
            MaxCount=1,
            KeyName=key_pair(world.name),
            NetworkInterfaces=[{**interface, "AssociatePublicIpAddress": public}],
            TagSpecifications=[
                {
                    "ResourceType": "instance",
                    "Tags": [{"Key": "deployment", "Value": world.name}, {"Key": "stack", "Value": stack}],
                }
            ],
        )["Instances"]
        world.ids[name] = made["InstanceId"]
        if public:
            world.jump_address = public_address(world)
            address = world.jump_address
        world.put_state(stack, {f"{name}_ip_addr": address})


def public_address(world: World) -> str:
    """The jump host's address outside, as EC2 has it now."""
    found = world.aws("ec2").describe_instances(InstanceIds=[world.ids["jump"]])["Reservations"][0]["Instances"][0]
    address: str = found["PublicIpAddress"]
    return address


@contextlib.contextmanager
def world(endpoint: control.Endpoint, folder: Path) -> Iterator[World]:
    """The account, and a real machine behind each of its addresses."""
    require()
    made = account(endpoint, folder, DEPLOYMENT)
    try:
        _make_boxes(made)
        yield made
    finally:
        made.close()


def _make_boxes(made: World) -> None:
    public_key = sh("ssh-keygen", "-y", "-f", str(made.key))
    inner = f"AllowUsers ubuntu@{JUMP}\n"
    # A session of Session Manager ends on the machine itself.
    worker = f"AllowUsers ubuntu@{JUMP} ubuntu@{WORKER}\n"
    for name, config in (("jump", jump_host_configuration()), ("worker", worker), ("metrics", inner)):
        box = made.boxes[name] = Box(made.folder / f"box-{name}", sshd_config=config)
        box.authorize(public_key)
    jump = made.boxes["jump"]
    outside = made.device
    sh("ip", "link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", str(jump.pid))
    sh("ip", "address", "add", f"{GATEWAY}/32", "dev", outside)
    sh("ip", "link", "set", outside, "up")
    sh("ip", "route", "add", f"{made.jump_address}/32", "dev", outside, "src", GATEWAY)
    _attach(jump, "eth0", made.jump_address, GATEWAY)
    for name, address in (("worker", WORKER), ("metrics", METRICS)):
        box = made.boxes[name]
        jump.network("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", str(box.pid))
        _attach(jump, name, JUMP, address)
        _attach(box, "eth0", address, JUMP)
    one, other = made.boxes["worker"], made.boxes["metrics"]
    one.network("ip", "link", "add", "metrics", "type", "veth", "peer", "name", "eth1", "netns", str(other.pid))
    _attach(one, "metrics", WORKER, METRICS)
    _attach(other, "eth1", METRICS, WORKER)
    for box in made.boxes.values():
        box.start_sshd()


def _attach(box: Box, device: str, own: str, other: str) -> None:
    box.network("ip", "address", "add", f"{own}/32", "dev", device)
    box.network("ip", "link", "set", device, "up")
    box.network("ip", "route", "add", f"{other}/32", "dev", device, "src", own)


def jump_host_configuration() -> str:
    """The hardened configuration that the jump host's boot script writes."""
    script = (ROOT / "modules_equiv" / "mlcore" / "boot" / "jump.sh").read_text()
    found = re.search(r"<<'CONF'\n(PermitRootLogin.*?)^CONF$", script, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


@contextlib.contextmanager
def relay(world: World) -> Iterator[tuple[str, Callable[[], None]]]:
    """Another address of the account, and what cuts it off."""
    port = free_port()
    target = world.environment["AWS_ENDPOINT_URL"].rsplit(":", 1)[1]
    program = (
        "import asyncio, sys\n"
        "async def pump(reader, writer):\n"
        "    while data := await reader.read(65536):\n"
        "        writer.write(data)\n"
        "    writer.close()\n"
        "async def serve(reader, writer):\n"
        "    ahead, back = await asyncio.open_connection('127.0.0.1', int(sys.argv[2]))\n"
        "    await asyncio.gather(pump(reader, back), pump(ahead, writer))\n"
        "async def main():\n"
        "    async with await asyncio.start_server(serve, '127.0.0.1', int(sys.argv[1])) as server:\n"
        "        await server.serve_forever()\n"
        "asyncio.run(main())\n"
    )
    process = psutil.Popen([sys.executable, "-c", program, str(port), target])
    try:
        wait_for("the relay", lambda: reachable(port))
        yield f"http://127.0.0.1:{port}", process.kill
    finally:
        process.kill()
        process.wait()


def reachable(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
