"""Building the root file system of tests/boot, with programs that only write down how they were called."""

import os
import shutil
from pathlib import Path

import pytest

from tools import boot_base, system_packages
from tools.boot_base import BootBaseError

# Fails as often as the file "failures" has lines, and leaves what it had made by then, as the real one does.
_DEBOOTSTRAP = """#!/bin/sh
echo "$*" >>"{folder}/calls"
mkdir "$3" || exit 1
touch "$3/half"
[ -s "{folder}/failures" ] || exit 0
sed -i 1d "{folder}/failures"
echo "E: Couldn't download packages"
exit 1
"""
_CHROOT = """#!/bin/sh
echo "$4" >>"{folder}/run-inside"
"""


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A system on which a root file system can be made, with these programs only."""
    (tmp_path / "failures").touch()
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("mkdir", "touch", "sed"):  # and nothing that changes a system
        found = shutil.which(name)
        assert found is not None
        (programs / name).symlink_to(found)
    for name, lines in (("debootstrap", _DEBOOTSTRAP), ("chroot", _CHROOT)):
        (programs / name).write_text(lines.format(folder=tmp_path), encoding="utf-8")
        (programs / name).chmod(0o755)
    monkeypatch.setattr(system_packages, "PATH", str(programs))
    monkeypatch.setattr(system_packages, "require", lambda tools: None)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return tmp_path


def build(system: Path) -> Path:
    return boot_base.build({"ML_INFRA_BOOT_BASE": str(system / "cache")})


def test_a_mirror_that_fails_once_is_asked_again_from_the_start(system: Path) -> None:
    (system / "failures").write_text("once\n")

    built = build(system)

    assert (built / "half").is_file()
    calls = (system / "calls").read_text().splitlines()
    assert len(calls) == 2
    assert calls[0] == calls[1]
    assert list((system / "cache").iterdir()) == [built]


def test_a_mirror_that_fails_twice_is_told_and_nothing_is_left(system: Path) -> None:
    (system / "failures").write_text("once\ntwice\n")

    with pytest.raises(
        BootBaseError, match=r"(?s)exit status 1.*Couldn't download packages.*It needs access to http://deb"
    ):
        build(system)
    assert list((system / "cache").iterdir()) == []


def test_its_packages_wait_for_a_mirror_that_stumbles(system: Path) -> None:
    build(system)

    install = (system / "run-inside").read_text().splitlines()[0]
    assert install.startswith("apt-get -q -o Acquire::Retries=5 -o DPkg::Lock::Timeout=600 update && apt-get -q -o Acq")
