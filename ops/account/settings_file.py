"""Changes single keys of a settings file and leaves every other byte of it alone.

Every key of settings.toml stands there as a commented line; setting one takes its place. No library does that: those
that keep comments would add the key at the end of its section, away from the comment that explains it.
"""

import codecs
import json
import os
import re
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from constructs_lib import toml_text
from modules_equiv.settings import DEFAULT_PATH, PREFIX, SettingsError, load_settings, named_path
from ops.core.errors import OpsError

Key = tuple[str, str]
Value = str | list[str]

_NEW_FILE = "# The settings of this deployment. The settings.toml of the project documents every key.\n"


def settings_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the file that `load_settings` reads: what ML_INFRA_SETTINGS names, else settings.toml of the project.

    Raises SettingsError for a ~ that leads nowhere.
    """
    return named_path(environ) or DEFAULT_PATH


@dataclass(frozen=True)
class SettingsFile:
    """A settings file as it was read. `text` keeps its line ends.

    mark: the byte order mark that some editors put first; it is no part of the TOML, and stays.
    """

    path: Path
    text: str
    mark: bytes = b""

    @classmethod
    def read(cls, path: Path) -> "SettingsFile":
        """Read the file; a missing one is empty except for a comment. Raises OpsError when it is not TOML."""
        try:
            raw = path.read_bytes()
            mark = codecs.BOM_UTF8 if raw.startswith(codecs.BOM_UTF8) else b""
            text = raw.removeprefix(mark).decode("utf-8")
        except FileNotFoundError:
            return cls(path, _NEW_FILE)
        except (OSError, UnicodeDecodeError) as error:
            raise OpsError(f"{path} cannot be read: {error}") from None
        try:
            toml_text.parsed(text)
        except toml_text.TomlError as error:
            where = f" (line {error.line})" if error.line else ""
            raise OpsError(f"{path}{where}: {error} Nothing was changed", fix="correct the file first") from None
        return cls(path, text, mark)

    def get(self, key: Key) -> Any:
        """Return the value of section.key in the file; None where it is not set."""
        section = tomllib.loads(self.text).get(key[0], {})
        return section.get(key[1]) if isinstance(section, dict) else None

    def with_value(self, key: Key, value: Value) -> "SettingsFile":
        """Return the file with section.key set: in place of its assignment, else of its commented line, else new.

        Raises OpsError when that cannot be done without changing something else, or losing a comment inside a list.
        """
        before = tomllib.loads(self.text)
        text = _with_value(self.text, key, _toml(value))
        section = before.get(key[0], {})
        expected = {**before, key[0]: {**section, key[1]: value}} if isinstance(section, dict) else None
        try:
            after = tomllib.loads(text)
        except tomllib.TOMLDecodeError:
            after = None
        if after is None or after != expected or _has_comment_inside(self.text, key):
            raise OpsError(
                f"{'.'.join(key)} in {self.path} has a form that this command cannot change safely",
                fix=f"set it by hand: write {key[1]} = {_toml(value)} under [{key[0]}]",
            )
        return replace(self, text=text)

    def save(self) -> None:
        """Write the file, all of it or nothing.

        Raises SettingsError when the settings are not accepted: the file is then as it was.
        """
        target = self.path.resolve()  # a link stays a link
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        except OSError as error:
            raise OpsError(f"{target.parent} is not writable: {error.strerror}") from None
        draft = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(self.mark + self.text.encode("utf-8"))
                file.flush()
                os.fsync(file.fileno())
            draft.chmod(target.stat().st_mode & 0o777 if target.exists() else 0o644)
            self._check(draft)
            draft.replace(target)
        except OSError as error:
            raise OpsError(f"{target} cannot be written: {error.strerror}") from None
        finally:
            draft.unlink(missing_ok=True)

    def _check(self, draft: Path) -> None:
        # Without the variables: they hide what is wrong in the file.
        clean = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        try:
            load_settings(draft, clean)
        except SettingsError as error:
            problems = [replace(problem, source=str(self.path)) for problem in error.problems]
            raise SettingsError(problems) from None


def _toml(value: Value) -> str:
    """Return the value as TOML: what JSON writes of strings and lists of them is TOML too."""
    return json.dumps(value)


@dataclass(frozen=True)
class _Statement:
    """A header, an assignment, a comment or a blank line: text[start:end], with its line end."""

    start: int
    end: int
    table: tuple[str, ...]  # in which it stands; for a header, the one it opens
    key: tuple[str, ...] = ()  # of an assignment
    value: tuple[int, int] = (0, 0)  # where an assignment's value is
    header: bool = False


_BARE = r"[A-Za-z0-9_-]+"
_PART = rf"(?:{_BARE}|\"[^\"\n\\]*\"|'[^'\n]*')"
_DOTTED = rf"{_PART}(?:[ \t]*\.[ \t]*{_PART})*"
_HEADER = re.compile(rf"[ \t]*\[(\[?)[ \t]*({_DOTTED})[ \t]*\]")
_ASSIGNMENT = re.compile(rf"[ \t]*({_DOTTED})[ \t]*=[ \t]*")


def _statements(text: str) -> Iterator[_Statement]:
    """Return the statements of a text that is TOML."""
    position, table = 0, ()  # type: int, tuple[str, ...]
    while position < len(text):
        if header := _HEADER.match(text, position):
            table = _parts(header[2])
            end = _line_end(text, header.end())
            yield _Statement(position, end, table, header=not header[1])
        elif assignment := _ASSIGNMENT.match(text, position):
            value_end = _value_end(text, assignment.end())
            end = _line_end(text, value_end)
            yield _Statement(position, end, table, _parts(assignment[1]), (assignment.end(), value_end))
        else:
            end = _line_end(text, position)
            yield _Statement(position, end, table)
        position = end


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in re.findall(_PART, dotted))


def _line_end(text: str, position: int) -> int:
    end = text.find("\n", position)
    return len(text) if end < 0 else end + 1


def _has_comment_inside(text: str, key: Key) -> bool:
    """Return whether the key's value is a list over several lines with a comment inside."""
    for statement in _statements(text):
        if statement.key and statement.table + statement.key == key:
            position, end = statement.value
            while position < end:
                if text[position] == "#":
                    return True
                quote = next((quote for quote in _QUOTES if text.startswith(quote, position)), None)
                position = _string_end(text, position, quote) if quote else position + 1
    return False


_QUOTES = ('"""', "'''", '"', "'")


def _value_end(text: str, start: int) -> int:
    """Return where the value that begins at `start` ends. Strings may hold anything; brackets may span lines."""
    position, depth, last = start, 0, start
    while position < len(text):
        character = text[position]
        quote = next((quote for quote in _QUOTES if text.startswith(quote, position)), None)
        if quote:
            position = last = _string_end(text, position, quote)
            continue
        if character == "#":
            position = _line_end(text, position) - 1
            if depth == 0 or text[position] != "\n":
                break
        if character in "\r\n" and depth == 0:
            break
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(character, 0)
        position += 1
        if not character.isspace() and character != "#":
            last = position
    return last


def _string_end(text: str, start: int, quote: str) -> int:
    position = start + len(quote)
    while position < len(text) and not text.startswith(quote, position):
        # Only basic strings have escapes.
        position += 2 if text[position] == "\\" and quote[0] == '"' else 1
    position += len(quote)
    while len(quote) == 3 and text.startswith(quote[0], position):
        position += 1  # up to two quotes more belong to a string that three quotes end
    return position


def _with_value(text: str, key: Key, value: str) -> str:
    section, name = key
    statements = list(_statements(text))
    newline = "\r\n" if "\r\n" in text else "\n"
    for statement in statements:
        if statement.table + statement.key == key and statement.key:
            begin, end = statement.value
            return text[:begin] + value + text[end:]
    header = next((each for each in statements if each.header and each.table == (section,)), None)
    if header is None:
        gap = "" if not text or text.endswith(newline * 2) else newline if text.endswith("\n") else newline * 2
        return f"{text}{gap}[{section}]{newline}{name} = {value}{newline}"
    # "#key = default", and no space after the "#": what has one is prose.
    commented = re.compile(rf"#{re.escape(name)}[ \t]*=")
    for statement in statements:
        if statement.table == (section,) and commented.match(text, statement.start):
            line = text[statement.start : statement.end]
            ending = line[len(line.rstrip("\r\n")) :]
            return f"{text[: statement.start]}{name} = {value}{ending}{text[statement.end :]}"
    break_first = "" if text[: header.end].endswith("\n") else newline
    return f"{text[: header.end]}{break_first}{name} = {value}{newline}{text[header.end :]}"
