"""No sequence of boots, over any layout of disks, ever formats a device that had anything on it.

The boots run what is shipped to a worker, without the stages that touch no disk and without systemd, so that there
can be many of them.
"""

import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from constructs_lib.packed_user_data import unpacked
from constructs_lib.user_data import FOLDER
from tests.boot.conftest import cleaned, short_folder
from tests.boot.machine import Disk, Machine
from tests.boot.machines import VOLUME_ID
from tests.boot.workshop import FSTAB, Ground, Workshop

STORE = "nvme-Amazon_EC2_NVMe_Instance_Storage_AWS"
OF_DISKS = ("data", "scratch")
MKFS = ("mkfs.xfs", "mkfs.btrfs", "mkfs.ext4", "mke2fs", "mkswap")
FILE_SYSTEMS = ("xfs", "ext4", "btrfs")
CONTENTS = (
    *FILE_SYSTEMS,
    "blank",
    "blank",
    "blank",
    "swap",
    "bytes at the start",
    "bytes at the end",
    "partition table",
)
ROLES = ("the volume", "another volume", "instance store")


# What the boots of all examples came to: exit status, whether anything was formatted.
seen: set[tuple[int, bool]] = set()


@dataclass(frozen=True)
class Layout:
    """A disk of a layout."""

    content: str
    role: str


@dataclass(frozen=True)
class Boot:
    """What differs from the boot before: the order of the disks, and when the power goes (s; None: it stays)."""

    order: tuple[int, ...]
    power: float | None


def boots(count: int) -> st.SearchStrategy[list[Boot]]:
    order = st.permutations(range(count)).map(tuple)
    power = st.one_of(st.none(), st.floats(0.05, 1.0))
    return st.lists(st.builds(Boot, order, power), min_size=1, max_size=3)


def one_volume(disks: list[Layout]) -> bool:
    return [disk.role for disk in disks].count("the volume") <= 1


layouts = st.lists(st.builds(Layout, st.sampled_from(CONTENTS), st.sampled_from(ROLES)), min_size=1, max_size=4).filter(
    one_volume
)


@pytest.fixture(scope="module")
def worker(ground: Ground) -> Iterator[tuple[Workshop, Machine]]:
    with cleaned(Workshop(short_folder(), ground)) as made:
        machine = made.machine()
        machine.remove()
        files = unpacked(made.worker())
        for name, text in files.items():
            machine.prepare(f"{FOLDER}/{name}", text, 0o755)
        stages = re.findall(r"^(?:after .*)?stage (\w+)", files["worker.sh"], re.MULTILINE)
        assert set(OF_DISKS) < set(stages)
        others = "|".join(sorted(set(stages) - set(OF_DISKS)))
        only_disks = re.sub(rf"^(?:after .*)?stage (?:{others}) .*\n", "", files["worker.sh"], flags=re.MULTILINE)
        machine.prepare("/root/worker.sh", only_disks)
        machine.prepare(
            "/etc/ml-infra/boot.env", f"BOOT_PROFILE=none\nDATA_VOLUME_ID={VOLUME_ID}\nAWS_REGION=us-east-1\n"
        )
        machine.stand_in("systemctl")
        machine.stand_in("systemd-run")
        machine.stand_in("sleep", "exec /usr/bin/sleep 0.01")
        for name in MKFS:
            # On the disk, since the power may go.
            record = 'printf "%s\\n" "$*" >>/root/formatted; sync /root/formatted'
            machine.stand_in(name, f'{record}\nreal "$@"')
        yield made, machine


def fill(disk: Disk, content: str) -> None:
    if content in FILE_SYSTEMS:
        disk.make(f"mkfs.{content}", "-q", "-L", "theirs")
        disk.put_file("precious", "not to be lost")
    elif content == "swap":
        disk.make("mkswap")
    elif content == "bytes at the start":
        disk.write(4096, b"MYFS-1.0")
    elif content == "bytes at the end":
        disk.write(-512, b"trailer")
    elif content == "partition table":
        # One Linux partition from sector 2048.
        disk.write(450, b"\x83")
        disk.write(454, (2048).to_bytes(4, "little") + (65536).to_bytes(4, "little"))
        disk.write(510, b"\x55\xaa")


@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), disks=layouts)
def test_nothing_that_held_something_is_ever_formatted(
    worker: tuple[Workshop, Machine], data: st.DataObject, disks: list[Layout]
) -> None:
    workshop, machine = worker
    made = [workshop.disk(f"disk{number}", mib=320) for number in range(len(disks))]
    try:
        for disk, layout in zip(made, disks, strict=True):
            fill(disk, layout.content)
        blank = workshop.disk("blank", mib=320).digest()
        machine.prepare("/etc/fstab", FSTAB)
        for boot in data.draw(boots(len(disks))):
            before = [disk.digest() for disk in made]
            uuids = [disk.probe("UUID") for disk in made]
            machine.prepare("/root/formatted", "")
            machine.remove()
            for place, number in enumerate(boot.order):
                insert(machine, made[number], f"nvme{place + 1}n1", disks[number].role, number)
            status = machine.execute("/bin/bash /root/worker.sh", kill_after=boot.power)
            said = machine.read("/root/formatted")
            note(f"{boot}: exit status {status}, formatted: {said!r}")
            seen.add((status, bool(said)))
            formatted = {int(place) - 1 for place in re.findall(r"/dev/nvme(\d+)n1", said)}
            for place, number in enumerate(boot.order):
                if place in formatted:
                    assert before[number] == blank, f"{disks[number]} was formatted"
                    assert said.count(f"/dev/nvme{place + 1}n1") == 1
                    assert disks[number].role != "another volume"
                elif uuids[number] and made[number].probe("TYPE") in FILE_SYSTEMS:
                    # Mounting writes into a file system, but it stays the same one.
                    assert made[number].probe("UUID") == uuids[number]
                else:
                    assert made[number].digest() == before[number]
        for disk, layout in zip(made, disks, strict=True):
            if layout.content in FILE_SYSTEMS:
                assert disk.read_file("precious") == "not to be lost"
    finally:
        for disk in [*made, *[one for one in workshop.disks if one.file.name == "blank.img"]]:
            disk.detach()
            disk.file.unlink(missing_ok=True)
        workshop.disks.clear()


def insert(machine: Machine, disk: Disk, name: str, role: str, number: int) -> None:
    if role == "the volume":
        machine.insert(disk, name, VOLUME_ID)
    elif role == "another volume":
        machine.insert(disk, name, f"vol-0aaaaaaaaaaaaaaa{number}")
    else:
        machine.insert(disk, name, by_id=f"{STORE}{number}")


def test_the_examples_had_every_kind_of_boot() -> None:
    """Ready and degraded, ended and killed, with something to format and without: else the above shows little."""
    assert {(0, True), (0, False), (1, False)} <= seen
    assert -signal.SIGKILL in {status for status, _ in seen}
