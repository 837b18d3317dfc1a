"""What the training program's Python does at its start, with a package torch that saves what it is given."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

BOOT = Path(__file__).resolve().parents[2] / "modules_equiv" / "train_model" / "boot"

_INIT = """
import sys

from torch.serialization import load, save

sys.modules["torch.distributed"] = distributed = type(sys)("torch.distributed")
distributed.rank = None
distributed.is_available = lambda: True
distributed.is_initialized = lambda: distributed.rank is not None
distributed.get_rank = lambda: distributed.rank
"""
_SERIALIZATION = """
import os


def save(obj, f, option=None):
    stream = f if hasattr(f, "write") else open(f, "w")
    stream.write(f"half of {obj}")
    if obj == "broken":
        raise RuntimeError("cannot be saved")
    if obj == "killed":
        stream.flush()
        os.kill(os.getpid(), 9)
    stream.write(f", all of {obj} {option}")
    if stream is not f:
        stream.close()


def load(f):
    return {"epoch": 3, "content": open(f).read()}
"""


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text(_INIT, encoding="utf-8")
    (tmp_path / "torch" / "serialization.py").write_text(_SERIALIZATION, encoding="utf-8")
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def python(out: Path, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs Python as the service does, in the folder of the checkpoints."""
    path = os.pathsep.join([str(BOOT), str(out.parent)])
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=variables | {"ML_INFRA_OUT": str(out)} | environment,
        cwd=out,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )


def said(ran: subprocess.CompletedProcess[str]) -> str:
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout


def test_nothing_is_imported_for_it(out: Path) -> None:
    assert said(python(out, "import sys; print('torch' in sys.modules)")) == "False\n"


@pytest.mark.parametrize(
    "code",
    [
        "import torch; torch.save('x', 'checkpoint_1.pt', option=7)",
        "import torch, pathlib; torch.save('x', pathlib.Path('checkpoint_1.pt'), 7)",
        "from torch import save; save(obj='x', f='../out//checkpoint_1.pt', option=7)",
    ],
)
def test_a_checkpoint_is_written_and_nothing_else_left(out: Path, code: str) -> None:
    said(python(out, code))
    assert [path.name for path in out.iterdir()] == ["checkpoint_1.pt"]
    assert (out / "checkpoint_1.pt").read_text() == "half of x, all of x 7"


@pytest.mark.parametrize(
    ("rank", "environment", "written"),
    [
        ("None", {}, True),
        ("0", {"RANK": "3"}, True),
        ("1", {}, False),
        ("3", {"RANK": "0"}, False),
        ("None", {"RANK": "0"}, True),
        ("None", {"RANK": "2"}, False),
    ],
)
def test_the_first_process_writes_it(out: Path, rank: str, environment: dict[str, str], written: bool) -> None:
    code = f"import torch, torch.distributed as d; d.rank = {rank}; torch.save('x', 'checkpoint_1.pt')"
    said(python(out, code, **environment))
    assert (out / "checkpoint_1.pt").exists() == written


@pytest.mark.parametrize("name", ["shard_1.pt", "checkpoint_last.pt", "../checkpoint_1.pt"])
def test_other_files_are_written_by_whoever_saves_them(out: Path, name: str) -> None:
    said(python(out, f"import torch, torch.distributed as d; d.rank = 1; torch.save('x', '{name}')"))
    assert (out / name).read_text() == "half of x, all of x None"


@pytest.mark.parametrize(("obj", "status", "left"), [("broken", 1, 0), ("killed", -9, 1)])
def test_what_was_there_stays_when_saving_does_not_come_to_its_end(out: Path, obj: str, status: int, left: int) -> None:
    (out / "checkpoint_1.pt").write_text("before")
    ran = python(out, f"import torch; torch.save({obj!r}, 'checkpoint_1.pt')")
    assert ran.returncode == status
    assert (out / "checkpoint_1.pt").read_text() == "before"
    # What train takes away before the next one begins.
    assert len(list(out.glob(".part-*"))) == left
    assert len(list(out.iterdir())) == 1 + left


def test_streams_are_left_alone(out: Path) -> None:
    code = "import io, torch; s = io.StringIO(); torch.save('x', s); print(s.getvalue())"
    assert said(python(out, code)) == "half of x, all of x None\n"


def test_a_resumed_program_reads_the_last_checkpoint_as_the_next(out: Path) -> None:
    (out / "checkpoint_3.pt").write_text("three")
    (out / "checkpoint_4.pt").write_text("half of four")
    code = "import torch; print([torch.load(f'checkpoint_{n}.pt') for n in (3, 4)])"
    assert said(python(out, code, ML_INFRA_RESUME=str(out / "checkpoint_3.pt"))) == (
        "[{'epoch': 3, 'content': 'three'}, {'epoch': 4, 'content': 'three'}]\n"
    )
    assert "half of four" in said(python(out, code, ML_INFRA_RESUME=""))


def test_without_a_training_pytorch_is_as_it_is(out: Path) -> None:
    code = "import torch; print(torch.save.__code__.co_filename.endswith('torch/serialization.py'))"
    assert said(python(out, code)) == "False\n"
    ran = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": f"{BOOT}:{out.parent}"}, capture_output=True, text=True
    )
    assert said(ran) == "True\n"
