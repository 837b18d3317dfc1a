"""Looking again and again at something that changes, while a person watches."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final, TypeVar

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NoConnectionError
from rich.console import Console
from rich.markup import escape
from rich.status import Status

from ops.core import durations
from ops.core.aws_errors import NotAwsError

T = TypeVar("T")

# Seconds between two looks at a machine: its stages take seconds to minutes, and a start up to half an hour.
EVERY = 4.0

# What a call may raise.
FAILED: Final = (BotoCoreError, ClientError)
# Asked too often: botocore/retries/standard.py, and "Throttling" in
# https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html
_THROTTLED: Final = frozenset(
    {
        "EC2ThrottledException",
        "PriorRequestNotComplete",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "TooManyRequestsException",
    }
)
# Connections fail now and then in half an hour; this many in a row are no accident.
FAILURES: Final = 5


def is_transient(error: BotoCoreError | ClientError) -> bool:
    """Return whether the same call may succeed soon: no connection, no answer from AWS, or throttling."""
    if isinstance(error, ClientError):
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        return status >= 500 or error.response["Error"]["Code"] in _THROTTLED
    return isinstance(error, NoConnectionError | HTTPClientError | NotAwsError)


class Progress:
    """On a terminal a line that stays up to date, and `passed` lines above it; else the passed lines alone."""

    def __init__(self, console: Console, status: Status | None) -> None:
        self._console, self._status, self._last = console, status, ""
        self._began = time.monotonic()

    def now(self, text: str) -> None:
        """Show the current activity. Without a terminal, print it once until it changes."""
        if self._status:
            self._status.update(f"{escape(text)} ({durations.span(timedelta(seconds=time.monotonic() - self._began))})")
        elif text != self._last:
            self._last = text
            self.passed(text)

    def passed(self, text: str) -> None:
        """Print a finished step."""
        self._console.print(text, highlight=False, markup=False)


@contextmanager
def watched(console: Console, text: str) -> Iterator[Progress]:
    """Show a Progress that begins with `text`."""
    if not console.is_terminal:
        shown = Progress(console, None)
        shown.now(text)
        yield shown
        return
    with console.status(text) as status:
        yield Progress(console, status)


def poll(look: Callable[[], T | None], *, every: float, seconds: float) -> T | None:
    """Call `look` until it returns something; return that, or None after `seconds`.

    What is transient is tried again, but not many times in a row: then raises what botocore did, as when the time is
    over and there was never an answer.
    """
    deadline = time.monotonic() + seconds
    failures, answered = 0, False
    while True:
        found: T | None = None
        trouble: BotoCoreError | ClientError | None = None
        try:
            found = look()
        except FAILED as error:
            trouble = error
        if found is not None:
            return found
        left = deadline - time.monotonic()
        if trouble:
            failures += 1
            if failures == FAILURES or not is_transient(trouble) or (left <= 0 and not answered):
                raise trouble
        else:
            failures, answered = 0, True
        if left <= 0:
            return None
        time.sleep(min(every, left))
