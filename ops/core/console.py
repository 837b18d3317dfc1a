"""How results, progress and remarks are shown."""

import json
from collections.abc import Generator
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from constructs_lib.refused import printable_lines


def show(result: RenderableType, document: Any, *, as_json: bool) -> None:
    """Print a command's result: for a person, or (as_json) as one JSON document."""
    if as_json:
        show_json(document)
    else:
        console().print(result)


def show_json(document: Any) -> None:
    """Print the one JSON document."""
    print(json.dumps(document, indent=2, default=str), flush=True)


class _LiteralConsole(Console):
    """What it shows came from machines, tags, locks and files of anybody: a terminal must not obey any of it."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Generator[Segment, None, None]:
        """Yield the printed segments; only rich's own control segments keep control characters."""
        for piece in super().render(renderable, options):
            yield piece if piece.control else Segment(printable_lines(piece.text), piece.style)


def console() -> Console:
    """Return the console for results. Colours and width follow the terminal; a pipe gets plain text."""
    return _LiteralConsole()


def progress_console() -> Console:
    """Return the console for progress and remarks: standard error, so that results can be piped."""
    return _LiteralConsole(stderr=True)
