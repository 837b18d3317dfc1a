"""The pictures of commands: whole SVG that needs nothing from elsewhere, and the same text in both themes."""

import re
from xml.etree import ElementTree

import pytest

from tools import pictures
from tools.pictures import PICTURES, THEMES, Picture

PICTURE = Picture("ops-status", "ops status", ("unused",), width=60)
OUTPUT = "stack     lock\n\x1b[1;32mmlcore\x1b[0m     -"


def texts(svg: str) -> list[str]:
    found = (element.text or "" for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text"))
    return [text.replace("\xa0", " ").strip() for text in found]


@pytest.mark.parametrize("theme", THEMES)
def test_the_command_and_what_it_says(theme: str) -> None:
    said = [text for text in texts(pictures.draw(PICTURE, OUTPUT, theme)) if text]

    assert said == ["$ ops status", "stack     lock", "mlcore", "-"]


def test_nothing_is_loaded_from_elsewhere() -> None:
    svg = pictures.draw(PICTURE, OUTPUT, "light")

    assert re.findall(r"url\((?!#)[^)]*\)|@font-face|<image|href=", svg) == []


def test_themes_differ() -> None:
    assert pictures.draw(PICTURE, OUTPUT, "light") != pictures.draw(PICTURE, OUTPUT, "dark")


def test_every_picture_is_in_both_themes() -> None:
    expected = {f"{picture.name}-{theme}.svg" for picture in PICTURES for theme in THEMES}
    assert {file.name for file in pictures.FOLDER.glob("*.svg")} == expected
