"""A machine: systemd as PID 1 in namespaces of its own, on an overlay of the base, with loop devices as its disks.

What is not real: the disks are loop devices under the names that EC2 gives them; there is no udev, so the links of
/dev/disk are made here; systemd leaves devices in fstab alone where /sys is read-only, so a unit mounts them.
"""

import hashlib
import json
import os
import shlex
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from constructs_lib.packed_user_data import RAW, script

MIB = 1024 * 1024
# Bytes: no file system here makes holes smaller than its page.
_BLOCK = 4096
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
STATE = "/var/lib/ml-infra"
IN_MEMORY = "/run/ml-infra/state.d"
BOOT_UNIT = "ml-infra-boot.service"
# Where a stand-in's calls of this boot are kept; in memory, so that a full root disk does not lose them.
CALLS = "/run/boot-test"

# A boot takes 3 to 10 s here.
BOOT_SECONDS = 240.0

_FSTAB_UNIT = """\
[Unit]
Description=Mounts the disks of fstab as systemd does where it sees devices
DefaultDependencies=no
After=local-fs.target
Before=sysinit.target
[Service]
Type=oneshot
ExecStart=/bin/mount -a -t ext4,xfs,btrfs
[Install]
WantedBy=sysinit.target
"""

_FIRST_BOOT_UNIT = """\
[Unit]
Description=Runs the user data once, in the place of cloud-init
Wants=network-online.target
After=network-online.target
ConditionPathExists=!/var/lib/boot-test-done
[Service]
Type=oneshot
# As cloud-final.service has them.
RemainAfterExit=yes
KillMode=process
ExecStartPre=/usr/bin/touch /var/lib/boot-test-done
ExecStart=/var/lib/boot-test-user-data
[Install]
WantedBy=multi-user.target
"""


class MachineError(Exception):
    """A machine does not do what every machine does; the message has what it said last."""


# Before a command: nothing of a machine outlives tests that are killed.
DIE_WITH_TESTS = ("setpriv", "--pdeathsig", "KILL")


def host(*command: str | Path, timeout: float = 60) -> str:
    """Runs a command outside of any machine and returns what it printed."""
    ran = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, env={"PATH": PATH}
    )
    if ran.returncode:
        raise MachineError(f"{' '.join(map(str, command))}: exit status {ran.returncode}: {ran.stderr.strip()}")
    return ran.stdout


def wait_for(what: str, true: Callable[[], bool], seconds: float = BOOT_SECONDS) -> None:
    """Returns when it is true. Raises MachineError after that many seconds."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise MachineError(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.05)


class Disk:
    """A sparse file on a loop device; outlives the machines that it is put into."""

    def __init__(self, file: Path, *, mib: int = 400) -> None:
        self.file = file
        self.loop: Path | None = None
        self._open = -1
        with file.open("ab") as image:
            image.truncate(mib * MIB)

    def attach(self, *, read_only: bool = False) -> Path:
        """The loop device, made now if there is none."""
        if self.loop is None:
            options = ["--read-only"] if read_only else []
            self.loop = Path(host("losetup", "--find", "--show", *options, self.file).strip())
            # In use, so that this takes effect when nobody uses it any more: after tests that were killed, too.
            self._open = os.open(self.loop, os.O_RDONLY)
            host("losetup", "--detach", self.loop)
        return self.loop

    def detach(self) -> None:
        """Takes the loop device away, once nobody uses it any more; the file then has everything."""
        if self.loop is None:
            return
        loop = self.loop
        wait_for(f"{loop} unused", lambda: _unused(loop), 60)
        os.close(self._open)
        backing = Path(f"/sys/block/{loop.name}/loop/backing_file")
        wait_for(f"{loop} gone", lambda: not backing.exists() or backing.read_text().strip() != str(self.file), 60)
        self.loop = None

    def make(self, *command: str) -> Self:
        """Runs a command on the device, its last argument: make("mkfs.ext4", "-q")."""
        host(*command, self.attach())
        self.detach()
        return self

    def grow(self, mib: int) -> None:
        """The volume is enlarged, as EC2 does it: the device follows, the file system does not."""
        with self.file.open("r+b") as image:
            image.truncate(mib * MIB)
        if self.loop is not None:
            host("losetup", "--set-capacity", self.loop)

    def write(self, offset: int, content: bytes) -> None:
        """Puts bytes on a disk that is in no machine; a negative offset counts from its end."""
        with self.file.open("r+b") as image:
            image.seek(offset, os.SEEK_SET if offset >= 0 else os.SEEK_END)
            image.write(content)

    def blank(self) -> None:
        """As new: nothing on it, of the same size."""
        size = self.file.stat().st_size
        self.detach()
        with self.file.open("r+b") as image:
            image.truncate(0)
            image.truncate(size)

    def put_file(self, path: str, content: str) -> None:
        """Writes a file into its file system, which no machine has mounted."""
        with self._mounted() as point:
            (point / path).parent.mkdir(parents=True, exist_ok=True)
            (point / path).write_text(content, encoding="utf-8")

    def read_file(self, path: str) -> str:
        """The text of a file in its file system, which no machine has mounted."""
        with self._mounted() as point:
            return (point / path).read_text(encoding="utf-8")

    @contextmanager
    def _mounted(self) -> Iterator[Path]:
        point = Path(tempfile.mkdtemp(prefix="disk-"))
        host("mount", self.attach(), point)
        try:
            yield point
        finally:
            host("umount", point)
            point.rmdir()
            self.detach()

    def digest(self) -> str:
        """Of every byte. The disk is in no running machine."""
        self.detach()
        return sparse_digest(self.file)

    def probe(self, tag: str) -> str:
        """One of blkid's tags: TYPE, UUID, LABEL; empty when there is none."""
        ran = subprocess.run(
            ["blkid", "-p", "-s", tag, "-o", "value", self.loop or self.file],
            capture_output=True,
            text=True,
            env={"PATH": PATH},
        )
        return ran.stdout.strip()


def sparse_digest(file: Path) -> str:
    """SHA-256 of the size and of all that is not zeros: where the holes are does not count.

    Reading alone changes what SEEK_DATA reports: of space that was allocated and never written, ext4 calls data what
    is in the page cache.
    """
    digest = hashlib.sha256(str(file.stat().st_size).encode())
    with file.open("rb") as image:
        end = 0
        while True:
            try:
                start = os.lseek(image.fileno(), end, os.SEEK_DATA)
            except OSError:  # nothing but a hole is left
                return digest.hexdigest()
            end = os.lseek(image.fileno(), start, os.SEEK_HOLE)
            for position in range(start - start % _BLOCK, end, _BLOCK):
                block = os.pread(image.fileno(), _BLOCK, position)
                if block.strip(b"\0"):
                    digest.update(f"{position}:".encode() + block)


def _unused(device: Path) -> bool:
    try:
        os.close(os.open(device, os.O_RDONLY | os.O_EXCL))
    except OSError:
        return False
    return True


@dataclass(frozen=True)
class Slot:
    """A disk in a machine: its device's name there, and the name under /dev/disk/by-id that udev would give it."""

    disk: Disk
    name: str
    by_id: str = ""
    read_only: bool = False


@dataclass(frozen=True)
class Status:
    """How the scripts say a boot went."""

    state: str
    stages: list[dict[str, Any]]

    @property
    def failed(self) -> dict[str, str]:
        """The stages that failed, with their last lines."""
        return {entry["stage"]: entry["error"] for entry in self.stages if not entry["ok"]}


class Machine:
    """Made from a folder, which holds what it wrote to its root disk. `stop` or `kill` it at the end."""

    def __init__(self, folder: Path, *, base: Path, network: int | None, root_disk: Disk | None = None) -> None:
        """network: the PID of a process in whose network namespace it is; None: it has none but a dead one of its own.

        root_disk: has an ext4 file system, and takes what the machine writes; without one, the folder does.
        """
        self.folder = folder
        self.network = network
        self.slots: list[Slot] = []
        self._base = base
        self._root_disk = root_disk
        self._process: subprocess.Popen[bytes] | None = None
        # Its first process, and the same once that has the machine's own root.
        self._first = 0
        self._pid = 0
        for name in ("root", "store"):
            (folder / name).mkdir(parents=True)
        if root_disk is None:
            for name in ("upper", "work"):
                (folder / "store" / name).mkdir()
        self._console = folder / "console"
        self.prepare("/etc/systemd/system/boot-test-fstab.service", _FSTAB_UNIT)
        self._enable("boot-test-fstab.service", "sysinit.target")

    # --- its root file system ---

    def on_root(self, path: str) -> Path:
        if self._pid:
            return Path(f"/proc/{self._pid}/root") / path.lstrip("/")
        return self.folder / "store" / "upper" / path.lstrip("/")

    def prepare(self, path: str, content: str | bytes, mode: int = 0o644) -> None:
        """Puts a file on the machine, which may run or not."""
        with self._store_mounted():
            self._put(path, content, mode)

    def fill_root(self) -> None:
        """Leaves no room on its root disk, by /filler, at each boot for as long as /etc/full is there."""
        # Not from outside: an overlay whose upper layer is full is mounted read-only.
        self.prepare("/etc/full", "")
        self.run_before("test ! -e /etc/full || dd if=/dev/zero of=/filler bs=4k || true")  # of what is left

    def copy(self, folder: Path, path: str, *, owner: int) -> None:
        """Puts a folder on the machine, which is off."""
        with self._store_mounted():
            shutil.copytree(folder, self.on_root(path), dirs_exist_ok=True)
            host("chown", "-R", f"{owner}:{owner}", self.on_root(path))

    def _put(self, path: str, content: str | bytes, mode: int) -> None:
        file = self.on_root(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        file.chmod(mode)

    def _enable(self, unit: str, target: str) -> None:
        self.prepare_link(f"/etc/systemd/system/{target}.wants/{unit}", f"/etc/systemd/system/{unit}")

    def prepare_link(self, path: str, to: str) -> None:
        """Puts a symbolic link on the machine, which may run or not."""
        with self._store_mounted():
            self._link(path, to)

    def _link(self, path: str, to: str) -> None:
        link = self.on_root(path)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(to)

    @contextmanager
    def _store_mounted(self) -> Iterator[None]:
        """A root disk of its own is mounted for a moment, unless the machine runs."""
        disk, point = self._root_disk, self.folder / "store"
        if disk is None or self._pid:
            yield
            return
        host("mount", "-t", "ext4", disk.attach(), point)
        try:
            for name in ("upper", "work"):
                (point / name).mkdir(exist_ok=True)
            yield
        finally:
            host("umount", point)
            disk.detach()

    def read(self, path: str) -> str:
        """The text of a file that the machine wrote."""
        return self.on_root(path).read_text(encoding="utf-8")

    def exists(self, path: str) -> bool:
        return self.on_root(path).exists()

    def stand_in(self, name: str, body: str = "", *, path: str = "/usr/local/sbin") -> None:
        """A program of that name that records how it is called, then runs `body`; before the real one on the PATH.

        In the body, `real` runs the program that it stands for.
        """
        # Under the same PATH: what the real one starts may be a stand-in too.
        real = f'real() {{ "$(PATH=${{PATH/\\/usr\\/local\\/sbin:/}} type -P {shlex.quote(name)})" "$@"; }}'
        record = f'(umask 0; mkdir -p {CALLS}; printf "%s\\n" "${{*@Q}}" >>{CALLS}/{name})'
        self.prepare(f"{path}/{name}", f"#!/bin/bash\n{record}\n{real}\n{body}\n", 0o755)

    def calls(self, name: str) -> list[list[str]]:
        """The arguments of every call of a stand-in since this boot. The machine runs."""
        file = self.on_root(f"{CALLS}/{name}")
        return [shlex.split(line) for line in file.read_text().splitlines()] if file.exists() else []

    # --- its disks ---

    def insert(self, disk: Disk, name: str, volume_id: str = "", *, by_id: str = "", read_only: bool = False) -> Slot:
        """Puts a disk in, under the name that its device has there; while the machine runs too.

        by_id: what udev calls it, unless it is an EBS volume, whose id says it.
        """
        if volume_id:
            by_id = f"nvme-Amazon_Elastic_Block_Store_{volume_id.replace('-', '')}"
        slot = Slot(disk, name, by_id, read_only)
        self.slots.append(slot)
        if self._pid:
            self._make_node(slot, self.on_root("/dev"))
        return slot

    def remove(self, *disks: Disk) -> None:
        """Takes disks (all, if none is named) out of a machine that is off."""
        assert not self._pid
        self.slots = [slot for slot in self.slots if disks and slot.disk not in disks]

    def become_copy_of(self, other: "Machine") -> None:
        """Takes over the root of another machine, both being off."""
        assert not self._pid
        assert not other._pid
        with self._store_mounted():
            shutil.rmtree(self.folder / "store" / "upper")
            # Overlays keep what was deleted as device nodes and attributes.
            host("cp", "-a", other.folder / "store" / "upper", self.folder / "store" / "upper")

    def _make_node(self, slot: Slot, dev: Path) -> None:
        """What the kernel and udev do for a new disk."""
        loop = slot.disk.attach(read_only=slot.read_only)
        node = dev / slot.name
        os.mknod(node, stat.S_IFBLK | 0o660, loop.stat().st_rdev)
        links = [f"by-uuid/{uuid}" for uuid in [slot.disk.probe("UUID")] if uuid]
        links += [f"by-id/{slot.by_id}"] if slot.by_id else []
        for link in links:
            (dev / "disk" / link).parent.mkdir(parents=True, exist_ok=True)
            (dev / "disk" / link).unlink(missing_ok=True)  # disks of one btrfs share their UUID
            (dev / "disk" / link).symlink_to(f"../../{slot.name}")

    # --- on and off ---

    def start(self) -> None:
        """Switches it on and returns when systemd runs."""
        self._launch("/lib/systemd/systemd")
        try:
            wait_for("its own root", self._has_own_root, 60)
            self._pid = self._first
            wait_for("systemd", lambda: self.on_root("/run/systemd/private").exists(), 60)
        except BaseException:
            self.kill()
            raise

    def execute(self, program: str, *, kill_after: float | None = None, seconds: float = BOOT_SECONDS) -> int:
        """Switches it on with this program in the place of systemd, and off at its end. Returns its exit status.

        kill_after: the power goes, so many seconds after its start if it still runs; the status is -9 then.
        """
        self._launch(program)
        assert self._process is not None
        try:
            return self._process.wait(seconds if kill_after is None else kill_after)
        except subprocess.TimeoutExpired:
            if kill_after is None:
                raise MachineError(f"{program}: not within {seconds:.0f} s") from None
            return -signal.SIGKILL
        finally:
            self.kill()

    def _launch(self, init: str) -> None:
        """Its disks are there and its first program is about to run."""
        assert self._process is None, "it runs"
        script = self._script(init)
        command = ["unshare", "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--fork", "--kill-child"]
        if self.network is None:
            command.append("--net")
        else:
            command = ["nsenter", f"--net=/proc/{self.network}/ns/net", *command]
        command = [*DIE_WITH_TESTS, *command]
        with self._console.open("ab") as console:
            self._process = subprocess.Popen(
                [*command, "bash", "-euc", script],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                env={"PATH": PATH},
            )
        try:
            wait_for("/dev of the machine", self._ready_for_disks, 60)
            # Its first process still has the host's root: the machine's /dev is further down.
            dev = Path(f"/proc/{self._first}/root") / str(self.folder / "root" / "dev").lstrip("/")
            for slot in self.slots:
                self._make_node(slot, dev)
            (self.folder / "go").touch()
        except BaseException:
            self.kill()
            raise

    def _ready_for_disks(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise MachineError(f"the machine did not start: {self._console.read_text(errors='replace')[-2000:]}")
        ready = self.folder / "ready"
        if not ready.exists():
            return False
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        self._first = int(children[0])
        return True

    def _has_own_root(self) -> bool:
        """Until then, what is done in the machine would be done to the host."""
        own, host_root = Path(f"/proc/{self._first}/root/.").stat(), Path("/").stat()
        return (own.st_dev, own.st_ino) != (host_root.st_dev, host_root.st_ino)

    def _script(self, init: str) -> str:
        """What a kernel and an initramfs would have done before systemd starts."""
        for name in ("ready", "go"):
            (self.folder / name).unlink(missing_ok=True)
        folder, root = shlex.quote(str(self.folder)), shlex.quote(str(self.folder / "root"))
        mount_store = ""
        if self._root_disk is not None:
            mount_store = (
                f"mount -t ext4 {self._root_disk.attach()} {folder}/store; mkdir -p {folder}/store/{{upper,work}}"
            )
        return f"""
            {mount_store}
            layers=lowerdir={self._base},upperdir={folder}/store/upper,workdir={folder}/store/work
            mount -t overlay -o "$layers" none {root}
            hostname mlboot
            cd {root}
            mount -t proc proc proc
            # The read-ahead of its own disks may be set; nothing else in /sys.
            mkdir -p {folder}/sys
            mount -t sysfs sysfs {folder}/sys
            mount --bind {folder}/sys sys
            mount -o remount,bind,ro sys
            mount --bind {folder}/sys/devices/virtual/bdi sys/devices/virtual/bdi
            umount {folder}/sys
            mount -t cgroup2 none sys/fs/cgroup
            mount -t tmpfs -o mode=0755 tmpfs dev
            cp -a /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty dev
            ln -s /proc/self/fd dev/fd
            : >dev/console
            mkdir dev/pts dev/shm
            mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
            ln -s pts/ptmx dev/ptmx
            mount -t tmpfs tmpfs dev/shm
            mount -t tmpfs -o mode=0755 tmpfs run
            ip link set lo up
            touch {folder}/ready
            until [[ -e {folder}/go ]]; do sleep 0.02; done
            exec chroot {root} env -i container=mlboot PATH=/usr/sbin:/usr/bin:/sbin:/bin {init}
        """

    def first_boot(self, user_data: bytes, *, cloud_init: bool = False) -> Status:
        """Boots for the first time, with this user data, and returns when all has been done."""
        if cloud_init:
            self.prepare("/var/lib/cloud/seed/nocloud/user-data", user_data)
            self.prepare("/var/lib/cloud/seed/nocloud/meta-data", "instance-id: i-0123456789abcdef0\n")
        else:
            self.give(user_data)
        return self.boot()

    def give(self, user_data: bytes) -> None:
        """The user data that the next boot, the first one, runs: as it came, and unpacked, as cloud-init has it."""
        self.prepare("/etc/cloud/cloud-init.disabled", "")
        self.prepare(RAW, user_data, 0o600)
        self.prepare("/var/lib/boot-test-user-data", script(user_data), 0o755)
        self.prepare("/etc/systemd/system/boot-test-first.service", _FIRST_BOOT_UNIT)
        self._enable("boot-test-first.service", "multi-user.target")

    def become_an_image(self, instance_id: str) -> None:
        """The next boot is the first of another machine, made from this disk; `first_boot` gives it user data.

        instance_id: cloud-init knows the new one before the network is there.
        """
        for path in ("/var/lib/boot-test-done", "/etc/systemd/system/multi-user.target.wants/boot-test-first.service"):
            self.on_root(path).unlink()
        self.prepare("/var/lib/cloud/data/instance-id", f"{instance_id}\n")

    def start_with(self, user_data: bytes) -> None:
        """Boots for the first time and returns while the user data runs."""
        self.give(user_data)
        self.start()

    def run_before(self, command: str) -> None:
        """Runs a command of the base in the machine's root, which is off; for what an image or its first boot does."""
        unit = "[Unit]\nDefaultDependencies=no\nBefore=sysinit.target\n[Service]\nType=oneshot\n"
        self.prepare("/etc/systemd/system/boot-test-image.service", f"{unit}ExecStart=/bin/sh -c '{command}'\n")
        self._enable("boot-test-image.service", "sysinit.target")

    def wait_for_unit(self, unit: str, seconds: float = BOOT_SECONDS) -> None:
        """Returns when the unit does not run any more."""
        over = ("inactive", "failed")
        wait_for(unit, lambda: self.run(f"systemctl is-active {unit}", check=False).stdout.strip() in over, seconds)

    def boot(self, *, seconds: float = BOOT_SECONDS) -> Status:
        """Switches it on and returns when all of the boot has been done."""
        self.start()
        self.wait(seconds)
        return self.status()

    def wait(self, seconds: float = BOOT_SECONDS) -> None:
        """Returns when the boot has come to its end, good or bad."""
        try:
            wait_for("the end of the boot", self._settled, seconds)
        except MachineError as error:
            jobs = self.run("systemctl list-jobs --no-pager; cat /var/lib/ml-infra/state; ps xa", check=False).stdout
            raise MachineError(f"{error}\n{jobs}") from None

    def _settled(self) -> bool:
        said = self.run("systemctl is-system-running", check=False).stdout.strip()
        return said in ("running", "degraded", "maintenance")

    def run(self, command: str, *, check: bool = True, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Runs a shell command in the machine, as root."""
        ran = subprocess.run(
            [
                *("nsenter", "-t", str(self._pid), "-a", f"--root=/proc/{self._pid}/root", "--wdns=/"),
                *("env", "-i", f"PATH={PATH}", "HOME=/root", "LC_ALL=C.UTF-8", "bash", "-c", command),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
        )
        if check and ran.returncode:
            raise MachineError(f"{command}: exit status {ran.returncode}: {ran.stdout}{ran.stderr}")
        return ran

    def status(self) -> Status:
        """What the scripts left of this boot, or of the last one when the machine is off."""
        # In memory when the root disk is full.
        folder = next((place for place in (IN_MEMORY, STATE) if self.exists(f"{place}/state")), STATE)
        lines = self.read(f"{folder}/status.jsonl").splitlines()
        return Status(self.read(f"{folder}/state").strip(), [json.loads(line) for line in lines])

    def state(self) -> str:
        """The state as it is now."""
        return self.read(f"{STATE}/state").strip()

    def exit_status(self, unit: str = BOOT_UNIT) -> int:
        """Of the main script in this boot."""
        return int(self.run(f"systemctl show -P ExecMainStatus {unit}").stdout)

    def stop(self) -> None:
        """Shuts it down in good order."""
        if self._process is None:
            return
        self.run("systemctl poweroff --no-block", check=False)
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()
            raise MachineError("it did not shut down within 60 s") from None
        self._off()

    def reboot(self) -> Status:
        self.stop()
        return self.boot()

    def kill(self) -> None:
        """Ends all of its processes at once, as when its host loses power."""
        if self._process is None:
            return
        if self._first:
            _kill(self._first)
        # unshare takes the first process with it, and that all others.
        self._process.kill()
        self._process.wait(60)
        self._off()

    def _off(self) -> None:
        pid, self._first, self._pid, self._process = self._first, 0, 0, None
        if pid:
            wait_for("the end of its processes", lambda: not Path(f"/proc/{pid}").exists(), 60)
        for disk in {slot.disk for slot in self.slots} | ({self._root_disk} if self._root_disk else set()):
            disk.detach()

    def destroy(self) -> None:
        """Off, and its folder gone."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
