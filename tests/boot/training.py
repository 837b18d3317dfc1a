"""What machines have below /srv in place of the internet: the training repository, and packages for pip."""

import subprocess
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

_NOTHING: Mapping[str, str] = MappingProxyType({})

# CUDA is there, with as many devices as the driver knows.
TORCH = """
import shutil
import subprocess

from torch.serialization import load, save


class cuda:
    @staticmethod
    def device_count():
        if shutil.which("nvidia-smi") is None:
            return 0
        return subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True).stdout.count("GPU ")

    @staticmethod
    def is_available():
        return cuda.device_count() > 0
"""

# As the real one's, a file is a zip, and the module is where torch.save comes from.
SERIALIZATION = """
import json
import zipfile


def save(obj, f):
    with zipfile.ZipFile(f, "w") as checkpoint:
        checkpoint.writestr("data", json.dumps(obj))


def load(f):
    with zipfile.ZipFile(f) as checkpoint:
        return json.loads(checkpoint.read("data"))
"""

# The program as far as `train` and the set-up know it: its options, its checkpoints, its imports, that it goes on
# with the epoch of the checkpoint that it read, and where it breaks: without CUDA, with --logging (its default) but not
# --profile, and over images that are in no folder of a class. It waits while /data/hold is there.
_PROGRAM = """
import argparse
import json
import time
from pathlib import Path

import boto3
import packaging
import tensorboard
import torch
import torchvision

if not torch.cuda.is_available():
    import habana_frameworks

parser = argparse.ArgumentParser()
parser.add_argument("-d", "--dataroot", default="nowhere")
parser.add_argument("-se", "--s_epoch", type=int, default=0)
parser.add_argument("-ne", "--n_epoch", type=int, default=4)
parser.add_argument("--s3_bucket", default="a-bucket-of-the-author")
parser.add_argument("-c", "--checkpoint_params", type=json.loads, default={})
parser.add_argument("--profile", type=bool, default=False)
parser.add_argument("--logging", type=bool, default=True)


def main():
    options = parser.parse_args()
    print(json.dumps(vars(options)), flush=True)
    folder = Path(options.checkpoint_params["root"], options.checkpoint_params["name"])
    folder.mkdir(parents=True, exist_ok=True)
    if not any(path.is_dir() for path in Path(options.dataroot).iterdir()):
        raise FileNotFoundError(f"Couldn't find any class folder in {options.dataroot}.")
    if options.profile:
        step = len
    start = 0
    if options.s_epoch:
        start = torch.load(folder / f"checkpoint_{options.s_epoch}.pt")["epoch"]
    while Path("/data/hold").exists():
        time.sleep(0.05)
    for epoch in range(start, options.n_epoch):
        time.sleep(0.2)
        if options.logging:
            step("of the profiler")
        torch.save({"epoch": epoch}, folder / f"checkpoint_{epoch}.pt")
        print("epoch", epoch, flush=True)


if __name__ == "__main__":
    main()
"""

# Two commits, so that the pinned one is not the latest.
_COMMITS = """
set -e
export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_DATE='1700000000 +0000' GIT_COMMITTER_DATE='1700000000 +0000'
git() { command git -c user.name=t -c user.email=t@example.com -c safe.directory='*' "$@"; }
cd "$1/work"
git init -q -b main
git add .
git commit -q -m pinned
git rev-parse HEAD >"$1/training.revision"
echo 'raise SystemExit("this is not the pinned revision")' >model/msls/run_dcgan.py
git commit -q -a -m later
git clone -q --bare . "$1/training.git"
git -C "$1/training.git" config uploadpack.allowAnySHA1InWant true
"""

_TENSORBOARD = """
__version__ = "2.20.0"


def main():
    import argparse
    import http.server

    import pkg_resources

    parser = argparse.ArgumentParser()
    parser.add_argument("--version", action="version", version=__version__)
    for option in ("logdir", "host", "port"):
        parser.add_argument(f"--{option}", required=True)
    options = parser.parse_args()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(f"TensorBoard of {options.logdir}".encode())

    http.server.ThreadingHTTPServer((options.host, int(options.port)), Handler).serve_forever()
"""


def repository(folder: Path) -> None:
    """folder/training.git, and the revision that machines are to have in folder/training.revision."""
    package = folder / "work" / "model" / "msls"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "run_dcgan.py").write_text(_PROGRAM, encoding="utf-8")
    subprocess.run(["bash", "-c", _COMMITS, "bash", folder], check=True, stdin=subprocess.DEVNULL)


def wheels(folder: Path) -> None:
    """Packages of the names and versions that the boot scripts ask for, into folder/wheels."""
    (folder / "wheels").mkdir()
    for accelerator in ("cpu", "cu124"):
        torch = {"__init__": f'__version__ = "2.6.0+{accelerator}"\n{TORCH}', "serialization": SERIALIZATION}
        _wheel(folder / "wheels", "torch", f"2.6.0+{accelerator}", torch)
        _wheel(folder / "wheels", "torchvision", f"0.21.0+{accelerator}")
    _wheel(folder / "wheels", "tensorboard", "2.20.0", {"__init__": _TENSORBOARD}, script="tensorboard:main")
    _wheel(folder / "wheels", "torch_tb_profiler", "0.4.3", {"plugin": ""})
    _wheel(folder / "wheels", "pandas", "3.1.1")
    _wheel(folder / "wheels", "setuptools", "80.9.0", package="pkg_resources")
    _wheel(folder / "wheels", "packaging", "25.0")
    _wheel(folder / "wheels", "boto3", "1.43.123")


def _wheel(
    folder: Path, name: str, version: str, modules: Mapping[str, str] = _NOTHING, *, package: str = "", script: str = ""
) -> None:
    info = f"{name}-{version}.dist-info"
    files = {
        f"{package or name}/__init__.py": f'__version__ = "{version}"\n',
        **{f"{package or name}/{module}.py": code for module, code in modules.items()},
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if script:
        files[f"{info}/entry_points.txt"] = f"[console_scripts]\n{name} = {script}\n"
    record = f"{info}/RECORD"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
        wheel.writestr(record, "".join(f"{path},,\n" for path in [*files, record]))
