"""Every kind of machine comes up ready from what its stack ships, and stays what it is at a reboot."""

import json

import pytest

from tests.boot import machines
from tests.boot.machine import Machine, wait_for
from tests.boot.machines import GRAFANA_VOLUME_ID, VOLUME_ID
from tests.boot.workshop import Workshop

HABANA_IMAGE = "vault.habana.ai/gaudi-docker/1.21.3/ubuntu22.04/habanalabs/pytorch-installer-2.6.0:1.21.3-57"
READY: tuple[str, dict[str, str]] = ("ready", {})


def published(machine: Machine, stack: str, name: str) -> dict[str, object]:
    """What the machine's one parameter says of it, through the real AWS CLI."""
    parameter = machines.status_parameter(stack, name)
    said = machine.run(f"aws ssm get-parameter --name {parameter} --query Parameter.Value --output text").stdout
    assert len(said.strip()) <= 4096
    found: dict[str, object] = json.loads(said)
    return found


def mounted(machine: Machine, point: str) -> str:
    """The device and type of what is mounted there."""
    return machine.run(f"findmnt -nro SOURCE,FSTYPE --mountpoint {point}", check=False).stdout.strip()


@pytest.mark.parametrize("profile", machines.TYPES)
def test_a_worker_comes_up_ready_and_a_reboot_changes_nothing(workshop: Workshop, profile: str) -> None:
    machine, disk = workshop.machine(), workshop.disk()
    machine.insert(disk, "nvme1n1", VOLUME_ID)
    machines.accelerators(machine, profile)
    machines.packages_of_an_image(machine, workshop.ground.base)
    # The first of them as cloud-init does it, which is what EC2 has; it takes some seconds more.
    status = machine.first_boot(workshop.worker(profile), cloud_init=profile == "none")

    assert (status.state, status.failed) == READY
    assert published(machine, "train-model", "worker") == {
        "state": "ready",
        "machine": machines.INSTANCE_ID,
        "boot": published(machine, "train-model", "worker")["boot"],
        "stages": status.stages,
    }
    assert mounted(machine, "/data") == "/dev/nvme1n1 xfs"
    assert mounted(machine, "/efs") == "/dev/efs ext4"
    (efs,) = machine.calls("mount.efs")
    assert efs[:2] == [machines.FILE_SYSTEM, "/efs"]
    assert {"tls", "iam", f"accesspoint={machines.ACCESS_POINT}"} <= set(efs[3].split(","))
    assert machine.run("cat /sys/class/bdi/$(mountpoint -d /efs)/read_ahead_kb").stdout == "15000\n"
    uuid = disk.probe("UUID")
    assert f"UUID={uuid} /data xfs noatime,nofail,x-systemd.device-timeout=60s 0 2\n" in machine.read("/etc/fstab")
    # The training user owns where it works, and nothing is open to everybody.
    assert machine.run("stat -c '%u %a' /data /efs/trained_model /opt/training").stdout == "1000 755\n" * 3
    everybody = "find /data /efs /opt/training /usr/local /etc /var/lib/ml-infra -perm -2 ! -type l ! -perm -1000"
    assert machine.run(everybody).stdout == ""

    code = machine.run("git -c safe.directory=* -C /opt/training rev-parse HEAD").stdout.strip()
    assert code == workshop.ground.revision
    if profile == "nvidia":
        assert machine.run("/opt/training/venv/bin/python -c 'import torch; print(torch.__version__)'").stdout == (
            "of the image\n"
        )
    if profile == "neuron":
        assert machine.run(
            "/opt/training/venv/bin/python -c 'import torch_neuronx, torch; print(torch.__version__)'"
        ).stdout == ("of the image\n")
    if profile == "gaudi":
        assert machine.run("systemctl is-active gaudi-metrics").stdout == "active\n"
        assert [call for call in machine.calls("docker") if call[0] == "pull"] == [["pull", "-q", HABANA_IMAGE]]
    held = set(machine.run("apt-mark showhold").stdout.split())
    assert held == (set() if profile == "none" else machines.KERNEL_AND_DRIVERS)
    services = machine.read("/etc/needrestart/conf.d/ml-infra.conf")
    assert services == "$nrconf{override_rc}{qr(^(training|ml-infra))} = 0;\n"
    agent = [call[-1] for call in machine.calls("amazon-cloudwatch-agent-ctl")]
    assert agent == [
        "ssm:AmazonCloudWatch-ml-core-cw_agent__config",
        "file:/etc/ml-infra/agent_logs.json",
        *(["ssm:AmazonCloudWatch-ml-core-cw_agent__gpu"] if profile == "nvidia" else []),
    ]
    assert json.loads(machine.read("/etc/ml-infra/agent_logs.json"))["logs"]["logs_collected"]["files"][
        "collect_list"
    ] == [
        {
            "file_path": "/var/log/ml-infra/training.log",
            "log_group_name": "/ml-infra/ml-core/train-model/training",
            "log_stream_name": "{instance_id}",
        }
    ]

    machine.run("echo precious >/data/images; echo weights >/efs/trained_model/checkpoint_7.pt")
    machine.run("echo mine >/opt/training/notes; ln -sf x /opt/training/link")
    # Gaudi trains in a container and needs no environment.
    right = (
        "sha256sum /etc/fstab /opt/training/model/msls/run_dcgan.py"
        if profile == "gaudi"
        else ("sha256sum /etc/fstab /opt/training/venv/pyvenv.cfg")
    )
    before = machine.run(right).stdout
    first = published(machine, "train-model", "worker")["boot"]

    status = machine.reboot()

    assert (status.state, status.failed) == READY
    assert machine.exit_status() == 0
    assert published(machine, "train-model", "worker")["boot"] != first
    assert machine.run("cat /data/images /efs/trained_model/checkpoint_7.pt /opt/training/notes").stdout == (
        "precious\nweights\nmine\n"
    )
    assert machine.run(right).stdout == before
    assert disk.probe("UUID") == uuid
    assert machine.calls("apt-get") == []
    assert [call for call in machine.calls("docker") if call[0] == "pull"] == []


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        # On the image of Neuron's SDK 2.32 there is none.
        ("neuron", "this image has no PyTorch for Neuron"),
        # Its driver is older than what its PyTorch wants.
        ("nvidia", "PyTorch sees 0 GPUs"),
        ("nvidia without torchvision", "No module named 'torchvision'"),
    ],
)
def test_an_image_with_which_nothing_could_be_trained_is_said(workshop: Workshop, profile: str, said: str) -> None:
    machine = workshop.machine()
    machine.insert(workshop.disk(), "nvme1n1", VOLUME_ID)
    profile, _, without = profile.partition(" without ")
    machines.accelerators(machine, profile)
    image = (
        "opt/pytorch/lib/python3.13/site-packages" if profile == "nvidia" else "opt/aws_neuronx_venv_pytorch_2_9/bin"
    )
    if profile == "neuron":
        machine.on_root(f"{image}/python").unlink()
    elif without:
        machine.on_root(f"{image}/{without}/__init__.py").unlink()
        machine.on_root(f"{image}/{without}").rmdir()
    else:
        torch = machine.read(f"{image}/torch/__init__.py").replace('count("GPU ")', 'count("no such driver")')
        machine.prepare(f"{image}/torch/__init__.py", torch)
    status = machine.first_boot(workshop.worker(profile))

    assert status.state == "degraded: training_environment"
    assert said in status.failed["training_environment"]
    assert not machine.exists("/opt/training/venv/.ready")


@pytest.mark.parametrize(("profile", "found"), [("nvidia", 3), ("gaudi", 0), ("neuron", 1)])
def test_an_accelerator_that_is_missing_is_said_and_all_else_is_done(
    workshop: Workshop, profile: str, found: int
) -> None:
    machine = workshop.settled(again=True)
    machine.insert(workshop.disk(), "nvme1n1", VOLUME_ID)
    machines.accelerators(machine, profile, found)
    status = machine.first_boot(workshop.worker(profile))

    assert status.state == "degraded: accelerator"
    assert f"{found} of {machines.ACCELERATORS[profile]} " in status.failed["accelerator"]
    assert status.failed.keys() == {"accelerator"}


def test_an_image_of_a_worker_is_the_new_machine_and_not_the_old_one(workshop: Workshop) -> None:
    """Whose data volume is elsewhere: its unit would wait for that, and call the new machine degraded."""
    other = "vol-0aaaaaaaaaaaaaaaa"
    machine = workshop.settled(again=True)
    machine.insert(workshop.disk(), "nvme1n1", other)
    status = machine.first_boot(workshop.worker().replace(VOLUME_ID.encode(), other.encode()))

    assert (status.state, status.failed) == READY
    assert published(machine, "train-model", "worker")["machine"] == machines.OTHER_INSTANCE_ID
    assert machine.run("systemctl show -P Result ml-infra-boot").stdout == "exec-condition\n"

    status = machine.reboot()

    assert (status.state, status.failed) == READY
    assert machine.run("systemctl show -P Result ml-infra-boot").stdout == "success\n"


def test_jump_host(workshop: Workshop) -> None:
    machine = workshop.machine()
    machine.run_before("ssh-keygen -A")
    status = machine.first_boot(machines.jump())

    assert (status.state, status.failed) == READY
    assert published(machine, "mlcore", "jump")["state"] == "ready"
    effective = dict(line.split(" ", 1) for line in machine.run("sshd -T").stdout.splitlines())
    expected = {
        "permitrootlogin": "no",
        "authenticationmethods": "publickey",
        "passwordauthentication": "no",
        "kbdinteractiveauthentication": "no",
        "permitemptypasswords": "no",
        "allowtcpforwarding": "yes",
        "allowagentforwarding": "no",
        "x11forwarding": "no",
        "permittunnel": "no",
    }
    assert {key: effective[key] for key in expected} == expected
    updates = machine.run("apt-config dump | grep -E 'Periodic::Unattended|Automatic-Reboot '").stdout
    assert 'APT::Periodic::Unattended-Upgrade "1";' in updates
    assert machine.run("stat -c '%a %U' /swapfile").stdout == "600 root\n"
    assert "/swapfile none swap sw 0 0\n" in machine.read("/etc/fstab")
    assert ["/swapfile"] in machine.calls("swapon")
    assert status.stages[0]["stage"] == "swap"
    assert machine.run("systemctl is-enabled fwupd-refresh.timer", check=False).stdout == "masked\n"
    # Which would end tunnels and copies: those are in no utmp.
    assert 'Unattended-Upgrade::Automatic-Reboot "false";' in updates
    units = "unattended-upgrades.service ml-infra-reboot.timer"
    assert machine.run(f"systemctl is-active {units}").stdout == "active\nactive\n"
    assert machine.run("apt-config dump DPkg::Lock::Timeout").stdout == 'DPkg::Lock::Timeout "600";\n'
    machine.run("systemctl start ml-infra-reboot.service")
    assert machine.run("systemctl show -P Result ml-infra-reboot.service").stdout == "success\n"
    configuration = machine.run("sha256sum /etc/ssh/sshd_config.d/* /etc/apt/apt.conf.d/*").stdout

    status = machine.reboot()

    assert (status.state, status.failed) == READY
    assert machine.run("sha256sum /etc/ssh/sshd_config.d/* /etc/apt/apt.conf.d/*").stdout == configuration


def test_metrics_host_and_the_one_that_takes_its_place(workshop: Workshop) -> None:
    volume, efs = workshop.disk("grafana"), workshop.efs("shared")
    machine = workshop.machine(efs=efs)
    machine.insert(volume, "nvme1n1", GRAFANA_VOLUME_ID)
    password = "correct-horse-battery"
    machines.put_password(workshop.ground.cloud, password)
    status = machine.first_boot(machines.metrics())

    # No worker has made the folder of the access point yet.
    assert (status.state, status.failed) == READY
    assert published(machine, "stats-monitor", "metrics")["state"] == "ready"
    assert mounted(machine, "/efs") == ""
    assert machine.run("systemctl is-active grafana ml-infra-efs.timer").stdout == "active\nactive\n"
    assert machine.run("systemctl is-active tensorboard", check=False).stdout == "inactive\n"
    assert "the first worker or notebook makes it" in machine.read("/var/lib/ml-infra/efs.log")
    # Now one does.
    machine.run("mkdir /run/worker && mount.efs fs /run/worker -o rw && umount /run/worker")
    machine.run("systemctl start ml-infra-efs.service")  # not to wait for the minute
    wait_for("TensorBoard", lambda: machine.run("systemctl is-active tensorboard", check=False).returncode == 0)
    machine.wait_for_unit("ml-infra-boot")
    status = machine.status()
    assert (status.state, status.failed) == READY
    assert machine.run("systemctl is-active ml-infra-efs.timer", check=False).stdout == "inactive\n"
    assert mounted(machine, "/var/lib/grafana") == "/dev/nvme1n1 xfs"
    assert mounted(machine, "/efs") == "/dev/efs ext4"
    assert "ro" in machine.run("findmnt -nro OPTIONS /efs").stdout.split(",")
    # The password is in memory only, and only Grafana's user reads it.
    assert machine.read("/run/ml-infra/grafana_password") == f"{password}\n"
    assert machine.run("stat -c '%u %a %m' /run/ml-infra/grafana_password").stdout == "472 600 /run\n"
    assert machine.run(f"grep -rl {password} /etc /var /usr/local /opt", check=False).stdout == ""
    run = [call for call in machine.calls("docker") if call[0] == "run"][-1]
    assert run[-1] == "grafana/grafana:13.2.3"
    assert "/var/lib/grafana:/var/lib/grafana" in run
    assert {
        "GF_SECURITY_ADMIN_PASSWORD__FILE=/run/secrets/grafana_password",
        "GF_PLUGINS_PREINSTALL_DISABLED=true",
        "GF_PLUGINS_PREINSTALL_AUTO_UPDATE=false",
        "GF_ANALYTICS_CHECK_FOR_UPDATES=false",
        "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES=false",
    } <= set(run)
    assert machine.run("sha256sum </run/ml-infra/grafana_password").stdout == machine.read("/var/lib/grafana/digest")
    assert machine.run("systemctl is-active grafana tensorboard").stdout == "active\nactive\n"
    assert machine.run("curl -fsS http://127.0.0.1:6006/").stdout == "TensorBoard of /efs/trained_model"

    # Ready is what shows metrics: Grafana's own health says nothing of that.
    machine.prepare("/etc/no-cloudwatch", "")
    machines.hurry(machine)
    machine.run("systemctl start ml-infra-boot", check=False)
    assert machine.state() == "degraded: grafana"
    assert "AccessDenied" in machine.status().failed["grafana"]
    assert "Grafana cannot read CloudWatch" in machine.status().failed["grafana"]
    machine.run("rm /etc/no-cloudwatch")

    machine.run("echo 'a dashboard' >/var/lib/grafana/grafana.db; systemctl kill -s KILL grafana tensorboard")
    status = machine.reboot()
    assert (status.state, status.failed) == READY
    assert machine.calls("apt-get") == []
    assert machine.run("systemctl is-active grafana tensorboard").stdout == "active\nactive\n"

    machine.stop()
    machine.remove()
    # Made by another deploy, with another password, which is to open what is on the volume.
    machines.put_password(workshop.ground.cloud, "battery-staple-horse")
    successor = workshop.machine("successor", efs=efs)
    successor.insert(volume, "nvme2n1", GRAFANA_VOLUME_ID)
    status = successor.first_boot(machines.metrics())
    assert (status.state, status.failed) == READY
    assert successor.read("/var/lib/grafana/grafana.db") == "a dashboard\n"
    assert successor.read("/run/ml-infra/grafana_password") == "battery-staple-horse\n"
    assert successor.run("echo battery-staple-horse | sha256sum").stdout == successor.read("/var/lib/grafana/digest")


@pytest.mark.parametrize("gpu", [None, "", "AmazonCloudWatch-ml-core-cw_agent__gpu"])
def test_notebook_returns_at_once_and_works_in_the_background(workshop: Workshop, gpu: str | None) -> None:
    machine = workshop.machine()
    machine.prepare("/home/ec2-user/SageMaker/.keep", "")
    machines.sagemakers_agent(machine)
    machines.put_agent_configurations(workshop.ground.cloud)
    machine.start()
    machine.wait()
    values = "/etc/ml-infra/boot.env.new"
    change = f"sed -i '/^CLOUDWATCH_GPU_PARAMETER=/d' {values}\n"
    if gpu is not None:
        change += f"echo CLOUDWATCH_GPU_PARAMETER={gpu} >>{values}\n"
    on_start = machines.notebook()
    assert on_start.count(f"\nmv {values} ") == 1
    on_start = on_start.replace(f"\nmv {values} ", f"\n{change}mv {values} ")
    machine.prepare("/root/on_start", on_start, 0o755)
    # The work waits for what the script itself must not wait for.
    machine.run("mkfifo /run/go; mv /usr/sbin/mount.efs /usr/sbin/mount.efs.real")
    machine.prepare("/usr/sbin/mount.efs", '#!/bin/bash\nread -r _ </run/go\nexec mount.efs.real "$@"\n', 0o755)

    # SageMaker kills it after five minutes; it has ended while the mount is still to come.
    machine.run("/root/on_start", timeout=60)
    state = "/var/lib/ml-infra/state"
    wait_for("the work", lambda: machine.exists(state) and machine.read(state) == "running efs\n")
    assert mounted(machine, "/efs") == ""
    machine.run("echo >/run/go")
    machine.wait_for_unit("ml-infra-notebook")

    status = machine.status()
    assert (status.state, status.failed) == READY
    assert mounted(machine, "/efs") == "/dev/efs ext4"
    assert machine.run("readlink /home/ec2-user/SageMaker/efs").stdout == "/efs\n"
    assert published(machine, "train-model-dev", "notebook")["state"] == "ready"
    assert [call[-1] for call in machine.calls("amazon-cloudwatch-agent-ctl")] == [
        "ssm:AmazonCloudWatch-ml-core-cw_agent__config",
        *([f"ssm:{gpu}"] if gpu else []),
    ]
    # SageMaker's own, for the notebook's logs, is still there.
    merged = json.loads(machine.read("/run/boot-test/agent.json"))
    assert set(merged) == {"agent", "logs", "metrics"}
    assert "cpu" in merged["metrics"]["metrics_collected"]
    assert ("nvidia_gpu" in merged["metrics"]["metrics_collected"]) == bool(gpu)
    # The tunnel of /efs is alive though the unit is not.
    assert machine.run("systemctl is-active ml-infra-notebook", check=False).stdout == "inactive\n"
    assert machine.run("pgrep -c -f ^efs-proxy").stdout == "1\n"
    assert "ml-infra: efs: done" in machine.run("journalctl -u ml-infra-notebook --no-pager").stdout
