"""Makes a training's checkpoints whole, and written by one process, while the program stays as it is.

Python imports this by itself where its folder is in PYTHONPATH: https://docs.python.org/3/library/site.html
The default program calls torch.save in the processes of all GPUs at once, with one path, and goes on with the epoch
that is in the checkpoint, whose file it then writes again:
https://github.com/DMW2151/msls-pytorch-dcgan/blob/0ca5ec37e61831a4dff3b3aea1b42a4415340f76/model/msls/gpu_dcgan.py
"""

import os
import re
import sys
import tempfile
from collections.abc import Callable
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

# The folder of the checkpoints. Without it, Python is as it always is.
OUT = os.environ.get("ML_INFRA_OUT")
# The checkpoint to go on from, if there is one.
RESUME = os.environ.get("ML_INFRA_RESUME")


def _number(f: object) -> int | None:
    """The number of a checkpoint of this training; None for whatever else PyTorch is given, which is left alone."""
    if not (OUT and isinstance(f, str | os.PathLike)):
        return None
    found = re.fullmatch(r"checkpoint_(\d+)\.pt", Path(f).name)
    return int(found[1]) if found and Path(f).parent.resolve() == Path(OUT).resolve() else None


def _first() -> bool:
    """Whether this process is the first of its training, which torch.distributed knows, and torchrun's RANK."""
    distributed = sys.modules.get("torch.distributed")
    if distributed and distributed.is_available() and distributed.is_initialized():
        return bool(distributed.get_rank() == 0)
    return os.environ.get("RANK", "0") == "0"


def _saving(save: Callable[..., None]) -> Callable[..., None]:
    def saved(obj: object, f: Any, *args: Any, **kwargs: Any) -> None:
        if _number(f) is None:
            save(obj, f, *args, **kwargs)
        elif _first():
            with tempfile.TemporaryDirectory(prefix=".part-", dir=Path(f).parent) as part:
                # Of the same name, which PyTorch puts into the file.
                new = Path(part, Path(f).name)
                save(obj, new, *args, **kwargs)
                with new.open("rb+") as written:
                    os.fsync(written)
                new.replace(f)

    return saved


def _loading(load: Callable[..., Any]) -> Callable[..., Any]:
    def loaded(f: Any, *args: Any, **kwargs: Any) -> Any:
        last, wanted = _number(RESUME), _number(f)
        if last is None or wanted != last + 1:
            return load(f, *args, **kwargs)
        # The program is to begin with this epoch.
        return load(RESUME, *args, **kwargs) | {"epoch": wanted}

    return loaded


class _WhenImported:
    """Changes torch.serialization when somebody imports it; until then, PyTorch is not imported."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path) if name == "torch.serialization" else None
        if spec and spec.loader:
            execute = spec.loader.exec_module

            def changed(module: Any) -> None:
                execute(module)
                module.save, module.load = _saving(module.save), _loading(module.load)

            spec.loader.exec_module = changed  # type: ignore[method-assign]
        return spec


if OUT:
    sys.meta_path.insert(0, _WhenImported)
