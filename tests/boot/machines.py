"""What each kind of machine gets, as its stack synthesizes it, and what stands for AWS and hardware there."""

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from constructs_lib.packed_user_data import filled, values
from tests.boot import training
from tests.boot.machine import Disk, Machine, host
from tests.unit.synthesis import only, synthesize

REGION = "us-east-1"
PORT = 5577
VOLUME_ID = "vol-0123456789abcdef0"
GRAFANA_VOLUME_ID = "vol-0fedcba9876543210"
MOUNT_TARGET = "10.20.2.20"
ACCESS_POINT = "fsap-0123456789abcdef0"
FILE_SYSTEM = "fs-0123456789abcdef0"
INSTANCE_ID = "i-0123456789abcdef0"
OTHER_INSTANCE_ID = "i-0fedcba9876543210"
TRAINING_REPOSITORY = "https://github.com/DMW2151/msls-pytorch-dcgan"

# Profile -> an instance type of it, and its accelerators.
TYPES = {"none": "t3.large", "nvidia": "g6.12xlarge", "gaudi": "dl1.24xlarge", "neuron": "trn1.32xlarge"}
ACCELERATORS = {"none": 0, "nvidia": 4, "gaudi": 8, "neuron": 16}

# What Terraform knows only once there is something; names of the stack's own resources are in its JSON.
_KNOWN_LATER = {
    "aws_ebs_volume.msls.id": VOLUME_ID,
    "aws_ebs_volume.grafana.id": GRAFANA_VOLUME_ID,
    "data.terraform_remote_state.mlcore.outputs.efs_file_system.id": FILE_SYSTEM,
    "data.terraform_remote_state.mlcore.outputs.efs_file_system.access_point_id": ACCESS_POINT,
    "data.terraform_remote_state.mlcore.outputs.efs_mount_target.ip_address": MOUNT_TARGET,
    "data.terraform_remote_state.mlcore.outputs.cloudwatch_agent_cfg.name": "AmazonCloudWatch-ml-core-cw_agent__config",
}


def status_parameter(stack: str, machine: str) -> str:
    """The name of the one parameter that the machine writes."""
    return str(synthesize()[stack]["resource"]["aws_ssm_parameter"][f"{machine}_boot_status"]["name"])


def worker(profile: str = "none", *, revision: str, **settings: str) -> bytes:
    """The user data of a worker."""
    settings = {"TRAIN_MODEL__INSTANCE_TYPE": TYPES[profile], "TRAIN_MODEL__TRAINING_REVISION": revision, **settings}
    return _user_data("train-model", settings)


def put_password(cloud: int, password: str) -> None:
    """What Terraform puts into the parameter of Grafana's password. cloud: the PID of the embedded AWS."""
    put_parameter(cloud, values(metrics())["GRAFANA_PASSWORD_PARAMETER"], password, "SecureString")


def put_parameter(cloud: int, name: str, value: str, type: str) -> None:
    """Puts a value into a parameter, made if there is none."""
    put = "import boto3, sys; boto3.client('ssm', endpoint_url=sys.argv[1], region_name=sys.argv[2], \
aws_access_key_id='test', aws_secret_access_key='test').put_parameter(Name=sys.argv[3], Value=sys.argv[4], \
Type=sys.argv[5], Overwrite=True)"
    arguments = (f"http://127.0.0.1:{PORT}", REGION, name, value, type)
    host("nsenter", f"--net=/proc/{cloud}/ns/net", sys.executable, "-c", put, *arguments)


def put_agent_configurations(cloud: int) -> None:
    """What Terraform puts into the parameters of the agents' configurations. cloud: the PID of the embedded AWS."""
    stacks = synthesize(TRAIN_MODEL__INSTANCE_TYPE=TYPES["nvidia"])
    for stack, resource in (("mlcore", "cloudwatch_agent_cfg"), ("train-model", "cloudwatch_agent_gpu_cfg")):
        parameter = stacks[stack]["resource"]["aws_ssm_parameter"][resource]
        put_parameter(cloud, parameter["name"], parameter["value"].replace("$${", "${"), "String")


def jump() -> bytes:
    """The user data of the jump host."""
    return _user_data("mlcore", {})


def metrics() -> bytes:
    """The user data of the metrics host."""
    return _user_data("stats-monitor", {})


def notebook() -> str:
    """The script that the notebook runs at every start."""
    resources = synthesize()["train-model-dev"]["resource"]
    expression = only(resources["aws_sagemaker_notebook_instance_lifecycle_configuration"])["on_start"]
    parts = re.fullmatch(r'\$\{base64encode\(join\("", \[(.*)\]\)\)\}', expression)
    assert parts
    pieces = re.findall(r'("(?:[^"\\]|\\.)*")|([\w.]+)', parts[1])
    return "".join(json.loads(text) if text else _value(reference, resources) for text, reference in pieces)


def _user_data(stack: str, settings: Mapping[str, str]) -> bytes:
    resources = synthesize(**settings)[stack]["resource"]
    return filled(only(resources["aws_instance"])["user_data_base64"], lambda reference: _value(reference, resources))


def _value(reference: str, resources: Mapping[str, Any]) -> str:
    if reference in _KNOWN_LATER:
        return _KNOWN_LATER[reference]
    type, name, attribute = reference.split(".")
    return str(resources[type][name][attribute])


def furnish(machine: Machine, *, efs: Disk, endpoint: str = f"http://127.0.0.1:{PORT}") -> None:
    """The account and the hardware of a machine where all is well. `efs` stands for the shared file system."""
    machine.prepare(
        "/root/.aws/config",
        f"[default]\nregion = {REGION}\nendpoint_url = {endpoint}\nretry_mode = standard\nmax_attempts = 1\n"
        "cli_connect_timeout = 2\n",
    )
    machine.prepare(
        "/root/.aws/credentials", "[default]\naws_access_key_id = test\naws_secret_access_key = test\n", 0o600
    )
    machine.prepare("/var/lib/cloud/data/instance-id", f"{INSTANCE_ID}\n")
    machine.insert(efs, "efs")
    connect(machine)
    machine.stand_in("apt-get", _APT_GET)
    # Swap would be the host's, and its size is not.
    machine.stand_in("swapon")
    machine.stand_in("fallocate", 'real -l 1MiB "${!#}"')
    for name in ("snap", "dnf", "sudo"):
        machine.stand_in(name)
    machine.stand_in("docker", _DOCKER, path="/usr/bin")
    machine.prepare("/usr/local/lib/boot-test-grafana", _GRAFANA)
    machine.prepare(
        "/etc/systemd/system/docker.service", "[Service]\nType=oneshot\nExecStart=/bin/true\nRemainAfterExit=yes\n"
    )


# Packages are there as soon as they were asked for.
_APT_GET = r"""
[[ $* == *" install "* ]] || exit 0
for package in "${@:4}"; do
  ! dpkg-query -W "${package%%=*}" >/dev/null 2>&1 || continue
  printf 'Package: %s\nStatus: install ok installed\nVersion: 1\nArchitecture: all\nMaintainer: t\nDescription: t\n\n' \
    "${package%%=*}" >>/var/lib/dpkg/status
done
"""

# mount.efs DEVICE POINT -o OPTIONS; as the real one, it leaves its tunnel in a session of its own. The access point's
# folder is made by the first who may write, which is the least that AWS says; a label stands for it.
_MOUNT_EFS = """
[[ ,$4, == *,ro,* ]] && mode=ro
if [[ $(blkid -p -s LABEL -o value /dev/efs) != made ]]; then
  if [[ ${mode:-} == ro ]]; then
    echo "mount.nfs4: mounting 127.0.0.1:/ failed, reason given by server: No such file or directory" >&2
    exit 32
  fi
  e2label /dev/efs made
fi
setsid bash -c 'exec -a efs-proxy /usr/bin/sleep infinity' </dev/null >/dev/null 2>&1 &
exec mount -t ext4 -o "${mode:-rw}" /dev/efs "$2"
"""

# A container answers on the port that it publishes, for as long as it runs. Grafana takes the password of its variable
# only when it makes its database, and keeps a digest of it.
_DOCKER = r"""
images=/var/lib/docker-images database=/var/lib/grafana/digest
case $1 in
  image) grep -qsxF "${!#}" $images ;;
  pull) echo "${!#}" >>$images ;;
  info) echo '{"habana":{"path":"habana-container-runtime"}}' ;;
  run)
    while (($#)); do [[ $1 == -p ]] && publish=$2; shift; done
    [[ ${publish:-} ]] || exit 0
    [[ -e $database ]] || sha256sum </run/ml-infra/grafana_password >$database
    IFS=: read -r address port _ <<<"$publish"
    [[ $port == 3000 ]] || exec python3 -m http.server -b "$address" -d /run/boot-test "$port"
    exec python3 /usr/local/lib/boot-test-grafana "$address" "$port" ;;
  exec)
    cli="grafana cli --homepath /usr/share/grafana"
    [[ $* == "exec -i grafana $cli admin reset-admin-password --password-from-stdin" ]] || exit 1
    sha256sum >$database ;;
esac
"""


# Its API, as far as it is asked: a data source's health is told to its admin only, and is 400 when it is bad.
_GRAFANA = """
import base64, hashlib, http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args): pass
    def answer(self):
        if self.path == "/api/health":
            return 200, '{"database": "ok"}'
        if self.path != "/api/datasources/uid/cloudwatch/health":
            return 404, "{}"
        given = (self.headers["Authorization"] or "").removeprefix("Basic ")
        user, _, password = base64.b64decode(given).partition(b":")
        known = open("/var/lib/grafana/digest").read().split()[0]
        if user != b"admin" or hashlib.sha256(password + b"\\n").hexdigest() != known:
            return 401, '{"message": "Invalid username or password"}'
        if os.path.exists("/etc/no-cloudwatch"):
            return 400, '{"message": "CloudWatch metrics query failed: AccessDenied", "status": "ERROR"}'
        return 200, '{"message": "Successfully queried the CloudWatch metrics API.", "status": "OK"}'
    def do_GET(self):
        status, text = self.answer()
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())
http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
"""


def accelerators(machine: Machine, profile: str, count: int | None = None) -> None:
    """The accelerators of a profile, or so many of them."""
    devices = range(ACCELERATORS[profile] if count is None else count)
    if profile == "nvidia":
        lines = "".join(f"GPU {number}: NVIDIA L4 (UUID: GPU-{number})\\n" for number in devices)
        machine.stand_in("nvidia-smi", f"printf '{lines}'")
        pytorch_image(machine, "/opt/pytorch")
    elif profile == "gaudi":
        lines = "".join(f"{number}, 10 %%, 1000 MiB, 40 C, 90 W\\n" for number in devices)
        machine.stand_in("hl-smi", f"printf '{lines}'")
    elif profile == "neuron":
        # No device nodes in a folder that is made at each boot: files do, since they are only counted.
        nodes = "".join(f"f /dev/neuron{number} 0644 root root\n" for number in devices)
        machine.prepare("/etc/tmpfiles.d/neuron.conf", nodes)
        pytorch_image(machine, "/opt/aws_neuronx_venv_pytorch_2_9", "torch_neuronx")


# Of Ubuntu's and of AWS's images; the second half is what automatic updates may change.
KERNEL_AND_DRIVERS = {
    "linux-aws",
    "linux-headers-6.8.0-1021-aws",
    "linux-image-aws",
    "linux-modules-6.8.0-1021-aws",
    "nvidia-dkms-580-server-open",
    "libnvidia-compute-580-server",
    "aws-neuronx-dkms",
    "habanalabs-dkms",
}
OTHER_PACKAGES = {"linux-base", "linux-libc-dev", "nvidia-container-toolkit", "habanalabs-container-runtime"}


def packages_of_an_image(machine: Machine, base: Path) -> None:
    """Kernel and drivers of every accelerator, installed as far as dpkg knows."""
    known = (base / "var/lib/dpkg/status").read_text(encoding="utf-8")
    new = sorted(name for name in KERNEL_AND_DRIVERS | OTHER_PACKAGES if f"Package: {name}\n" not in known)
    rest = "Status: install ok installed\nVersion: 1\nArchitecture: all\nMaintainer: t\nDescription: t\n\n"
    entries = [f"Package: {name}\n{rest}" for name in new]
    machine.prepare("/var/lib/dpkg/status", known.rstrip("\n") + "\n\n" + "".join(entries))


def pytorch_image(machine: Machine, folder: str, *more: str) -> None:
    """As on AWS's images with PyTorch: a virtual environment of the image's own, with PyTorch and more."""
    machine.prepare(f"{folder}/pyvenv.cfg", "home = /usr/bin\ninclude-system-site-packages = false\n")
    machine.prepare_link(f"{folder}/bin/python", "/usr/bin/python3")
    for name in ("torch", "torchvision", *more):
        code = training.TORCH if name == "torch" else ""
        package = f"{folder}/lib/python3.13/site-packages/{name}"
        machine.prepare(f"{package}/__init__.py", f'__version__ = "of the image"\n{code}')
        if name == "torch":
            machine.prepare(f"{package}/serialization.py", training.SERIALIZATION)


def connect(machine: Machine) -> None:
    """A network in which AWS, the training repository and the package index answer."""
    machine.prepare("/etc/pip.conf", "[global]\nno-index = true\nfind-links = /srv/wheels\n")
    machine.prepare(
        "/etc/gitconfig",
        f'[url "file:///srv/training.git"]\ninsteadOf = {TRAINING_REPOSITORY}\n[safe]\ndirectory = *\n',
    )
    machine.stand_in("mount.efs", _MOUNT_EFS, path="/usr/sbin")
    machine.stand_in("amazon-cloudwatch-agent-ctl", path="/opt/aws/amazon-cloudwatch-agent/bin")


# fetch-config keeps no other configuration; then all of them are merged, and what is in two must be the same in both:
# translator/jsonconfig/mergeJsonUtil of aws/amazon-cloudwatch-agent.
_AGENT = """
etc=/opt/aws/amazon-cloudwatch-agent/etc/amazon-cloudwatch-agent.d name=${7#ssm:}
[[ $2 != fetch-config ]] || rm -f $etc/*
aws ssm get-parameter --name "$name" --query Parameter.Value --output text >"$etc/ssm_$name"
python3 - $etc/* >/run/boot-test/agent.json <<'END'
import json, sys
merged = {}
def merge(into, more):
    for key, value in more.items():
        if isinstance(value, dict):
            merge(into.setdefault(key, {}), value)
        elif into.setdefault(key, value) != value:
            sys.exit(f"Different values are specified for {key}")
for file in sys.argv[1:]:
    merge(merged, json.load(open(file)))
print(json.dumps(merged))
END
"""


def sagemakers_agent(machine: Machine) -> None:
    """A notebook's CloudWatch agent, which ships SageMaker's logs already."""
    logs = {
        "collect_list": [{"file_path": "/var/log/jupyter.log", "log_group_name": "/aws/sagemaker/NotebookInstances"}]
    }
    own = {
        "agent": {"metrics_collection_interval": 10, "run_as_user": "cwagent"},
        "logs": {"logs_collected": {"files": logs}},
    }
    folder = "/opt/aws/amazon-cloudwatch-agent"
    machine.prepare(f"{folder}/etc/amazon-cloudwatch-agent.d/file_sagemaker.json", json.dumps(own))
    machine.stand_in("amazon-cloudwatch-agent-ctl", _AGENT, path=f"{folder}/bin")


def cut_off(machine: Machine) -> None:
    """No network: what stands for AWS fails as AWS's programs then do, and git and pip are left to the internet."""
    machine.stand_in("mount.efs", 'echo "Failed to resolve the file system" >&2\nexit 1', path="/usr/sbin")
    machine.stand_in(
        "amazon-cloudwatch-agent-ctl",
        'echo "Fail to fetch the config!" >&2\nexit 1',
        path="/opt/aws/amazon-cloudwatch-agent/bin",
    )
    for path in ("/etc/gitconfig", "/etc/pip.conf"):
        machine.prepare(path, "")


def hurry(machine: Machine, program: str = "mount") -> None:
    """Pauses between tries take no time, and that program gets 3 s to answer where it has a limit."""
    machine.stand_in("sleep", "exec /usr/bin/sleep 0.01")
    machine.stand_in("timeout", f'[[ $4 != {program} ]] || set -- -k 1 3 "${{@:4}}"\nexec /usr/bin/timeout "$@"')
