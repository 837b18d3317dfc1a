"""Parse TOML from an untrusted source: return a table of bounded depth and size, or raise one error."""

import re
import tomllib
from typing import Any, Final

# Far more than settings need, and few enough for recursive functions.
DEEPEST: Final = 20
# The range that every TOML reader must support: https://toml.io/en/v1.0.0#integer
_SMALLEST_INTEGER: Final = -(2**63)
_LARGEST_INTEGER: Final = 2**63 - 1
# Python refuses to convert longer numbers: https://docs.python.org/3/library/stdtypes.html#int-max-str-digits
_LONG_NUMBER: Final = re.compile(r"[0-9][0-9_]{4300}")


class TomlError(ValueError):
    """Report text that is not usable TOML. line: the line number, from 1; None if it is unknown."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason)
        self.line = line


def parsed(text: str) -> dict[str, Any]:
    """Return the table that the text contains. Raises TomlError, and no other error, for any text."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # Only the message contains the position; at the end of the file it has no line number.
        position = re.search(r"line (\d+), column \d+", str(error))
        raise TomlError(f"This is not TOML: {error}.", int(position[1]) if position else _last_line(text)) from None
    except RecursionError:
        raise TomlError(_too_deep()) from None
    except (ValueError, OverflowError):
        # tomllib passes Python's own error on, with advice for programmers.
        found = _LONG_NUMBER.search(text)
        line = text.count("\n", 0, found.start()) + 1 if found else None
        raise TomlError("A number has too many digits.", line) from None
    _check(table)
    return table


def _check(table: dict[str, Any]) -> None:
    """Refuse a table that later steps cannot traverse or print."""
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
            raise TomlError("A number does not fit into 64 bits, TOML's limit.")


def _too_deep() -> str:
    return f"Lists or tables are nested more than {DEEPEST} levels deep."


def _last_line(text: str) -> int:
    return text.rstrip("\n").count("\n") + 1
