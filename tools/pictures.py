"""`make pictures`: draws the output of commands, run on the embedded AWS, as SVG in a light and a dark theme."""

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Final, NamedTuple

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME, DIMMED_MONOKAI, TerminalTheme
from rich.text import Text

from embedded_aws.control import EmbeddedAwsError
from ops.core.environment import ROOT
from tools import local

FOLDER: Final = ROOT / "images"
THEMES: Final[Mapping[str, TerminalTheme]] = {"light": DEFAULT_TERMINAL_THEME, "dark": DIMMED_MONOKAI}
# Without rich's fonts, which a page would load from elsewhere.
_FORMAT: Final = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
# Paths of the machine that draws, and what stands for them.
_PATHS: Final = ((re.escape(str(ROOT)), "~/ml-infra"), (r"(?<=from the mirror )\S+", "/opt/providers"))


class Picture(NamedTuple):
    """A command and the file that shows its output; on the embedded AWS, the shell is that of `make local-shell`."""

    name: str
    shown: str
    command: Sequence[str]
    width: int = 90


_OPS: Final = (sys.executable, "-m", "ops")
PICTURES: Final = (
    Picture("make-local", "make local", (sys.executable, "-m", "tools.local", "up"), width=105),
    Picture("ops-status", "ops status", (*_OPS, "status")),
    Picture("ops-cost", "ops cost", (*_OPS, "cost")),
    Picture("ops-doctor", "ops doctor", (*_OPS, "doctor"), width=110),
)


class PictureError(Exception):
    """A picture cannot be drawn; the message says why."""


def main(arguments: list[str] | None = None) -> int:
    """Draw the pictures; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.pictures", description=__doc__)
    parser.add_argument("--output", type=Path, default=FOLDER, help="the folder to write to")
    output: Path = parser.parse_args(arguments).output
    try:
        for picture in PICTURES:
            text = run(picture)
            for theme in THEMES:
                file = output / f"{picture.name}-{theme}.svg"
                file.write_text(draw(picture, text, theme), encoding="utf-8")
                print(f"Drawn: {file}")
    except (PictureError, EmbeddedAwsError, OSError) as error:
        print(f"pictures: {error}", file=sys.stderr)
        return 1
    return 0


def run(picture: Picture) -> str:
    """Return the output of the command. Raise PictureError if it fails, EmbeddedAwsError without `make local`."""
    base = os.environ if picture.name == "make-local" else local.running_environment()
    # make local shows its progress in place where it has colours.
    colours = {} if picture.name == "make-local" else {"FORCE_COLOR": "1", "COLORTERM": "truecolor"}
    ran = subprocess.run(
        picture.command,
        cwd=ROOT,
        env={**base, **colours, "COLUMNS": str(picture.width)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    # doctor ends with 1 where it finds a problem.
    if not ran.stdout.strip() or ran.returncode not in (0, 1):
        raise PictureError(f"{picture.shown} failed: {ran.stderr.strip()[-500:]}")
    text = ran.stdout.rstrip()
    for path, stands_for in _PATHS:
        text = re.sub(path, stands_for, text)
    return text


def draw(picture: Picture, text: str, theme: str) -> str:
    """Return the SVG of a command's output, under its command line."""
    console = Console(record=True, width=picture.width, file=StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text(f"$ {picture.shown}", style="bold"))
    console.print(Text.from_ansi(text), soft_wrap=False)
    svg = console.export_svg(title="", theme=THEMES[theme], code_format=_FORMAT, unique_id=f"{picture.name}-{theme}")
    # Some programs drop the spaces at which a text begins.
    return svg.replace("<text ", '<text xml:space="preserve" ')


if __name__ == "__main__":
    sys.exit(main())
