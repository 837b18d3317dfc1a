"""Files that others read while they are written."""

import os
import tempfile
from pathlib import Path


def replace(path: Path, content: bytes, *, mode: int) -> None:
    """Replace the file's content in one step: a reader sees the old or the new. Raises OSError."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).chmod(mode)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
