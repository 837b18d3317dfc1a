"""Options and arguments that several commands have."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from ops.core import durations
from ops.core.errors import OpsError
from ops.core.stack_names import STACKS
from ops.remote import ssh


def completed_from(*words: str) -> Callable[[str], list[str]]:
    """Return an `autocompletion` that proposes the words which begin with the typed text."""
    return lambda incomplete: [word for word in words if word.startswith(incomplete)]


Timeout = Annotated[str, typer.Option(metavar="TIME", help="Longest time to wait: 90s, 30m, 1h30m.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
OneStack = Annotated[
    str | None,
    typer.Argument(
        metavar="[STACK]",
        help="One stack; default: all of them.",
        autocompletion=completed_from(*STACKS),
    ),
]
Stacks = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[STACK]...", help="Only these stacks; default: all of them.", autocompletion=completed_from(*STACKS)
    ),
]

Key = Annotated[
    Path | None,
    typer.Option(
        "--key",
        metavar="FILE",
        help="The private key. Default: ~/.ssh/KEYPAIR, ~/.ssh/KEYPAIR.pem, else the ssh-agent.",
        show_default=False,
    ),
]
ViaOption = Annotated[
    ssh.Via,
    typer.Option(
        "--via", help="Connect through the jump host, or AWS Session Manager (worker only; needs no open port)."
    ),
]


def seconds_in(timeout: str) -> int:
    """Return a `Timeout` in seconds. Raises OpsError (a wrong command line) if it is not a duration."""
    try:
        return durations.seconds(timeout)
    except ValueError as error:
        raise OpsError(f"--timeout: {error}", status=2) from None
