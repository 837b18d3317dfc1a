"""The program `ops`: one short command for everything a person does between deploys."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from botocore.exceptions import BotoCoreError, ClientError

from constructs_lib.refused import printable_lines
from constructs_lib.variables import RefusedVariableError
from modules_equiv.settings import SettingsError
from ops.commands import account, adopt, cost, doctor, notebook, permissions, push_state, remote, status
from ops.core import plain
from ops.core.aws_errors import explained
from ops.core.console import progress_console, show_json
from ops.core.errors import OpsError
from ops.core.terraform import TerraformError
from ops.core.version import versions

_INTERRUPTED = 130

app = typer.Typer(
    name="ops",
    help="Everything between deploys: what it costs, whether it runs, and how to get in.",
    epilog="`ops COMMAND --help` says more. A new account: `ops init`, `ops bootstrap`, `ops doctor`.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
Version = Annotated[
    bool, typer.Option("--version", "-V", help="Show which versions these are.", is_eager=True, show_default=False)
]


@app.callback(invoke_without_command=True)
def _root(show_version: Version = False) -> None:
    if show_version:
        print(versions())
        raise typer.Exit


for module in (account, adopt, doctor, permissions, cost, status, push_state, remote, notebook):
    module.register(app)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return its exit status: 0 success, 1 failure, 2 wrong command line, 130 interrupted.

    A reader that goes away (`ops doctor | head -1`) ends it with 1 and without a word; what it says cannot be lost
    without one on a full disk.
    """
    plain.readable()
    given = sys.argv[1:] if arguments is None else arguments
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115  (for as long as this runs)
    if sys.stdout is None:
        print("ops: standard output is closed", file=sys.stderr)
        return 1
    try:
        status = _run(given)
        # What waits in the buffer would otherwise meet the closed pipe at exit, with a message nobody asked for.
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
        return 1
    except OSError as error:
        _discard_output()
        print(f"ops: {error}", file=sys.stderr)
        return 1
    return status


def _discard_output() -> None:
    """Discard the rest of the output, so that Python does not try to write it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(given: list[str]) -> int:
    try:
        result = app(given, prog_name="ops", standalone_mode=False)
    # typer carries a click of its own, whose exceptions are not those of the package click.
    except typer.TyperException as error:
        return _wrong(error, given)
    except typer.Abort:  # the end of the input where an answer was expected
        return _said("interrupted", given, _INTERRUPTED)
    except KeyboardInterrupt:
        return _said("interrupted", given, _INTERRUPTED)
    except OpsError as error:
        return _said(str(error), given, error.status)
    except (SettingsError, TerraformError, RefusedVariableError) as error:
        return _said(str(error), given, 1)
    except (BotoCoreError, ClientError) as error:
        return _said(explained(error), given, 1)
    if result == _INTERRUPTED:  # how typer reports Ctrl-C
        return _said("interrupted", given, _INTERRUPTED)
    return result if isinstance(result, int) else 0


def _wrong(error: typer.TyperException, given: list[str]) -> int:
    """Report a command line that cannot be parsed. Without a command, the help is enough."""
    message = error.format_message()
    if not message:
        return error.exit_code
    context = getattr(error, "ctx", None)
    # An option without its value is noticed before there is a context.
    command = (
        context.command_path
        if context
        else " ".join(["ops", *(word for word in given[:1] if not word.startswith("-"))])
    )
    return _said(
        f"{message.rstrip('.')}{'' if message.endswith('?') else '.'} See: {command} --help", given, error.exit_code
    )


def _said(message: str, given: list[str], status: int) -> int:
    ours = given[: given.index("--")] if "--" in given else given
    if "--json" in ours:
        show_json({"error": message})
    console = progress_console()
    # Broken between words on a terminal; elsewhere one line. What AWS or a file says is not obeyed by the terminal.
    console.print(f"ops: {printable_lines(message)}", highlight=False, markup=False, soft_wrap=not console.is_terminal)
    return status
