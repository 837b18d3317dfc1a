"""Programs that tests need of the system: found, installed, or named."""

import os
from pathlib import Path

import psutil
import pytest

from tools import system_packages
from tools.system_packages import SystemPackagesError, missing, require

# An apt-get that writes down how it was called, and installs by making a program.
_APT_GET = """#!/bin/sh
echo "$*" >>"{folder}/calls"
case "$*" in *install*) [ -e "{folder}/broken" ] && {{ echo "E: no such package"; exit 100; }}
printf '#!/bin/sh\\n' >"{folder}/no-such-tool"; chmod +x "{folder}/no-such-tool" ;; esac
"""
TOOL = {"no-such-tool": "no-such-package"}


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of all programs of a system with apt-get."""
    program = tmp_path / "apt-get"
    program.write_text(_APT_GET.format(folder=tmp_path))
    program.chmod(0o755)
    monkeypatch.setattr(system_packages, "PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return tmp_path


def test_what_is_missing_is_named_with_its_package(system: Path) -> None:
    (system / "here").touch(mode=0o755)

    assert missing({"here": "a", **TOOL}) == TOOL


def test_nothing_is_installed_where_all_is_there(system: Path) -> None:
    (system / "here").touch(mode=0o755)

    require({"here": "a"})

    assert not (system / "calls").exists()


def test_what_is_missing_is_installed_after_one_update(system: Path) -> None:
    require(TOOL)

    assert (system / "calls").read_text().splitlines() == [
        "-q -o Acquire::Retries=5 -o DPkg::Lock::Timeout=600 update",
        "-q -o Acquire::Retries=5 -o DPkg::Lock::Timeout=600 install -y --no-install-recommends no-such-package",
    ]


def test_without_root_the_command_is_named(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    with pytest.raises(SystemPackagesError, match="sudo apt-get install no-such-package"):
        require(TOOL)
    assert not (system / "calls").exists()


def test_without_apt_get_the_packages_are_named(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (system / "apt-get").unlink()
    monkeypatch.setattr(system_packages, "PATH", str(system))

    with pytest.raises(SystemPackagesError, match="no-such-package are missing, and this system has no apt-get"):
        require(TOOL)


def test_an_installation_that_fails_says_what_apt_said(system: Path) -> None:
    (system / "broken").touch()

    with pytest.raises(SystemPackagesError, match=r"(?s)exit status 100.*E: no such package"):
        require(TOOL)


def test_a_package_without_the_program_is_told(system: Path) -> None:
    with pytest.raises(SystemPackagesError, match="still missing after the installation: another"):
        require({**TOOL, "another": "no-such-package"})


def test_an_installation_that_hangs_is_ended_with_all_that_it_started(
    system: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (system / "apt-get").write_text(f"""#!/bin/sh
echo "waiting for the mirror"
sleep 600 &
echo $! >"{system}/child"
wait
""")
    monkeypatch.setattr(system_packages, "_LONGEST", 3)

    with pytest.raises(SystemPackagesError, match=r"(?s)apt-get update failed \(timed out.*waiting for the mirror"):
        require(TOOL)

    child = int((system / "child").read_text())
    psutil.wait_procs([psutil.Process(child)] if psutil.pid_exists(child) else [], timeout=60)
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE
