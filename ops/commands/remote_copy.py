"""`ops` push and pull."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.filesize import decimal

from ops.commands.options import Json, Key, ViaOption
from ops.core.console import progress_console, show_json
from ops.core.errors import OpsError
from ops.remote import processes, rsync
from ops.remote.hosts import MACHINES
from ops.remote.login import Way, login, open_session, say
from ops.remote.rsync import Copy, Progress, Summary

DATA: Final = "/data/imgs/"
MODELS: Final = "/efs/trained_model"

_EVERY: Final = 10.0  # seconds between two lines of progress where there is no terminal
_SHOWN: Final = 20  # names of a dry run

Tries = Annotated[int, typer.Option("--tries", min=1, metavar="N", help="Give up after the connection broke N times.")]
DryRun = Annotated[bool, typer.Option("--dry-run", "-n", help="List what would be copied, and copy nothing.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Also replace files that are newer at the target.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(push)
    app.command()(pull)


def push(
    source: Annotated[Path, typer.Argument(metavar="DIR", help="The local folder with the training data.")],
    to: Annotated[str, typer.Option("--to", metavar="PATH", help="The folder on the worker.")] = DATA,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    tries: Tries = 10,
    via: ViaOption = "jump",
    key: Key = None,
    as_json: Json = False,
) -> int:
    """Copy training data to the worker; continues after an interruption.

    Copies the content of DIR into PATH, with or without a slash after DIR. Sends only new and changed files, keeps
    symbolic links, keeps files that are newer on the worker, and never deletes anything.

    Example: `ops push imgs` copies imgs/a.jpg to /data/imgs/a.jpg.
    """
    folder = PurePosixPath(to)
    if not folder.is_absolute() or "\n" in to:
        raise OpsError(f"--to {to} is not an absolute path", fix=f"begin it with a slash, like {DATA}", status=2)
    rsync.require_content(source)
    rsync.require_rsync()
    session = open_session()

    def copy() -> tuple[Copy, Sequence[str]]:
        found = login(session, MACHINES["worker"], via=via, key=key)
        what = Copy(
            ssh=found.ssh,
            source=f"{source.absolute()}/",
            target=f"{found.host.alias}:{folder}/",
            make=str(folder),
            overwrite=overwrite,
            dry_run=dry_run,
        )
        return what, found.remarks

    summary = _run(copy, tries=tries)
    _show(summary, str(source), f"worker:{folder}/", newer="on the worker", dry_run=dry_run, as_json=as_json)
    return 0


def pull(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help=f"A folder or file in {MODELS}. Default: all of it.", show_default=False),
    ] = None,
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="The local folder.")] = Path("trained_model"),
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    tries: Tries = 10,
    via: ViaOption = "jump",
    key: Key = None,
    as_json: Json = False,
) -> int:
    """Copy checkpoints from the worker's /efs/trained_model; continues after an interruption.

    Fetches only new and changed files, keeps local files that are newer, and never deletes anything.

    Example: `ops pull msls-dcgan-128` creates trained_model/msls-dcgan-128.
    """
    below = _below(name)
    rsync.require_rsync()
    session = open_session()
    if to.exists() and not to.is_dir():
        raise OpsError(f"{to} is not a folder", fix="choose another with --to")

    def copy() -> tuple[Copy, Sequence[str]]:
        found = login(session, MACHINES["worker"], via=via, key=key)
        if not dry_run:
            _make(to)
        what = Copy(
            ssh=found.ssh,
            # What follows /./ is the path that is made here.
            source=f"{found.host.alias}:{MODELS}/./{below}",
            target=f"{to.absolute()}/",
            relative=True,
            overwrite=overwrite,
            dry_run=dry_run,
        )
        return what, found.remarks

    summary = _run(copy, tries=tries)
    _show(summary, f"worker:{MODELS}/{below}", str(to), newer="here", dry_run=dry_run, as_json=as_json)
    return 0


def _below(name: str | None) -> str:
    if name is None:
        return ""
    path = PurePosixPath(name.removeprefix(f"{MODELS}/"))
    if path.is_absolute() or ".." in path.parts or not path.parts or "\n" in name:
        raise OpsError(f"{name!r} is not a name in {MODELS}", fix=f"ops ssh worker -- ls {MODELS} lists them", status=2)
    return str(path)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OpsError(f"cannot create {folder}: {error.strerror}") from None


def _run(copy: Callable[[], tuple[Copy, Sequence[str]]], *, tries: int) -> Summary:
    try:
        with processes.ended_by_signals(), _Shown() as shown:
            way = Way(copy, shown.remark, first=copy())
            return rsync.run(way, tries=tries, say=shown.say, show=shown.show)
    except KeyboardInterrupt:
        say("what was copied stays; run the same command again to continue")
        raise


class _Shown(AbstractContextManager["_Shown"]):
    """Progress on stderr: a line that changes on a terminal, a line now and then elsewhere."""

    def __init__(self) -> None:
        self._console: Console = progress_console()
        self._status = self._console.status("comparing files")
        self._last = time.monotonic()

    def __enter__(self) -> "_Shown":
        if self._console.is_terminal:
            self._status.start()
        else:
            say("comparing files")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._status.stop()

    def remark(self, text: str) -> None:
        """Print a remark above the progress line."""
        say(text, self._console)

    def say(self, text: str) -> None:
        """Show a remark before a pause."""
        self._status.update("waiting")
        self.remark(text)

    def show(self, progress: Progress) -> None:
        text = f"{decimal(progress.bytes)}  {progress.percent} %  {progress.rate}  {progress.time}"
        if self._console.is_terminal:
            self._status.update(text)
        elif time.monotonic() - self._last >= _EVERY:
            self._last = time.monotonic()
            say(text)


def _show(summary: Summary, source: str, target: str, *, newer: str, dry_run: bool, as_json: bool) -> None:
    if summary.vanished:
        say("some files disappeared during the copy and were left out")
    if summary.newer:
        files, were = ("1 file is", "was") if summary.newer == 1 else (f"{summary.newer} files are", "were")
        say(f"{files} newer {newer} and {were} kept: --overwrite replaces newer files")
    if as_json:
        document = {
            "from": source,
            "to": target,
            "dry_run": dry_run,
            "files": summary.files,
            "bytes": summary.bytes,
            "copied_files": summary.sent_files,
            "copied_bytes": summary.sent_bytes,
            "reused_bytes": summary.reused_bytes,
            "newer_files": summary.newer,
            "tries": summary.tries,
        }
        if dry_run:
            document["would_copy"] = summary.listed
        show_json(document)
        return
    if dry_run:
        for name in summary.listed[:_SHOWN]:
            print(name)
        if len(summary.listed) > _SHOWN:
            print(f"… and {len(summary.listed) - _SHOWN} more")
    verb = "would copy" if dry_run else "copied"
    files = "1 file" if summary.sent_files == 1 else f"{summary.sent_files} files"
    reused = f", {decimal(summary.reused_bytes)} of it already there" if summary.reused_bytes else ""
    print(f"{source} -> {target}: {verb} {files} ({decimal(summary.sent_bytes)}{reused}) of {summary.files}")
