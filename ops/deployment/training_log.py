"""`ops logs`: the training log that the worker sends to CloudWatch."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from botocore.exceptions import ClientError

from ops.core.errors import OpsError
from ops.core.polling import FAILED, FAILURES, is_transient
from ops.core.session import Session

# Seconds between looks while following. CloudWatch itself is some seconds behind.
EVERY = 2.0
# GetLogEvents answers with 10,000 at most.
MOST_LINES: Final = 10_000


class Line(NamedTuple):
    """A line of the log and when it was written."""

    at: datetime
    text: str


class NoLogYetError(OpsError):
    """The worker has not written anything yet."""


class TrainingLog:
    """The training log of one worker: a stream, by instance id, of the deployment's log group."""

    def __init__(self, session: Session, instance_id: str) -> None:
        self.group = f"/ml-infra/{session.name}/train-model/training"
        self.stream = instance_id
        self._logs = session.client("logs")
        self._next: str | None = None

    def last(self, count: int) -> list[Line]:
        """Return the newest `count` lines, oldest first.

        Raises NoLogYetError, OpsError without a log group, ClientError.
        """
        found: list[Any] = []
        token: str | None = None
        while len(found) < count:
            more = {"nextToken": token} if token else {}
            answer = self._get(startFromHead=False, limit=min(count - len(found), MOST_LINES), **more)
            self._next = self._next or answer["nextForwardToken"]
            found = [*answer["events"], *found]
            # The end is where the token stays the same; a page may be empty before it.
            if answer["nextBackwardToken"] == token:
                break
            token = answer["nextBackwardToken"]
        return [_line(event) for event in found]

    def follow(self) -> Iterator[Line]:
        """Yield lines after `last` as they arrive, without end; all lines if the log does not exist yet."""
        failures = 0
        while True:
            try:
                answer = self._get(startFromHead=True, **({"nextToken": self._next} if self._next else {}))
            except NoLogYetError:
                time.sleep(EVERY)
                continue
            except FAILED as error:
                # A training runs for days; it is read on where the connection broke.
                failures += 1
                if failures == FAILURES or not is_transient(error):
                    raise
                time.sleep(EVERY)
                continue
            failures = 0
            yield from (_line(event) for event in answer["events"])
            if answer["nextForwardToken"] == self._next:
                time.sleep(EVERY)
            self._next = answer["nextForwardToken"]

    def _get(self, **arguments: Any) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = self._logs.get_log_events(
                logGroupName=self.group, logStreamName=self.stream, **arguments
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise
            if not self._group_exists():
                raise OpsError(
                    f"the log group {self.group} does not exist", fix="cdktf deploy train-model creates it"
                ) from None
            raise NoLogYetError(
                f"the worker {self.stream} has not written a training log yet",
                fix="check that a training was started: train status on the worker (ops ssh worker); ops logs worker "
                "--boot shows the boot",
            ) from None
        return answer

    def _group_exists(self) -> bool:
        groups = self._logs.describe_log_groups(logGroupNamePrefix=self.group)["logGroups"]
        return any(group["logGroupName"] == self.group for group in groups)


def _line(event: dict[str, Any]) -> Line:
    return Line(datetime.fromtimestamp(event["timestamp"] / 1000, UTC), str(event["message"]).rstrip("\n"))
