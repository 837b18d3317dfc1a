"""`ops start` and `ops stop`: the machines that cost by the hour, off and on again without losing a disk."""

from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple

from botocore.exceptions import ClientError

from constructs_lib import prices
from ops.core import durations, polling
from ops.core.aws_errors import explained
from ops.core.errors import OpsError
from ops.core.polling import Progress, poll
from ops.core.session import Session
from ops.deployment import machines
from ops.deployment.machines import PLACES, Machine
from ops.deployment.stacks import read_stack

Switched = Literal["worker", "notebook"]

# Terraform's address of what is mounted on /data.
_DATA_VOLUME: Final = ("aws_ebs_volume", "msls")

_UP: Final = ("running", "InService")
_DOWN: Final = ("stopped", "Stopped")
_GOING_UP: Final = ("pending", "Pending", "Updating")
_GOING_DOWN: Final = ("stopping", "Stopping")


class Switch(NamedTuple):
    """What became of a start or stop. changed: False when the machine was there already. remarks: for a person."""

    machine: Machine
    before: str
    changed: bool
    remarks: tuple[str, ...]


def start(session: Session, name: Switched, *, seconds: int | None, show: Progress) -> Switch:
    """Start the machine and waits until it runs (seconds None: does not wait). Raises OpsError, ClientError."""
    machine = _deployed(session, name)
    before = machine.state
    if before in _GOING_DOWN:
        # AWS refuses to start what is still stopping.
        if seconds is None:
            raise OpsError(
                f"{name} is still stopping, and AWS cannot start it yet", fix=f"in a minute: ops start {name}"
            )
        machine = _until(session, machine, _DOWN, seconds, show)
    ready = (f"ops wait {name} follows its boot",)
    if machine.state in (*_UP, *_GOING_UP):
        if machine.state in _GOING_UP and seconds is not None:
            machine = _until(session, machine, _UP, seconds, show)
        return Switch(machine, before, False, ready)
    _call(session, machine, "start")
    machine = _until(session, machine, _UP, seconds, show) if seconds else machines.look_at(session, name, machine.id)
    return Switch(machine, before, True, ready)


def stop(session: Session, name: Switched, *, seconds: int | None, show: Progress) -> Switch:
    """Stop the machine and waits until it is off (seconds None: does not wait). Raises OpsError, ClientError."""
    machine = _deployed(session, name)
    before = machine.state
    if before in _GOING_UP:
        if seconds is None:
            raise OpsError(f"{name} is still starting", fix=f"in a minute: ops stop {name}")
        machine = _until(session, machine, _UP, seconds, show)
    changed = machine.state not in (*_DOWN, *_GOING_DOWN)
    if changed:
        _call(session, machine, "stop")
    if machine.state not in _DOWN:
        machine = (
            _until(session, machine, _DOWN, seconds, show) if seconds else machines.look_at(session, name, machine.id)
        )
    return Switch(machine, before, changed, _still_costs(session, machine))


def _deployed(session: Session, name: Switched) -> Machine:
    machine = machines.look_at(session, name, machines.deployed_id(session, name))
    if machine.state not in (*_UP, *_DOWN, *_GOING_UP, *_GOING_DOWN):
        why = f" ({machine.failure})" if machine.failure else ""
        raise OpsError(
            f"{name} ({machine.id}) is {machine.state.lower()}{why}", fix=f"cdktf deploy {PLACES[name].stack}"
        )
    return machine


def _call(session: Session, machine: Machine, what: Literal["start", "stop"]) -> None:
    calls: dict[tuple[bool, str], Callable[[], Any]] = {
        (False, "start"): lambda: session.client("ec2").start_instances(InstanceIds=[machine.id]),
        (False, "stop"): lambda: session.client("ec2").stop_instances(InstanceIds=[machine.id]),
        (True, "start"): lambda: session.client("sagemaker").start_notebook_instance(NotebookInstanceName=machine.id),
        (True, "stop"): lambda: session.client("sagemaker").stop_notebook_instance(NotebookInstanceName=machine.id),
    }
    try:
        calls[machine.is_notebook, what]()
    except ClientError as error:
        if error.response["Error"]["Code"] == "InsufficientInstanceCapacity":
            raise OpsError(
                f"{explained(error)}\nEC2 has no capacity for {machine.type} in this zone at the moment",
                fix="try again later, or choose another train_model.instance_type and deploy (the data volume stays)",
            ) from None
        raise


def _until(session: Session, machine: Machine, states: tuple[str, ...], seconds: int, show: Progress) -> Machine:
    last = machine

    def look() -> Machine | None:
        nonlocal last
        last = machines.look_at(session, machine.name, machine.id)
        show.now(f"{last.name}: {last.state.lower()}")
        settled = last.state in states or last.state not in (*_UP, *_DOWN, *_GOING_UP, *_GOING_DOWN)
        return last if settled else None

    found = poll(look, every=polling.EVERY, seconds=seconds)
    if found is not None and found.state in states:
        return found
    why = f" ({last.failure})" if last.failure else ""
    if found is not None:
        raise OpsError(f"{last.name} is {last.state.lower()}{why}", fix=f"cdktf deploy {PLACES[last.name].stack}")
    raise OpsError(
        f"{last.name} is still {last.state.lower()} after {durations.span_of(seconds)}{why}",
        fix="ops status shows when it changes",
    )


def _still_costs(session: Session, machine: Machine) -> tuple[str, ...]:
    if machine.is_notebook:
        return ("its volume still costs money (unknown: SageMaker's storage price is not verified)",)
    total, lines = machines.disks(session, machine.id)
    sum_ = f"{prices.usd(total)} a month" if total is not None else "an unknown amount"
    return (
        f"its disks still cost {sum_}:",
        *(f"  {line}" for line in lines),
        f"cdktf destroy {PLACES[machine.name].stack} ends that too{_what_destroy_does_to_the_data(session, machine)}",
    )


def _what_destroy_does_to_the_data(session: Session, machine: Machine) -> str:
    """Describe what a destroy does to the data volume, according to the state rather than the settings."""
    state = read_stack(session, PLACES[machine.name].stack)
    volume = state.attributes(*_DATA_VOLUME) if state else None
    if volume is None:
        return ""
    if volume.get("final_snapshot"):
        rate = prices.SNAPSHOT_PER_GB_MONTH
        charged = "" if prices.other_region(session.settings.deployment.region) else f", ${rate} a GB a month"
        return f"; the data volume {volume['id']} is kept as a snapshot{charged}"
    return (
        f" and DELETES the data volume {volume['id']} permanently: it was deployed with "
        "train_model.data_volume.snapshot_on_destroy = false"
    )
