"""`python -m tools.boot_base`: the root file system in which tests/boot runs the boot scripts: Debian, made once.

Kept in /var/cache/ml-infra-boot-base, or in the folder that ML_INFRA_BOOT_BASE names, under a digest of all that goes
into it.
"""

import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools import system_packages

VARIABLE = "ML_INFRA_BOOT_BASE"
DEFAULT_CACHE = Path("/var/cache/ml-infra-boot-base")

SUITE = "trixie"
MIRROR = "http://deb.debian.org/debian"

# What Ubuntu's and AWS's images bring, as far as the boot scripts meet it.
PACKAGES = (
    "systemd",
    "systemd-sysv",
    "dbus",
    "udev",
    "xfsprogs",
    "e2fsprogs",
    "btrfs-progs",
    "cloud-init",
    "openssh-server",
    "python3-venv",
    "git",
    "curl",
    "ca-certificates",
    "gnupg",
    "gpgv",
    "iproute2",
    "procps",
    "kmod",
    "awscli",
    "sudo",
    "unattended-upgrades",
    "jq",
    # 2.6.0, with gloo: https://packages.debian.org/trixie/python3-torch
    "python3-torch",
)

_OLD = 21 * 24 * 3600  # seconds

# The user of Ubuntu's images; then whatever would wait for a network, start by itself, or take seconds of each boot.
CUSTOMIZE = r"""
set -eu
useradd --create-home --shell /bin/bash --uid 1000 ubuntu
rm -f /etc/machine-id /etc/ssh/ssh_host_*_key* /etc/resolv.conf
: >/etc/machine-id
echo mlboot >/etc/hostname
echo '127.0.0.1 localhost mlboot' >/etc/hosts
printf '# static information\n' >/etc/fstab
systemctl disable apt-daily.timer apt-daily-upgrade.timer
for service in apt-daily apt-daily-upgrade; do
  printf '[Service]\nType=oneshot\nExecStart=/bin/true\n' >/etc/systemd/system/$service.service
done
systemctl mask console-getty.service getty@tty1.service dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
  fstrim.timer xfs_scrub_all.timer systemd-networkd-wait-online.service systemd-udevd.service \
  systemd-udev-trigger.service systemd-firstboot.service systemd-pstore.service systemd-logind.service \
  sshd-keygen.service cloud-init-hotplugd.socket systemd-resolved.service systemd-networkd.service
systemctl disable ssh.service
printf 'datasource: NoCloud\npolicy: enabled\n' >/etc/cloud/ds-identify.cfg
cat >/etc/cloud/cloud.cfg.d/99_boot_tests.cfg <<'CFG'
datasource_list: [NoCloud]
network: {config: disabled}
preserve_hostname: true
users: []
cloud_init_modules: []
cloud_config_modules: []
cloud_final_modules: [scripts_user]
CFG
apt-get clean
rm -rf /var/lib/apt/lists/* /usr/share/doc/* /usr/share/man/*
"""


class BootBaseError(Exception):
    """The root file system cannot be made here; the message says what to do."""


def cache(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder that holds what was built."""
    return Path(environment.get(VARIABLE) or DEFAULT_CACHE)


def folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of this version of the root file system, existing or not."""
    what = "\n".join([SUITE, MIRROR, *PACKAGES, CUSTOMIZE])
    return cache(environment) / f"{SUITE}-{hashlib.sha256(what.encode()).hexdigest()[:16]}"


def build(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the root file system; built now unless it is there. Raises BootBaseError."""
    finished = folder(environment)
    try:
        system_packages.require(system_packages.BOOT_TESTS)
    except system_packages.SystemPackagesError as error:
        raise BootBaseError(str(error)) from error
    if finished.is_dir():
        return finished
    if os.geteuid() != 0:
        raise BootBaseError("only root can build a root file system: sudo python -m tools.boot_base")

    finished.parent.mkdir(parents=True, exist_ok=True)
    # Renamed when it is complete: an interrupted build leaves a folder that nobody looks at.
    unfinished = Path(tempfile.mkdtemp(prefix="unfinished-", dir=finished.parent))
    try:
        root = unfinished / "root"
        _debootstrap(root)
        apt_get = " ".join(["apt-get", *system_packages.APT_OPTIONS])
        install = f"{apt_get} update && {apt_get} install -y --no-install-recommends {' '.join(PACKAGES)}"
        _run(f"{len(PACKAGES)} packages", ["chroot", root, "sh", "-ec", install])
        _run("its configuration", ["chroot", root, "sh", "-c", CUSTOMIZE])
        root.rename(finished)
        _forget_old(finished)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return finished


def _debootstrap(root: Path) -> None:
    """Run debootstrap, twice if it fails: it gives up on the first failed download, and cannot resume."""
    what = f"Debian {SUITE} into {root}"
    command: list[str | Path] = ["debootstrap", "--variant=minbase", SUITE, root, MIRROR]
    try:
        _run(what, command)
    except BootBaseError as error:
        print(f"boot base: {error}\nboot base: trying again", file=sys.stderr, flush=True)
        shutil.rmtree(root, ignore_errors=True)
        _run(what, command)


def _forget_old(newest: Path) -> None:
    """Delete other versions (1.6 GB each), except recent ones that another checkout may still use."""
    for other in newest.parent.glob(f"{SUITE}-*"):
        if other != newest and time.time() - other.stat().st_mtime > _OLD:
            shutil.rmtree(other, ignore_errors=True)


def _run(what: str, command: Sequence[str | Path]) -> None:
    try:
        system_packages.run(f"boot base: {what}", command)
    except system_packages.SystemPackagesError as error:
        raise BootBaseError(f"{error}. It needs access to {MIRROR} and 2 GB of free space under {cache()}") from error


def main() -> int:
    """Build it and print where it is. Return the exit status."""
    try:
        print(build())
    except BootBaseError as error:
        print(f"boot base: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nboot base: interrupted; removed the unfinished build", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
