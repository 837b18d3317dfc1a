"""What `ops` shows is text, whoever wrote it."""

import pytest
from rich.console import Group
from rich.table import Table
from rich.text import Text

from ops.core.console import console, progress_console

HOSTILE = "\x1b[2J\x1b]0;title\x07\N{RIGHT-TO-LEFT OVERRIDE}\x9b5m\x00"
SHOWN = "\\u001b[2J\\u001b]0;title\\u202e\\u009b5m\\u0000"  # rich itself drops the bell


def test_nothing_that_is_shown_is_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table.grid(padding=(0, 2))
    table.add_row(Text(f"a{HOSTILE}"), f"b{HOSTILE}")

    console().print(Group(table, Text(f"c{HOSTILE}", style="bold red")), soft_wrap=True)
    progress_console().print(f"d{HOSTILE}", markup=False, highlight=False, soft_wrap=True)

    out, err = capsys.readouterr()
    assert f"c{SHOWN}\n" in out
    assert out.startswith("a\\u001b[2J")  # cut off: the column was measured without what is not seen
    assert "  b\\u001b[2J" in out
    assert err == f"d{SHOWN}\n"
    assert (out + err).replace("\n", "").isprintable()


def test_lines_and_colours_stay(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)

    console().print(Text("one\ntwo", style="red"))

    assert capsys.readouterr().out == "\x1b[31mone\x1b[0m\n\x1b[31mtwo\x1b[0m\n"
