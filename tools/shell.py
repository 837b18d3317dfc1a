"""Open a shell in which the cdktf commands work: for AWS, or (--local) for the embedded AWS."""

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from constructs_lib import variables as table
from constructs_lib.variables import RefusedVariableError
from embedded_aws.control import EmbeddedAwsError
from modules_equiv.settings import SettingsError
from ops.core import environment, plain
from ops.core.terraform import TerraformError
from tools import local


def main(arguments: list[str] | None = None) -> int:
    """Run the shell, or the command after `--`; returns its exit status."""
    plain.readable()
    parser = argparse.ArgumentParser(prog="python -m tools.shell", description=__doc__)
    parser.add_argument("--local", action="store_true", help="use the embedded AWS (make local starts it)")
    parser.add_argument("command", nargs="*", help="run this command instead of an interactive shell")
    options = parser.parse_args(arguments)
    try:
        variables = local.running_environment() if options.local else environment.commands()
    except (TerraformError, EmbeddedAwsError, SettingsError, RefusedVariableError) as error:
        print(f"shell: {error}", file=sys.stderr)
        return 1
    for line in table.left_out(os.environ, "local" if options.local else "shell"):
        print(f"shell: {line}", file=sys.stderr)
    if options.command:
        try:
            return subprocess.run(options.command, env=variables, check=False).returncode
        except OSError as error:
            print(
                f"shell: {options.command[0]} cannot be run: {error.strerror} (make setup installs it)",
                file=sys.stderr,
            )
            return 127
    name = "embedded AWS" if options.local else "AWS"
    whom = "the embedded AWS" if options.local else _whom(variables)
    print(f"The cdktf commands in this shell use {whom}. Leave it with: exit")
    with tempfile.TemporaryDirectory() as folder:
        command, more = _interactive(name, variables, Path(folder))
        return subprocess.run(command, env={**variables, **more}, check=False).returncode


def _whom(variables: Mapping[str, str]) -> str:
    """Return whose AWS the environment uses: your account, unless it names another endpoint."""
    elsewhere = [
        f"{name}={value}" for name, value in variables.items() if name.startswith("AWS_ENDPOINT_URL") and value
    ]
    return f"what the environment names ({', '.join(elsewhere)})" if elsewhere else "your AWS account"


def _interactive(name: str, variables: Mapping[str, str], folder: Path) -> tuple[list[str], dict[str, str]]:
    """Return the person's shell, our variables set after its start-up files, which often put other Pythons first."""
    shell = os.environ.get("SHELL") or "/bin/sh"
    ours = "".join(
        f"export {key}={shlex.quote(value)}\n" for key, value in variables.items() if os.environ.get(key) != value
    ) + "".join(f"unset {name}\n" for name in os.environ if name not in variables and name.isidentifier())
    if Path(shell).name == "bash":
        start = folder / "bashrc"
        start.write_text(f'[ -f ~/.bashrc ] && . ~/.bashrc\n{ours}PS1="({name}) $PS1"\n', encoding="utf-8")
        return [shell, "--rcfile", str(start), "-i"], {}
    if Path(shell).name == "zsh":
        home = os.environ.get("ZDOTDIR", str(Path.home()))
        start = folder / ".zshrc"
        start.write_text(
            f"export ZDOTDIR={shlex.quote(home)}\n[ -f $ZDOTDIR/.zshrc ] && . $ZDOTDIR/.zshrc\n{ours}"
            f'PS1="({name}) $PS1"\n',
            encoding="utf-8",
        )
        return [shell, "-i"], {"ZDOTDIR": str(folder)}
    return [shell], {}


if __name__ == "__main__":
    sys.exit(main())
