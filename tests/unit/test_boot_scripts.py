"""The files that machines get: their text, and the functions that must never lose data, run for real."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import psutil
import pytest

from constructs_lib.user_data import shipped

ROOT = Path(__file__).resolve().parents[2]
LIB = ROOT / "constructs_lib" / "boot" / "lib.sh"
DISKS = ROOT / "constructs_lib" / "boot" / "disks.sh"
MEMORY = ROOT / "constructs_lib" / "boot" / "memory.sh"
JUMP = ROOT / "modules_equiv" / "mlcore" / "boot" / "jump.sh"
REBOOT = JUMP.with_name("reboot.sh")
METRICS = ROOT / "modules_equiv" / "stats_monitor" / "boot"
DASHBOARD = ROOT / "modules_equiv" / "stats_monitor" / "dashboards" / "machines.json"
WORKER = ROOT / "modules_equiv" / "train_model" / "boot"
NOTEBOOK = ROOT / "modules_equiv" / "train_model_dev" / "boot" / "notebook.sh"
AGENT = ROOT / "modules_equiv" / "mlcore" / "cloudwatch_agent.json"
AGENT_GPU = ROOT / "constructs_lib" / "cloudwatch_agent_nvidia.json"

SCRIPTS = sorted([*ROOT.glob("constructs_lib/boot/*.sh"), *ROOT.glob("modules_equiv/*/boot/*.sh")])
OF_EVERY_WORKER = ("worker.sh", "train.sh", "sitecustomize.py")
SHIPPED = {
    "jump": [LIB, MEMORY, JUMP, REBOOT],
    "metrics": [LIB, DISKS, MEMORY, *sorted(METRICS.iterdir()), DASHBOARD],
    "worker-nvidia": [LIB, DISKS, *(WORKER / name for name in OF_EVERY_WORKER), WORKER / "profile_nvidia.sh"],
    "worker-gaudi": [LIB, DISKS, *(WORKER / name for name in OF_EVERY_WORKER), WORKER / "profile_gaudi.sh"],
    "worker-neuron": [LIB, DISKS, *(WORKER / name for name in OF_EVERY_WORKER), WORKER / "profile_neuron.sh"],
    "worker-none": [LIB, DISKS, *(WORKER / name for name in OF_EVERY_WORKER), WORKER / "profile_none.sh"],
    "notebook": [LIB, NOTEBOOK],
}
EVERYTHING = sorted({file for files in SHIPPED.values() for file in files})

MIB = 1024 * 1024


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def code_of(script: Path) -> str:
    """A script without its comment lines, continuation lines joined."""
    text = script.read_text(encoding="utf-8").replace("\\\n", " ")
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))


# --- the text ---


def test_all_the_scripts_are_looked_at() -> None:
    assert {script.name for script in SCRIPTS} == {
        "lib.sh",
        "disks.sh",
        "memory.sh",
        "jump.sh",
        "reboot.sh",
        "metrics.sh",
        "worker.sh",
        "train.sh",
        "profile_nvidia.sh",
        "profile_gaudi.sh",
        "profile_neuron.sh",
        "profile_none.sh",
        "notebook.sh",
    }
    assert set(SCRIPTS) <= set(EVERYTHING)


def test_shellcheck_finds_nothing() -> None:
    shellcheck = Path(sys.executable).with_name("shellcheck")
    found = subprocess.run(
        [shellcheck, "--external-sources", "--severity=style", *SCRIPTS], cwd=ROOT, capture_output=True, text=True
    )
    assert (found.returncode, found.stdout) == (0, "")


@pytest.mark.parametrize("script", SCRIPTS, ids=relative)
def test_bash_parses_it(script: Path) -> None:
    parsed = subprocess.run(["bash", "-n", script], capture_output=True, text=True)
    assert (parsed.returncode, parsed.stderr) == (0, "")


DEFECTS = {
    "modes for everybody": r"\b0?777\b|\ba\+rwx\b",
    "apt without -y": r"\bapt(-get)?\s+(?:(?!-y\b)\S+\s+)*?(install|upgrade|dist-upgrade)\b",
    "dnf without -y": r"\b(dnf|yum)\s+install\s+(?!-y\b)",
    "a hard-coded region": r"\b(us|eu|ap|sa|ca|me|af|il|mx)-(gov-)?[a-z]+-\d[a-z]?\b",
    "an image or a release that moves": r":latest\b|/latest/|@(main|master)\b",
    "a device by its number": r"/dev/nvme\d",
    "appending to fstab": r">>\s*\S*fstab",
    "a signature overwritten": r"mkfs\S*\s+[^\n]*-[fF]\b|\bwipefs\s+(-a|--all)|\bdd\s+[^\n]*of=",
    "Terraform's or Jinja's markers": r"\$\{(var|local|data)\.|\{\{|%\{",
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_no_defect_of_the_original_is_repeated(defect: str) -> None:
    # What a person is told in an error message may name the command; what is run may not.
    code = {script: re.sub(r'"[^"\n]*wipefs -a[^"\n]*"|\'\{\{json [^\']*\'', "", code_of(script)) for script in SCRIPTS}
    # The one wrapper that gives every apt-get its -y.
    code = {script: re.sub(r"\bapt_get (update|install)", "", text) for script, text in code.items()}
    assert [relative(script) for script, text in code.items() if re.search(DEFECTS[defect], text)] == []


@pytest.mark.parametrize(
    ("defect", "line"),
    [
        ("modes for everybody", "chmod -R 777 /data"),
        ("apt without -y", "apt-get update && apt install nfs-common"),
        ("apt without -y", "apt-get -q install nfs-common"),
        ("dnf without -y", "dnf install amazon-efs-utils"),
        ("a hard-coded region", "aws ssm get-parameter --region us-east-1"),
        ("an image or a release that moves", "docker run grafana/grafana:latest"),
        ("a device by its number", "mount /dev/nvme1n1 /data"),
        ("appending to fstab", "echo line >> /etc/fstab"),
        ("a signature overwritten", "mkfs.xfs -f /dev/sdb"),
    ],
)
def test_the_defect_patterns_find_the_defects(defect: str, line: str) -> None:
    assert re.search(DEFECTS[defect], line)


def test_apt_get_is_run_in_one_place_and_never_asks() -> None:
    calls = {relative(script): re.findall(r"apt-get [^\n]*", code_of(script)) for script in SCRIPTS}
    assert {name: found for name, found in calls.items() if found} == {
        "constructs_lib/boot/lib.sh": ['apt-get -y "$@"']
    }
    assert "DEBIAN_FRONTEND=noninteractive" in LIB.read_text(encoding="utf-8")


def test_docker_comes_from_the_package_that_exists() -> None:
    installed = [
        package
        for script in SCRIPTS
        for line in re.findall(r"apt_install ([^\n]*)", code_of(script))
        for package in line.split()
    ]
    assert "docker.io" in installed
    assert "docker" not in installed


def test_file_systems_are_made_in_one_guarded_place() -> None:
    calls = [
        (relative(script), line.strip())
        for script in SCRIPTS
        for line in code_of(script).splitlines()
        if re.search(r"\bmkfs|mke2fs", line)
    ]
    disks = "constructs_lib/boot/disks.sh"
    assert [(name, line) for name, line in calls if not line.startswith("command -v ")] == [
        (disks, 'mkfs.xfs -q -L "$2" "$1"'),
        (disks, 'mkfs.btrfs -q -d raid0 -m raid0 -L "$label" "$@"'),
    ]


def test_versions_are_pinned() -> None:
    def text(path: Path) -> str:
        return path.read_text(encoding="utf-8")

    assert "AGENT_VERSION=1.300072.0b1766\n" in text(WORKER / "worker.sh")
    assert "AGENT_KEY=937616F3450B7D806CBD9725D58167303B789C72\n" in text(WORKER / "worker.sh")
    assert "DRIVER=580-server\n" in text(WORKER / "profile_nvidia.sh")
    metrics = text(METRICS / "metrics.sh")
    assert "\nPLUGINS=(setuptools==80.9.0 torch_tb_profiler==0.4.3 pandas==3.1.1)\n" in metrics
    assert 'pip install -q "tensorboard==$TENSORBOARD_VERSION" "${PLUGINS[@]}"\n' in metrics
    assert text(METRICS / "grafana.service").count("${GRAFANA_IMAGE}") == 1
    shown = subprocess.run(
        ["bash", "-c", f". {WORKER}/profile_gaudi.sh; echo $HABANA_IMAGE"], capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == (
        "vault.habana.ai/gaudi-docker/1.21.3/ubuntu22.04/habanalabs/pytorch-installer-2.6.0:1.21.3-57"
    )


@pytest.mark.parametrize("file", EVERYTHING, ids=relative)
def test_a_shipped_file_is_plain_text(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.isascii()
    assert text.endswith("\n")
    assert "\r" not in text
    assert "\t" not in text


@pytest.mark.parametrize("script", SCRIPTS, ids=relative)
def test_without_its_comments_a_script_is_the_same_to_bash(script: Path) -> None:
    def read(text: str) -> list[str]:
        shown = subprocess.run(
            ["bash", "--pretty-print", "/dev/stdin"], input=text, capture_output=True, text=True, check=True
        )
        # In awk's programs, indentation is bash's text, and nothing to awk.
        return [line.lstrip() for line in shown.stdout.splitlines() if line]

    written, sent = script.read_text(encoding="utf-8"), shipped(script)
    assert read(sent) == read(written)
    # What a machine says of a line is about that line of the file.
    kept = [(there, here) for there, here in zip(sent.split("\n"), written.split("\n"), strict=True) if there]
    assert all(there in (here, here.lstrip(" ")) for there, here in kept)


def test_shipped_names_do_not_collide() -> None:
    for machine, files in SHIPPED.items():
        assert len({file.name for file in files}) == len(files), machine


# --- jump host ---


def test_jump_host_lets_in_keys_only_and_forwards() -> None:
    config = dict(re.findall(r"^([A-Z][A-Za-z]+) (\S+)$", JUMP.read_text(encoding="utf-8"), re.MULTILINE))
    assert {
        key: config[key] for key in ("PasswordAuthentication", "KbdInteractiveAuthentication", "PermitRootLogin")
    } == {
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "PermitRootLogin": "no",
    }
    assert config["AuthenticationMethods"] == "publickey"
    assert config["AllowTcpForwarding"] == "yes"


def test_jump_host_does_nothing_else() -> None:
    assert re.findall(r"^stage (\w+)", JUMP.read_text(encoding="utf-8"), re.MULTILINE) == [
        "swap",
        "every_boot",
        "ssh_server",
        "aws_cli",
        "security_updates",
    ]


@pytest.fixture
def reboots(tmp_path: Path, bash: "Bash") -> Callable[[int], bool]:
    """Whether the jump host, whose SSH server listens on that port, reboots now."""
    bash.stand_in("systemctl", f"[[ $1 == reboot ]] && touch {tmp_path}/rebooted; [[ $1 != is-active ]]")
    bash.state.mkdir()
    (bash.state / "state").write_text("ready\n", encoding="utf-8")
    (tmp_path / "reboot-required").touch()

    def run(port: int) -> bool:
        (tmp_path / "rebooted").unlink(missing_ok=True)
        environment = {"ML_INFRA_RUN": str(tmp_path), "ML_INFRA_STATE": str(bash.state), "ML_INFRA_SSH_PORT": str(port)}
        path = f"{bash.bin}:/usr/sbin:/sbin:/usr/bin:/bin"
        subprocess.run(["bash", REBOOT], env={**environment, "PATH": path}, check=True, timeout=60)
        return (tmp_path / "rebooted").exists()

    return run


def test_a_reboot_after_updates_waits_for_tunnels_and_copies(
    reboots: Callable[[int], bool], tmp_path: Path, bash: "Bash"
) -> None:
    need("ss")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)), server.accept()[0]:
            assert not reboots(port)
            # Two weeks later, though an update has written anew what it asks for.
            since = tmp_path / "ml-infra" / "reboot-required-since"
            os.utime(since, (time.time() - 15 * 86400,) * 2)
            assert reboots(port)
            os.utime(since)
            assert not reboots(port)
    assert reboots(port)

    (bash.state / "state").write_text("running aws_cli\n", encoding="utf-8")
    assert not reboots(port)
    (bash.state / "state").write_text("degraded: aws_cli\n", encoding="utf-8")
    assert reboots(port)
    bash.stand_in("systemctl", f"touch {tmp_path}/rebooted-during-updates.$1")
    assert not reboots(port)
    (tmp_path / "reboot-required").unlink()
    assert not reboots(port)
    assert not (tmp_path / "rebooted-during-updates.reboot").exists()


# --- CloudWatch agent ---

# The original's configuration, without collectd.
MEASURED = {
    "cpu": {"cpu_usage_idle", "cpu_usage_iowait", "cpu_usage_user", "cpu_usage_system"},
    "disk": {"used_percent", "inodes_free"},
    "diskio": {"io_time", "write_bytes", "read_bytes", "writes", "reads"},
    "mem": {"mem_used_percent"},
    "netstat": {"tcp_established", "tcp_time_wait"},
    "swap": {"swap_used_percent"},
}
# What the agent's schema takes in each section (translator/config/schema.json of aws/amazon-cloudwatch-agent).
SECTION_KEYS = {
    "cpu": {"measurement", "metrics_collection_interval", "append_dimensions", "resources", "totalcpu"},
    "disk": {
        "measurement",
        "metrics_collection_interval",
        "append_dimensions",
        "resources",
        "ignore_file_system_types",
        "drop_device",
    },
    "diskio": {"measurement", "metrics_collection_interval", "append_dimensions", "resources"},
    "mem": {"measurement", "metrics_collection_interval", "append_dimensions"},
    "netstat": {"measurement", "metrics_collection_interval", "append_dimensions"},
    "swap": {"measurement", "metrics_collection_interval", "append_dimensions"},
    "nvidia_gpu": {"measurement", "metrics_collection_interval", "append_dimensions"},
}


def compact_size(file: Path) -> int:
    return len(json.dumps(json.loads(file.read_text(encoding="utf-8")), separators=(",", ":")).encode())


def test_agent_collects_what_the_original_did() -> None:
    config = json.loads(AGENT.read_text(encoding="utf-8"))
    collected = config["metrics"]["metrics_collected"]
    statsd = collected.pop("statsd")

    assert config["metrics"]["append_dimensions"] == {
        "AutoScalingGroupName": "${aws:AutoScalingGroupName}",
        "ImageId": "${aws:ImageId}",
        "InstanceId": "${aws:InstanceId}",
        "InstanceType": "${aws:InstanceType}",
    }
    assert {name: set(section["measurement"]) for name, section in collected.items()} == MEASURED
    assert {section["metrics_collection_interval"] for section in collected.values()} == {60}
    # Where the original had every CPU by itself, which is four metrics a vCPU: 192 of them in a p5.48xlarge.
    assert collected["cpu"]["totalcpu"] is True
    assert statsd == {"metrics_aggregation_interval": 60, "metrics_collection_interval": 10, "service_address": ":8125"}


def test_agent_configurations_have_only_keys_of_the_schema() -> None:
    base = json.loads(AGENT.read_text(encoding="utf-8"))
    gpu = json.loads(AGENT_GPU.read_text(encoding="utf-8"))
    # No "agent": SageMaker's notebooks have one, and two cannot be merged.
    assert set(base) == {"metrics"}
    assert set(gpu) == {"metrics"}
    assert set(base["metrics"]) == {"namespace", "append_dimensions", "metrics_collected"}
    assert set(gpu["metrics"]) == {"metrics_collected"}
    for name, section in {**base["metrics"]["metrics_collected"], **gpu["metrics"]["metrics_collected"]}.items():
        if name != "statsd":
            assert set(section) <= SECTION_KEYS[name], name


def test_gpu_metrics_are_an_addition_of_their_own() -> None:
    gpu = json.loads(AGENT_GPU.read_text(encoding="utf-8"))
    base = json.loads(AGENT.read_text(encoding="utf-8"))
    assert set(gpu["metrics"]["metrics_collected"]) == {"nvidia_gpu"}
    assert {"utilization_gpu", "memory_used", "temperature_gpu"} <= set(
        gpu["metrics"]["metrics_collected"]["nvidia_gpu"]["measurement"]
    )
    assert "nvidia_gpu" not in base["metrics"]["metrics_collected"]


@pytest.mark.parametrize("file", [AGENT, AGENT_GPU], ids=relative)
def test_agent_configuration_fits_a_standard_parameter(file: Path) -> None:
    assert compact_size(file) <= 4096


def test_gpu_metrics_are_appended_only_where_the_driver_works() -> None:
    agent = re.search(
        r"^agent\(\) \{\n(.*?)^\}", (WORKER / "worker.sh").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    assert agent
    steps = [
        re.sub(r"\s.*", "", word)
        for word in re.findall(
            r"fetch-config|nvidia-smi -L|append-config", agent.group(1).partition("GPU_PARAMETER")[2]
        )
    ]
    assert steps == ["nvidia-smi", "append-config"]


def test_gaudi_metrics_as_statsd_lines() -> None:
    sent = subprocess.run(
        ["bash", "-c", f". {WORKER}/profile_gaudi.sh; to_statsd"],
        input="0, 45 %, 31250 MiB, 51 C, 230 W\n7, 0, 512, 40, 98.5\n",
        capture_output=True,
        text=True,
        check=True,
    )
    assert sent.stdout.splitlines() == [
        "gaudi_utilization:45|g|#index:0",
        "gaudi_memory_used:31250|g|#index:0",
        "gaudi_temperature:51|g|#index:0",
        "gaudi_power_draw:230|g|#index:0",
        "gaudi_utilization:0|g|#index:7",
        "gaudi_memory_used:512|g|#index:7",
        "gaudi_temperature:40|g|#index:7",
        "gaudi_power_draw:98.5|g|#index:7",
    ]


# --- Grafana ---

# As CloudWatch shows them: the section's name comes before the measurement; nvidia_gpu becomes nvidia_smi.
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/metrics-collected-by-CloudWatch-agent.html
PUBLISHED = {
    "cpu_usage_idle",
    "cpu_usage_iowait",
    "cpu_usage_user",
    "cpu_usage_system",
    "disk_used_percent",
    "disk_inodes_free",
    "diskio_io_time",
    "diskio_write_bytes",
    "diskio_read_bytes",
    "diskio_writes",
    "diskio_reads",
    "mem_used_percent",
    "netstat_tcp_established",
    "netstat_tcp_time_wait",
    "swap_used_percent",
    "nvidia_smi_utilization_gpu",
    "nvidia_smi_utilization_memory",
    "nvidia_smi_memory_used",
    "nvidia_smi_memory_total",
    "nvidia_smi_temperature_gpu",
    "nvidia_smi_power_draw",
    "gaudi_utilization",
    "gaudi_memory_used",
    "gaudi_temperature",
    "gaudi_power_draw",
}


def test_dashboard_shows_metrics_that_are_sent_of_the_chosen_machine() -> None:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    expressions = [target["expression"] for panel in dashboard["panels"] for target in panel["targets"]]
    shown = {
        name
        for text in expressions
        for clause in re.findall(r'MetricName=(\([^)]*\)|"[^"]*")', text)
        for name in re.findall(r'"(\w+)"', clause)
    }
    assert shown <= PUBLISHED
    assert shown >= {
        "cpu_usage_idle",
        "mem_used_percent",
        "swap_used_percent",
        "disk_used_percent",
        "diskio_io_time",
        "diskio_read_bytes",
        "diskio_write_bytes",
        "netstat_tcp_established",
        "nvidia_smi_utilization_gpu",
        "nvidia_smi_memory_used",
        "gaudi_utilization",
    }
    for text in expressions:
        assert 'Namespace="CWAgent"' in text
        assert 'InstanceId="$instance"' in text


def test_dashboard_asks_for_a_machine_and_fits_beside_the_scripts() -> None:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    (variable,) = dashboard["templating"]["list"]
    assert variable["name"] == "instance"
    assert variable["query"]["dimensionKey"] == "InstanceId"
    assert variable["query"]["metricName"] in PUBLISHED
    assert DASHBOARD.stat().st_size <= 5000


def test_dashboard_panels_do_not_overlap_and_use_the_provisioned_source() -> None:
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert {panel["datasource"]["uid"] for panel in panels} == {"cloudwatch"}
    assert "    uid: cloudwatch\n" in (METRICS / "grafana_datasource.yaml").read_text(encoding="utf-8")


def test_grafana_takes_region_and_password_at_boot_and_lets_no_one_in_unasked() -> None:
    unit = (METRICS / "grafana.service").read_text(encoding="utf-8")
    assert "defaultRegion: $AWS_REGION" in (METRICS / "grafana_datasource.yaml").read_text(encoding="utf-8")
    assert "-e AWS_REGION " in unit
    assert "-e GF_AUTH_ANONYMOUS_ENABLED=false " in unit
    assert "-p ${PRIVATE_IP}:3000:3000 " in unit
    assert "-v /etc/ml-infra/grafana:/etc/grafana/provisioning:ro " in unit
    secret = re.search(r"-v (\S+):(\S+):ro [^\n]*\n[^\n]*GF_SECURITY_ADMIN_PASSWORD__FILE=(\S+)", unit)
    assert secret
    assert secret.group(1).startswith("/run/")
    assert secret.group(2) == secret.group(3)


def test_tensorboard_waits_for_the_checkpoints() -> None:
    unit = (METRICS / "tensorboard.service").read_text(encoding="utf-8").splitlines()
    assert "RequiresMountsFor=/efs/trained_model" in unit
    assert "User=tensorboard" in unit
    assert "ExecStart=/opt/tensorboard/bin/tensorboard --logdir /efs/trained_model --host 0.0.0.0 --port 6006" in unit


# --- the library, run for real ---


class Bash:
    """Runs text with lib.sh and disks.sh sourced and everything they keep under one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.fstab = folder / "fstab"
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.fstab.write_text("# static information\nUUID=1111 / ext4 defaults 0 1\n", encoding="utf-8")
        (folder / "boot.env").write_text("AWS_REGION=eu-west-1\nEMPTY=\n", encoding="utf-8")
        for name in ("systemctl", "systemd-run", "udevadm"):
            self.stand_in(name, "exit 0")

    def stand_in(self, name: str, body: str) -> None:
        file = self.bin / name
        file.write_text(f"#!/bin/bash\n{body}\n", encoding="utf-8")
        file.chmod(0o755)

    def run(self, text: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "ML_INFRA_STATE": str(self.state),
            "ML_INFRA_MEMORY": str(self.folder / "memory"),
            "ML_INFRA_FSTAB": str(self.fstab),
            "ML_INFRA_ENV": str(self.folder / "boot.env"),
            "ML_INFRA_DEV": str(self.folder / "dev"),
            "ML_INFRA_PATH": f"{self.bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "PATH": os.environ["PATH"],
        }
        script = f". {LIB}\n. {DISKS}\n{text}\n"
        return subprocess.run(
            ["bash", "-c", script], env=environment, capture_output=True, text=True, errors="replace", timeout=60
        )

    def stages(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in (self.state / "status.jsonl").read_text(encoding="utf-8").splitlines()]

    def end_state(self) -> str:
        return (self.state / "state").read_text(encoding="utf-8").strip()


@pytest.fixture
def bash(tmp_path: Path) -> Bash:
    return Bash(tmp_path)


def test_sourcing_changes_nothing(bash: Bash) -> None:
    assert bash.run("true").returncode == 0
    assert not bash.state.exists()


def test_a_failed_stage_is_recorded_and_the_next_one_runs(bash: Bash) -> None:
    ran = bash.run(
        r"""
        begin
        good() { echo "region $AWS_REGION"; }
        bad() { echo 'a "quoted" \ line'; printf 'tab\there\n'; false; echo "never reached"; }
        stage first good
        stage second bad
        stage third good
        finish
        """
    )
    assert ran.returncode == 1
    first, second, third = bash.stages()
    assert [(entry["stage"], entry["ok"]) for entry in (first, second, third)] == [
        ("first", True),
        ("second", False),
        ("third", True),
    ]
    assert second["error"] == 'a "quoted" \\ line|tab here|'
    assert first["error"] == ""
    for entry in (first, second, third):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", str(entry["start"]))
        assert str(entry["start"]) <= str(entry["end"])
        assert isinstance(entry["ms"], int)
        assert 0 <= entry["ms"] < 60000
    assert bash.end_state() == "degraded: second"
    assert (bash.state / "first.log").read_text(encoding="utf-8") == "region eu-west-1\n"


def test_all_stages_done_is_ready(bash: Bash) -> None:
    assert bash.run("begin; stage one true; finish").returncode == 0
    assert bash.end_state() == "ready"


def test_a_script_that_breaks_outside_its_stages_has_failed(bash: Bash) -> None:
    assert bash.run("begin; stage one true; nonsense_command; finish").returncode != 0
    assert bash.end_state() == "failed"


def wait_ended(file: Path) -> None:
    """Returns when the process whose id the file holds is no more; what is left of it may wait for its parent."""
    pid = int(file.read_text(encoding="utf-8"))
    end = time.monotonic() + 20
    with contextlib.suppress(psutil.NoSuchProcess):
        while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < end, f"process {pid} still runs"
            time.sleep(0.05)


def test_a_stage_that_hangs_is_ended_with_all_that_it_started(bash: Bash) -> None:
    ran = bash.run(
        f"""
        begin
        STAGE_SECONDS=1
        quick() {{ echo region; }}
        hangs() {{
          trap '' TERM
          echo "so far so good"
          bash -c 'trap "" TERM; echo $$ >{bash.folder}/one; sleep 1000 & echo $! >{bash.folder}/two; wait' &
          wait
        }}
        stage first quick
        stage second hangs
        stage third quick
        finish
        """
    )
    assert ran.returncode == 1
    assert bash.end_state() == "degraded: second"
    assert [(entry["stage"], entry["error"]) for entry in bash.stages()] == [
        ("first", ""),
        ("second", "so far so good|did not end within 1 s and was killed"),
        ("third", ""),
    ]
    wait_ended(bash.folder / "one")
    wait_ended(bash.folder / "two")


def test_a_run_that_is_stopped_leaves_no_stage_behind(bash: Bash) -> None:
    """systemd leaves what the script started alone, since the tunnel of mount.efs is to stay."""
    ran = bash.run(
        f"""
        begin
        hangs() {{ sleep 1000 & echo $! >{bash.folder}/one; kill $$; wait; }}
        stage first hangs
        """
    )
    assert ran.returncode == -15
    assert bash.end_state() == "failed"
    wait_ended(bash.folder / "one")


def test_a_run_that_is_stopped_while_a_stage_begins_leaves_none_behind(bash: Bash) -> None:
    """The stage runs before the script has noted its process: the trap stops the script between the two."""
    ran = bash.run(
        f"""
        begin
        hangs() {{ sleep 1000 & echo $! >{bash.folder}/one; wait; }}
        set -T
        trap 'if [[ $BASH_COMMAND == "STAGE=\\$!" ]]; then
          until [[ -s {bash.folder}/one ]]; do sleep 0.05; done; kill $$
        fi' DEBUG
        stage first hangs
        """
    )
    assert ran.returncode == -15
    assert bash.end_state() == "failed"
    wait_ended(bash.folder / "one")


def test_a_daemon_that_a_stage_starts_does_not_hold_up_its_end(bash: Bash) -> None:
    """And is left alone, as the tunnel of mount.efs must be."""
    bash.run(f"begin; daemon() {{ setsid sleep 30 & echo $! >{bash.folder}/pid; }}; stage one daemon; finish")
    (entry,) = bash.stages()
    pid = int((bash.folder / "pid").read_text(encoding="utf-8"))
    os.kill(pid, signal.SIGKILL)
    assert entry["ok"]


def test_a_second_run_keeps_the_first_ones_status(bash: Bash) -> None:
    bash.run("begin; stage one true; finish")
    bash.run("begin; stage two true; finish")
    assert [entry["stage"] for entry in bash.stages()] == ["two"]
    assert '"stage":"one"' in (bash.state / "status.previous.jsonl").read_text(encoding="utf-8")


def test_an_error_outside_ascii_is_still_json(bash: Bash) -> None:
    bash.run("begin\nbad() { printf 'caf\\303\\251 \\033[31m\\377\\n'; return 3; }\nstage one bad\nfinish")
    (entry,) = bash.stages()
    assert entry["error"] == "caf [31m|"


def test_what_stands_on_a_failed_stage_is_skipped_as_failed(bash: Bash) -> None:
    ran = bash.run(
        """
        begin
        stage first false
        after "second first" stage third touch "$STATE/ran"
        after second stage fourth true
        finish
        """
    )
    assert ran.returncode == 1
    assert [(entry["stage"], entry["ok"], entry["error"]) for entry in bash.stages()] == [
        ("first", False, "exit status 1"),
        ("third", False, "skipped: needs first"),
        ("fourth", True, ""),
    ]
    assert not (bash.state / "ran").exists()
    assert bash.end_state() == "degraded: first third"


def published(bash: Bash) -> list[dict[str, Any]]:
    """Every status that was put into the parameter, in order."""
    lines = (bash.bin / "aws.published").read_text(encoding="utf-8").splitlines()
    assert max(len(line.encode()) for line in lines) <= 4096
    return [json.loads(line) for line in lines]


# Of PutParameter: "Parameter value can't nest another parameter. Do not use \"{{}}\" in the value."
PUT = """\
while [[ $1 != --value ]]; do shift; done
[[ $2 != *"{{"* ]] || { echo "ValidationException" >&2; exit 254; }
printf '%s\\n' "$2" >>"$0.published"
"""


def ssm(bash: Bash, before: str = "") -> None:
    """An AWS CLI that keeps what it is given, where SSM would; `before` is run first."""
    bash.stand_in("aws", f"{before}\n{PUT}")


def test_the_status_is_published_from_the_first_stage_to_the_end(bash: Bash) -> None:
    ssm(bash)
    bash.run("begin; STATUS_PARAMETER=/a; bad() { echo 'a \"b\" \\'; false; }; stage one true; stage two bad; finish")

    last = published(bash)[-1]
    assert last["state"] == "degraded: two"
    assert last["stages"] == bash.stages()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", last["boot"])
    assert last["machine"]
    # What was in between, as far as it was not outdated before its turn.
    assert all(found["state"].startswith("running ") for found in published(bash)[:-1])


def test_a_slow_cli_holds_up_no_stage_and_the_end_comes_last(bash: Bash) -> None:
    """The first call does not return before the last stage has run."""
    ssm(
        bash,
        f"if [[ ! -e {bash.folder}/first ]]; then\n"
        f"  touch {bash.folder}/first; until [[ -e {bash.folder}/go ]]; do sleep 0.05; done\n"
        "fi",
    )
    ran = bash.run(
        f"begin; STATUS_PARAMETER=/a; stage one true; until [[ -e {bash.folder}/first ]]; do sleep 0.05; done\n"
        f"stage two true; stage three true; stage four touch {bash.folder}/go; finish"
    )
    assert ran.returncode == 0, ran.stderr
    states = [found["state"] for found in published(bash)]
    assert (states[0], states[-1]) == ("running one", "ready")
    # Two and three were outdated before their turn.
    assert not {"running two", "running three"} & set(states)


def test_a_long_status_is_shortened_to_what_a_parameter_takes(bash: Bash) -> None:
    ssm(bash)
    stages = "; ".join(f"stage stage_number_{number} bad" for number in range(16))
    bash.run(
        f"begin; STATUS_PARAMETER=/a; bad() {{ printf 'x%.0s' {{1..2000}}; printf END; false; }}; {stages}; finish"
    )

    last = published(bash)[-1]
    assert len(last["stages"]) == 16
    assert [found["ok"] for found in last["stages"]] == [False] * 16
    # The end of what was said is what matters.
    assert all(found["error"].endswith("END") for found in last["stages"])
    assert all(str(found["error"]).startswith("xxx") and len(str(found["error"])) == 1000 for found in bash.stages())


def test_braces_that_ssm_refuses_arrive_all_the_same(bash: Bash) -> None:
    """As in what docker and jinja say."""
    ssm(bash)
    said = "docker info -f {{json .Runtimes}} {{{x}}} {{{{y {"
    bash.run(f"begin; STATUS_PARAMETER=/a; bad() {{ echo '{said}'; false; }}; stage one bad; finish")

    last = published(bash)[-1]
    assert [found["error"] for found in last["stages"]] == [f"{said}|"]
    assert bash.stages() == last["stages"]


def test_a_status_that_could_not_be_put_is_put_before_the_end_of_its_stage(bash: Bash) -> None:
    """Throttled, or cut off for a moment; a stage may take an hour."""
    ssm(bash, f'if [[ ! -e {bash.folder}/tried ]]; then touch {bash.folder}/tried; echo "Throttled" >&2; exit 254; fi')
    bash.stand_in("sleep", "exec /usr/bin/sleep 0.05")
    ran = bash.run(
        f"begin; STATUS_PARAMETER=/a; waits() {{ until [[ -e {bash.bin}/aws.published ]]; do sleep 0.05; done; }}\n"
        "stage one waits; stage two true; finish"
    )
    assert ran.returncode == 0
    states = [found["state"] for found in published(bash)]
    assert (states[0], states[-1]) == ("running one", "ready")


def test_what_is_outdated_is_not_put_once_the_disk_is_full(bash: Bash) -> None:
    """Then the newest is in memory, where what still tries to put the one before does not look."""
    ssm(bash, f"[[ -e {bash.folder}/go ]] || exit 254")
    bash.stand_in("sleep", f"touch {bash.folder}/waits; until [[ -e {bash.folder}/go ]]; do /usr/bin/sleep 0.05; done")
    ran = bash.run(
        "begin; STATUS_PARAMETER=/a; state 'running one'; publish_soon\n"
        f"until [[ -e {bash.folder}/waits ]]; do /usr/bin/sleep 0.05; done\n"
        f"head() {{ return 1; }}; room; touch {bash.folder}/go; wait; ENDED=1"
    )
    assert ran.returncode == 0, ran.stderr
    assert not (bash.bin / "aws.published").exists()


def test_a_status_that_nobody_takes_is_tried_for_a_while_and_changes_nothing(bash: Bash) -> None:
    bash.stand_in("aws", f'echo "Unable to locate credentials" >&2; echo x >>{bash.folder}/tries; exit 255')
    bash.stand_in("sleep", "exec /usr/bin/sleep 0.01")
    ran = bash.run("begin; STATUS_PARAMETER=/a; stage one true; stage two true; finish")
    assert ran.returncode == 0
    assert bash.end_state() == "ready"
    assert f"the status could not be put into /a: see {bash.state}/publish.log" in ran.stdout
    assert "Unable to locate credentials" in (bash.state / "publish.log").read_text(encoding="utf-8")
    # Four times at the end, and for each stage at most twenty times.
    assert 4 <= (bash.folder / "tries").read_text(encoding="utf-8").count("x") <= 44


def test_a_script_that_breaks_outside_its_stages_publishes_that(bash: Bash) -> None:
    ssm(bash)
    bash.run("begin; STATUS_PARAMETER=/a; stage one true; nonsense_command; finish")
    assert published(bash)[-1]["state"] == "failed"


def test_a_file_is_replaced_in_one_step_or_not_at_all(bash: Bash) -> None:
    file = bash.folder / "configuration"
    assert bash.run(f"put_file {file} <<<one").returncode == 0
    inode = file.stat().st_ino
    # The same again is not even written.
    assert bash.run(f"put_file {file} <<<one").returncode == 0
    assert file.stat().st_ino == inode
    bash.stand_in("cat", "head -c 1; echo 'No space left on device' >&2; exit 1")
    ran = bash.run(f"put_file {file} <<<two")
    assert ran.returncode == 1
    assert f"{file} cannot be written and was left as it was: is the root disk full (df)?" in ran.stderr
    assert file.read_text(encoding="utf-8") == "one\n"
    assert [found.name for found in bash.folder.glob("configuration*")] == ["configuration"]


def test_retry_is_bounded(bash: Bash) -> None:
    assert bash.run(f"try() {{ echo x >>{bash.folder}/count; false; }}; retry 3 0 try").returncode == 1
    assert (bash.folder / "count").read_text(encoding="utf-8") == "x\nx\nx\n"


def test_packages_that_a_power_cut_left_half_configured_are_finished_first(bash: Bash) -> None:
    bash.stand_in("dpkg-query", "exit 1")
    bash.stand_in("dpkg", f'[[ $* == "--force-confold --configure -a" ]] && touch {bash.folder}/configured')
    bash.stand_in("apt-get", f"[[ -e {bash.folder}/configured ]] || exit 100")
    bash.stand_in("sleep", "")

    assert bash.run("apt_install absent").returncode == 0


def test_packages_that_are_there_are_not_asked_for_again(bash: Bash) -> None:
    bash.stand_in("dpkg-query", '[[ ${!#} == there ]] && echo "ii " || exit 1')
    bash.stand_in("apt-get", f'echo "$*" >>{bash.folder}/apt')
    bash.stand_in("dpkg", "")
    assert bash.run("apt_install there").returncode == 0
    assert not (bash.folder / "apt").exists()
    assert bash.run("apt_install there absent=1.2").returncode == 0
    assert (bash.folder / "apt").read_text(encoding="utf-8").splitlines() == [
        "-y update",
        "-y install --no-install-recommends there absent=1.2",
    ]


def test_fstab_has_one_line_for_a_mount_point(bash: Bash) -> None:
    bash.run(
        "fstab_set fs-1 /efs efs _netdev,tls 0; fstab_set UUID=2222 /data ext4 nofail 2\n"
        "fstab_set fs-1 /efs efs _netdev,tls,ro 0"
    )
    assert bash.fstab.read_text(encoding="utf-8").splitlines() == [
        "# static information",
        "UUID=1111 / ext4 defaults 0 1",
        "fs-1 /efs efs _netdev,tls,ro 0 0",
        "UUID=2222 /data ext4 nofail 0 2",
    ]
    assert bash.fstab.stat().st_mode & 0o777 == 0o644
    assert [file.name for file in bash.folder.glob("fstab*")] == ["fstab"]


# --- swap ---


@pytest.fixture
def swap(bash: Bash) -> Bash:
    """A machine without swap; what is made there is never given to this machine's kernel."""
    used = bash.folder / "swaps"
    bash.stand_in("swapon", f'[[ $1 != --noheadings ]] || exec cat {used}; echo "$1" >>{used}')
    bash.stand_in("systemctl", f'echo "$*" >>{bash.folder}/systemctl')
    used.touch()
    return bash


def make_swap(bash: Bash) -> subprocess.CompletedProcess[str]:
    return bash.run(f"export ML_INFRA_SWAP={bash.folder}/swapfile\n. {MEMORY}\nswap")


def test_swap_is_made_once_and_is_there_at_every_boot(swap: Bash) -> None:
    need("mkswap", "fallocate", "blkid")
    file = swap.folder / "swapfile"
    assert make_swap(swap).returncode == 0
    assert file.stat().st_size == 1024 * MIB
    assert file.stat().st_mode & 0o777 == 0o600
    assert signature(file) == b"SWAPSPACE2"
    assert (swap.folder / "swaps").read_text(encoding="utf-8") == f"{file}\n"
    assert swap.fstab.read_text(encoding="utf-8").splitlines()[-1] == f"{file} none swap sw 0 0"
    assert "mask --now fwupd-refresh.timer fwupd-refresh.service\n" in (swap.folder / "systemctl").read_text()

    made = file.stat().st_ino
    assert make_swap(swap).returncode == 0
    (swap.folder / "swaps").write_text("", encoding="utf-8")
    assert make_swap(swap).returncode == 0
    assert file.stat().st_ino == made
    assert [found.name for found in swap.folder.glob("swapfile*")] == ["swapfile"]


def signature(file: Path) -> bytes:
    with file.open("rb") as content:
        return content.read(4096)[-10:]


def test_an_image_that_brings_swap_keeps_it(swap: Bash) -> None:
    (swap.folder / "swaps").write_text("/dev/zram0\n", encoding="utf-8")
    assert make_swap(swap).returncode == 0
    assert not (swap.folder / "swapfile").exists()
    assert "swap" not in swap.fstab.read_text(encoding="utf-8")


def test_no_room_for_swap_leaves_nothing_behind(swap: Bash) -> None:
    swap.stand_in("fallocate", 'head -c 10 /dev/zero >"${!#}"; echo "No space left on device" >&2; exit 1')
    ran = make_swap(swap)
    assert ran.returncode == 1
    assert "no swap of 1 GiB: is the root disk full (df)?" in ran.stderr
    assert [found.name for found in swap.folder.glob("swapfile*")] == []


# --- disks ---


def by_id(folder: Path, *names: str) -> Path:
    links = folder / "dev" / "disk" / "by-id"
    links.mkdir(parents=True)
    for number, name in enumerate(names):
        (folder / "dev" / f"nvme{number}n1").touch()
        (links / name).symlink_to(f"../../nvme{number}n1")
    return folder / "dev"


def test_a_volume_is_found_by_its_id_and_never_a_partition(bash: Bash) -> None:
    devices = by_id(
        bash.folder,
        "nvme-Amazon_Elastic_Block_Store_vol0root",
        "nvme-Amazon_Elastic_Block_Store_vol0data-part1",
        "nvme-Amazon_Elastic_Block_Store_vol0data",
    )
    assert bash.run("volume_device vol-0data").stdout.strip() == str(devices / "nvme2n1")


def test_a_volume_that_is_not_attached_is_not_found(bash: Bash) -> None:
    devices = by_id(
        bash.folder, "nvme-Amazon_Elastic_Block_Store_vol0root", "nvme-Amazon_Elastic_Block_Store_vol0data-part1"
    )
    # On Nitro a name of Xen proves nothing.
    (devices / "xvdh").touch()
    found = bash.run("volume_device vol-0data")
    assert (found.returncode, found.stdout) == (1, "")


@pytest.mark.parametrize("name", ["xvdh", "sdh"])
def test_a_volume_is_found_by_its_name_on_xen(bash: Bash, name: str) -> None:
    (bash.folder / "dev").mkdir()
    (bash.folder / "dev" / name).touch()
    assert bash.run("volume_device vol-0data").stdout.strip() == str(bash.folder / "dev" / name)


def image(folder: Path, size: int = 64 * MIB) -> Path:
    file = folder / "disk.img"
    with file.open("wb") as disk:
        disk.truncate(size)
    return file


def write(file: Path, offset: int, content: bytes) -> None:
    with file.open("r+b") as disk:
        disk.seek(offset if offset >= 0 else file.stat().st_size + offset)
        disk.write(content)


def cannot(reason: str) -> NoReturn:
    """Where these tests are for CI to run, what is missing is a failure."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def need(*commands: str) -> None:
    missing = [command for command in commands if shutil.which(command, path="/usr/sbin:/sbin:/usr/bin:/bin") is None]
    if missing:
        cannot(f"{', '.join(missing)} not installed (Debian: xfsprogs, e2fsprogs, util-linux); runs where it is")


def digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def make(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True, env={"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"})


def put_ext4(disk: Path) -> None:
    need("mkfs.ext4")
    make("mkfs.ext4", "-q", "-F", disk)


def put_xfs(disk: Path) -> None:
    need("mkfs.xfs")
    with disk.open("r+b") as file:
        file.truncate(320 * MIB)
    make("mkfs.xfs", "-q", disk)


def put_swap(disk: Path) -> None:
    need("mkswap")
    make("mkswap", disk)


def put_mbr(disk: Path) -> None:
    # One Linux partition from sector 2048, as a partitioning tool would leave it.
    write(disk, 446, bytes([0, 0, 0, 0, 0x83, 0, 0, 0]) + (2048).to_bytes(4, "little") + (65536).to_bytes(4, "little"))
    write(disk, 510, b"\x55\xaa")


def put_luks(disk: Path) -> None:
    # The fields of a LUKS1 header that tell it from noise; the key material is not needed to recognise it.
    header = b"LUKS\xba\xbe" + (1).to_bytes(2, "big") + b"aes".ljust(32, b"\0") + b"xts-plain64".ljust(32, b"\0")
    header += b"sha256".ljust(32, b"\0") + (4096).to_bytes(4, "big") + (64).to_bytes(4, "big")
    write(disk, 0, header)
    write(disk, 168, b"01234567-89ab-cdef-0123-456789abcdef\0")


def put_lvm(disk: Path) -> None:
    write(disk, 512, b"LABELONE" + (1).to_bytes(8, "little") + b"\0\0\0\0" + (32).to_bytes(4, "little") + b"LVM2 001")


def put_unknown_at_the_start(disk: Path) -> None:
    write(disk, 4096, b"MYFS-1.0 written by a program nobody here knows")


def put_unknown_at_the_end(disk: Path) -> None:
    write(disk, -512, b"trailer")


def put_unknown_far_in(disk: Path) -> None:
    write(disk, 15 * MIB, b"\x01")


CONTENTS = {
    "ext4": put_ext4,
    "XFS": put_xfs,
    "swap": put_swap,
    "partition table": put_mbr,
    "LUKS header": put_luks,
    "LVM": put_lvm,
    "unknown bytes at the start": put_unknown_at_the_start,
    "unknown bytes at the end": put_unknown_at_the_end,
    "one unknown byte 15 MiB in": put_unknown_far_in,
}


@pytest.mark.parametrize("content", CONTENTS)
def test_a_disk_with_anything_on_it_is_never_formatted(bash: Bash, content: str) -> None:
    need("blkid", "wipefs")
    disk = image(bash.folder)
    CONTENTS[content](disk)
    before = disk.read_bytes()
    bash.stand_in("mkfs.xfs", f"touch {bash.folder}/formatted")

    ran = bash.run(f"format_if_blank {disk} data")

    assert ran.returncode == 1
    assert not (bash.folder / "formatted").exists()
    assert disk.read_bytes() == before
    assert f"{disk} is not blank and was left as it is. Found: " in ran.stderr
    assert "then reboot" in ran.stderr


@pytest.mark.parametrize("content", ["swap", "partition table", "LUKS header", "LVM", "unknown bytes at the end"])
def test_what_is_not_a_file_system_is_neither_mounted_nor_formatted(bash: Bash, content: str) -> None:
    need("blkid", "wipefs")
    disk = image(bash.folder)
    CONTENTS[content](disk)
    before = disk.read_bytes()
    for name in ("mkfs.xfs", "mount"):
        bash.stand_in(name, f"touch {bash.folder}/touched")

    ran = bash.run(f"mount_disk {disk} {bash.folder}/data data fstab")

    assert ran.returncode == 1
    assert "was left as it is" in ran.stderr
    assert not (bash.folder / "touched").exists()
    assert disk.read_bytes() == before
    assert "/data" not in bash.fstab.read_text(encoding="utf-8")


@pytest.mark.parametrize("code", [0, 1, 4, 8, 16, 127])
def test_blkid_with_any_answer_but_nothing_found_means_hands_off(bash: Bash, code: int) -> None:
    disk = image(bash.folder)
    bash.stand_in("blkid", f"exit {code}")
    bash.stand_in("mkfs.xfs", f"touch {bash.folder}/formatted")
    ran = bash.run(f"format_if_blank {disk} data")
    assert ran.returncode == 1
    assert f"blkid (exit {code})" in ran.stderr
    assert not (bash.folder / "formatted").exists()


@pytest.mark.parametrize("body", ["exit 1", "echo 'DEVICE OFFSET TYPE'"])
def test_wipefs_in_doubt_means_hands_off(bash: Bash, body: str) -> None:
    need("blkid")
    disk = image(bash.folder)
    bash.stand_in("wipefs", body)
    bash.stand_in("mkfs.xfs", f"touch {bash.folder}/formatted")
    ran = bash.run(f"format_if_blank {disk} data")
    assert ran.returncode == 1
    assert "wipefs: " in ran.stderr
    assert not (bash.folder / "formatted").exists()


def test_a_disk_that_cannot_be_read_is_not_formatted(bash: Bash) -> None:
    need("blkid", "wipefs")
    bash.stand_in("mkfs.xfs", f"touch {bash.folder}/formatted")
    assert bash.run(f"format_if_blank {bash.folder}/absent data").returncode == 1
    disk = image(bash.folder)
    bash.stand_in("cmp", "exit 2")
    assert bash.run(f"format_if_blank {disk} data").returncode == 1
    assert not (bash.folder / "formatted").exists()


@pytest.mark.parametrize("size", [320 * MIB, 1024 * MIB, 400 * MIB + 512])
def test_a_blank_disk_is_formatted_once(bash: Bash, size: int) -> None:
    need("blkid", "wipefs", "mkfs.xfs")
    disk = image(bash.folder, size)
    first = bash.run(f"format_if_blank {disk} data")
    assert first.returncode == 0, first.stderr
    shown = subprocess.run(
        ["blkid", "-p", "-o", "export", disk], capture_output=True, text=True, env={"PATH": "/usr/sbin:/sbin:/bin"}
    )
    assert {"TYPE=xfs", "LABEL=data"} <= set(shown.stdout.splitlines())

    made = digest(disk)
    assert bash.run(f"format_if_blank {disk} data").returncode == 1
    assert digest(disk) == made


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[str]:
    """A blank 400 MiB block device. Needs root and loop devices."""
    if os.geteuid() != 0:
        cannot("attaching a loop device needs root")
    need("losetup", "mkfs.xfs", "blkid", "wipefs", "findmnt", "xfs_growfs")
    disk = tmp_path / "volume.img"
    with disk.open("wb") as file:
        file.truncate(400 * MIB)
    attached = subprocess.run(["losetup", "--find", "--show", disk], capture_output=True, text=True)
    if attached.returncode:
        cannot(f"no loop device here: {attached.stderr.strip()}")
    device = attached.stdout.strip()
    yield device
    subprocess.run(["umount", tmp_path / "data"], capture_output=True)
    subprocess.run(["losetup", "--detach", device], check=True)


@pytest.fixture
def mounted(bash: Bash, loop: str) -> str:
    """The command that put the blank loop device on <folder>/data, with a file in it."""
    command = f"mount_disk {loop} {bash.folder}/data data fstab"
    first = bash.run(command)
    if first.returncode and "permission denied" in first.stderr:
        cannot("mounting is not allowed here")
    assert first.returncode == 0, first.stderr
    (bash.folder / "data" / "checkpoint").write_text("not to be lost", encoding="utf-8")
    return command


def test_a_blank_volume_is_mounted_by_uuid_and_kept_at_every_later_boot(bash: Bash, loop: str, mounted: str) -> None:
    shown = subprocess.run(
        ["/sbin/blkid", "-p", "-s", "UUID", "-o", "value", loop], capture_output=True, text=True, check=True
    )
    line = f"UUID={shown.stdout.strip()} {bash.folder}/data xfs noatime,nofail,x-systemd.device-timeout=60s 0 2"
    assert bash.fstab.read_text(encoding="utf-8").splitlines()[-1] == line

    # Run again while mounted, then after a reboot.
    assert bash.run(mounted).returncode == 0
    subprocess.run(["umount", bash.folder / "data"], check=True)
    assert bash.run(mounted).returncode == 0

    assert (bash.folder / "data" / "checkpoint").read_text(encoding="utf-8") == "not to be lost"
    assert bash.fstab.read_text(encoding="utf-8").splitlines().count(line) == 1


def test_a_volume_that_was_enlarged_is_grown_with_its_data(bash: Bash, loop: str, mounted: str) -> None:
    point = bash.folder / "data"
    small = os.statvfs(point).f_blocks
    with (bash.folder / "volume.img").open("r+b") as file:
        file.truncate(800 * MIB)
    subprocess.run(["losetup", "--set-capacity", loop], check=True)

    ran = bash.run(mounted)

    assert (point / "checkpoint").read_text(encoding="utf-8") == "not to be lost"
    assert ran.returncode == 0, ran.stderr
    assert os.statvfs(point).f_blocks > 1.8 * small


def test_a_mount_point_that_holds_something_else_is_left_alone(bash: Bash, loop: str) -> None:
    point = bash.folder / "data"
    point.mkdir()
    other = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", point], capture_output=True, text=True)
    if other.returncode:
        cannot(f"mounting is not allowed here: {other.stderr.strip()}")
    ran = bash.run(f"mount_disk {loop} {point} data")
    assert ran.returncode == 1
    assert f"{point} holds tmpfs instead of {loop}" in ran.stderr
