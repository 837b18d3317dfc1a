"""Spans of time as a person writes and reads them."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_UNITS: Final = {"h": 3600, "m": 60, "s": 1}
_SPAN: Final = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


def seconds(text: str) -> int:
    """Return the seconds of "90s", "30m", "1h30m" or "45" (seconds). Raises ValueError for anything else and for 0."""
    found = _SPAN.fullmatch(f"{text}s" if text.isdecimal() else text)
    total = (
        sum(int(number or 0) * unit for number, unit in zip(found.groups(), _UNITS.values(), strict=True))
        if found
        else 0
    )
    if total <= 0:
        raise ValueError(f'"{text}" is not a duration; write it like 90s, 30m or 1h30m')
    return total


def span(length: timedelta) -> str:
    """Return the duration in two units at most: "4 s", "12 min 5 s", "3 h 20 min", "2 d 4 h"."""
    total = max(0, int(length.total_seconds()))
    parts = [(total // 86400, "d"), (total // 3600 % 24, "h"), (total // 60 % 60, "min"), (total % 60, "s")]
    while len(parts) > 1 and not parts[0][0]:
        parts.pop(0)
    return " ".join(f"{number} {unit}" for number, unit in parts[:2] if number) or "0 s"


def moment(at: datetime) -> str:
    """Return "2026-11-25 21:00 UTC"."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def iso(at: datetime | None) -> str | None:
    """Return "2026-11-25T21:00:00Z", for JSON."""
    return None if at is None else f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def read(text: object) -> datetime | None:
    """Return the time in ISO 8601 text with a zone; None for anything else."""
    try:
        at = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return at if at.tzinfo else None


def span_of(seconds: float) -> str:
    """Return `span` of a number of seconds."""
    return span(timedelta(seconds=seconds))
