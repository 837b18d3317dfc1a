"""Whatever disks a worker finds: what is on them stays byte for byte, and the status says what is wrong.

Each test is a boot of a worker that was ready before; its volume is another one now.
"""

import os
from pathlib import Path

import pytest

from tests.boot import machines
from tests.boot.machine import MIB, Disk, Machine, Status, sparse_digest, wait_for
from tests.boot.machines import VOLUME_ID
from tests.boot.workshop import Workshop

STORE = "nvme-Amazon_EC2_NVMe_Instance_Storage_AWS"


def filled(workshop: Workshop, type: str, name: str = "data", *, mib: int = 400) -> Disk:
    """A disk that somebody used: with a file system and data on it."""
    disk = workshop.disk(name, mib=mib)
    disk.make(f"mkfs.{type}", "-q", "-L", "theirs")
    disk.put_file("images/1.jpg", "precious")
    return disk


def assert_ready(machine: Machine, status: Status) -> None:
    assert (status.state, status.failed) == ("ready", {})
    assert machine.exit_status() == 0


def assert_degraded(machine: Machine, status: Status, *stages: str) -> None:
    assert (status.state, tuple(status.failed)) == (f"degraded: {' '.join(stages)}", stages)
    assert machine.exit_status() == 1


def formatted(machine: Machine) -> list[str]:
    """What was given to mkfs in this boot, for which the machine has stand-ins that record and format."""
    return [" ".join(call) for name in ("mkfs.xfs", "mkfs.btrfs", "mkfs.ext4") for call in machine.calls(name)]


def watched(workshop: Workshop) -> Machine:
    machine = workshop.settled()
    for name in ("mkfs.xfs", "mkfs.btrfs", "mkfs.ext4"):
        machine.stand_in(name, 'real "$@"')
    return machine


def test_a_digest_is_of_the_bytes_and_not_of_the_holes(tmp_path: Path) -> None:
    """Where zeros were written, where space was only reserved, and where nothing was, a disk is the same."""
    holes, zeros, reserved, other = (tmp_path / name for name in ("holes", "zeros", "reserved", "other"))
    for file in (holes, zeros, reserved, other):
        with file.open("wb") as image:
            image.truncate(3 * MIB)
            image.write(b"precious")
            image.seek(2 * MIB + 4096)
            image.write(b"more" if file != other else b"mote")
    with zeros.open("r+b") as image:
        image.seek(4096)
        image.write(bytes(2 * MIB))
    with reserved.open("r+b") as image:
        os.posix_fallocate(image.fileno(), 0, 3 * MIB)
    before = sparse_digest(reserved)
    reserved.read_bytes()

    assert sparse_digest(holes) == sparse_digest(zeros) == before == sparse_digest(reserved)
    assert sparse_digest(other) != before


@pytest.mark.parametrize("type", ["ext4", "xfs"])
def test_a_disk_with_data_is_mounted_as_it_is(workshop: Workshop, type: str) -> None:
    machine, disk = watched(workshop), filled(workshop, type)
    uuid = disk.probe("UUID")
    machine.insert(disk, "nvme1n1", VOLUME_ID)
    status = machine.boot()

    assert_ready(machine, status)
    assert formatted(machine) == []
    assert machine.read("/data/images/1.jpg") == "precious"
    assert disk.probe("UUID") == uuid
    assert f"UUID={uuid} /data {type} noatime,nofail,x-systemd.device-timeout=60s 0 2\n" in machine.read("/etc/fstab")


@pytest.mark.parametrize("content", ["unknown bytes", "swap", "vfat"])
def test_a_disk_with_an_unknown_signature_is_left_alone(workshop: Workshop, content: str) -> None:
    machine, disk = watched(workshop), workshop.disk()
    if content == "swap":
        disk.make("mkswap")
    elif content == "vfat":
        # The boot sector of a FAT32 file system, by its fixed fields.
        disk.write(0, b"\xeb\x58\x90mkfs.fat\x00\x02\x08\x20\x00\x02".ljust(82, b"\0") + b"FAT32   ")
        disk.write(510, b"\x55\xaa")
    else:
        disk.write(4096, b"MYFS-1.0 of a program that nobody here knows")
    before = disk.digest()
    machine.insert(disk, "nvme1n1", VOLUME_ID)
    status = machine.boot()

    assert_degraded(machine, status, "data")
    assert "was left as it is" in status.failed["data"]
    assert formatted(machine) == []
    assert "/data" not in machine.read("/etc/fstab")
    machine.stop()
    assert disk.digest() == before


def test_a_disk_that_appears_late_is_waited_for(workshop: Workshop) -> None:
    machine, disk = watched(workshop), filled(workshop, "xfs")
    machine.start()
    wait_for("its turn", lambda: machine.exists("/var/lib/ml-infra/state") and "data" in machine.state())
    wait_for("a look without a disk", lambda: "sleep" in machine.run("ps -eo comm").stdout)
    machine.insert(disk, "nvme1n1", VOLUME_ID)
    machine.wait()

    assert_ready(machine, machine.status())
    assert formatted(machine) == []
    assert machine.read("/data/images/1.jpg") == "precious"


def test_a_disk_that_never_appears_does_not_stop_the_rest(workshop: Workshop) -> None:
    machine = watched(workshop)
    machines.hurry(machine)
    other = filled(workshop, "ext4", "other")
    before = other.digest()
    machine.insert(other, "nvme1n1", "vol-0aaaaaaaaaaaaaaaa")
    status = machine.boot()

    assert_degraded(machine, status, "data")
    assert f"{VOLUME_ID} did not appear within 10 minutes" in status.failed["data"]
    # Ten minutes, were it not for the stand-in that sleeps less.
    assert machine.calls("sleep").count(["2"]) == 299
    machine.stop()
    assert other.digest() == before


def test_two_disks_in_the_wrong_order(workshop: Workshop) -> None:
    machine, other, disk = watched(workshop), workshop.disk("other"), filled(workshop, "xfs")
    before = other.digest()
    # The name that the volume had last time is another, blank volume's now.
    machine.insert(other, "nvme1n1", "vol-0aaaaaaaaaaaaaaaa")
    machine.insert(disk, "nvme2n1", VOLUME_ID)
    status = machine.boot()

    assert_ready(machine, status)
    assert machine.run("findmnt -nro SOURCE /data").stdout == "/dev/nvme2n1\n"
    assert machine.read("/data/images/1.jpg") == "precious"
    assert formatted(machine) == []
    machine.stop()
    assert other.digest() == before


def test_a_grown_disk(workshop: Workshop) -> None:
    machine, disk = watched(workshop), filled(workshop, "xfs")
    disk.grow(900)
    machine.insert(disk, "nvme1n1", VOLUME_ID)
    status = machine.boot()

    assert_ready(machine, status)
    assert int(machine.run("df --output=size -m /data | tail -n 1").stdout) > 750
    assert machine.read("/data/images/1.jpg") == "precious"
    assert formatted(machine) == []


def test_a_disk_that_grows_while_the_machine_runs(workshop: Workshop) -> None:
    machine, disk = watched(workshop), filled(workshop, "xfs")
    machine.insert(disk, "nvme1n1", VOLUME_ID)
    assert_ready(machine, machine.boot())
    assert machine.run("systemctl is-active ml-infra-grow-data.timer").stdout == "active\n"
    timer = machine.run("systemctl show -P TimersCalendar ml-infra-grow-data.timer").stdout
    assert "OnCalendar=*-*-* *:*:00 " in timer

    disk.grow(900)
    machine.run("systemctl start ml-infra-grow-data.service")  # not to wait for the minute
    assert int(machine.run("df --output=size -m /data | tail -n 1").stdout) > 750
    assert machine.read("/data/images/1.jpg") == "precious"


def test_each_volume_is_read_once(workshop: Workshop) -> None:
    """EC2 fetches what comes from a snapshot when it is read first."""
    machine, disk = watched(workshop), workshop.disk(mib=2500).make("mkfs.xfs", "-q")
    machine.stand_in("dd", '[[ $* != *iflag=direct* ]] || real "$@"')
    machine.insert(disk, "nvme1n1", VOLUME_ID)

    def read() -> list[str]:
        """Where it began to read, in MiB; each time so much that nothing is left out."""
        assert_ready(machine, machine.boot())
        machine.wait_for_unit("ml-infra-warm-up-data")
        calls = [call for call in machine.calls("dd") if "if=/dev/nvme1n1" in call]
        assert all({"bs=1M", "count=1024", "iflag=direct"} <= set(call) for call in calls)
        return sorted(option for call in calls for option in call if option.startswith("skip="))

    assert read() == ["skip=0", "skip=1024", "skip=2048"]
    assert machine.read("/data/.ml-infra-warmed-up") == f"{VOLUME_ID}\n"
    machine.stop()
    assert read() == []
    machine.stop()
    # A volume that was made from a snapshot of it has the same on it.
    machine.remove(disk)
    other = "vol-0aaaaaaaaaaaaaaaa"
    machine.insert(disk, "nvme1n1", other)
    machine.prepare(
        "/etc/ml-infra/boot.env", machine.read("/etc/ml-infra/boot.env").replace(VOLUME_ID, other), mode=0o644
    )
    assert read() == ["skip=0", "skip=1024", "skip=2048"]
    assert machine.read("/data/.ml-infra-warmed-up") == f"{other}\n"


@pytest.mark.parametrize("type", ["xfs", ""])
def test_a_read_only_disk(workshop: Workshop, type: str) -> None:
    machine, disk = watched(workshop), filled(workshop, type) if type else workshop.disk()
    before = disk.digest()
    machine.insert(disk, "nvme1n1", VOLUME_ID, read_only=True)
    status = machine.boot()

    assert_degraded(machine, status, "data")
    assert "ead-only" in status.failed["data"]
    # What is there can be read.
    assert machine.run("cat /data/images/1.jpg", check=False).stdout == ("precious" if type else "")
    machine.stop()
    assert disk.digest() == before


def test_a_disk_under_its_name_of_xen(workshop: Workshop) -> None:
    machine, disk = watched(workshop), filled(workshop, "ext4")
    machine.insert(disk, "xvdh")
    status = machine.boot()

    assert_ready(machine, status)
    assert machine.read("/data/images/1.jpg") == "precious"
    assert formatted(machine) == []


@pytest.mark.parametrize(("count", "type"), [(1, "xfs"), (3, "btrfs")])
def test_instance_store_is_made_and_made_again_after_a_stop(workshop: Workshop, count: int, type: str) -> None:
    machine, data = watched(workshop), filled(workshop, "xfs")
    machine.insert(data, "nvme1n1", VOLUME_ID)
    store = [workshop.disk(f"store{number}") for number in range(count)]
    for number, disk in enumerate(store):
        machine.insert(disk, f"nvme{number + 2}n1", by_id=f"{STORE}{number}")
    for number in (1, 2):
        status = machine.boot()
        assert_ready(machine, status)
        assert machine.run("findmnt -nro FSTYPE /scratch; stat -c %u /scratch").stdout == f"{type}\n1000\n"
        # All of the disks are in it.
        assert int(machine.run("df --output=size -m /scratch | tail -n 1").stdout) > 300 * count
        assert not machine.exists("/scratch/cache")
        machine.run("echo temporary >/scratch/cache")
        assert len(formatted(machine)) == 1
        # A reboot keeps it.
        status = machine.reboot()
        assert_ready(machine, status)
        assert machine.read("/scratch/cache") == "temporary\n"
        assert formatted(machine) == []
        machine.stop()
        if number == 1:
            # EC2 stops the machine: it comes up on other hardware, with other disks.
            for disk in store:
                disk.blank()


def test_instance_store_that_the_image_has_mounted_is_used_there(workshop: Workshop) -> None:
    """AWS's Deep Learning images make one volume of all of it on /opt/dlami/nvme."""
    machine, data = watched(workshop), filled(workshop, "xfs")
    machine.insert(data, "nvme1n1", VOLUME_ID)
    machine.insert(workshop.disk("store"), "nvme2n1", by_id=f"{STORE}0")
    machine.run_before("mkdir -p /opt/dlami/nvme && mount -t tmpfs tmpfs /opt/dlami/nvme")
    status = machine.boot()

    assert_ready(machine, status)
    assert formatted(machine) == []
    assert machine.run("readlink /scratch; stat -Lc %u /scratch").stdout == "/opt/dlami/nvme/scratch\n1000\n"


def test_instance_store_that_holds_something_is_left_alone(workshop: Workshop) -> None:
    machine, data = watched(workshop), filled(workshop, "xfs")
    machine.insert(data, "nvme1n1", VOLUME_ID)
    store = [workshop.disk("store0"), filled(workshop, "ext4", "store1")]
    before = [disk.digest() for disk in store]
    for number, disk in enumerate(store):
        machine.insert(disk, f"nvme{number + 2}n1", by_id=f"{STORE}{number}")
    status = machine.boot()

    assert_degraded(machine, status, "scratch")
    assert "is not blank and was left as it is" in status.failed["scratch"]
    assert machine.read("/data/images/1.jpg") == "precious"
    machine.stop()
    assert [disk.digest() for disk in store] == before


def test_a_volume_too_small_for_a_file_system_is_said(workshop: Workshop) -> None:
    machine = watched(workshop)
    disk = Disk(workshop.folder / "small.img", mib=0)
    workshop.disks.append(disk)
    with disk.file.open("r+b") as file:
        file.truncate(20 * MIB)
    before = disk.digest()
    machine.insert(disk, "nvme1n1", VOLUME_ID)
    status = machine.boot()

    assert_degraded(machine, status, "data")
    machine.stop()
    assert disk.digest() == before
