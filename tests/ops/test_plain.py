"""Terminals whose encoding is not UTF-8: what `ops`, set-up, shells and `make local` say stays readable on them."""

import io
import locale
import os
import subprocess
import sys
from pathlib import Path

import pytest

from embedded_aws import control
from ops import cli
from ops.core import environment, plain
from ops.core.environment import ROOT
from tests.ops.aws_support import Person, clear
from tools import local, shell


def written(text: str, encoding: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What comes to stand on a terminal with that encoding."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding, write_through=True))
    plain.readable()
    print(text, end="")
    return raw.getvalue().decode(encoding)


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("utf-8", "Looking … → für 3 € 日本 “ok”"),
        ("iso8859-1", 'Looking ... -> für 3 ? ?? "ok"'),
        ("ascii", 'Looking ... -> fur 3 ? ?? "ok"'),
        ("cp1252", "Looking … -> für 3 € ?? “ok”"),
    ],
)
def test_what_the_encoding_lacks_comes_in_letters_that_it_has(
    encoding: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert written("Looking … → für 3 € 日本 “ok”", encoding, monkeypatch) == expected


@pytest.mark.system
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_doctor_ends_as_it_does_elsewhere(empty_endpoint: control.Endpoint, tmp_path: Path, encoding: str) -> None:
    clear(empty_endpoint)
    person = Person(tmp_path, empty_endpoint)
    person.write()

    ended = person.process("doctor", "mlcore", PYTHONIOENCODING=encoding)

    assert "UnicodeEncodeError" not in ended.err
    assert ended.status == 1
    assert "-> ops bootstrap" in ended.words
    assert "Checking ..." in ended.err


@pytest.mark.parametrize("program", ["cli", "local", "shell"])
def test_every_program_sees_to_it_first(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class SeenToError(Exception):
        pass

    def seen_to() -> None:
        raise SeenToError

    monkeypatch.setattr(plain, "readable", seen_to)
    main = {"cli": cli.main, "local": local.main, "shell": shell.main}[program]

    with pytest.raises(SeenToError):
        main(["down"] if program == "local" else ["--", "true"])


def test_set_up_says_what_it_does() -> None:
    program = (
        "import sys\nfrom tools import set_up\n"
        "set_up.set_up = lambda **_: print('Making .venv …')\nsys.exit(set_up.main([]))"
    )

    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
        timeout=60,
    )

    assert (ended.returncode, ended.stdout) == (0, b"Making .venv ?\n")


@pytest.mark.parametrize(
    ("encoding", "given", "expected"),
    [
        ("UTF-8", {}, {}),
        ("ANSI_X3.4-1968", {}, {}),  # the locale C
        ("ISO-8859-1", {}, {"PYTHONIOENCODING": "ISO-8859-1:replace"}),
        ("ISO-8859-1", {"PYTHONIOENCODING": "cp437"}, {}),
    ],
)
def test_a_shell_keeps_the_terminals_encoding(
    encoding: str, given: dict[str, str], expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locale, "getencoding", lambda: encoding)

    assert environment._terminal(given) == expected


def test_what_other_programs_say_is_read_in_any_locale(tmp_path: Path) -> None:
    """Terraform frames its warnings with lines that ASCII lacks."""
    terraform = tmp_path / "terraform"
    terraform.write_text(
        """#!/bin/sh\nprintf '\\342\\225\\267 warning\\n' >&2\necho '{"terraform_version": "1.11.4"}'\n""",
        encoding="ascii",
    )
    terraform.chmod(0o755)
    program = "import os\nfrom ops.core.terraform import require_terraform\nprint(require_terraform(dict(os.environ)))"
    plain_locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", **plain_locale},
        capture_output=True,
        check=False,
        timeout=60,
    )

    assert (ended.returncode, ended.stdout) == (0, b"1.11.4\n"), ended.stderr
