"""How a value is refused: why, and the way out. Settings collect these and show them together."""

import difflib
from collections.abc import Iterable
from typing import Final


class RefusedError(ValueError):
    """A value that cannot be used. `reason` and `fix` are whole sentences for a person, safe to print."""

    def __init__(self, reason: str, fix: str) -> None:
        reason, fix = printable(reason), printable(fix)
        super().__init__(f"{reason} {fix}")
        self.reason = reason
        self.fix = fix


def printable(text: str) -> str:
    """The text with every character that a terminal would obey or hide written as an escape: \\u001b, \\u202e, \\n.

    A byte that was no text (`os.environ` has those as lone surrogates) is written as a byte: \\xff.
    """
    return "".join(char if char.isprintable() else _ESCAPES.get(char) or _escaped(ord(char)) for char in text)


def printable_lines(text: str) -> str:
    """The same for a message that has lines and columns of its own."""
    return "\n".join(printable(line.expandtabs()) for line in text.split("\n"))


_ESCAPES: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _escaped(code: int) -> str:
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def nearest(value: str, known: Iterable[str]) -> str | None:
    """The known name that a person most likely meant, if any is close."""
    matches = difflib.get_close_matches(value.lower(), list(known), n=1)
    return matches[0] if matches else None


def did_you_mean(value: str, known: Iterable[str], *, otherwise: str) -> str:
    """The question with the nearest known name, or `otherwise` when nothing is near."""
    match = nearest(value, known)
    return f"Did you mean {match}?" if match else otherwise
