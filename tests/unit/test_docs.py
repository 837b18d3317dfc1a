"""README and docs: links lead somewhere, commands exist, generated pages are current."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer
from typer.main import get_command

from ops.cli import app
from tools import settings_page

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").glob("*.md")),
    *sorted((ROOT / "benchmarks").glob("*.md")),
]
README_LINES = 120
# What a command line of ops ends with in a shell.
_END = re.compile(r"\s(?:--|#|->)(?:\s|$)")


class Command(NamedTuple):
    """A use of ops or make in a page."""

    page: Path
    words: list[str]

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}: {' '.join(self.words)}"


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose_and_code(text: str) -> tuple[list[str], list[str]]:
    """Return the lines without code, and every line of a code block or content of a code span."""
    prose, code = [], []
    fenced, before = False, ""
    for line in text.splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or (line.startswith("    ") and (not before.strip() or before.startswith("    "))):
            code.append(line)
        else:
            code += re.findall(r"`([^`]+)`", line)
            prose.append(re.sub(r"`[^`]*`", lambda span: span[0].replace("[", "(").replace("]", ")"), line))
        before = line
    return prose, code


def links(page: Path) -> list[str]:
    prose, _ = prose_and_code(page.read_text(encoding="utf-8"))
    return re.findall(r"\]\(([^)\s]+)\)", "\n".join(prose))


@cache
def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    found: set[str] = set()
    for line in prose_and_code(page.read_text(encoding="utf-8"))[0]:
        if heading := re.fullmatch(r"#{1,6} (.+)", line):
            text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading[1]).lower()
            slug = re.sub(r"[^\w\- ]", "", text).strip().replace(" ", "-")
            count = sum(1 for each in found if each == slug or re.fullmatch(rf"{re.escape(slug)}-\d+", each))
            found.add(f"{slug}-{count}" if count else slug)
    return found


def commands(program: str) -> Iterator[Command]:
    """Yield every use of a program in the pages' code, without what a shell would not give it."""
    for page in PAGES:
        for line in prose_and_code(page.read_text(encoding="utf-8"))[1]:
            for part in re.split(r";|&&|\|", line.partition("  #")[0]):
                if found := re.search(rf"(?:^|[\s(])(?:[A-Z_]+=\S+ )*{program}((?: .*)?)$", part):
                    yield Command(page, _END.split(found[1], maxsplit=1)[0].split())


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links(page: Path) -> None:
    wrong = []
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            wrong.append(link)
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_pictures_and_files_in_html(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    wrong = [
        path
        for path in re.findall(r"(?:src|srcset)=\"([^\"]+)\"", text)
        if not path.startswith("http") and not (page.parent / path).exists()
    ]
    assert wrong == []


def test_readme_can_be_scanned() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= README_LINES


def test_the_page_of_settings_is_current() -> None:
    text = settings_page.SETTINGS.read_text(encoding="utf-8")
    assert settings_page.PAGE.read_text(encoding="utf-8") == settings_page.page(text), "run: make pages"


def test_the_page_of_settings_refuses_a_line_that_it_would_drop() -> None:
    with pytest.raises(settings_page.PageError, match=r"line 3 of settings\.toml.*: odd line"):
        settings_page.page("[deployment]\n#name = 1\nodd line\n")


def test_make_targets() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    used = [command for command in commands("make") if command.words]
    assert {"local", "test"} <= {command.words[0] for command in used}
    assert [str(command) for command in used if command.words[0] not in targets] == []


def options_of(command: Any) -> set[str]:
    return {"-h", "--help", *(option for each in command.params for option in (*each.opts, *each.secondary_opts))}


def test_commands_of_ops() -> None:
    group = get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    used = [command for command in commands("ops") if command.words]
    wrong = []
    for command in used:
        first, *others = command.words
        if first.startswith("-"):
            options, words = options_of(group), command.words
        elif first in group.commands:
            options, words = options_of(group.commands[first]), others
        else:
            # A placeholder, as in `ops COMMAND -h`.
            if not first.isupper():
                wrong.append(f"{command}: no such command")
            continue
        wrong += [
            f"{command}: no option {word}" for word in words if re.match("--?[a-z]", word) and word not in options
        ]
    assert {command.words[0] for command in used} >= set(group.commands)
    assert wrong == []
