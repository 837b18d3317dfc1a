"""Shows that something is going on: a spinner on a terminal, else a line for what takes long."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ops.core.console import progress_console

# Seconds; what is over sooner needs no word in a log.
_PATIENCE = 2.0


@contextmanager
def progress(text: str) -> Iterator[Callable[[str], None]]:
    """Show `text` on standard error until the block ends; yields a function that changes the text."""
    console = progress_console()
    if console.is_terminal:
        with console.status(text) as status:
            yield status.update
        return
    current = [text]
    ended = threading.Event()

    def lines() -> None:
        said = None
        while not ended.wait(_PATIENCE):
            if current[0] != said:
                said = current[0]
                console.print(said, highlight=False, markup=False, soft_wrap=True)

    thread = threading.Thread(target=lines, daemon=True)
    thread.start()
    try:
        yield lambda new: current.__setitem__(0, new)
    finally:
        ended.set()
        thread.join()
