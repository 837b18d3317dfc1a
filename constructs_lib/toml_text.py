"""TOML from a person: a table that can be looked at without fear, or one reason why not."""

import re
import tomllib
from typing import Any, Final

# Far more than settings have, and few enough for whatever goes through them by calling itself.
DEEPEST: Final = 20
# What every TOML reader must hold: https://toml.io/en/v1.0.0#integer
_SMALLEST_INTEGER: Final = -(2**63)
_LARGEST_INTEGER: Final = 2**63 - 1
# From here on Python refuses to convert: https://docs.python.org/3/library/stdtypes.html#int-max-str-digits
_LONG_NUMBER: Final = re.compile(r"[0-9][0-9_]{4300}")


class TomlError(ValueError):
    """A text that is not usable TOML. line: where, counted from 1; None where that is not known."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason)
        self.line = line


def parsed(text: str) -> dict[str, Any]:
    """The table that the text says. Raises TomlError, and nothing else, whatever the text is."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # Only the message knows where; the end of the file has no line of its own.
        position = re.search(r"line (\d+), column \d+", str(error))
        raise TomlError(f"This is not TOML: {error}.", int(position[1]) if position else _last_line(text)) from None
    except RecursionError:
        raise TomlError(_too_deep()) from None
    except (ValueError, OverflowError):
        # tomllib lets this one pass as Python says it, with advice for programmers.
        found = _LONG_NUMBER.search(text)
        line = text.count("\n", 0, found.start()) + 1 if found else None
        raise TomlError("A number has more digits than can be read.", line) from None
    _check(table)
    return table


def _check(table: dict[str, Any]) -> None:
    """Refuses what later steps cannot go through or print."""
    left: list[tuple[object, int]] = [(table, 0)]
    while left:
        value, depth = left.pop()
        if depth > DEEPEST:
            raise TomlError(_too_deep())
        if isinstance(value, dict):
            left += [(inner, depth + 1) for inner in value.values()]
        elif isinstance(value, list):
            left += [(inner, depth + 1) for inner in value]
        elif isinstance(value, int) and not _SMALLEST_INTEGER <= value <= _LARGEST_INTEGER:
            raise TomlError("A number is larger than TOML has them (64 bits).")


def _too_deep() -> str:
    return f"Lists or tables lie within each other more than {DEEPEST} deep."


def _last_line(text: str) -> int:
    return text.rstrip("\n").count("\n") + 1
