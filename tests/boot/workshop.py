"""Where machines are made: the base, an AWS for them, and the disks and machines themselves, gone at the end."""

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ops.core.environment import ROOT
from tests.boot import machines, training
from tests.boot.machine import DIE_WITH_TESTS, PATH, Disk, Machine, MachineError, host, wait_for
from tools import boot_base

# As the base has it.
FSTAB = "# static information\n"


class CannotError(Exception):
    """This system does not let machines be made; the message says what to do."""


@dataclass(frozen=True)
class Ground:
    """What all machines share.

    base: their root file system. cloud: the PID of the embedded AWS, whose network they are in. srv: what they have in
    /srv in place of the internet. efs: an empty file system that belongs to the user of the access point.
    """

    base: Path
    cloud: int
    srv: Path
    efs: Path

    @property
    def revision(self) -> str:
        """The pinned revision of the training repository."""
        return (self.srv / "training.revision").read_text().strip()


@contextmanager
def prepared(folder: Path) -> Iterator[Ground]:
    """Makes all of it, below an empty folder. Raises CannotError."""
    base = _base()
    _own_mounts()
    for name in ("srv", "efs", "cloud"):
        (folder / name).mkdir()
    training.repository(folder / "srv")
    shutil.rmtree(folder / "srv" / "work")
    training.wheels(folder / "srv")
    efs = Disk(folder / "efs" / "efs.img", mib=32)
    efs.make("mkfs.ext4", "-q", "-E", "root_owner=1000:1000")
    with _cloud(folder / "cloud" / "log") as pid:
        yield Ground(base, pid, folder / "srv", efs.file)


def _base() -> Path:
    if os.geteuid() != 0:
        raise CannotError("boot tests make mounts, namespaces and loop devices: run them as root (sudo make boot)")
    try:
        built = boot_base.build()
    except boot_base.BootBaseError as error:
        raise CannotError(str(error)) from error
    try:
        host("unshare", "--mount", "--pid", "--fork", "mount", "-t", "cgroup2", "none", "/sys/fs/cgroup")
    except MachineError as error:
        raise CannotError(
            f"no mounts of its own in a container like this ({error}): use a privileged container"
        ) from error
    try:
        host("losetup", "--find")
    except MachineError as error:
        way_out = "modprobe loop; in a container: --privileged -v /dev:/dev"
        raise CannotError(f"no loop devices here ({error}): {way_out}") from error
    return built


def _own_mounts() -> None:
    """What this process mounts is seen by it alone: a copy of it that another program held would keep disks in use."""
    new_namespace = 0x00020000  # CLONE_NEWNS in sched.h; os.unshare comes with Python 3.12
    if ctypes.CDLL(None, use_errno=True).unshare(new_namespace):
        raise CannotError(f"no mount namespace of its own: {os.strerror(ctypes.get_errno())}")
    host("mount", "--make-rprivate", "/")


@contextmanager
def _cloud(log: Path) -> Iterator[int]:
    """The embedded AWS in a network namespace without a way out. The PID of its process."""
    address = "10.0.1.10"
    script = (
        f"ip link set lo up && ip address add {address}/32 dev lo && "
        f"ip route add 169.254.169.254/32 dev lo src {address} && "
        f'exec "$0" -m embedded_aws serve --port {machines.PORT}'
    )
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*DIE_WITH_TESTS, "unshare", "--net", "sh", "-c", script, sys.executable],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env={**os.environ, "PATH": f"{os.environ.get('PATH', '')}:{PATH}"},
        )

    def said() -> str:
        return log.read_text(errors="replace")

    try:
        wait_for("the embedded AWS", lambda: "on http://" in said() or process.poll() is not None)
        if process.poll() is not None:
            raise MachineError(f"the embedded AWS ended: {said()}")
        yield process.pid
    finally:
        process.kill()
        process.wait()


@dataclass
class Workshop:
    """Makes disks and machines in a folder; `clean` takes all of them away again.

    settled_worker: a worker that was ready once and is off.
    """

    folder: Path
    ground: Ground
    settled_worker: Machine | None = None
    disks: list[Disk] = field(default_factory=list)
    made: list[Machine] = field(default_factory=list)

    def disk(self, name: str = "data", *, mib: int = 400) -> Disk:
        """A blank one."""
        disk = Disk(self.folder / f"{name}.img", mib=mib)
        self.disks.append(disk)
        return disk

    def efs(self, name: str) -> Disk:
        """Stands for a shared file system."""
        shutil.copy(self.ground.efs, self.folder / f"{name}.img")
        return self.disk(name, mib=32)

    def machine(
        self, name: str = "machine", *, network: bool = True, root_disk: Disk | None = None, efs: Disk | None = None
    ) -> Machine:
        """With everything that it needs but a data disk; `efs` if it is to share one."""
        machine = Machine(
            self.folder / name,
            base=self.ground.base,
            network=self.ground.cloud if network else None,
            root_disk=root_disk,
        )
        self.made.append(machine)
        machines.furnish(machine, efs=efs or self.efs(f"{name}-efs"))
        machine.copy(self.ground.srv, "/srv", owner=1000)
        return machine

    def settled(self, name: str = "machine", *, again: bool = False, **options: Any) -> Machine:
        """A worker that was ready once, switched off, whose volume is gone: what comes next is a reboot.

        again: it is to get user data once more, as an image made from such a worker does.
        """
        machine = self.machine(name, **options)
        assert self.settled_worker
        machine.become_copy_of(self.settled_worker)
        machine.prepare("/etc/fstab", FSTAB)
        if again:
            machine.become_an_image(machines.OTHER_INSTANCE_ID)
        return machine

    def worker(self, profile: str = "none", **settings: str) -> bytes:
        """The user data of a worker."""
        return machines.worker(profile, revision=self.ground.revision, **settings)

    def clean(self) -> None:
        errors: list[Exception] = []
        for machine in self.made:
            _try(machine.destroy, errors)
        for disk in self.disks:
            _try(disk.detach, errors)
        shutil.rmtree(self.folder, ignore_errors=True)
        if errors:
            raise ExceptionGroup("not everything could be taken away", errors)


def _try(action: Callable[[], None], errors: list[Exception]) -> None:
    try:
        action()
    except Exception as error:
        errors.append(error)
