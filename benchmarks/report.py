"""Compares the measurements of one run as ratios, and prints them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from rich import box
from rich.table import Table

from benchmarks.measure import Measurement

# By the name of what was measured, one measurement a round, in the order of the rounds.
Rounds = Mapping[str, Sequence[Measurement]]


@dataclass(frozen=True)
class Comparison:
    """What is compared with what, and the highest ratios that were promised."""

    measured: str
    baseline: str
    most_time: float | None = None
    most_memory: float | None = None


@dataclass(frozen=True)
class Ratio:
    """The median of the ratios of the single rounds, and the lowest and highest of them."""

    middle: float
    lowest: float
    highest: float

    def __str__(self) -> str:
        return f"{self.middle:.3g} ({self.lowest:.3g} to {self.highest:.3g})"

    def against(self, most: float | None) -> str:
        """The target and whether the median meets it; nothing without a target."""
        if most is None:
            return ""
        return f"<= {most:.2g}: {'met' if self.middle <= most else 'MISSED'}"


def ratio(measured: Sequence[float], baseline: Sequence[float]) -> Ratio:
    """The ratio within each round that has both, so that a load which comes and goes meets both sides alike.

    Raises ValueError when no round has both.
    """
    ratios = [one / other for one, other in zip(measured, baseline, strict=False)]
    if not ratios:
        raise ValueError("no round measured both sides")
    return Ratio(middle=median(ratios), lowest=min(ratios), highest=max(ratios))


def table(comparisons: Iterable[Comparison], rounds: Rounds) -> Table:
    """One row a comparison; seconds and MiB are those of what was measured, medians too."""
    result = Table(box=box.MARKDOWN)
    result.add_column("what")
    result.add_column("relative to")
    for heading in ("time", "target", "memory", "target"):
        result.add_column(heading, no_wrap=True)
    for heading in ("rounds", "s", "MiB"):
        result.add_column(heading, justify="right", no_wrap=True)
    for comparison in comparisons:
        measured, baseline = rounds[comparison.measured], rounds[comparison.baseline]
        seconds, mib = [one.seconds for one in measured], [one.mib for one in measured]
        time = ratio(seconds, [one.seconds for one in baseline])
        memory = ratio(mib, [one.mib for one in baseline])
        result.add_row(
            comparison.measured,
            comparison.baseline,
            str(time),
            time.against(comparison.most_time),
            str(memory),
            memory.against(comparison.most_memory),
            str(min(len(measured), len(baseline))),
            f"{median(seconds):.2f}",
            f"{median(mib):.0f}",
        )
    return result
