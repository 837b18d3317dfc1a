"""What goes wrong around a boot: power, network, a full disk, a file system that does not answer."""

import json

import pytest

from tests.boot import machines
from tests.boot.machine import Disk, wait_for
from tests.boot.machines import VOLUME_ID
from tests.boot.workshop import FSTAB, Workshop

READY: tuple[str, dict[str, str]] = ("ready", {})


def data_disk(workshop: Workshop) -> Disk:
    disk = workshop.disk()
    disk.make("mkfs.xfs", "-q", "-L", "theirs")
    disk.put_file("images/1.jpg", "precious")
    return disk


# A stage, and a program that it calls: there the test holds it. Three call none here: aws_cli, accelerator, hold.
# Not every_boot: as with cloud-init, user data is not run again, and what repeats it is not there before its end.
INSIDE = {
    "data": "blkid",
    "scratch": "sort",
    "packages": "dpkg-query",
    "efs": "mountpoint",
    "agent": "amazon-cloudwatch-agent-ctl",
    "training_code": "git",
    "training_environment": "runuser",
    "train_command": "ln",
}
# Waits for ever where /etc/hold says so; what a stage is doing is seen by it, not by how long it takes.
HOLD = """
if [[ -e /etc/hold && $(</etc/hold) == "$(</var/lib/ml-infra/state) ${0##*/}" ]]; then
  touch /run/boot-test/held
  exec /usr/bin/sleep infinity
fi
"""


# A git that is killed while it checks out leaves its lock.
HOLD_GIT = f"""
[[ $* == *" checkout "* ]] || {{ real "$@"; exit; }}
{HOLD.replace("touch ", "touch /opt/training/.git/index.lock ")}
real "$@"
"""


def test_killed_in_the_middle_of_every_stage_and_run_again(workshop: Workshop) -> None:
    machine, disk = workshop.machine(), workshop.disk()
    machine.insert(disk, "nvme1n1", VOLUME_ID)
    for name in ("mkfs.xfs", "mkfs.ext4"):
        machine.stand_in(name, 'real "$@"')
    for program in INSIDE.values():
        if program == "amazon-cloudwatch-agent-ctl":
            machine.stand_in(program, HOLD, path="/opt/aws/amazon-cloudwatch-agent/bin")
        elif program == "git":
            machine.stand_in(program, HOLD_GIT)
        else:
            machine.stand_in(program, f'{HOLD}real "$@"')
    machine.give(workshop.worker())
    uuids: set[str] = set()
    for stage, program in INSIDE.items():
        machine.prepare("/etc/hold", f"running {stage} {program}\n")
        machine.start()
        wait_for(stage, lambda: machine.exists("/run/boot-test/held"))
        if stage != "data":
            machine.run("test -e /data/images || echo precious >/data/images")
            if uuids:
                assert machine.calls("mkfs.xfs") == []
            uuids.add(disk.probe("UUID"))
        machine.kill()
    machine.on_root("/etc/hold").unlink()

    status = machine.boot()

    assert (status.state, status.failed) == READY
    assert machine.exit_status() == 0
    assert {entry["stage"] for entry in status.stages} == {*INSIDE, "every_boot", "aws_cli", "accelerator", "hold"}
    assert machine.calls("mkfs.xfs") == machine.calls("mkfs.ext4") == []
    assert machine.read("/data/images") == "precious\n"
    assert {disk.probe("UUID")} == uuids
    assert machine.run("git -c safe.directory=* -C /opt/training status --porcelain --untracked-files=no").stdout == ""
    assert machine.run("/opt/training/venv/bin/python -c 'import torch, tensorboard, boto3, packaging'").returncode == 0


def test_killed_while_the_file_system_is_being_made(workshop: Workshop) -> None:
    """What mkfs left is not blank, and nobody but a person may say that it is worth nothing."""
    machine, disk = workshop.settled(), workshop.disk()
    machine.stand_in("mkfs.xfs", 'printf "half of something" >"${@: -1}"\ntouch /run/boot-test/half\nexec sleep 60')
    machine.insert(disk, "nvme1n1", VOLUME_ID)
    machine.start()
    wait_for("mkfs", lambda: machine.exists("/run/boot-test/half"))
    machine.kill()
    machine.stand_in("mkfs.xfs", 'real "$@"')
    before = disk.digest()

    status = machine.boot()

    assert status.state == "degraded: data"
    assert "empty it yourself (wipefs -a, blkdiscard)" in status.failed["data"]
    assert machine.exit_status() == 1
    assert machine.calls("mkfs.xfs") == []
    # As the message says.
    machine.run("wipefs -a /dev/nvme1n1; blkdiscard /dev/nvme1n1")
    assert disk.digest() != before
    machine.insert(disk, "again", VOLUME_ID)
    status = machine.reboot()
    assert (status.state, status.failed) == READY


def test_no_network(workshop: Workshop) -> None:
    machine, disk = workshop.machine(network=False), data_disk(workshop)
    machine.insert(disk, "nvme1n1", VOLUME_ID)
    machines.cut_off(machine)
    machines.hurry(machine)
    status = machine.first_boot(workshop.worker())

    failed = ("efs", "agent", "training_code", "training_environment")
    assert status.state == f"degraded: {' '.join(failed)}"
    assert tuple(status.failed) == failed
    assert status.failed["training_environment"] == "skipped: needs training_code"
    assert machine.exit_status("boot-test-first.service") == 1
    assert machine.read("/data/images/1.jpg") == "precious"
    log = machine.run("journalctl -u boot-test-first --no-pager").stdout
    assert "the status could not be put into /ml-infra/ml-core/train-model/worker/boot-status" in log

    # The network is back: what was missed is made up for.
    machine.stop()
    machine.network = workshop.ground.cloud
    machines.connect(machine)
    status = machine.boot()
    assert (status.state, status.failed) == READY
    assert machine.read("/data/images/1.jpg") == "precious"


@pytest.mark.parametrize("when", ["before the boot", "during the boot"])
def test_a_full_root_disk(workshop: Workshop, when: str) -> None:
    root = workshop.disk("root", mib=600)
    root.make("mkfs.ext4", "-q")
    machine, disk = workshop.settled(root_disk=root), data_disk(workshop)
    machine.insert(disk, "nvme1n1", VOLUME_ID)
    if when == "before the boot":
        machine.fill_root()
    else:
        fill = "dd if=/dev/zero of=/filler bs=4k 2>/dev/null"
        machine.stand_in("mount.efs", f'{fill}\nexec mount -t ext4 /dev/efs "$2"', path="/usr/sbin")
    status = machine.boot()

    # In memory, and in the parameter as ever.
    assert status.state.startswith("degraded: root_disk")
    assert "the root disk is full or read-only" in status.failed["root_disk"]
    assert machine.exit_status() == 1
    names = [entry["stage"] for entry in status.stages]
    assert names.index("root_disk") == (0 if when == "before the boot" else names.index("efs") - 1)
    assert {"data", "scratch", "efs", "accelerator", "agent", "train_command"} <= set(names)
    parameter = machines.status_parameter("train-model", "worker")
    said = json.loads(
        machine.run(f"aws ssm get-parameter --name {parameter} --query Parameter.Value --output text").stdout
    )
    assert (said["state"], said["stages"]) == (status.state, status.stages)
    assert machine.read("/data/images/1.jpg") == "precious"
    # Nothing that was right is half of what it was.
    assert machine.read("/etc/fstab").startswith(FSTAB)
    assert "ExecStart=" in machine.read("/etc/systemd/system/ml-infra-boot.service")

    machine.run("rm -f /filler /etc/full")
    machines.connect(machine)
    status = machine.reboot()
    assert (status.state, status.failed) == READY
    assert machine.read("/data/images/1.jpg") == "precious"


def test_efs_that_does_not_answer(workshop: Workshop) -> None:
    machine, disk = workshop.settled(), data_disk(workshop)
    machine.insert(disk, "nvme1n1", VOLUME_ID)
    machine.stand_in("mount.efs", "exec -a no-answer /usr/bin/sleep infinity", path="/usr/sbin")
    machines.hurry(machine)
    status = machine.boot()

    assert status.state == "degraded: efs"
    assert (
        f"/efs is not mounted: see /var/log/amazon/efs/mount.log, and whether {machines.MOUNT_TARGET}:2049"
        in (status.failed["efs"])
    )
    assert machine.exit_status() == 1
    # Three times by id, three times by address; 90 s each, were it not for the stand-in that gives 3.
    limits = [call for call in machine.calls("timeout") if call[-2:] == ["mount", "/efs"]]
    assert limits == [["-k", "10", "90", "mount", "/efs"]] * 6
    assert [f"mounttargetip={machines.MOUNT_TARGET}" in call[3] for call in machine.calls("mount.efs")] == (
        [False] * 3 + [True] * 3
    )
    assert machine.read("/data/images/1.jpg") == "precious"
    # Of those that did not answer, none is left.
    assert [line for line in machine.run("ps -eo args").stdout.splitlines() if line.startswith("no-answer")] == []


def test_a_stage_that_hangs_is_ended_and_the_rest_is_done(workshop: Workshop) -> None:
    """As nvidia-smi does when the driver has lost a GPU; a signal to it alone would be ignored."""
    machine, disk = workshop.settled(again=True), data_disk(workshop)
    machine.insert(disk, "nvme1n1", VOLUME_ID)
    machines.accelerators(machine, "nvidia")
    machine.stand_in("timeout", 'shift 3\nexec "$@"')
    machine.stand_in("nvidia-smi", "trap '' TERM\n(exec -a lost-gpu /usr/bin/sleep infinity)\ntrue")
    machine.prepare(
        "/etc/systemd/system.conf.d/stage.conf", "[Manager]\nDefaultEnvironment=ML_INFRA_STAGE_SECONDS=15\n"
    )
    status = machine.first_boot(workshop.worker("nvidia"))

    assert status.state == "degraded: accelerator agent"
    assert status.failed == dict.fromkeys(["accelerator", "agent"], "did not end within 15 s and was killed")
    assert "train_command" in [entry["stage"] for entry in status.stages]
    assert [line for line in machine.run("ps -eo args").stdout.splitlines() if line.startswith("lost-gpu")] == []


def test_a_gpu_that_does_not_answer_is_not_waited_for_long(workshop: Workshop) -> None:
    machine, disk = workshop.settled(again=True), data_disk(workshop)
    machine.insert(disk, "nvme1n1", VOLUME_ID)
    machines.accelerators(machine, "nvidia")
    machine.stand_in("nvidia-smi", "exec /usr/bin/sleep infinity")
    machines.hurry(machine, "nvidia-smi")
    status = machine.first_boot(workshop.worker("nvidia"))

    assert status.state == "degraded: accelerator agent"
    assert "the NVIDIA driver does not answer" in status.failed["accelerator"]
    assert "nvidia-smi does not work" in status.failed["agent"]


def test_the_tunnel_of_efs_outlives_the_boot(workshop: Workshop) -> None:
    """mount.efs leaves it running in the background; without it, /efs hangs."""
    machine, disk = workshop.settled(), data_disk(workshop)
    machine.insert(disk, "nvme1n1", VOLUME_ID)
    status = machine.boot()

    assert (status.state, status.failed) == READY
    assert len(machine.calls("mount.efs")) == 1
    assert machine.run("pgrep -c -f ^efs-proxy").stdout == "1\n"


def test_systemds_own_mount_of_efs_is_waited_for(workshop: Workshop) -> None:
    """Once /efs is in fstab, systemd mounts it at a boot: two mounts at once would be one over the other."""
    machine, disk = workshop.settled(), data_disk(workshop)
    machine.insert(disk, "nvme1n1", VOLUME_ID)
    machine.boot()
    machine.stop()
    held, go = "/run/boot-test/held", "/run/boot-test/go"
    mount = machine.read("/usr/sbin/mount.efs")
    wait = f"mkfifo {go}; touch {held}; read -r _ <{go}"
    machine.prepare("/usr/sbin/mount.efs", mount.replace("setsid", f"{wait}\nsetsid", 1), 0o755)
    machine.start()
    wait_for("the mount", lambda: machine.exists(held))

    def jobs() -> dict[str, str]:
        lines = machine.run("systemctl list-jobs --no-legend --plain").stdout.splitlines()
        return {unit: state for _, unit, _, state in (line.split() for line in lines)}

    # All else has been done.
    last = {"efs.mount", "ml-infra-boot.service", "multi-user.target", "graphical.target"}
    wait_for("the other units", lambda: jobs().keys() <= last)
    assert {unit: state for unit, state in jobs().items() if unit.startswith(("efs", "ml-infra"))} == {
        "efs.mount": "running",
        "ml-infra-boot.service": "waiting",
    }
    machine.run(f"echo >{go}")
    machine.wait()

    assert (machine.status().state, machine.status().failed) == READY
    assert len(machine.calls("mount.efs")) == 1
