"""`ops` init and bootstrap: the settings and the state bucket, once for an account."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ops.account.interview import ADDRESSES, BUCKET, KEY_PAIR, NAME, REGION, Answered, Interview
from ops.account.settings_file import SettingsFile, settings_path
from ops.account.state_bucket import StateBucket, Step, restrictions
from ops.commands.options import Json
from ops.core.console import progress_console, show
from ops.core.errors import OpsError
from ops.core.progress import progress
from ops.core.session import Session

Region = Annotated[str | None, typer.Option(help="AWS region of the deployment, e.g. us-east-1.")]
Name = Annotated[str | None, typer.Option(help="Name of the deployment and prefix of its AWS names, e.g. ml-core.")]
KeyPair = Annotated[str | None, typer.Option(help="EC2 key pair in that region, for every machine.")]
Address = Annotated[
    list[str] | None,
    typer.Option(help="IPv4 address or block that may reach the jump host; repeatable.", metavar="CIDR"),
]
Bucket = Annotated[str | None, typer.Option(help="S3 bucket for Terraform's state.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask: accept the proposed values, keep existing ones.")]
Force = Annotated[bool, typer.Option("--force", help="Replace existing values without asking.")]
Check = Annotated[bool, typer.Option("--check", help="Change nothing; exit with 1 if anything would change.")]
Agreed = Annotated[bool, typer.Option("--yes", "-y", help="Restrict an existing bucket without asking.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(init)
    app.command()(bootstrap)


def init(
    region: Region = None,
    name: Name = None,
    key_pair: KeyPair = None,
    address: Address = None,
    bucket: Bucket = None,
    yes: Yes = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write the settings that a deployment needs: asks for each one, or takes it from a flag.

    Looks up your public address, proposes a name for the state bucket, and leaves the rest of settings.toml unchanged.

    Example: `ops init --region eu-west-1 --key-pair my-key --yes`
    """
    flags = {REGION: region, NAME: name, KEY_PAIR: key_pair, BUCKET: bucket}
    given = {key: [value] for key, value in flags.items() if value is not None}
    if address:
        given[ADDRESSES] = address
    before = SettingsFile.read(settings_path())
    interview = Interview(file=before, given=given, take_proposals=yes, replace=force)
    after = interview.run()
    changed = after.text != before.text
    if changed:
        after.save()
    document = {
        "file": str(before.path),
        "changed": changed,
        "settings": {answer.name: answer.value for answer in interview.answers},
        "outcomes": {answer.name: answer.outcome for answer in interview.answers},
        "remarks": interview.remarks,
    }
    show(_written(before.path, interview.answers, interview.remarks, changed), document, as_json=as_json)


def _written(path: Path, answers: list[Answered], remarks: list[str], changed: bool) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for answer in answers:
        style = "dim" if answer.outcome == "kept" else "green"
        table.add_row(Text(answer.outcome, style=style), answer.name, Text(answer.shown))
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    title = Text(f"{shown}: {'written' if changed else 'nothing to change'}", style="bold")
    notes = [Text(f"Note: {remark}", style="yellow") for remark in remarks]
    return Group(title, table, *notes, Text("Next: ops bootstrap (creates the state bucket), then ops doctor"))


def bootstrap(check: Check = False, yes: Agreed = False, as_json: Json = False) -> None:
    """Create the state bucket, or fix its configuration: versioning, encryption, no public access, TLS only.

    Safe to repeat: changes only what differs, deletes nothing, and keeps policy statements, rules and tags that others
    added. Before restricting an existing bucket (public access, requests without TLS), shows the steps and asks.

    Example: `ops bootstrap --check` shows what would change.
    """
    session = Session.open()
    bucket = StateBucket(session)
    steps: list[Step] = []
    with progress(f"{bucket.name} …"):
        planned = list(bucket.make_right(check=True))
    if check:
        steps = planned
    elif restrictions(planned) and not yes and not _agreed(bucket, planned, may_ask=not as_json):
        raise OpsError("nothing was changed")
    else:
        with progress(f"{bucket.name} …") as say:
            for step in bucket.make_right(check=False):
                steps.append(step)
                say(f"{bucket.name}: {step.name} {step.outcome} …")
    ready = not any(step.is_ahead for step in steps)
    document: dict[str, Any] = {
        "bucket": bucket.name,
        "region": bucket.region,
        "right": ready,
        "steps": [{"name": step.name, "outcome": step.outcome, "what": step.what} for step in steps],
    }
    show(_steps(steps, ready), document, as_json=as_json)
    if not ready:
        raise typer.Exit(1)


def _agreed(bucket: StateBucket, planned: list[Step], *, may_ask: bool) -> bool:
    """Ask whether to restrict an existing bucket. Raises OpsError when there is no terminal to ask on."""
    names = ", ".join(step.name for step in restrictions(planned))
    why = f"the bucket {bucket.name} exists already; changing {names} would block public access and plain HTTP"
    if not may_ask or not sys.stdin.isatty():
        raise OpsError(
            f"{why}. Nothing was changed",
            fix="ops bootstrap --check shows the steps, ops bootstrap --yes applies them. If others use the bucket, "
            "set state.bucket to a dedicated one (ops init proposes one)",
        )
    remarks = progress_console()
    remarks.print(_table(planned))
    remarks.print(f"{why[0].upper()}{why[1:]}.", style="yellow", highlight=False, markup=False)
    return typer.confirm("Apply these changes?", default=False, err=True)


def _steps(steps: list[Step], ready: bool) -> RenderableType:
    last = "The state bucket is ready." if ready else "Nothing was changed. Apply with: ops bootstrap"
    return Group(_table(steps), Text(last, style="bold"))


def _table(steps: list[Step]) -> Table:
    table = Table.grid(padding=(0, 2))
    for step in steps:
        style = "dim" if step.outcome == "was right" else "yellow" if step.is_ahead else "green"
        table.add_row(Text(step.outcome, style=style), step.name, Text(step.what))
    return table
