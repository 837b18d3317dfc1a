"""Describe refused values to the user."""

import json
import re
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from constructs_lib.refused import printable

_WIDTH: Final = 80


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Describe one refused value. Every part is safe to print.

    source: the file or environment variable. key: dotted; None if the problem is the source itself.
    """

    source: str
    key: str | None
    value: str | None
    reason: str
    fix: str

    def __post_init__(self) -> None:
        # Files, their names and variables can contain control characters, which must not reach a terminal.
        for name, text in vars(self).items():
            if text is not None:
                object.__setattr__(self, name, printable(text))

    def __str__(self) -> str:
        rows = [
            ("from", self.source if self.key else None),
            ("value", self.value),
            ("problem", self.reason),
            ("fix", self.fix),
        ]
        body = [_wrapped(f"{label:<9}", text) for label, text in rows if text is not None]
        return "\n".join([self.key or self.source, *body])


NOT_SET: Final = "This setting is required but not set."
_FIRST_STEP: Final = (
    "Run `make shell`, then `ops init`: it asks for the required settings and writes them. Continue with "
    "`ops bootstrap` and `ops doctor`."
)


class SettingsError(Exception):
    """Report settings that cannot be used. str() is the whole message, 80 columns wide; `problems` has its parts."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        parts = [f"{n}. {problem}" for n, problem in enumerate(self.problems, 1)]
        if all(problem.reason == NOT_SET for problem in self.problems):
            parts.append(textwrap.fill(_FIRST_STEP, _WIDTH))
        super().__init__("\n\n".join([f"The settings have {count}. Nothing was synthesized or changed.", *parts]))


def _wrapped(label: str, text: str) -> str:
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent=f"   {label}",
        subsequent_indent=" " * (3 + len(label)),
        break_on_hyphens=False,
        break_long_words=False,
    )


def shown(value: object) -> str:
    """Return a value in TOML's notation, shortened, without credentials."""
    return shortened(masked(json.dumps(value, ensure_ascii=False, default=str)))


def shortened(text: str) -> str:
    """Return the text cut to 200 characters."""
    return text if len(text) <= 200 else f"{text[:197]}..."


def masked(text: str) -> str:
    """Return the text with the credentials of URLs masked."""
    return re.sub(r"//[^/@\s]*@", "//***@", text)
