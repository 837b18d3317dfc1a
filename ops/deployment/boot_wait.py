"""`ops wait`: follows a machine's boot until it is over."""

from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from ops.core import durations, polling
from ops.core.polling import Progress, poll
from ops.core.session import Session
from ops.deployment import boot_report, machines
from ops.deployment.boot_report import Report, Stage
from ops.deployment.machines import PLACES, Machine, Name

_COMING: Final = ("pending", "running", "Pending", "InService", "Updating")


class Outcome(NamedTuple):
    """How the wait ended. problem: None when the machine is ready; way_out: what to do about it, may be empty."""

    machine: Machine
    report: Report | None
    problem: str | None
    way_out: str = ""

    @property
    def failed(self) -> list[Stage]:
        """The stages that failed in this boot."""
        return self.report.failed if self.report else []


def wait(session: Session, name: Name, seconds: int, show: Progress) -> Outcome:
    """Wait until the machine is ready, its boot failed, it stopped, or the time is over. Raises OpsError."""
    id = machines.deployed_id(session, name)
    follow = _Follower(session, name, id, show)
    ended = poll(follow.look, every=polling.EVERY, seconds=seconds)
    if ended is not None:
        return ended
    assert follow.machine is not None
    span = durations.span_of(seconds)
    return Outcome(
        follow.machine,
        follow.report,
        f"{name} is not ready after {span}: {follow.at}",
        f"ops wait {name} continues to wait; {_look_inside(name)}",
    )


def of_when(report: Report) -> str:
    """Return which boot a report describes: EC2 does not report reboots, so it may be the previous one."""
    return f"the boot of {durations.moment(report.at)}" if report.at else "the boot"


class _Follower:
    def __init__(self, session: Session, name: Name, id: str, show: Progress) -> None:
        self.session, self.name, self.id, self.show = session, name, id, show
        self.machine: Machine | None = None
        self.report: Report | None = None
        self.at = "AWS has not answered"
        self._seen: tuple[datetime | None, int] = (None, 0)
        self._began = datetime.now(UTC)

    def look(self) -> Outcome | None:
        machine = self.machine = machines.look_at(self.session, self.name, self.id)
        if machine.state not in _COMING:
            return self._down(machine)
        if machine.state not in ("running", "InService"):
            self._say(f"{machine.state.lower()}")
            return None
        report = boot_report.read(self.session, [self.name])[self.name]
        if report is None:
            return Outcome(
                machine,
                None,
                f"{self.name} has no boot-status parameter ({boot_report.parameter(self.session, self.name)})",
                f"cdktf deploy {PLACES[self.name].stack} creates it",
            )
        if reason := boot_report.stale(report, machine):
            self.report = None
            self._say(f"running, {reason}")
            return None
        self.report = report
        self._stages(report)
        if report.state == "ready":
            return Outcome(machine, report, None)
        if report.is_bad:
            return Outcome(
                machine,
                report,
                f"{self.name}: {of_when(report)} {'failed' if report.state == 'failed' else 'ended ' + report.state}",
                _repair(self.name, report),
            )
        self._say(report.state)
        return None

    def _stages(self, report: Report) -> None:
        boot, shown = self._seen
        # A machine that starts anew reports from the beginning.
        shown = shown if boot == report.at else 0
        for stage in report.stages[shown:]:
            took = durations.span(timedelta(milliseconds=stage.milliseconds))
            self.show.passed(f"{self.name}: {stage.name} {'done' if stage.ok else 'FAILED'} in {took}")
        self._seen = report.at, len(report.stages)

    def _say(self, at: str) -> None:
        self.at = at
        self.show.now(f"{self.name}: {at}")

    def _down(self, machine: Machine) -> Outcome:
        stack = PLACES[self.name].stack
        if machine.state in ("stopped", "stopping", "Stopped", "Stopping"):
            return Outcome(machine, None, f"{self.name} is {machine.state.lower()}", f"ops start {self.name}")
        why = f" ({machine.failure})" if machine.failure else ""
        return Outcome(machine, None, f"{self.name} is {machine.state.lower()}{why}", f"cdktf deploy {stack}")


def _look_inside(name: Name) -> str:
    if name == "notebook":
        return "in a terminal of the notebook: journalctl -u ml-infra-notebook"
    return f"ops ssh {name}, then: tail -F /var/log/cloud-init-output.log"


def _repair(name: Name, report: Report) -> str:
    inside = "in a terminal of the notebook" if name == "notebook" else f"ops ssh {name}"
    logs = ", ".join(f"/var/lib/ml-infra/{stage.name}.log" for stage in report.failed)
    return (
        f"{inside}: {logs or '/var/log/cloud-init-output.log'} has the full log; the next start runs every stage again"
    )
