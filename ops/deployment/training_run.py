"""Whether a training runs on the worker, as far as its log tells."""

import re
from datetime import UTC, datetime
from typing import Final, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from ops.core import durations
from ops.core.aws_errors import explained
from ops.core.errors import OpsError
from ops.core.session import Session
from ops.deployment import boot_report, machines
from ops.deployment.training_log import Line, TrainingLog

# What modules_equiv/train_model/boot/train.sh writes at the end; a kill leaves the log without it.
_ENDED: Final = re.compile(r"== \S+ ended (with exit status \d+|by train stop)")


class Run(NamedTuple):
    """A training that has not said that it ended. last: the last line of its log, of how long ago."""

    last: Line

    @property
    def says(self) -> str:
        """What is known of it, in a sentence."""
        ago = durations.span(datetime.now(UTC) - self.last.at)
        return f"according to its log, a training is running on the worker; last line, {ago} ago: {self.last.text}"


class Unknown(NamedTuple):
    """Why it cannot be told."""

    reason: str


def find(session: Session) -> Run | Unknown | None:
    """Return the training that runs on a running worker, or None. Raises OpsError without a worker."""
    machine = machines.look_at(session, "worker", machines.deployed_id(session, "worker"))
    if not machine.is_up:
        return None
    try:
        lines = TrainingLog(session, machine.id).last(1)
        report = boot_report.read(session, ["worker"])["worker"]
    except OpsError:  # nothing was ever written
        return None
    except (ClientError, BotoCoreError) as error:
        return Unknown(explained(error))
    if not lines or _ENDED.match(lines[0].text):
        return None
    # No boot begins a training again.
    booted = [at for at in (machine.since, report.at if report else None) if at]
    return None if any(lines[0].at < at for at in booted) else Run(lines[0])
