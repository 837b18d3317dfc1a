"""How the state of things is shown to a person, in 80 columns."""

from collections.abc import Iterable
from datetime import datetime
from pathlib import PurePosixPath

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from constructs_lib import prices
from ops.core import durations
from ops.core.session import Session
from ops.core.stack_names import STACKS, state_key
from ops.deployment import boot_report, machines, push_state
from ops.deployment.boot_report import Report, Stage
from ops.deployment.locks import YOUNG, Lock
from ops.deployment.machines import Machine
from ops.deployment.overview import NOT_SPENT, Overview
from ops.deployment.stacks import foundation_lost

_GOOD = ("running", "InService", "ready")
_IDLE = ("stopped", "Stopped")
GONE = "it was taken on this machine by a Terraform run that is gone"


def status_view(session: Session, seen: Overview) -> RenderableType:
    """Show stacks, locks, machines and boots."""
    settings = session.settings
    place = f"s3://{settings.state.bucket}/{PurePosixPath(state_key(settings, STACKS[0])).parent}/"
    parts: list[RenderableType] = [
        Text.assemble("deployment ", (session.name, "bold"), f" in {settings.deployment.region}; state in {place}"),
        "",
        _stacks(seen),
    ]
    for stack, state in seen.errored.items():
        parts += ["", Text(f"{stack}: {push_state.what(state)}", style="bold red")]
        parts.append(Text(f"  fix this first: ops push-state {stack}"))
    if lost := foundation_lost(seen.stacks):
        parts += ["", Text(lost[0], style="bold red"), Text(f"  {lost[1]}", style="bold")]
    for lock in seen.locks.values():
        parts += ["", lock_view(lock, seen.at), Text(f"  {_way_out(lock, seen)}", style="dim")]
    if not seen.machines and seen.errored:
        return Group(*parts)
    if not seen.machines:
        hint = (
            "no machine is deployed" if any(s and s.resources for s in seen.stacks.values()) else "nothing is deployed"
        )
        return Group(*parts, "", Text(f"{hint}: cdktf deploy mlcore stats-monitor"))
    parts += ["", _machines(session, seen), Text(f"machine hours: cost since start; {NOT_SPENT}", style="dim")]
    unknown = [
        f"{machine.name}: cost unknown, {why}"
        for machine in seen.machines.values()
        for usd, why in [machine.spent(seen.at, settings.deployment.region)]
        if usd is None
    ]
    parts += [Text(line, style="dim") for line in unknown]
    boots = [_boot(machine, seen.reports.get(machine.name)) for machine in seen.machines.values()]
    return Group(*parts, "", *boots)


def _way_out(lock: Lock, seen: Overview) -> str:
    holder = seen.holders[lock.stack]
    if holder.is_ == "at work":
        return f"held by {holder.processes} on this machine: wait for it to end"
    command = "push-state" if lock.stack in seen.errored and holder.is_ == "gone" else "unlock"
    gone = f"{GONE}: " if holder.is_ == "gone" else ""
    return f"{gone}ops {command} {lock.stack} releases it"


def _stacks(seen: Overview) -> Table:
    table = _table("stack", ">resources", ">serial", "last change", "lock")
    for name, state in seen.stacks.items():
        lock = Text("held", style="yellow") if name in seen.locks else Text("-", style="dim")
        if name in seen.errored:
            known = str(state.resources) if state else "-"
            table.add_row(name, known, str(state.serial) if state else "-", Text("not pushed", style="bold red"), lock)
        elif state is None or not state.resources:
            table.add_row(name, Text("-", style="dim"), Text("-", style="dim"), Text("not deployed", style="dim"), lock)
        else:
            table.add_row(name, str(state.resources), str(state.serial), durations.moment(state.modified), lock)
    return table


def _machines(session: Session, seen: Overview) -> Table:
    table = _table("machine", "state", "type", "addresses", "up for", ">machine hours")
    for machine in seen.machines.values():
        up = machines.up_for(machine, seen.at)
        usd, _ = machine.spent(seen.at, session.settings.deployment.region)
        table.add_row(
            machine.name,
            Text(machine.state, style=_style(machine.state)),
            machine.type,
            "\n".join(filter(None, [machine.private_address, machine.public_address])) or "-",
            durations.span(up) if up is not None else "-",
            Text("unknown", style="yellow") if usd is None else prices.usd(usd) if machine.is_up else "-",
        )
    return table


def _boot(machine: Machine, report: Report | None) -> RenderableType:
    head = Text.assemble((machine.name, "bold"), f" {machine.id}, boot: ")
    if report is None:
        return head.append("no boot-status parameter", style="yellow")
    if reason := boot_report.stale(report, machine):
        return head.append(reason, style="dim" if machine.state in _IDLE else "yellow")
    head.append(report.state, style=_style(report.state))
    return Group(head, stages_view(report.stages))


def stages_view(stages: Iterable[Stage]) -> RenderableType:
    """Show a line for each stage, and the end of the log under a failed one."""
    parts: list[RenderableType] = []
    for stage in stages:
        took = f"{stage.milliseconds / 1000:,.1f} s"
        word = Text("ok    ", style="green") if stage.ok else Text("FAILED", style="red")
        parts.append(Text.assemble("  ", word, f" {stage.name} ", (took, "dim")))
        parts += [Padding(Text(line), (0, 0, 0, 9)) for line in stage.lines]
    return Group(*parts)


def lock_view(lock: Lock, now: datetime) -> Text:
    """Show who holds the lock of a stack's state, and since when."""
    age = lock.age(now)
    since = (
        f"{durations.moment(lock.created)}, for {durations.span(age)}"
        if lock.created and age is not None
        else "unknown"
    )
    return Text.assemble(
        (f"{lock.stack}: the state is locked\n", "bold yellow"),
        f"  who        {lock.who or 'unknown'}\n",
        f"  since      {since}\n",
        f"  operation  {_operation(lock)}, Terraform {lock.terraform or 'of unknown version'}\n",
        f"  id         {lock.id}",
    )


def _operation(lock: Lock) -> str:
    # Terraform writes OperationTypeApply.
    return lock.operation.removeprefix("OperationType").lower() or "unknown"


def is_young(lock: Lock, now: datetime) -> bool:
    """Return whether the run that took the lock is probably still active."""
    age = lock.age(now)
    return age is None or age < YOUNG


def _style(state: str) -> str:
    if state in _GOOD:
        return "green"
    if state in _IDLE:
        return ""
    return "red" if state.split()[0].rstrip(":") in ("failed", "degraded", "Failed", "gone", "terminated") else "yellow"


def _table(*titles: str) -> Table:
    """Return a table; a title that begins with > is of a column of numbers."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in titles:
        table.add_column(title.removeprefix(">"), justify="right" if title.startswith(">") else "left", overflow="fold")
    return table
