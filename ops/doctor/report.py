"""What a check says, and how checks are run: each for itself, so that one that cannot run stops no other."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final, Literal

from botocore.exceptions import BotoCoreError, ClientError

from constructs_lib.instance_types import InstanceType, find
from modules_equiv.settings import Settings
from ops.core.aws_errors import explained
from ops.core.errors import OpsError
from ops.core.session import Session

# What the embedded AWS answers to a call that it lacks (embedded_aws/server.py, whose imports are for the server).
NOT_IMPLEMENTED: Final = "NotImplementedByEmbeddedAWS"

_LACKS: Final = "the embedded AWS does not implement"

State = Literal["ok", "problem", "unknown"]


@dataclass(frozen=True)
class Finding:
    """One line of the report. fix: what to do about a problem, or to make an unknown known; None when it is ok."""

    subject: str
    state: State
    detail: str
    fix: str | None = None

    @property
    def is_of_a_gap(self) -> bool:
        """Whether it is unknown only because the embedded AWS lacks the call."""
        return self.state == "unknown" and _LACKS in self.detail


def without_gaps(findings: Sequence[Finding]) -> list[Finding]:
    """Replace the findings about calls that the embedded AWS lacks with one line."""
    gaps = [finding.subject for finding in findings if finding.is_of_a_gap]
    others = [finding for finding in findings if not finding.is_of_a_gap]
    if gaps:
        others.append(ok("embedded AWS", f"does not implement these checks, so they were skipped: {', '.join(gaps)}"))
    return others


def ok(subject: str, detail: str) -> Finding:
    """Return a finding: checked, and right."""
    return Finding(subject, "ok", detail)


def problem(subject: str, detail: str, fix: str) -> Finding:
    """Return a finding: a deploy would fail, or cost more than expected."""
    return Finding(subject, "problem", detail, fix)


def unknown(subject: str, reason: str, fix: str | None = None) -> Finding:
    """Return a finding: not checked, for this reason."""
    return Finding(subject, "unknown", reason, fix)


@dataclass(frozen=True)
class Machine:
    """An EC2 machine that a deploy would launch. ami None: looked up. root_gib None: as large as the image's."""

    name: str
    stack: str
    type: InstanceType
    ami: str | None
    ami_setting: str
    type_setting: str
    root_gib: int | None
    root_setting: str


@dataclass(frozen=True)
class Patient:
    """What is examined: this deployment, the stacks in question, and the key file that --key names."""

    session: Session
    stacks: Sequence[str]
    key_file: Path | None = None

    @property
    def settings(self) -> Settings:
        """The deployment's settings."""
        return self.session.settings

    @property
    def region(self) -> str:
        """The deployment's region."""
        return self.settings.deployment.region

    @property
    def zone(self) -> str:
        """The Availability Zone of every machine."""
        return self.settings.mlcore.az

    @cached_property
    def machines(self) -> tuple[Machine, ...]:
        """The EC2 machines of the stacks in question."""
        core, metrics, worker = self.settings.mlcore, self.settings.stats_monitor, self.settings.train_model
        every = (
            Machine(
                "jump", "mlcore", find(core.jump_instance_type), core.jump_ami,
                "mlcore.jump_ami", "mlcore.jump_instance_type", None, "",
            ),
            Machine(
                "metrics", "stats-monitor", find(metrics.instance_type), metrics.ami,
                "stats_monitor.ami", "stats_monitor.instance_type",
                metrics.root_volume.size_gb, "stats_monitor.root_volume.size_gb",
            ),
            Machine(
                "worker", "train-model", worker.worker, worker.ami,
                "train_model.ami", "train_model.instance_type",
                worker.root_volume.size_gb, "train_model.root_volume.size_gb",
            ),
        )  # fmt: skip
        return tuple(machine for machine in every if machine.stack in self.stacks)

    def is_own(self, tags: Iterable[dict[str, str]]) -> bool:
        """Return whether a resource belongs to one of the stacks, so that a deploy does not add it again."""
        found = {tag["Key"]: tag["Value"] for tag in tags}
        return found.get("deployment") == self.session.name and found.get("stack") in self.stacks

    def everything(self, service: str, call: str, result: str, **arguments: Any) -> list[Any]:
        """Return all pages of a List or Describe call in the deployment's region."""
        pages = self.session.client(service).get_paginator(call).paginate(**arguments)
        return [item for page in pages for item in page[result]]


@dataclass(frozen=True)
class Check:
    """One question to AWS."""

    subject: str
    examine: Callable[[Patient], Iterable[Finding]]


def run(checks: Sequence[Check], patient: Patient) -> Iterator[tuple[str, list[Finding]]]:
    """Run each check; yield its subject and findings."""
    for check in checks:
        yield check.subject, guarded(check.subject, partial(check.examine, patient))


def guarded(subject: str, examine: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """Return the findings of `examine`, and an unknown where it fails."""
    found: list[Finding] = []
    try:
        found.extend(examine())
    except (ClientError, BotoCoreError) as error:
        found.append(unknown(subject, why_unknown(error)))
    except OpsError as error:
        found.append(unknown(subject, error.problem, error.fix or None))
    except Exception as error:  # an answer that nobody expected must not hide what the other checks find
        found.append(unknown(subject, f"this check failed: {error!r}"))
    return found


def why_unknown(error: ClientError | BotoCoreError) -> str:
    """Return why a call gave no answer, in one sentence."""
    if isinstance(error, ClientError):
        if is_denied(error):
            return f"these credentials may not call {error.operation_name}"
        if error.response["Error"]["Code"] == NOT_IMPLEMENTED:
            return f"{_LACKS} {error.operation_name}"
    return explained(error)


def is_denied(error: ClientError) -> bool:
    """Return whether a permission is missing."""
    return error.response["Error"]["Code"] in (
        "AccessDenied",
        "403",
        "AccessDeniedException",
        "UnauthorizedOperation",
        "Client.UnauthorizedOperation",
    )
