"""`ops` notebook."""

import webbrowser
from typing import Annotated

import typer

from ops.commands.options import Json
from ops.core.console import progress_console, show_json
from ops.core.errors import OpsError
from ops.core.progress import progress
from ops.core.session import Session
from ops.deployment import notebook
from ops.deployment.notebook import OPENS_FOR, SESSION


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("notebook")(notebook_command)


def notebook_command(
    open_: Annotated[bool, typer.Option("--open", "-o", help="Open it in the browser of this machine.")] = False,
    as_json: Json = False,
) -> None:
    """Prints the URL of the SageMaker notebook's Jupyter, signed by AWS for you, or opens it.

    It opens the notebook to whoever has it, within 5 minutes, for 12 hours: do not pass it on.

    Example: `ops notebook --open`
    """
    session = Session.open()
    with progress("Asking AWS …"):
        door = notebook.door(session)
    if as_json:
        show_json({"name": door.machine.id, "url": door.url})
    else:
        print(door.url, flush=True)
        progress_console().print(
            f"It opens for {OPENS_FOR}, and then for {SESSION}. Whoever has it is in: do not pass it on.",
            highlight=False,
        )
    if open_ and not webbrowser.open(door.url):
        raise OpsError("no browser can be opened here: open the URL by hand")
