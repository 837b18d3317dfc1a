"""Refuse a value with a reason and a fix. The settings collect these and show them together."""

import difflib
from collections.abc import Iterable
from typing import Final


class RefusedError(ValueError):
    """Report a value that cannot be used. `reason` and `fix` are complete sentences, safe to print."""

    def __init__(self, reason: str, fix: str) -> None:
        reason, fix = printable(reason), printable(fix)
        super().__init__(f"{reason} {fix}")
        self.reason = reason
        self.fix = fix


def printable(text: str) -> str:
    """Return the text with every control or invisible character written as an escape: \\u001b, \\u202e, \\n.

    A byte that could not be decoded (`os.environ` has those as lone surrogates) is written as a byte: \\xff.
    """
    return "".join(char if char.isprintable() else _ESCAPES.get(char) or _escaped(ord(char)) for char in text)


def printable_lines(text: str) -> str:
    """Return a message of several lines with every line made printable and tabs expanded."""
    return "\n".join(printable(line.expandtabs()) for line in text.split("\n"))


_ESCAPES: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _escaped(code: int) -> str:
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def nearest(value: str, known: Iterable[str]) -> str | None:
    """Return the known name that is closest to `value`, or None if none is close."""
    matches = difflib.get_close_matches(value.lower(), list(known), n=1)
    return matches[0] if matches else None


def did_you_mean(value: str, known: Iterable[str], *, otherwise: str) -> str:
    """Return "Did you mean …?" with the closest known name, or `otherwise` if none is close."""
    match = nearest(value, known)
    return f"Did you mean {match}?" if match else otherwise
