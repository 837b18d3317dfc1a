"""`ops` status, wait, start, stop, logs and unlock."""

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from constructs_lib.errored_state import ErroredState
from ops.commands.options import Json, OneStack, Timeout, seconds_in
from ops.core import durations
from ops.core.console import console, progress_console, show, show_json
from ops.core.errors import OpsError
from ops.core.polling import watched
from ops.core.progress import progress
from ops.core.session import Session
from ops.core.stack_names import STACKS, require_stack
from ops.deployment import boot_report, boot_wait, locks, machines, power, push_state, training_run
from ops.deployment.lock_holder import Holder, holder
from ops.deployment.machines import Name
from ops.deployment.overview import document, lock_document, machine_document, overview, report_document
from ops.deployment.power import Switched
from ops.deployment.training_log import MOST_LINES, Line, NoLogYetError, TrainingLog
from ops.deployment.view import GONE, is_young, lock_view, stages_view, status_view
from ops.remote import reach

NoWait = Annotated[bool, typer.Option("--no-wait", help="Return as soon as AWS accepts the request.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (status, wait, start, stop, logs, unlock):
        app.command()(command)


def status(as_json: Json = False) -> None:
    """Show what is deployed and running, the boot result of each machine, and held locks.

    Includes what each machine's hours have cost since its start; `ops cost` has all other costs.

    Example: `ops status --json | jq .machines`
    """
    session = Session.open()
    with progress("Asking AWS …"):
        seen = overview(session)
    show(status_view(session, seen), document(session, seen), as_json=as_json)


def wait(
    machine: Annotated[Name, typer.Argument(help="The machine.")],
    timeout: Timeout = "30m",
    as_json: Json = False,
) -> int:
    """Wait until a machine has booted, and show each boot stage as it ends.

    Exits with 0 when the machine is ready. Exits with 1 if the boot failed (and shows the last log lines of the failed
    stage), if the time is over, or if the machine is not running.

    Example: `cdktf deploy train-model && ops wait worker && ops ssh worker`
    """
    seconds = seconds_in(timeout)
    session = Session.open()
    with watched(progress_console(), f"{machine}: asking AWS") as shown:
        # What comes after a wait is `ops ssh`. SageMaker's notebooks are reached another way.
        if machine != "notebook" and (shut_out := reach.warning(session)):
            shown.passed(shut_out)
        ended = boot_wait.wait(session, machine, seconds, shown)
    result = {
        "machine": machine_document(ended.machine),
        "ready": ended.problem is None,
        "problem": ended.problem,
        "way_out": ended.way_out or None,
        "boot": report_document(ended.report, ended.machine),
    }
    if ended.problem is None:
        took = ""
        if ended.report:
            total = durations.span_of(sum(stage.milliseconds for stage in ended.report.stages) / 1000)
            took = f"; {boot_wait.of_when(ended.report)} took {total}"
        show(
            Text.assemble((f"{machine} is ready", "green"), f" ({ended.machine.id}{took})"),
            result,
            as_json=as_json,
        )
        return 0
    lines: list[RenderableType] = [Text(ended.problem, style="red")]
    if ended.failed:
        lines.append(stages_view(ended.failed))
    show(Group(*lines, Text(ended.way_out)), result, as_json=as_json)
    return 1


def start(
    machine: Annotated[Switched, typer.Argument(help="Which machine.")],
    no_wait: NoWait = False,
    timeout: Timeout = "30m",
    as_json: Json = False,
) -> None:
    """Start the worker or the notebook, and wait until it runs. Does nothing if it runs already.

    Example: `ops start worker && ops wait worker`
    """
    _switch("start", machine, no_wait, timeout, as_json)


def stop(
    machine: Annotated[Switched, typer.Argument(help="Which machine.")],
    no_wait: NoWait = False,
    timeout: Timeout = "30m",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, even if a training is running.")] = False,
    as_json: Json = False,
) -> None:
    """Stop the worker or the notebook to end its hourly cost, and show what its disks still cost.

    Keeps the data on the volumes; the local instance store (/scratch) is lost. `ops start` starts it again. Asks first
    if a training is running.

    Example: `ops stop worker`
    """
    if machine == "worker" and not yes:
        _spare_training(may_ask=not as_json)
    _switch("stop", machine, no_wait, timeout, as_json)


def _spare_training(*, may_ask: bool) -> None:
    """Refuse to stop a worker with a running training unless the person confirms. Raises OpsError."""
    found = training_run.find(Session.open())
    remarks = progress_console()
    if isinstance(found, training_run.Unknown):
        remarks.print(f"cannot tell whether a training is running: {found.reason}", style="yellow", highlight=False)
    elif found:
        if not may_ask or not sys.stdin.isatty():
            raise OpsError(
                f"{found.says}. Nothing was stopped",
                fix="ops stop worker --yes stops it anyway; train --resume then continues from the last checkpoint",
            )
        remarks.print(f"{found.says[0].upper()}{found.says[1:]}", style="yellow", highlight=False, markup=False)
        question = "Stop the worker? (train --resume continues from the last checkpoint)"
        if not typer.confirm(question, default=False, err=True):
            raise OpsError("nothing was stopped")


def _switch(what: str, name: Switched, no_wait: bool, timeout: str, as_json: bool) -> None:
    seconds = None if no_wait else seconds_in(timeout)
    session = Session.open()
    action = power.start if what == "start" else power.stop
    with watched(progress_console(), f"{name}: asking AWS") as shown:
        done = action(session, name, seconds=seconds, show=shown)
    state = done.machine.state
    was = "" if done.changed or done.before != state else " already"
    head = Text.assemble(f"{name} ({done.machine.id}) is{was} ", (state, "bold"))
    result = {
        "machine": machine_document(done.machine),
        "before": done.before,
        "changed": done.changed,
        "remarks": [remark.strip() for remark in done.remarks],
    }
    show(Group(head, *(Text(remark) for remark in done.remarks)), result, as_json=as_json)


def logs(
    machine: Annotated[Name, typer.Argument(help="The machine; all but the worker need --boot.")],
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Show new lines as they arrive, until Ctrl-C.")
    ] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, max=MOST_LINES, help="Number of lines to show.")] = 50,
    boot: Annotated[bool, typer.Option("--boot", help="Show the boot stages and their errors instead.")] = False,
    as_json: Json = False,
) -> None:
    """Show the worker's training log from CloudWatch, which is some seconds behind.

    Example: `ops logs worker -f`, or `ops logs metrics --boot`
    """
    if boot and follow:
        raise OpsError("--boot and --follow exclude each other", fix=f"ops wait {machine} follows a boot", status=2)
    if follow and as_json:
        raise OpsError("--json and --follow exclude each other", fix="use one of them", status=2)
    if machine != "worker" and not boot:
        raise OpsError(
            "only the worker has a training log",
            fix=f"for the boot log of {machine}: ops logs {machine} --boot",
            status=2,
        )
    session = Session.open()
    if boot:
        _boot_log(session, machine, as_json=as_json)
        return
    with progress("Asking AWS …"):
        log = TrainingLog(session, machines.deployed_id(session, machine))
        try:
            found = log.last(lines)
        except NoLogYetError:
            if not follow:
                raise
            found = []
            progress_console().print(f"{log.stream} has not logged anything yet: waiting", highlight=False)
    result = {
        "group": log.group,
        "stream": log.stream,
        "lines": [{"at": line.at.isoformat(timespec="milliseconds"), "text": line.text} for line in found],
    }
    if as_json:
        show_json(result)
        return
    for line in found:
        _print(line)
    if follow:
        for line in log.follow():
            _print(line)


def _print(line: Line) -> None:
    # As it is: no wrapping, no colours, at once.
    print(line.text, flush=True)


def _boot_log(session: Session, name: Name, *, as_json: bool) -> None:
    with progress("Asking AWS …"):
        machine = machines.look_at(session, name, machines.deployed_id(session, name))
        report = boot_report.read(session, [name])[name]
    result = {"machine": machine_document(machine), "boot": report_document(report, machine)}
    if report is None:
        raise OpsError(
            f"{name} has no boot-status parameter", fix=f"cdktf deploy {machines.PLACES[name].stack} creates it"
        )
    reason = boot_report.stale(report, machine)
    head = Text.assemble((name, "bold"), f" boot: {report.state}")
    if reason:
        head.append(f"  ({reason})", style="yellow")
    show(Group(head, stages_view(report.stages)), result, as_json=as_json)


def unlock(
    stack: OneStack = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Release it without asking.")] = False,
    as_json: Json = False,
) -> int:
    """Show who holds the lock of a stack's state and since when, and release it after you confirm.

    A run that was killed leaves its lock behind. Releasing the lock of a running deploy can corrupt the state: ask its
    owner first. Detects runs on this machine and keeps their locks.

    Example: `ops unlock train-model`
    """
    if stack is not None:
        require_stack(stack)
    session = Session.open()
    with progress("Asking AWS …"):
        wanted = [stack] if stack else list(STACKS)
        held = [lock for name in wanted if (lock := locks.read_lock(session, name))]
    errored, holders = push_state.find(session), {lock.stack: holder(session, lock) for lock in held}
    if not as_json:
        for lock in held:
            console().print(lock_view(lock, datetime.now(UTC)))
    released, problems = [], []
    for lock in held:
        found = holders[lock.stack]
        refusal = _refusal(lock, found, errored.get(lock.stack))
        if refusal:
            problems.append(refusal)
            continue
        _say_who(lock, found)
        if yes or (not as_json and _agreed(lock)):
            try:
                locks.release(session, lock)
                released.append(lock)
            except OpsError as error:
                problems.append(str(error))
    problems += [
        f"{name}: {push_state.what(state)}. First run: ops push-state {name}"
        for name, state in errored.items()
        if name in wanted and name not in holders
    ]
    _unlocked(wanted, held, holders, released, problems, as_json=as_json)
    return 0 if len(released) == len(held) and not problems else 1


def _refusal(lock: locks.Lock, found: Holder, errored: ErroredState | None) -> str | None:
    """Return why the lock must not be released now; None when a person may decide."""
    if found.is_ == "at work":
        return (
            f"{lock.stack}: {found.processes} on this machine is using that state: wait for it to end, or interrupt it"
        )
    if errored and found.is_ != "elsewhere":
        return (
            f"{lock.stack}: {push_state.what(errored)}. Run ops push-state {lock.stack}, which also releases the lock; "
            "without it, the next deploy creates everything again"
        )
    return None


def _say_who(lock: locks.Lock, found: Holder) -> None:
    """Print what is known about the run that took the lock."""
    if found.is_ == "gone":
        text, style = f"{lock.stack}: {GONE}.", ""
    elif found.is_ == "unknown":
        text = f"{lock.stack}: another user runs Terraform here ({found.processes}): check what it is doing first."
        style = "yellow"
    elif is_young(lock, datetime.now(UTC)):
        text = f"{lock.stack}: this lock is recent, so that run is probably still active. Ask {lock.who} first."
        style = "yellow"
    else:
        return
    progress_console().print(text, style=style, highlight=False)


def _agreed(lock: locks.Lock) -> bool:
    if not sys.stdin.isatty():
        raise OpsError("releasing a lock needs your confirmation, and there is no terminal to ask on", fix="add --yes")
    return typer.confirm(f"Release the lock of {lock.stack}?", default=False, err=True)


def _unlocked(
    wanted: list[str],
    held: list[locks.Lock],
    holders: Mapping[str, Holder],
    released: list[locks.Lock],
    problems: list[str],
    *,
    as_json: bool,
) -> None:
    result: dict[str, Any] = {
        "held": [lock_document(lock, holders[lock.stack]) for lock in held],
        "released": [lock.stack for lock in released],
        "problems": problems,
    }
    if as_json and not problems and len(released) < len(held):
        result["problems"] = ["releasing a lock needs your confirmation: add --yes"]
    if not held:
        text = f"no lock is held on {', '.join(wanted)}"
    elif released:
        text = f"released: {', '.join(lock.stack for lock in released)}"
    else:
        text = "nothing was released"
    show(Group(*(Text(problem, style="red") for problem in problems), Text(text)), result, as_json=as_json)
