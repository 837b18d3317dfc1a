"""States that Terraform could not write to S3, and left where it worked on the stack.

Where a state cannot be written at the end of an apply (credentials that ended meanwhile, no network), Terraform writes
it to errored.tfstate in its working folder, and says to push it:
https://github.com/hashicorp/terraform/blob/v1.11.4/internal/backend/local/backend_apply.go (backupStateForError). No
later run looks at that file: it goes by the state in S3, and builds again beside what is there and paid for.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from constructs_lib.cli_run import CliRun

FILE: Final = "errored.tfstate"
# They read, and a stack's folder stays as it is for them but for the configuration.
_HARMLESS: Final = frozenset({"list", "output", "get"})


class ErroredState(NamedTuple):
    """A state that is only on this machine. document: None where the file cannot be read as a state.

    place: the s3:// URL of the state that it belongs to, as Terraform was last initialized in that folder.
    """

    stack: str
    file: Path
    written: datetime
    place: str | None
    document: dict[str, Any] | None

    @property
    def lineage(self) -> str:
        """Which state this is a version of; empty where Terraform could not even look for an older one."""
        return str(self.document["lineage"]) if self.document else ""

    @property
    def serial(self) -> int:
        """Which version it is."""
        return int(self.document["serial"]) if self.document else -1

    @property
    def managed(self) -> dict[str, str]:
        """The id of everything in it that Terraform made, by address."""
        return managed(self.document or {})

    @property
    def says(self) -> str:
        """What it holds and since when."""
        return f"{self.holds}, written {self.written:%Y-%m-%d %H:%M} UTC"

    @property
    def holds(self) -> str:
        """How much is in it."""
        if self.document is None:
            return "not readable as a state"
        return f"{len(self.managed)} resource{'' if len(self.managed) == 1 else 's'}"


class ErroredStateError(Exception):
    """A run would go by a state that is older than what there is. The message ends with the way out."""


def managed(document: Mapping[str, Any]) -> dict[str, str]:
    """The id of everything that a state manages, by address."""
    found = {}
    for resource in document.get("resources", []):
        if resource["mode"] == "managed":
            for instance in resource["instances"]:
                key = instance.get("index_key")
                index = "" if key is None else f"[{json.dumps(key)}]"
                found[f"{resource['type']}.{resource['name']}{index}"] = str(instance["attributes"].get("id"))
    return found


def find(out: Path) -> list[ErroredState]:
    """Those in the CLI's folder (cdktf.out)."""
    return [found for file in sorted(out.glob(f"stacks/*/{FILE}")) if (found := _read(file))]


def refuse(out: Path, run: CliRun | None) -> None:
    """Raises ErroredStateError where the run is about a stack whose last state is only in `out`."""
    if run and run.command in _HARMLESS:
        return
    found = [each for each in find(out) if run is None or not run.patterns or run.selects(each.stack)]
    if found:
        raise ErroredStateError("\n\n".join(_refusal(each) for each in found))


def _refusal(state: ErroredState) -> str:
    place = f" of {state.place}" if state.place else ""
    return (
        f"{state.stack}: Terraform could not write the state{place} at the end of the last run, and left it in "
        f"{state.file} ({state.says}).\nA run now would go by an older state, and build again what exists and is paid "
        f"for. Nothing was changed. Have credentials that work, and then: ops push-state {state.stack}"
    )


def _read(file: Path) -> ErroredState | None:
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
        written = datetime.fromtimestamp(file.stat().st_mtime, UTC)
    except FileNotFoundError:  # pushed meanwhile
        return None
    document: dict[str, Any] | None
    try:
        document = json.loads(text)
        assert document is not None
        managed(document), str(document["lineage"]), int(document["serial"])
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError):
        document = None  # a full disk leaves half of it
    return ErroredState(file.parent.name, file, written, place(file.parent), document)


def place(folder: Path) -> str | None:
    """The s3:// URL of the state that Terraform works on in this folder; None where it was not initialized for S3.

    `terraform init` writes the backend down in a file that looks like a state.
    """
    try:
        document = json.loads((folder / ".terraform" / "terraform.tfstate").read_text(encoding="utf-8"))
        config = document["backend"]["config"]
        return f"s3://{config['bucket']}/{config['key']}"
    except (OSError, ValueError, KeyError, TypeError):
        return None
