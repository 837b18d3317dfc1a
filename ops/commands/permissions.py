"""`ops` permissions: the IAM policies that a deployer needs."""

import json
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from ops.commands.options import Json, Stacks
from ops.core import stack_names
from ops.core.console import progress_console, show_json
from ops.core.errors import OpsError
from ops.core.session import Session
from ops.doctor.actions import groups
from ops.doctor.permissions import key_of_the_bucket
from ops.doctor.policies import policies

Account = Annotated[
    str | None,
    typer.Option(
        metavar="NUMBER",
        help="The account's 12 digits. Default: the account of the credentials. With it, AWS is not called.",
        show_default=False,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Write each policy to a file in this folder.", show_default=False),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(permissions)


def permissions(stacks: Stacks = None, account: Account = None, out: Out = None, as_json: Json = False) -> None:
    """Print the IAM policy that a deployer of the stacks needs, as JSON that can be attached.

    A policy larger than a managed policy may be is split: the policies follow one another; attach each of them.
    With --json, one document holds all of them with their names.

    Example: `ops permissions --out policies`
    """
    chosen = stack_names.chosen(stacks or [])
    if account is not None and not re.fullmatch(r"[0-9]{12}", account):
        raise OpsError(f"--account: {account!r} is not an account number of 12 digits", status=2)
    session = Session.open()
    key = None
    if account is None:
        account = str(session.client("sts").get_caller_identity()["Account"])
        key = key_of_the_bucket(session)
    needed = [
        group for stack in chosen for group in groups(session.settings, stack, account, state_kms_key=key)
    ]  # fmt: skip
    named = [
        {"name": f"{session.name}-deploy-{number}", "document": policy}
        for number, policy in enumerate(policies(needed), start=1)
    ]
    if out is not None:
        _write(out, named)
    if as_json:
        show_json({"stacks": chosen, "account": account, "policies": named})
    elif out is None:
        for each in named:
            show_json(each["document"])
        if len(named) > 1:
            progress_console().print(
                f"These are {len(named)} policies: attach each one. --out FOLDER writes each to its own file.",
                highlight=False,
            )


def _write(folder: Path, named: list[dict[str, Any]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for each in named:
        file = folder / f"{each['name']}.json"
        file.write_text(json.dumps(each["document"], indent=2) + "\n", encoding="utf-8")
        progress_console().print(f"wrote {file}", highlight=False, markup=False, soft_wrap=True)
