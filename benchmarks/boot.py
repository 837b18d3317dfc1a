"""Measures the first boot of every machine as tests/boot runs it, without downloads: `make bench-boot`, as root.

Exit status 1: a machine did not become ready, or this system does not let machines be made.
"""

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich import box
from rich.console import Console
from rich.table import Table

import constructs_lib  # noqa: F401  (before jsii, or every synthesis takes long)
from benchmarks.report import ratio
from tests.boot import machines
from tests.boot.machine import MachineError
from tests.boot.workshop import CannotError, Ground, Workshop, prepared

BASELINE = "worker, none"
SLOWEST = 3


@dataclass(frozen=True)
class Booted:
    """One first boot: s from the first process to `ready`, and s of each stage."""

    seconds: float
    stages: Mapping[str, float]


def main(arguments: list[str] | None = None) -> int:
    """Boots and prints; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.boot", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="boots of each machine (default: 3)")
    options = parser.parse_args(arguments)
    console = Console(width=160)
    rounds: dict[str, list[Booted]] = defaultdict(list)
    try:
        with tempfile.TemporaryDirectory() as folder, prepared(Path(folder)) as ground:
            for number in range(options.rounds):
                for name in [*(f"worker, {profile}" for profile in machines.TYPES), "jump", "metrics"]:
                    print(f"round {number + 1}: {name} …", file=sys.stderr, flush=True)
                    rounds[name].append(boot(name, ground))
    except (CannotError, MachineError) as error:
        print(f"benchmarks.boot: {error}", file=sys.stderr)
        return 1
    console.print(report(rounds))
    return 0


def boot(name: str, ground: Ground) -> Booted:
    """Boots a new machine. Raises MachineError when it does not become ready."""
    workshop = Workshop(Path(tempfile.mkdtemp(prefix="boot-")), ground)
    try:
        machine = workshop.machine()
        kind, _, profile = name.partition(", ")
        volume = machines.GRAFANA_VOLUME_ID if kind == "metrics" else machines.VOLUME_ID
        machine.insert(workshop.disk(), "nvme1n1", volume)
        if kind == "worker":
            machines.accelerators(machine, profile)
            user_data = workshop.worker(profile)
        elif kind == "jump":
            machine.run_before("ssh-keygen -A")
            user_data = machines.jump()
        else:
            machines.put_password(ground.cloud, "of-a-benchmark")
            user_data = machines.metrics()
        machine.give(user_data)
        began = time.monotonic()
        machine.start()
        machine.wait()
        seconds = time.monotonic() - began
        status = machine.status()
        if status.state != "ready":
            raise MachineError(f"{name}: {status.state}: {status.failed}")
        return Booted(seconds, {entry["stage"]: entry["ms"] / 1000 for entry in status.stages})
    finally:
        workshop.clean()


def report(rounds: Mapping[str, Sequence[Booted]]) -> Table:
    """One row a machine: medians, and the ratio to a worker without accelerators within each round."""
    table = Table(box=box.MARKDOWN)
    for heading in ("machine", f"time, relative to {BASELINE}", "s to ready", "slowest stages (s)"):
        table.add_column(heading, justify="right" if heading.startswith("s ") else "left")
    baseline = [one.seconds for one in rounds[BASELINE]]
    for name, boots in rounds.items():
        stages = {stage: median(one.stages[stage] for one in boots) for stage in boots[0].stages}
        slowest = sorted(stages.items(), key=lambda item: -item[1])[:SLOWEST]
        table.add_row(
            name,
            str(ratio([one.seconds for one in boots], baseline)),
            f"{median(one.seconds for one in boots):.1f}",
            ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in slowest),
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
