"""Measures the synthesis of all four stacks and prints ratios: `make bench`. README.md says what they mean.

Exit status 1: the lazy import and the stock import do not write the same files, or a command failed.
"""

import argparse
import filecmp
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path

import psutil
from rich.console import Console

from benchmarks.measure import CommandError, Measurement, measure
from benchmarks.report import Comparison, table
from ops.core.environment import LOCAL_SETTINGS, ROOT, commands
from ops.core.terraform import MIRROR_VARIABLE, TerraformError, require_terraform

# Read by constructs_lib/lazy_provider.py: leaves the imports of both sides of jsii as they come.
PLAIN = {"ML_INFRA_PLAIN_IMPORT": "1"}
STOCK = ", stock import"

APP, CLI, VALIDATE = "main.py", "cdktf synth", "terraform validate"
VALIDATED = "mlcore"
DEPLOYMENTS = (1, 10, 50)


class DifferenceError(Exception):
    """Two syntheses that must write the same files do not."""


@dataclass(frozen=True)
class Case:
    """A command that is measured once in each of its rounds. The folder it writes, if any, is empty before it runs."""

    name: str
    command: tuple[str | Path, ...]
    environment: Mapping[str, str]
    rounds: int
    writes: Path | None = None
    cwd: Path = ROOT

    def run(self) -> Measurement:
        """Measures it once. Raises CommandError."""
        if self.writes is not None:
            shutil.rmtree(self.writes, ignore_errors=True)
            self.writes.mkdir()  # cdktf makes one level of folders only
        return measure(self.command, cwd=self.cwd, environment=self.environment)


def main(arguments: list[str] | None = None) -> int:
    """Runs everything and prints the table. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.synthesis", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help=f"one round of each, without {DEPLOYMENTS[-1]} deployments"
    )
    quick = parser.parse_args(arguments).quick
    # Not the width of the terminal: the table is to be pasted.
    console = Console(width=180, highlight=False)
    try:
        with tempfile.TemporaryDirectory(prefix="bench") as name:
            folder = Path(name)
            base = environment(folder)
            warmed = stacks(folder, base, fast=1 if quick else 5, slow=1 if quick else 3)
            # The same programs as those before them, which have warmed everything.
            others = [] if quick else growth(folder, base, rounds=3)
            rounds = run(warmed, others, console)
        console.print(table(comparisons(with_growth=bool(others)), rounds))
        console.print(_machine(), soft_wrap=True)
    except (CommandError, DifferenceError, TerraformError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


def environment(folder: Path) -> dict[str, str]:
    """What the commands run in: the project's tools, and settings that do not depend on the person's own."""
    empty = folder / "settings.toml"
    empty.touch()
    base = {
        name: value for name, value in os.environ.items() if not name.startswith("ML_INFRA_") or name == MIRROR_VARIABLE
    }
    return {**commands(base), **LOCAL_SETTINGS, "ML_INFRA_SETTINGS": str(empty), "CI": "1"}


def stacks(folder: Path, base: Mapping[str, str], *, fast: int, slow: int) -> list[Case]:
    """The app on its own, the app under the CLI, and what Terraform takes for one of the stacks."""
    app = (sys.executable, "main.py")
    cli = (ROOT / "node_modules" / ".bin" / "cdktf", "synth", "--output")
    lazy, stock, cli_lazy, cli_stock = (folder / name for name in ("lazy", "stock", "cli-lazy", "cli-stock"))
    return [
        # First, so that its warming run gives jsii the time to build its caches.
        Case(APP + STOCK, app, {**base, **PLAIN, "CDKTF_OUTDIR": str(stock)}, slow, stock),
        Case(APP, app, {**base, "CDKTF_OUTDIR": str(lazy)}, fast, lazy),
        Case(VALIDATE, ("terraform", "validate"), base, fast, cwd=initialized(folder, base)),
        Case(CLI, (*cli, cli_lazy), base, fast, cli_lazy),
        Case(CLI + STOCK, (*cli, cli_stock), {**base, **PLAIN}, slow, cli_stock),
    ]


def growth(folder: Path, base: Mapping[str, str], *, rounds: int) -> list[Case]:
    """The stacks of several deployments in one process."""
    many = (sys.executable, "-m", "benchmarks.many")
    cases = []
    for count in DEPLOYMENTS:
        for name, given in ((_deployments(count), base), (_deployments(count) + STOCK, {**base, **PLAIN})):
            cases.append(Case(name, (*many, str(count), folder / name), given, rounds, folder / name))
    return cases


def initialized(folder: Path, base: Mapping[str, str]) -> Path:
    """A folder with one synthesized stack, after `terraform init`."""
    outdir = folder / "validated"
    measure((sys.executable, "main.py"), cwd=ROOT, environment={**base, "CDKTF_OUTDIR": str(outdir)})
    stack = outdir / "stacks" / VALIDATED
    measure(("terraform", "init", "-backend=false", "-input=false"), cwd=stack, environment=base)
    return stack


def run(warmed: Sequence[Case], others: Sequence[Case], console: Console) -> dict[str, list[Measurement]]:
    """An unmeasured run of the first cases, then the rounds, each case once in every round: drift meets all alike."""
    cases = [*warmed, *others]
    rounds: dict[str, list[Measurement]] = {case.name: [] for case in cases}
    with console.status("warming up") as status:
        for case in warmed:
            case.run()
        for number in range(max(case.rounds for case in cases)):
            for case in cases:
                if number < case.rounds:
                    status.update(f"round {number + 1}: {case.name}")
                    rounds[case.name].append(case.run())
    written = {case.name: case.writes for case in cases}
    for name, stock in written.items():
        lazy = written.get(name.removesuffix(STOCK))
        if name.endswith(STOCK) and stock and lazy and (different := differences(lazy, stock)):
            raise DifferenceError(f"{name}: not what the lazy import writes: {', '.join(different)}")
    return rounds


def differences(one: Path, other: Path) -> list[str]:
    """The files, relative to their folders, that are not in both or not byte for byte the same.

    Raises DifferenceError when there are no files at all.
    """
    names = {str(file.relative_to(root)) for root in (one, other) for file in root.rglob("*") if file.is_file()}
    if not names:
        raise DifferenceError("nothing was synthesized")
    _, mismatch, errors = filecmp.cmpfiles(one, other, sorted(names), shallow=False)
    return sorted(mismatch + errors)


def comparisons(*, with_growth: bool) -> list[Comparison]:
    """The rows of the table, with the targets that the project set itself."""
    rows = [
        Comparison(APP, APP + STOCK, most_time=1 / 10, most_memory=1 / 3),
        Comparison(APP, VALIDATE, most_time=1),
        Comparison(CLI, APP),
        Comparison(CLI, CLI + STOCK),
    ]
    if with_growth:
        first, *more = map(_deployments, DEPLOYMENTS)
        rows += [Comparison(name + kind, first + kind) for kind in ("", STOCK) for name in more]
        rows += [Comparison(name, name + STOCK) for name in (first, *more)]
    return rows


def _deployments(count: int) -> str:
    return f"{count} deployment{'' if count == 1 else 's'}"


def _machine() -> str:
    node = subprocess.run(["node", "--version"], env=commands(), capture_output=True, text=True, check=True)
    load = ", ".join(f"{average:.1f}" for average in psutil.getloadavg())
    packages = ", ".join(f"{name} {version(name)}" for name in ("cdktf", "cdktf-cdktf-provider-aws", "jsii"))
    return (
        f"{date.today()}: {os.cpu_count()} cores, {platform.system()} {platform.machine()}, load {load} at the end; "
        f"Python {platform.python_version()}, Node {node.stdout.strip()}, {packages}, Terraform {require_terraform()}"
    )


if __name__ == "__main__":
    sys.exit(main())
