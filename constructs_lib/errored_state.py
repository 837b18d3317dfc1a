"""Find states that Terraform could not write to S3 and saved on this machine instead.

If a state cannot be written at the end of an apply (expired credentials, no network), Terraform writes it to
errored.tfstate in its working folder, and asks the user to push it:
https://github.com/hashicorp/terraform/blob/v1.11.4/internal/backend/local/backend_apply.go (backupStateForError). A
later run ignores that file: it uses the older state in S3, and creates again what exists already and costs money.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from constructs_lib.cli_run import CliRun

FILE: Final = "errored.tfstate"
# These commands only read, and change nothing but the configuration in a stack's folder.
_HARMLESS: Final = frozenset({"list", "output", "get"})


class ErroredState(NamedTuple):
    """Describe a state that is only on this machine. document: None if the file is not a readable state.

    place: the s3:// URL where the state belongs, from Terraform's last initialization in that folder.
    """

    stack: str
    file: Path
    written: datetime
    place: str | None
    document: dict[str, Any] | None

    @property
    def lineage(self) -> str:
        """Return the state's lineage; empty if Terraform could not read an older version."""
        return str(self.document["lineage"]) if self.document else ""

    @property
    def serial(self) -> int:
        """Return the version of the state."""
        return int(self.document["serial"]) if self.document else -1

    @property
    def managed(self) -> dict[str, str]:
        """Return the id of every resource that Terraform created, by address."""
        return managed(self.document or {})

    @property
    def says(self) -> str:
        """Describe its content and the time it was written."""
        return f"{self.holds}, written {self.written:%Y-%m-%d %H:%M} UTC"

    @property
    def holds(self) -> str:
        """Describe how many resources it has."""
        if self.document is None:
            return "not readable as a state"
        return f"{len(self.managed)} resource{'' if len(self.managed) == 1 else 's'}"


class ErroredStateError(Exception):
    """Report that a run would use a state older than the deployed resources. The message ends with the fix."""


def managed(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the id of every resource that a state manages, by address."""
    found = {}
    for resource in document.get("resources", []):
        if resource["mode"] == "managed":
            for instance in resource["instances"]:
                key = instance.get("index_key")
                index = "" if key is None else f"[{json.dumps(key)}]"
                found[f"{resource['type']}.{resource['name']}{index}"] = str(instance["attributes"].get("id"))
    return found


def find(out: Path) -> list[ErroredState]:
    """Return the states saved in the CLI's folder (cdktf.out)."""
    return [found for file in sorted(out.glob(f"stacks/*/{FILE}")) if (found := _read(file))]


def refuse(out: Path, run: CliRun | None) -> None:
    """Raise ErroredStateError if the run is for a stack whose latest state is only in `out`."""
    if run and run.command in _HARMLESS:
        return
    found = [each for each in find(out) if run is None or not run.patterns or run.selects(each.stack)]
    if found:
        raise ErroredStateError("\n\n".join(_refusal(each) for each in found))


def _refusal(state: ErroredState) -> str:
    place = f" of {state.place}" if state.place else ""
    return (
        f"{state.stack}: Terraform could not write the state{place} at the end of the last run, and saved it in "
        f"{state.file} ({state.says}).\nA run now would use an older state, and create resources that already exist a "
        f"second time. Nothing was changed. With valid credentials, run: ops push-state {state.stack}"
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
        document = None  # as after a full disk, which truncates the file
    return ErroredState(file.parent.name, file, written, place(file.parent), document)


def place(folder: Path) -> str | None:
    """Return the s3:// URL of the state that Terraform uses in this folder; None if it was not initialized for S3.

    `terraform init` records the backend in a file with the form of a state.
    """
    try:
        document = json.loads((folder / ".terraform" / "terraform.tfstate").read_text(encoding="utf-8"))
        config = document["backend"]["config"]
        return f"s3://{config['bucket']}/{config['key']}"
    except (OSError, ValueError, KeyError, TypeError):
        return None
