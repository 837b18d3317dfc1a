"""`ops` doctor: everything that would make a deploy fail, before it is tried."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from modules_equiv.settings import DeploymentConfig, SettingsError
from ops.account.settings_file import settings_path
from ops.commands.options import Json, Stacks
from ops.core import stack_names
from ops.core.console import show
from ops.core.progress import progress
from ops.core.session import Session
from ops.doctor import (
    account,
    address,
    backups,
    data_buckets,
    key_pair,
    machines,
    names,
    permissions,
    quotas,
    repositories,
    state,
    tools,
    volumes,
    vpc,
)
from ops.doctor.report import Check, Finding, Patient, ok, problem, run, unknown, without_gaps

Key = Annotated[Path | None, typer.Option(help="The private key of the key pair, if ssh cannot find it.")]

_STYLES: Final = {"ok": "green", "problem": "bold red", "unknown": "yellow"}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(doctor)


def doctor(stacks: Stacks = None, key: Key = None, as_json: Json = False) -> None:
    """Check for everything that would make a deploy fail, before you deploy.

    Each line is ok, a problem with its fix, or unknown with the reason. Exits with 1 if there is a problem.

    Example: `ops doctor train-model`
    """
    chosen = stack_names.chosen(stacks or [])
    findings: list[Finding] = []
    with progress("Checking …") as say:
        for subject, found in _examine(chosen, key):
            findings.extend(found)
            say(f"Checking … {subject} done")
    findings = without_gaps(findings)
    counts = {name: sum(finding.state == name for finding in findings) for name in _STYLES}
    document: dict[str, Any] = {
        "stacks": chosen,
        "summary": counts,
        "findings": [
            {"subject": each.subject, "state": each.state, "detail": each.detail, "fix": each.fix} for each in findings
        ],
    }
    show(_report(findings, counts), document, as_json=as_json)
    if counts["problem"]:
        raise typer.Exit(1)


def _examine(stacks: Sequence[str], key: Path | None) -> Iterator[tuple[str, Sequence[Finding]]]:
    """Yield the findings, check by check. With invalid settings, check only this machine."""
    try:
        session = Session.open()
    except SettingsError as error:
        yield (
            "settings",
            [
                problem(
                    "settings", _in_short(error), f"correct {settings_path()}; ops init writes the required settings"
                )
            ],
        )
        region = os.environ.get("AWS_REGION") or DeploymentConfig.model_fields["region"].default
        yield "credentials", account.caller(None, region).findings
        for subject, look in tools.LOOKS.items():
            yield subject, list(look())
        yield "the rest", [unknown("the rest", "not checked, because the settings are invalid")]
        return
    yield "settings", [ok("settings", f"{session.name} in {session.settings.deployment.region}")]
    looks = {**tools.LOOKS, **(tools.LOOKS_FOR_THE_WORKER if "train-model" in stacks else {})}
    for subject, look in looks.items():
        yield subject, list(look())
    yield "states on this machine", list(state.errored(session, stacks))
    patient = Patient(session, stacks, key.expanduser() if key else None)
    yield from run(repositories.CHECKS, patient)
    who = account.caller(session)
    yield "credentials", who.findings
    checks = (
        *state.CHECKS,
        *address.CHECKS,
        *key_pair.CHECKS,
        *data_buckets.CHECKS,
        *machines.CHECKS,
        *volumes.CHECKS,
        *backups.CHECKS,
        *vpc.CHECKS,
        *quotas.CHECKS,
    )
    if who.arn is None or who.account is None:
        left_out = ", ".join([*(check.subject for check in checks), "names", "permissions"])
        yield "the rest", [unknown("the rest", f"not checked, because the credentials do not work: {left_out}")]
        return
    arn, number = who.arn, who.account
    asked_with_the_account = (
        Check("names", lambda each: names.names(each, number)),
        Check("permissions", lambda each: permissions.permissions(each, arn, number)),
    )
    yield from run((*checks, *asked_with_the_account), patient)


def _in_short(error: SettingsError) -> str:
    parts = [f"{each.key or each.source}: {each.reason} {each.fix}" for each in error.problems]
    return " ".join(parts)


def _report(findings: Sequence[Finding], counts: dict[str, int]) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(max_width=18)
    table.add_column(overflow="fold")
    for finding in findings:
        text = Text(finding.detail)
        if finding.fix:
            text.append("\n→ ", style="bold")
            text.append(finding.fix, style="bold")
        table.add_row(Text(finding.state, style=_STYLES[finding.state]), finding.subject, text)
    summary = ", ".join(
        [
            f"{counts['ok']} ok",
            f"{counts['problem']} problem{'' if counts['problem'] == 1 else 's'}",
            f"{counts['unknown']} unknown",
        ]
    )
    return Group(table, Text(""), Text(summary, style="bold"))
