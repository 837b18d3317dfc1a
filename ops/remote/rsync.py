"""Copying between a person's folder and the worker: rsync over ssh, which goes on where it was interrupted."""

import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ops.core.errors import OpsError
from ops.remote import processes

PARTIAL: Final = ".rsync-partial"

# https://download.samba.org/pub/rsync/NEWS#3.1.0: --info=progress2 and --outbuf came with 3.1.0. macOS has openrsync,
# which says it is 2.6.9.
_OLDEST: Final = (3, 1)

# "EXIT VALUES" in rsync(1): these come from a connection that broke or never was.
_BROKEN: Final = frozenset({10, 12, 14, 20, 30, 35, 255})
_VANISHED: Final = 24  # files went away while they were copied, as checkpoints do

_PROGRESS: Final = re.compile(r"\s*([\d,]+)\s+(\d+)%\s+(\S+)\s+(\S+)(?:\s+\(xfr#(\d+))?")
_STATISTIC: Final = re.compile(r"(Number of files|Number of regular files transferred|Total file size|"
                               r"Total transferred file size|Matched data): ([\d,]+)(?:.*?reg: ([\d,]+))?")  # fmt: skip
_LISTED: Final = "would copy "
# generator.c says so of each file that --update leaves alone: rsync(1), --info=SKIP, since 3.1.0 as well.
_NEWER: Final = " is newer"


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where this try is: bytes so far, share of what rsync has found so far, rate and time as rsync says them."""

    bytes: int
    percent: int
    rate: str
    time: str


@dataclass(kw_only=True)
class Summary:
    """What was done. files and bytes: all that is now there; sent_*: what the last try had to copy.

    reused_bytes: what of that was on the other side already, from a try that broke. newer: files that are newer there
    and were left alone. listed: the names of a dry run.
    """

    files: int = 0
    bytes: int = 0
    sent_files: int = 0
    sent_bytes: int = 0
    reused_bytes: int = 0
    newer: int = 0
    tries: int = 0
    vanished: bool = False
    listed: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Copy:
    """One copy. source and target as rsync takes them, one of them ALIAS:PATH. make: a folder to make there.

    overwrite: also what is newer at the target.
    """

    ssh: Sequence[str]
    source: str
    target: str
    make: str | None = None
    relative: bool = False
    overwrite: bool = False
    dry_run: bool = False

    def command(self) -> list[str]:
        """Return rsync's command line. It never deletes anything."""
        command = [
            "rsync",
            "--recursive",
            "--links",
            "--times",
            "--perms",
            "--protect-args",
            # What has arrived of a file lies apart until it is whole: nobody trains on half an image, and --update
            # does not take the half, which is of today, for a newer file.
            f"--partial-dir={PARTIAL}",
            "--info=progress2,skip",
            "--outbuf=N",
            "--8-bit-output",
            "--stats",
            f"--rsh={shlex.join(self.ssh)}",
        ]
        if self.relative:
            # Checkpoints that are being written: see sitecustomize.py.
            command += ["--relative", "--exclude=.part-*/"]
        if not self.overwrite:
            command.append("--update")
        if self.dry_run:
            command += ["--dry-run", f"--out-format={_LISTED}%n"]
        elif self.make:
            command.append(f"--rsync-path=mkdir -p -- {shlex.quote(self.make)} && rsync")
        return [*command, "--", self.source, self.target]


def require_rsync() -> None:
    """Check that rsync is installed and new enough. Raises OpsError."""
    program = shutil.which("rsync")
    if program is None:
        raise OpsError("rsync is not installed", fix=_INSTALL)
    said = subprocess.run([program, "--version"], capture_output=True, encoding="utf-8", errors="replace").stdout
    found = re.search(r"version v?(\d+)\.(\d+)", said)
    if found is None or (int(found[1]), int(found[2])) < _OLDEST or "openrsync" in said:
        first = said.splitlines()[0] if said else "unknown version"
        raise OpsError(f"{program} is not rsync 3.1 or newer ({first.strip()})", fix=_INSTALL)


_INSTALL: Final = "apt-get install rsync, dnf install rsync, or brew install rsync on macOS"


def run(
    copy: Callable[[], Copy],
    *,
    tries: int,
    say: Callable[[str], None],
    show: Callable[[Progress], None],
) -> Summary:
    """Copy the files; calls `copy` before each try, since machines stop and move.

    tries: how often at most. Raises OpsError when the last one breaks too, and for what no other try would change.
    """
    done = Summary()
    while True:
        done.tries += 1
        what = copy()
        attempt = _Attempt(show)
        with processes.Child(what.command(), on_output=attempt.read) as rsync:
            status = rsync.wait()
            said = rsync.said
        attempt.fill(done)
        if status in (0, _VANISHED):
            done.vanished = status == _VANISHED
            return done
        problem = _problem(what, status, said)
        if problem is not None:
            raise problem
        why = processes.reason(said, status)
        if done.tries >= tries:
            times = "once" if tries == 1 else f"{tries} times"
            raise OpsError(f"the connection broke {times} ({why})", fix=_KEPT)
        pause = processes.pause(done.tries)
        say(f"connection broken ({why}): continuing in {pause:.0f} s")
        time.sleep(pause)


_KEPT: Final = "run the same command again; it continues with what was copied"


class _Attempt:
    """Reads what one rsync writes to stdout."""

    def __init__(self, show: Callable[[Progress], None]) -> None:
        self._show = show
        self._listed: list[str] = []
        self._newer = 0
        self._statistics: dict[str, tuple[str, str | None]] = {}

    def read(self, line: str) -> None:
        if line.startswith(_LISTED):
            self._listed.append(line.removeprefix(_LISTED))
        elif found := _PROGRESS.match(line):
            progress = Progress(bytes=_number(found[1]), percent=int(found[2]), rate=found[3], time=found[4])
            self._show(progress)
        elif found := _STATISTIC.match(line):
            self._statistics[found[1]] = (found[2], found[3])
        elif line.endswith(_NEWER):
            self._newer += 1

    def fill(self, summary: Summary) -> None:
        """Fill in the statistics; a broken try has none."""
        if not self._statistics:
            return
        summary.files = _number(self._statistics["Number of files"][1] or "0")
        summary.bytes = _number(self._statistics["Total file size"][0])
        summary.sent_files = _number(self._statistics["Number of regular files transferred"][0])
        summary.sent_bytes = _number(self._statistics["Total transferred file size"][0])
        summary.reused_bytes = _number(self._statistics["Matched data"][0])
        summary.newer = self._newer
        # Folders end with a slash: they are not what a person copies.
        summary.listed = [name for name in self._listed if not name.endswith("/")]


def _number(text: str) -> int:
    return int(text.replace(",", ""))


def _problem(copy: Copy, status: int, said: Sequence[str]) -> OpsError | None:
    """Return the error that a retry would meet too; None when the connection broke."""
    everything = "\n".join(said)
    if re.search(r"rsync: (command )?not found", everything):
        return OpsError("rsync is not installed on the worker", fix="ops ssh worker -- sudo apt-get install -y rsync")
    if "No space left on device" in everything:
        room = "free some space"
        if f"{copy.make}/".startswith("/data/"):
            room = (
                "increase train_model.data_volume.size_gb and run cdktf deploy train-model, which enlarges it in "
                "place; on a running worker, /data grows within two minutes"
            )
        return OpsError("the disk is full", fix=f"{room}. Then {_KEPT}")
    if found := re.search(r'"([^"]*)" failed: No such file or directory', everything):
        if not copy.relative:
            return OpsError(f"{found[1]} does not exist")
        return OpsError(f"{found[1]} does not exist on the worker", fix="see ops ssh worker -- ls /efs/trained_model")
    if found := re.search(r"mkdir: (cannot create directory .*)", everything):
        return OpsError(
            f"the worker cannot create the folder: {found[1]}", fix="check in ops status that /data was mounted"
        )
    if error := processes.permanent_error(said):
        return error
    if status in _BROKEN:
        return None
    first = next((line for line in said if not line.startswith("Warning: ")), "no message")
    return OpsError(f"rsync failed with status {status}: {first}")


def require_content(folder: Path) -> None:
    """Check that the folder exists and is not empty. Raises OpsError."""
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise OpsError(f"{folder} {what}", fix="name the folder whose content to copy")
    try:
        empty = not any(one.is_file() for one in folder.rglob("*"))
    except OSError as error:
        raise OpsError(f"{folder} cannot be read: {error.strerror}") from None
    if empty:
        raise OpsError(f"{folder} contains no files: nothing to copy")
