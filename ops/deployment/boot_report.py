"""What the machines report of their boot: one SSM parameter each, written by constructs_lib/boot/lib.sh."""

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from ops.core import durations
from ops.core.session import Session
from ops.deployment.machines import PLACES, Machine, Name

# A notebook's status changes to InService after its start script: what the script reports is a little older.
_NOTEBOOK_STARTS_WITHIN: Final = timedelta(minutes=10)


class Stage(NamedTuple):
    """A boot stage that ended. error: the last lines of its log, joined by "|"; empty when all went well."""

    name: str
    milliseconds: int
    ok: bool
    error: str

    @property
    def lines(self) -> list[str]:
        """The last lines of its log."""
        return [line.strip() for line in self.error.split("|") if line.strip()]


class Report(NamedTuple):
    """A boot so far. state: "ready", "degraded: STAGE…", "failed", "running STAGE" or "not reported yet".

    machine: the instance id; at: when the boot began. Both are None until a machine has written.
    """

    state: str
    machine: str | None
    at: datetime | None
    stages: tuple[Stage, ...]

    @property
    def failed(self) -> list[Stage]:
        """The stages that failed."""
        return [stage for stage in self.stages if not stage.ok]

    @property
    def is_bad(self) -> bool:
        """Whether it ended, and not well."""
        return self.state == "failed" or self.state.startswith("degraded")


def parameter(session: Session, name: Name) -> str:
    """Return the name of the machine's parameter."""
    return f"/ml-infra/{session.name}/{PLACES[name].stack}/{name}/boot-status"


def read(session: Session, names: Iterable[Name]) -> dict[Name, Report | None]:
    """Return the reports by machine; None where there is no parameter, so no stack."""
    wanted = {parameter(session, name): name for name in names}
    if not wanted:
        return {}
    # GetParameters takes ten at most, and there are four machines.
    answer = session.client("ssm").get_parameters(Names=list(wanted))
    values = {found["Name"]: found["Value"] for found in answer["Parameters"]}
    return {name: parsed(values[key]) if key in values else None for key, name in wanted.items()}


def parsed(text: str) -> Report:
    """Return the report in a parameter's value; an unknown format becomes an unreadable report."""
    try:
        document: dict[str, Any] = json.loads(text)
        stages = tuple(
            Stage(str(stage["stage"]), int(stage["ms"]), stage["ok"] is True, str(stage.get("error", "")))
            for stage in document["stages"]
        )
        machine = document.get("machine")
        return Report(
            str(document["state"]), str(machine) if machine else None, durations.read(document.get("boot")), stages
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return Report("unreadable report", None, None, ())


def stale(report: Report, machine: Machine) -> str | None:
    """Return why a report does not describe the machine's current boot; None when it does."""
    if report.state == "unreadable report":
        return "the report is unreadable"
    if not machine.is_up:
        return f"the machine is {machine.state.lower()}"
    if report.at is None:
        return "it has not reported yet"
    if machine.is_notebook:
        # It reports the id of an instance that belongs to SageMaker; only the time tells.
        if machine.since and report.at < machine.since - _NOTEBOOK_STARTS_WITHIN:
            return f"the last report is from an earlier start ({durations.moment(report.at)})"
        return None
    if report.machine != machine.id:
        return f"the last report is from an earlier machine ({report.machine or 'unknown'})"
    # The report has whole seconds.
    if machine.since and report.at < machine.since.replace(microsecond=0):
        return f"the last report is from an earlier start ({durations.moment(report.at)})"
    return None
