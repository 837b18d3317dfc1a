"""The shell in which the commands work, when it is given one to run."""

import pytest

from tools import shell


def test_a_command_ends_with_its_own_status() -> None:
    assert shell.main(["--", "sh", "-c", "exit 7"]) == 7


def test_a_command_that_is_not_there_is_said_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert shell.main(["--", "no-such-command"]) == 127
    said = capsys.readouterr().err
    assert said == "shell: no-such-command cannot be run: No such file or directory (make setup installs it)\n"
