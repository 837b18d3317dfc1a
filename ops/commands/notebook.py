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
    """Add the commands."""
    app.command("notebook")(notebook_command)


def notebook_command(
    open_: Annotated[bool, typer.Option("--open", "-o", help="Open it in your browser.")] = False,
    as_json: Json = False,
) -> None:
    """Print a presigned URL of the SageMaker notebook's Jupyter, or open it in the browser.

    Anyone with the URL can open the notebook within 5 minutes, for a session of 12 hours: do not share it.

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
            f"Valid for {OPENS_FOR}; a session lasts {SESSION}. Anyone with this URL has access: do not share it.",
            highlight=False,
        )
    if open_ and not webbrowser.open(door.url):
        raise OpsError("no browser is available here", fix="open the URL by hand")
