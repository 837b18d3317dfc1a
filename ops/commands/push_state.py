"""`ops` push-state."""

from typing import Any

import typer
from rich.console import Group
from rich.text import Text

from ops.commands.options import Json, OneStack
from ops.core.console import show
from ops.core.errors import OpsError
from ops.core.progress import progress
from ops.core.session import Session
from ops.core.stack_names import require_stack
from ops.deployment import push_state
from ops.deployment.lock_holder import Holder
from ops.deployment.overview import lock_document
from ops.deployment.push_state import Pushed


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("push-state")(push_state_command)


def push_state_command(
    stack: OneStack = None,
    as_json: Json = False,
) -> int:
    """Push a state that a deploy could not write to S3, and release the lock of that deploy.

    If the credentials expire during a deploy, Terraform saves the state as errored.tfstate on this machine, and the
    next deploy would create everything again. Never overwrites a newer state. Does nothing without such a file.

    Example: `ops push-state mlcore`
    """
    if stack is not None:
        require_stack(stack)
    session = Session.open()
    found = [each for name, each in push_state.find(session).items() if stack in (name, None)]
    done: list[Pushed] = []
    problems = [
        f"{push_state.shown(each.file)} belongs to {each.place}: run this with the settings of that deployment"
        for each in push_state.of_others(session)
        if stack in (each.stack, None)
    ]
    with progress("Asking AWS …"):
        for each in found:
            try:
                done.append(push_state.push(session, each))
            except OpsError as error:
                problems.append(str(error))
    lines = [Text(problem, style="red") for problem in problems] + [Text(_line(each)) for each in done]
    if not found and not problems:
        lines = [Text(f"{push_state.shown(push_state.folder())} holds no unpushed state of {session.name}")]
    show(Group(*lines), _document(done, problems), as_json=as_json)
    return 1 if problems else 0


def _line(pushed: Pushed) -> str:
    state = pushed.state
    how = "the state is now in S3" if pushed.outcome == "pushed" else "the state was already in S3"
    lock = "; the lock of that run was released" if pushed.lock else ""
    return f"{state.stack}: {how} ({state.holds}){lock}. cdktf deploy {state.stack} continues from it"


def _document(done: list[Pushed], problems: list[str]) -> dict[str, Any]:
    return {
        "pushed": [
            {
                "stack": each.state.stack,
                "outcome": each.outcome,
                "serial": each.state.serial,
                "resources": len(each.state.managed),
                "released": lock_document(each.lock, Holder("gone")) if each.lock else None,
            }
            for each in done
        ],
        "problems": problems,
    }
