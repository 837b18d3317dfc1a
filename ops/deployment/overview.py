"""`ops status`: everything there is, read at once."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from constructs_lib.errored_state import ErroredState
from ops.core import durations
from ops.core.session import Session
from ops.core.stack_names import STACKS
from ops.deployment import boot_report, machines, push_state
from ops.deployment.boot_report import Report
from ops.deployment.lock_holder import Holder, holder
from ops.deployment.locks import Lock, read_lock
from ops.deployment.machines import PLACES, Machine, Name
from ops.deployment.stacks import StackState, read_stack, state_client, without_foundation

# What `Machine.spent` is, and what comes on top.
SPENT: Final = "machine hours since the machine's start, on demand"
NOT_SPENT: Final = "disks, addresses, NAT and EFS are in ops cost"


class Overview(NamedTuple):
    """What there is at `at`. stacks: None where one was never deployed. reports: of the machines that are there.

    errored: the states of which this machine alone knows the last version. holders: of the locks.
    """

    at: datetime
    stacks: dict[str, StackState | None]
    locks: dict[str, Lock]
    machines: dict[Name, Machine]
    reports: dict[Name, Report | None]
    errored: dict[str, ErroredState]
    holders: dict[str, Holder]


def overview(session: Session) -> Overview:
    """Read everything at once. Raises OpsError, BotoCoreError, ClientError."""
    s3 = state_client(session)
    # Eight objects far away: one after the other they take seconds.
    with ThreadPoolExecutor(2 * len(STACKS)) as pool:
        reading = {name: pool.submit(read_stack, session, name, s3) for name in STACKS}
        looking = {name: pool.submit(read_lock, session, name, s3) for name in STACKS}
    stacks = {name: future.result() for name, future in reading.items()}
    locks = {name: lock for name, future in looking.items() if (lock := future.result())}
    ids: dict[Name, str] = {}
    for name, place in PLACES.items():
        state = stacks[place.stack]
        if state and (id := machines.id_in(state, name)):
            ids[name] = id
    found = machines.look(session, ids) if ids else {}
    ordered = {name: found[name] for name in PLACES if name in found}
    return Overview(
        at=datetime.now(UTC),
        stacks=stacks,
        locks=locks,
        machines=ordered,
        reports=boot_report.read(session, ordered),
        errored=push_state.find(session),
        holders={name: holder(session, lock) for name, lock in locks.items()},
    )


def document(session: Session, seen: Overview) -> dict[str, Any]:
    """Return the overview as JSON."""
    return {
        "deployment": session.name,
        "region": session.settings.deployment.region,
        "state_bucket": session.settings.state.bucket,
        "at": durations.iso(seen.at),
        "stacks": [
            {
                "name": name,
                "deployed": bool(state and state.resources),
                "resources": state.resources if state else 0,
                "serial": state.serial if state else None,
                "modified": durations.iso(state.modified) if state else None,
                "lock": lock_document(seen.locks[name], seen.holders[name]) if name in seen.locks else None,
                "not_pushed": errored_document(seen.errored[name]) if name in seen.errored else None,
            }
            for name, state in seen.stacks.items()
        ],
        "without_mlcore": without_foundation(seen.stacks),
        "machines": [_machine_document(session, seen, machine) for machine in seen.machines.values()],
        "usd_since_start_is": f"{SPENT}; {NOT_SPENT}",
    }


def lock_document(lock: Lock, holder: Holder) -> dict[str, Any]:
    """Return a lock as JSON."""
    return {
        "stack": lock.stack,
        "id": lock.id,
        "operation": lock.operation,
        "who": lock.who,
        "terraform": lock.terraform,
        "created": durations.iso(lock.created),
        "holder": holder.is_,
        "processes": list(holder.pids),
    }


def errored_document(state: ErroredState) -> dict[str, Any]:
    """Return a state that is only on this machine, as JSON."""
    return {
        "file": str(state.file),
        "written": durations.iso(state.written),
        "serial": state.serial if state.document else None,
        "resources": len(state.managed) if state.document else None,
    }


def report_document(report: Report | None, machine: Machine) -> dict[str, Any] | None:
    """Return a boot report as JSON. current: whether it describes the current boot; else `why_not` says why not."""
    if report is None:
        return None
    reason = boot_report.stale(report, machine)
    return {
        "state": report.state,
        "current": reason is None,
        "why_not": reason,
        "at": durations.iso(report.at),
        "stages": [
            {"stage": stage.name, "ms": stage.milliseconds, "ok": stage.ok, "log": stage.lines}
            for stage in report.stages
        ],
    }


def machine_document(machine: Machine) -> dict[str, Any]:
    """Return a machine as JSON."""
    return {
        "name": machine.name,
        "stack": PLACES[machine.name].stack,
        "id": machine.id,
        "state": machine.state,
        "type": machine.type,
        "private_address": machine.private_address,
        "public_address": machine.public_address,
        # SageMaker does not tell since when a notebook runs.
        "launched": None if machine.is_notebook else durations.iso(machine.since),
    }


def _machine_document(session: Session, seen: Overview, machine: Machine) -> dict[str, Any]:
    usd, why = machine.spent(seen.at, session.settings.deployment.region)
    return {
        **machine_document(machine),
        "usd_since_start": None if usd is None else f"{round(usd, 4):f}",
        "usd_unknown_because": why if usd is None else None,
        "boot": report_document(seen.reports.get(machine.name), machine),
    }
