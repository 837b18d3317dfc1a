"""Looking again and again at something that changes, while a person watches."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final, TypeVar

from botocore.exceptions import ConnectionError as NoConnectionError
from botocore.exceptions import HTTPClientError
from rich.console import Console
from rich.markup import escape
from rich.status import Status

from ops import when

T = TypeVar("T")

# Seconds between two looks at a machine: its stages take seconds to minutes, and a start up to half an hour.
EVERY = 4.0

# A connection that failed, not an answer.
TRANSIENT: Final = (NoConnectionError, HTTPClientError)
# Connections fail now and then in half an hour; this many in a row are no accident.
FAILURES: Final = 5


class Progress:
    """On a terminal a line that stays up to date, and `passed` lines above it; else the passed lines alone."""

    def __init__(self, console: Console, status: Status | None) -> None:
        self._console, self._status, self._last = console, status, ""
        self._began = time.monotonic()

    def now(self, text: str) -> None:
        """What is going on. Where nothing can be overwritten, said once and not again while it stays the same."""
        if self._status:
            self._status.update(f"{escape(text)} ({when.span(timedelta(seconds=time.monotonic() - self._began))})")
        elif text != self._last:
            self._last = text
            self.passed(text)

    def passed(self, text: str) -> None:
        """What is over."""
        self._console.print(text, highlight=False, markup=False)


@contextmanager
def watched(console: Console, text: str) -> Iterator[Progress]:
    """A Progress that begins with `text`."""
    if not console.is_terminal:
        yield Progress(console, None)
        return
    with console.status(text) as status:
        yield Progress(console, status)


def poll(look: Callable[[], T | None], *, every: float, seconds: float) -> T | None:
    """What `look` returns once it is not None; None when that takes longer than `seconds`.

    A connection that fails is tried again, but not many times in a row: then raises what botocore did.
    """
    deadline = time.monotonic() + seconds
    failures = 0
    while True:
        try:
            found = look()
            failures = 0
        except TRANSIENT:
            failures += 1
            if failures == FAILURES:
                raise
            found = None
        if found is not None:
            return found
        left = deadline - time.monotonic()
        if left <= 0:
            return None
        time.sleep(min(every, left))
