"""Bringing a state that Terraform could not write to S3 to where it belongs."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal, NamedTuple

from constructs_lib import errored_state
from constructs_lib.errored_state import ErroredState, managed
from ops.core import environment
from ops.core.errors import OpsError
from ops.core.session import Session
from ops.core.stack_names import state_place
from ops.deployment import locks
from ops.deployment.lock_holder import holder
from ops.deployment.locks import Lock
from ops.deployment.stacks import StackState, read_stack

_SECONDS: Final = 300


class Pushed(NamedTuple):
    """What was done. outcome: "was there" when the bucket had this state already; lock: the one that was released."""

    state: ErroredState
    outcome: Literal["pushed", "was there"]
    lock: Lock | None


def folder(variables: Mapping[str, str] = os.environ) -> Path:
    """Return the folder in which the CLI runs Terraform: cdktf.out, or CDKTF_OUTPUT."""
    return environment.ROOT / (variables.get("CDKTF_OUTPUT") or "cdktf.out")


def find(session: Session) -> dict[str, ErroredState]:
    """Return this deployment's unpushed states on this machine, by stack (see `constructs_lib.errored_state`)."""
    found = errored_state.find(folder(session.environment))
    return {each.stack: each for each in found if each.place in (state_place(session.settings, each.stack), None)}


def of_others(session: Session) -> list[ErroredState]:
    """Return the unpushed states of other deployments on this machine."""
    own = find(session)
    return [each for each in errored_state.find(folder(session.environment)) if each.stack not in own]


def what(state: ErroredState) -> str:
    """Describe the problem in a sentence."""
    return f"the last run could not write its state to S3; it is only in {shown(state.file)} ({state.says})"


def shown(file: Path) -> str:
    """Return a path as one would type it in the project's folder."""
    return str(file.relative_to(environment.ROOT)) if file.is_relative_to(environment.ROOT) else str(file)


def push(session: Session, state: ErroredState) -> Pushed:
    """Write the state to S3, releases the lock that its run left, and deletes the file.

    Raises OpsError, with everything as it was, where that could lose something.
    """
    there = read_stack(session, state.stack)
    if state.document is None:
        raise OpsError(
            f"{state.stack}: {shown(state.file)} is not a readable state",
            fix="find what the run created by its tags (aws resourcegroupstaggingapi get-resources --tag-filters "
            f"Key=deployment,Values={session.name}), import or delete it by hand, then delete the file",
        )
    lock = _lock_of_that_run(session, state)
    outcome: Literal["pushed", "was there"] = "was there"
    if not _knows_all(there, state):
        options = _options(state, there)
        # While the lock of the run that is gone is held, nobody else gets in between.
        options += ["-lock=false"] if lock else []
        _terraform(session, state.file.parent, "state", "push", *options, state.file.name)
        outcome = "pushed"
        if not _knows_all(read_stack(session, state.stack), state):
            raise OpsError(
                f"{state.stack}: Terraform pushed {shown(state.file)}, but S3 has another state. Nothing was deleted",
                fix="compare the two, then try again",
            )
    if lock:
        locks.release(session, lock)
    state.file.unlink()
    return Pushed(state, outcome, lock)


def _lock_of_that_run(session: Session, state: ErroredState) -> Lock | None:
    """Return the lock of the run that left the file. Raises OpsError if another run may be active."""
    lock = locks.read_lock(session, state.stack)
    if lock is None:
        return None
    found = holder(session, lock)
    if found.is_ == "at work":
        raise OpsError(
            f"{state.stack}: Terraform is running on it ({found.processes})", fix="wait for it to end, then try again"
        )
    newer = lock.created is None or lock.created > state.written
    if found.is_ != "gone" or newer:
        raise OpsError(
            f"{state.stack}: the state is locked by another run ({lock.who}, {lock.operation})",
            fix=f"wait for it to end, or, if it is gone, ops unlock {state.stack}; then try again",
        )
    return lock


def _knows_all(there: StackState | None, state: ErroredState) -> bool:
    """Return whether the state in S3 is this one or a successor.

    By what it manages where the lineage differs: pushed to where there was none, a state gets a lineage of its own
    (https://github.com/hashicorp/terraform/blob/v1.11.4/internal/states/remote/state.go, PersistState).
    """
    if there is None or managed(there.document) != state.managed:
        return False
    return there.document.get("lineage") != state.lineage or there.serial >= state.serial


def _options(state: ErroredState, there: StackState | None) -> list[str]:
    """Return Terraform's options to replace `there`. Raises OpsError if that would forget resources in S3's state."""
    if there is None or (there.document.get("lineage") == state.lineage and there.serial < state.serial):
        return []
    known = managed(there.document)
    if not known:
        return ["-force"]
    only = [f"{address} ({id})" for address, id in state.managed.items() if known.get(address) != id]
    raise OpsError(
        f"{state.stack}: the state in S3 (serial {there.serial}) was written after {shown(state.file)} (serial "
        f"{state.serial}), so it is not overwritten. Only in the file: {', '.join(only) or 'nothing'}",
        fix=f"delete those in AWS, or import them (terraform -chdir={shown(state.file.parent)} import ADDRESS ID), "
        "then delete the file",
    )


def _terraform(session: Session, folder: Path, *command: str) -> None:
    """Run Terraform in the folder. Raises OpsError with its message."""
    variables = environment.commands(session.environment)
    if errored_state.place(folder) is None:
        _run(folder, variables, "terraform", "init", "-input=false", "-no-color")
    _run(folder, variables, "terraform", *command)


def _run(folder: Path, variables: Mapping[str, str], *line: str) -> None:
    try:
        answer = subprocess.run(
            line,
            cwd=folder,
            env=dict(variables),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise OpsError(f"{' '.join(line)} in {shown(folder)} does not run: {error}") from None
    if answer.returncode != 0:
        said = (answer.stderr or answer.stdout).strip()
        raise OpsError(f"{' '.join(line)} in {shown(folder)} failed. Nothing was deleted.\n{said}")
