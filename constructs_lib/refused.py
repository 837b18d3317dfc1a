"""How a value is refused: why, and the way out. Settings collect these and show them together."""

import difflib
from collections.abc import Iterable


class RefusedError(ValueError):
    """A value that cannot be used. `reason` and `way_out` are whole sentences for a person."""

    def __init__(self, reason: str, way_out: str) -> None:
        super().__init__(f"{reason} {way_out}")
        self.reason = reason
        self.way_out = way_out


def nearest(value: str, known: Iterable[str]) -> str | None:
    """The known name that a person most likely meant, if any is close."""
    matches = difflib.get_close_matches(value.lower(), list(known), n=1)
    return matches[0] if matches else None


def did_you_mean(value: str, known: Iterable[str], *, otherwise: str) -> str:
    """The question with the nearest known name, or `otherwise` when nothing is near."""
    match = nearest(value, known)
    return f"Did you mean {match}?" if match else otherwise
