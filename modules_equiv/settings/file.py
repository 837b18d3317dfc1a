"""Find and read the settings file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from constructs_lib import toml_text
from modules_equiv.settings.problems import Problem, SettingsError, masked, shortened, shown

DEFAULT_PATH: Final = Path(__file__).resolve().parents[2] / "settings.toml"
PATH_VARIABLE: Final = "ML_INFRA_SETTINGS"
_LARGEST_FILE: Final = 1_000_000  # bytes; settings.toml, with its comments, has about 10,000


def named_path(environ: Mapping[str, str]) -> Path | None:
    """Return the path in ML_INFRA_SETTINGS, or None. Raises SettingsError for the ~ of an unknown user."""
    if not (named := environ.get(PATH_VARIABLE)):
        return None
    try:
        return Path(named).expanduser()
    except RuntimeError:
        user = named.split("/")[0]
        raise SettingsError(
            [
                Problem(
                    source=f"the environment variable {PATH_VARIABLE}",
                    key=None,
                    value=shown(named),
                    reason=f"{user} is not the home folder of a user on this machine.",
                    fix="Write the full path of the file, like /home/me/settings.toml.",
                )
            ]
        ) from None


class UnreadableError(Exception):
    """Report a settings file that cannot be read, as one problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


@dataclass(frozen=True)
class SettingsFile:
    """Locate and read the settings file. The default file may be missing."""

    path: Path
    named_by: str | None
    optional: bool

    @classmethod
    def find(cls, path: Path | None, environ: Mapping[str, str]) -> Self:
        """Return the file at `path`, else the one that ML_INFRA_SETTINGS names, else settings.toml."""
        if path is not None:
            return cls(path, None, optional=False)
        if (named := named_path(environ)) is not None:
            return cls(named, PATH_VARIABLE, optional=False)
        return cls(DEFAULT_PATH, None, optional=True)

    @property
    def label(self) -> str:
        """Return the path relative to the current folder if it is inside that, else the full path."""
        try:
            current = Path.cwd()
        except OSError:  # the current folder was deleted
            return str(self.path)
        return str(self.path.relative_to(current)) if self.path.is_relative_to(current) else str(self.path)

    def read(self) -> dict[str, Any]:
        """Return the file's table. Raises UnreadableError."""
        try:
            with self.path.open("rb") as file:
                raw = file.read(_LARGEST_FILE + 1)
        except FileNotFoundError:
            if self.optional:
                return {}
            raise self._unreadable("The file does not exist.", "Create it, or set another path.") from None
        except (OSError, ValueError) as error:
            reason = f"The file cannot be read: {getattr(error, 'strerror', None) or error}."
            raise self._unreadable(reason, "Use a file that you have permission to read.") from None
        if len(raw) > _LARGEST_FILE:
            reason = f"The file is larger than {_LARGEST_FILE:,} bytes, so it is not a settings file."
            raise self._unreadable(reason, "Set the path of the settings file.")
        try:
            # Some editors start a file with a byte order mark, which TOML does not allow.
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            reason = f"The file is not UTF-8: line {line} contains an invalid byte."
            raise self._unreadable(reason, "Save the file as UTF-8.") from None
        try:
            return toml_text.parsed(text)
        except toml_text.TomlError as error:
            lines, line = text.split("\n"), error.line or 0
            raise self._unreadable(
                str(error),
                'Write strings in quotes (name = "x"), lists in brackets (["a", "b"]), and each key only once.',
                value=shortened(masked(f"line {line}: {lines[line - 1].strip()}")) if 0 < line <= len(lines) else None,
            ) from None

    def _unreadable(self, reason: str, fix: str, value: str | None = None) -> UnreadableError:
        source = f"{self.label}, named by {self.named_by}" if self.named_by else self.label
        return UnreadableError(Problem(source=source, key=None, value=value, reason=reason, fix=fix))
