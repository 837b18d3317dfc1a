"""`ops` cost."""

import os
from pathlib import Path
from typing import Annotated

import typer

from modules_equiv.settings import DEFAULT_PATH, PATH_VARIABLE
from ops.commands.options import Json
from ops.core.console import show
from ops.core.errors import OpsError
from ops.core.progress import progress
from ops.cost.estimate import compare, from_folder, from_settings
from ops.cost.view import bill, bill_document, comparison, comparison_document


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(cost)


def cost(
    settings: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Read these settings instead of settings.toml.")
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            "--compare",
            metavar="FILE",
            help="Compare with these settings: show the items that differ, and by how much.",
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option("--from", metavar="FOLDER", help="Read synthesized stacks from a cdktf.out folder."),
    ] = None,
    efs_gb: Annotated[
        int | None, typer.Option("--efs-gb", min=0, metavar="N", help="Price the file system with N GB stored.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what each stack costs per hour, day and month, by item, before you deploy.

    Works offline and deploys nothing. Usage-based charges and items without a known price appear as unknown and are
    not part of any total. Environment variables (ML_INFRA_…) override every settings file.

    Example: `ops cost --settings settings.toml --compare larger.toml`
    """
    if settings and folder:
        raise OpsError("--settings and --from exclude each other", fix="use one of them", status=2)
    with progress("Synthesizing the stacks …"):
        first = from_folder(folder, efs_gb=efs_gb) if folder else from_settings(settings, efs_gb=efs_gb)
        second = from_settings(against, efs_gb=efs_gb) if against else None
    if second is None:
        show(bill(first), bill_document(first), as_json=as_json)
        return
    names = (str(folder or settings or os.environ.get(PATH_VARIABLE) or DEFAULT_PATH.name), str(against))
    changes = compare(first, second)
    document = comparison_document(names, (first, second), changes)
    show(comparison(names, (first, second), changes), document, as_json=as_json)
