"""The git repositories that machines check out: they are there for everybody, and have the revision."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from ops.doctor.report import Check, Finding, Patient, ok, problem, unknown

_SECONDS: Final = 30
_FULL_ID: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}", re.IGNORECASE)
# What git says of a repository that is not there, or not for everybody. A server asks for a name then; so does a proxy,
# which is another matter (https://github.com/git/git/blob/v2.39.5/credential.c, remote-curl.c, upload-pack.c).
_NOT_THERE: Final = (
    "could not read Username for '{server}'",
    "Authentication failed for '{server}",
    "repository '{url}/' not found",
    "repository '{url}' not found",
    "does not appear to be a git repository",
    "{url}/info/refs not valid: is this a git repository?",
)
# Of an id that it does not have (upload-pack.c; the second: servers that give nothing but what a name points to).
_NO_SUCH_COMMIT: Final = ("not our ref", "Server does not allow request for unadvertised object")


@dataclass(frozen=True)
class _Answer:
    status: int
    out: str
    err: str

    def says(self, phrases: Sequence[str]) -> bool:
        return self.status != 0 and any(phrase in self.err for phrase in phrases)

    @property
    def reason(self) -> str:
        """The line with which git ended."""
        lines = [line for line in self.err.splitlines() if line.startswith(("fatal:", "error:"))] or ["no reason"]
        return lines[-1]


def no_repository(url: str) -> list[str]:
    """Return git's messages for a `url` that is not a public repository."""
    parts = urlsplit(url)
    server = f"{parts.scheme}://{parts.netloc}"
    return [phrase.format(url=url.rstrip("/"), server=server) for phrase in _NOT_THERE]


def repositories(patient: Patient) -> Iterator[Finding]:
    """Check the repositories as the machines will fetch them: without credentials."""
    train, notebook = patient.settings.train_model, patient.settings.train_model_dev
    wanted: list[tuple[str, str, str, str | None]] = []
    if "train-model" in patient.stacks:
        wanted.append(("training code", "train_model", train.training_repository, train.training_revision))
    if "train-model-dev" in patient.stacks:
        wanted.append(("notebook code", "train_model_dev", notebook.code_repository, None))
    for subject, section, url, revision in wanted:
        if shutil.which("git") is None:
            yield unknown(subject, "git is not on the PATH", "install git")
            continue
        with tempfile.TemporaryDirectory(prefix="ml-infra-git-") as folder:
            yield _repository(subject, section, url, revision, Path(folder))


def _repository(subject: str, section: str, url: str, revision: str | None, folder: Path) -> Finding:
    key = "training_repository" if revision else "code_repository"
    is_id = revision is not None and _FULL_ID.fullmatch(revision) is not None
    # With a name behind it, only what ends so is listed; some repositories have 100,000 names.
    listed = _git(folder, "ls-remote", url, "HEAD" if revision is None or is_id else revision)
    if listed.says(no_repository(url)):
        return problem(
            subject,
            f"{url} is not a public repository ({listed.reason})",
            f"correct {section}.{key}; private repositories are not supported",
        )
    if listed.status != 0:
        return unknown(subject, f"{url} does not answer ({listed.reason})", f"git ls-remote {url}")
    if revision is None:
        return ok(subject, url)
    if is_id:
        return _commit(subject, url, revision, folder)
    names = {line.split("\t")[-1] for line in listed.out.splitlines()}
    # As git fetch looks a name up: https://git-scm.com/docs/gitrevisions, "<refname>"
    if names & {revision, f"refs/{revision}", f"refs/tags/{revision}", f"refs/heads/{revision}"}:
        return ok(subject, f"{revision} of {url}")
    return problem(
        subject,
        f"{url} has no tag or branch {revision}",
        f"set train_model.training_revision to one of: git ls-remote --tags --heads {url}",
    )


def _commit(subject: str, url: str, revision: str, folder: Path) -> Finding:
    """Fetch the commit as the worker does, but without its files: names say nothing of older commits."""
    _git(folder, "init", "-q", "--bare", ".")
    fetched = _git(folder, "fetch", "-q", "--depth", "1", "--filter=tree:0", url, revision)
    if fetched.status == 0:
        return ok(subject, f"{revision[:12]} of {url}")
    if fetched.says(_NO_SUCH_COMMIT):
        return problem(
            subject,
            f"{url} has no commit {revision} ({fetched.reason})",
            "push it, or set train_model.training_revision to one from: git ls-remote " + url,
        )
    return unknown(subject, f"cannot check commit {revision[:12]} of {url} ({fetched.reason})")


def _git(folder: Path, *arguments: str) -> _Answer:
    """Run git without personal credentials, settings and the current folder's repository."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_PERSONAL)}
    try:
        done = subprocess.run(
            # No upkeep in the background of a folder that is about to go.
            ["git", "-c", "credential.helper=", "-c", "maintenance.auto=false", "-c", "gc.auto=0", *arguments],
            cwd=folder,
            env={**inherited, "HOME": str(folder), "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"},
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return _Answer(1, "", f"fatal: no answer within {_SECONDS} s")
    except OSError as error:
        return _Answer(1, "", f"fatal: {error.strerror}")
    return _Answer(done.returncode, done.stdout, done.stderr)


_PERSONAL: Final = (
    "GIT_ASKPASS",
    "SSH_ASKPASS",
    "XDG_CONFIG_HOME",
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_NAMESPACE",
    "GIT_TRACE",
    "GIT_CURL_VERBOSE",
)

CHECKS = (Check("repositories", repositories),)
