"""`python -m tools.system_packages`: what the tests need of this system, installed where that can be done: as root.

Only the standard library: it runs before anything else is there.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

# Program -> its Debian package. For tests/boot: what builds their Debian, and what prepares the disks.
BOOT_TESTS: Final[Mapping[str, str]] = {
    "debootstrap": "debootstrap",
    "ip": "iproute2",
    "mkfs.btrfs": "btrfs-progs",
    "mkfs.ext4": "e2fsprogs",
    "mkfs.xfs": "xfsprogs",
}
# For tests/ops.
OPS_TESTS: Final[Mapping[str, str]] = {
    "ip": "iproute2",
    "nsenter": "util-linux",
    "rsync": "rsync",
    "setpriv": "util-linux",
    "ssh": "openssh-client",
    "sshd": "openssh-server",
    "unshare": "util-linux",
}
# sshd and ip are not on every PATH.
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# A mirror that stumbles, and another apt-get that is at work (unattended-upgrades, or a second run of ours).
APT_OPTIONS: Final = ("-q", "-o", "Acquire::Retries=5", "-o", "DPkg::Lock::Timeout=600")
# Seconds; some minutes on a slow line. Then something hangs, and nobody would know for want of an end.
_LONGEST: Final = 3600
_SECONDS_TO_END: Final = 30


class SystemPackagesError(Exception):
    """A program is missing and cannot be installed; the message says what to do."""


def missing(tools: Mapping[str, str], path: str | None = None) -> dict[str, str]:
    """Return the tools that are not here, with their packages. path: where to look besides PATH's system folders."""
    path = f"{os.environ.get('PATH', '') if path is None else path}:{PATH}"
    return {tool: package for tool, package in tools.items() if shutil.which(tool, path=path) is None}


def install(packages: Sequence[str]) -> None:
    """Install Debian packages. Raises SystemPackagesError without apt-get, without root, and when apt-get fails."""
    names = " ".join(packages)
    if shutil.which("apt-get", path=PATH) is None:
        raise SystemPackagesError(
            f"{', '.join(packages)} are missing, and this system has no apt-get: install them with its package manager"
        )
    if os.geteuid() != 0:
        raise SystemPackagesError(f"only root can install packages: sudo apt-get install {names}")
    run("apt-get update", ["apt-get", *APT_OPTIONS, "update"])
    run(f"installing {names}", ["apt-get", *APT_OPTIONS, "install", "-y", "--no-install-recommends", *packages])


def require(tools: Mapping[str, str]) -> None:
    """Install what is missing, if anything. Raises SystemPackagesError."""
    if packages := sorted(set(missing(tools).values())):
        install(packages)
    if still := missing(tools):
        raise SystemPackagesError(f"still missing after the installation: {', '.join(still)}")


def run(what: str, command: Sequence[str | Path]) -> None:
    """Run a command quietly, an hour at most. Raises SystemPackagesError with the end of what it said."""
    print(f"{what} …", file=sys.stderr, flush=True)
    environment = {"PATH": PATH, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive", "HOME": "/root"}
    environment.update({name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")})
    # In a session of its own: when it takes too long, whatever it has started ends with it.
    with (
        tempfile.TemporaryFile("w+", errors="replace") as said,
        subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        try:
            process.wait(_LONGEST)
            trouble = f"exit status {process.returncode}"
        except subprocess.TimeoutExpired:
            trouble = f"timed out after {_LONGEST / 60:.0f} minutes"
        finally:
            _end(process)
        if process.wait() == 0:
            return
        said.seek(0)
        end = said.read()[-2000:]
    raise SystemPackagesError(
        f"{what} failed ({trouble}):\n{end}\nCheck that the package mirror is reachable, then run it again"
    )


def _end(process: "subprocess.Popen[bytes]") -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_SECONDS_TO_END)


def main() -> int:
    """See to the programs of tests/ops and tests/boot. Returns the exit status.

    Whoever is not root gets to know what is missing; the tests then skip, or fail where the variable CI is set.
    """
    try:
        lacking = missing({**BOOT_TESTS, **OPS_TESTS})
        if lacking and os.geteuid() != 0 and not os.environ.get("CI"):
            names = " ".join(sorted(set(lacking.values())))
            print(f"system packages: tests that need {names} will be skipped (only root can install packages)")
            return 0
        require({**BOOT_TESTS, **OPS_TESTS})
    except SystemPackagesError as error:
        print(f"system packages: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
