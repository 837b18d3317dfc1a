"""`make pages`: writes docs/settings.md from the comments of settings.toml."""

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from ops.core.environment import ROOT

SETTINGS: Final = ROOT / "settings.toml"
PAGE: Final = ROOT / "docs" / "settings.md"

_HEAD: Final = """# Settings

<!-- Written by `make pages` from settings.toml: change it there. -->

These are the comments of [settings.toml](../settings.toml). `ops init` fills in the required settings.

"""
_TABLE: Final = re.compile(r"\[([a-z_.]+)\]")
_KEY: Final = re.compile(r"#?([a-z_0-9]+) = (.*)")
_REQUIRED: Final = "REQUIRED. "
# A pattern or a placeholder would otherwise be read as Markdown. An underscore within a word is safe.
_SPECIAL: Final = re.compile(r"([\\*<>\[\]]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")


class PageError(Exception):
    """settings.toml has a line that the page cannot show; the message says which."""


class Setting(NamedTuple):
    """A key of the settings: its name with its section, the value in the file, and its comment."""

    name: str
    value: str
    comment: list[str]

    @property
    def is_required(self) -> bool:
        """True when it has no default."""
        return bool(self.comment) and self.comment[0].startswith(_REQUIRED)

    @property
    def variable(self) -> str:
        """The environment variable that overrides it."""
        return f"ML_INFRA_{self.name.upper().replace('.', '__')}"


class Section(NamedTuple):
    """A table of the settings, with its comment; the file's own comment has the name ""."""

    name: str
    comment: list[str]
    settings: list[Setting]


def main(arguments: list[str] | None = None) -> int:
    """Write the page; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.settings_page", description=__doc__)
    parser.add_argument("--output", type=Path, default=PAGE, help="the page to write")
    output: Path = parser.parse_args(arguments).output
    try:
        output.write_text(page(SETTINGS.read_text(encoding="utf-8")), encoding="utf-8")
    except (OSError, PageError) as error:
        print(f"settings page: {error}", file=sys.stderr)
        return 1
    print(f"Written: {output}")
    return 0


def page(text: str) -> str:
    """Return the page for the text of a settings.toml."""
    head, *sections = read(text)
    return _HEAD + "\n\n".join([*_paragraphs(head.comment[1:]), *_contents(sections), *_sections(sections)]) + "\n"


def read(text: str) -> list[Section]:
    """Return the sections of a settings.toml, the file's own comment first.

    Raise PageError for a line that is neither a comment, a table nor a key.
    """
    sections = [Section("", [], [])]
    comment: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("# ") or line == "#":
            comment.append(line[2:])
        elif table := _TABLE.fullmatch(line):
            sections.append(Section(table[1], comment, []))
            comment = []
        elif key := _KEY.fullmatch(line):
            sections[-1].settings.append(Setting(f"{sections[-1].name}.{key[1]}", key[2], comment))
            comment = []
        elif not line and len(sections) == 1:
            sections[0].comment.extend(comment)
            comment = []
        elif line:
            raise PageError(f"line {number} of settings.toml is not a comment, a table or a key: {line}")
    return sections


def _contents(sections: list[Section]) -> Iterator[str]:
    rows = [
        f"| [{each.name}](#{each.name.replace('.', '')}) | {_default(each)} |"
        for section in sections
        for each in section.settings
    ]
    yield "\n".join(["| setting | default |", "|---|---|", *rows])


def _sections(sections: list[Section]) -> Iterator[str]:
    for section in sections:
        yield f"## [{section.name}]"
        yield from _paragraphs(section.comment)
        for each in section.settings:
            yield f"### {each.name}"
            yield from _paragraphs(each.comment)
            kind = "Example" if each.is_required else "Default"
            yield f"{kind}: `{each.value}`. Environment variable: `{each.variable}`."


def _default(each: Setting) -> str:
    return "**required**" if each.is_required else f"`{each.value}`"


def _paragraphs(comment: list[str]) -> Iterator[str]:
    """Yield a comment's paragraphs, its numbered list as one."""
    lines: list[str] = []
    in_list = False
    for line in [*comment, ""]:
        starts_list = not in_list and line.startswith("1. ")
        ends_list = in_list and not line.startswith((" ", *"123456789"))
        if (not line or starts_list or ends_list) and lines:
            yield "\n".join(lines)
            lines = []
        in_list = starts_list or (in_list and not ends_list)
        if line:
            lines.append(_escaped(line))


def _escaped(line: str) -> str:
    # Code spans stay as they are.
    parts = line.split("`")
    return "`".join(part if index % 2 else _SPECIAL.sub(r"\\\1", part) for index, part in enumerate(parts))


if __name__ == "__main__":
    sys.exit(main())
