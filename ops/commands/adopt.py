"""`ops` adopt: what a killed run made and lost."""

from typing import Annotated, Any

import typer
from rich.console import Group
from rich.text import Text

from ops.commands.options import Json, OneStack
from ops.core import stack_names
from ops.core.console import console, show
from ops.core.errors import OpsError
from ops.core.progress import progress
from ops.core.session import Session
from ops.deployment import adopt as adoption
from ops.deployment.adopt import Lost
from ops.deployment.locks import read_lock


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(adopt)


def adopt(
    stack: OneStack = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Import without asking.")] = False,
    as_json: Json = False,
) -> int:
    """Find resources that a killed deploy created but did not record, and import them into the state.

    Finds them by this deployment's names and tags. Changes nothing in AWS; the next deploy continues from there. Never
    import what another state (another bucket or prefix) manages: check the list before you agree.

    Example: `ops adopt mlcore`
    """
    wanted = stack_names.chosen([stack] if stack else [])
    session = Session.open()
    with progress("Asking AWS …"):
        for name in wanted:
            if read_lock(session, name):
                raise OpsError(
                    f"{name} is locked", fix=f"wait for that run to end, or, if it is gone: ops unlock {name}"
                )
        found = {name: adoption.find(session, name) for name in wanted}
    shown = [Text(f"{name}: {one.address}  {', '.join(one.ids)}") for name, lost in found.items() for one in lost]
    if shown and not as_json:
        console().print(Group(Text("In AWS, but in no state of this deployment:"), *shown))
    agreed = bool(shown) and (yes or (not as_json and _agreed()))
    done: list[str] = []
    problems: list[str] = []
    for name, lost in found.items():
        for one in lost if agreed else []:
            with progress(f"{name}: {one.address} …"):
                _bring_in(session, name, one, done, problems)
    lines = [Text(problem, style="red") for problem in problems]
    lines.append(Text(_last_line(bool(shown), done)))
    show(Group(*lines), _document(found, done, problems), as_json=as_json)
    return 0 if len(done) == len(shown) else 1


def _bring_in(session: Session, stack: str, lost: Lost, done: list[str], problems: list[str]) -> None:
    if len(lost.ids) > 1:
        problems.append(
            f"{stack}: {lost.address} exists {len(lost.ids)} times ({', '.join(lost.ids)}): delete all but the one in "
            "use, then run this again"
        )
        return
    try:
        adoption.bring_in(session, stack, lost)
        done.append(f"{stack}: {lost.address}")
    except OpsError as error:
        problems.append(f"{stack}: {error}")


def _agreed() -> bool:
    return typer.confirm("Import these into the state?", default=False, err=True)


def _last_line(any_found: bool, done: list[str]) -> str:
    if not any_found:
        return "every resource of this deployment in AWS is in a state"
    return f"imported: {len(done)}. The next deploy continues from there" if done else "nothing was imported"


def _document(found: dict[str, list[Lost]], done: list[str], problems: list[str]) -> dict[str, Any]:
    return {
        "found": [
            {"stack": name, "address": one.address, "ids": list(one.ids)}
            for name, lost in found.items()
            for one in lost
        ],
        "adopted": done,
        "problems": problems,
    }
