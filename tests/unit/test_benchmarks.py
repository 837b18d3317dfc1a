"""The arithmetic and the table of the benchmarks, with literal numbers, and the check that two folders are the same."""

import io
import os
import sys
from pathlib import Path

import psutil
import pytest
from rich.console import Console

import benchmarks.measure
from benchmarks.measure import CommandError, Measurement, measure
from benchmarks.report import Comparison, Ratio, ratio, table
from benchmarks.synthesis import DifferenceError, differences

ROUNDS = {
    "ours": [Measurement(1.0, 200.0), Measurement(1.2, 300.0), Measurement(3.0, 210.0)],
    "theirs": [Measurement(10.0, 1000.0), Measurement(10.0, 1000.0), Measurement(40.0, 1000.0)],
}


def printed(*comparisons: Comparison) -> list[list[str]]:
    """The cells of the rows."""
    console = Console(file=io.StringIO(), width=200)
    console.print(table(comparisons, ROUNDS))
    assert isinstance(console.file, io.StringIO)
    lines = [line for line in console.file.getvalue().splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_a_ratio_is_the_median_of_the_rounds_not_the_ratio_of_the_medians() -> None:
    # The medians are 2 and 10; within the rounds it is 0.1, 0.5 and 0.4.
    assert ratio([1.0, 2.0, 20.0], [10.0, 4.0, 50.0]) == Ratio(middle=0.4, lowest=0.1, highest=0.5)


def test_only_rounds_with_both_sides_count() -> None:
    assert ratio([1.0, 2.0, 99.0, 99.0], [2.0, 2.0]) == Ratio(middle=0.75, lowest=0.5, highest=1.0)


def test_no_common_round_is_an_error() -> None:
    with pytest.raises(ValueError, match="no round"):
        ratio([1.0], [])


@pytest.mark.parametrize(
    ("middle", "most", "said"),
    [(0.1, 0.1, "<= 0.1: met"), (0.11, 0.1, "<= 0.1: MISSED"), (0.3, 1 / 3, "<= 0.33: met"), (9.0, None, "")],
)
def test_a_target_is_met_or_missed(middle: float, most: float | None, said: str) -> None:
    assert Ratio(middle=middle, lowest=0.0, highest=9.0).against(most) == said


def test_the_table_has_ratios_targets_and_what_was_measured() -> None:
    assert printed(Comparison("ours", "theirs", most_time=0.1, most_memory=0.2), Comparison("theirs", "ours")) == [
        [
            "ours",
            "theirs",
            "0.1 (0.075 to 0.12)",
            "<= 0.1: met",
            "0.21 (0.2 to 0.3)",
            "<= 0.2: MISSED",
            "3",
            "1.20",
            "210",
        ],
        ["theirs", "ours", "10 (8.33 to 13.3)", "", "4.76 (3.33 to 5)", "", "3", "10.00", "1000"],
    ]


HOLD = """
import pathlib, time
held = b"x" * (150 << 20)
pathlib.Path("held").touch()
end = time.monotonic() + 100
while not pathlib.Path("seen").exists():
    assert time.monotonic() < end, "nobody looked"
    time.sleep(0.01)
"""


def test_memory_is_that_of_the_children_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look = benchmarks.measure._resident

    def looked(tree: psutil.Process) -> int:
        is_held = (tmp_path / "held").exists()
        found = look(tree)
        if is_held:  # so that the look has seen it, however late it came
            (tmp_path / "seen").touch()
        return found

    monkeypatch.setattr(benchmarks.measure, "_resident", looked)
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {HOLD!r}], check=True)"

    one = measure([sys.executable, "-c", parent], cwd=tmp_path, environment=os.environ)

    assert 150 < one.mib < 300


def test_a_failing_command_ends_the_benchmark_with_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"(?s)exit status 3.*no bucket"):
        measure([sys.executable, "-c", "print('no bucket'); exit(3)"], cwd=tmp_path, environment=os.environ)


def test_differences_names_what_is_not_the_same(tmp_path: Path) -> None:
    files = {"one/same": "1", "other/same": "1", "one/a/changed": "12", "other/a/changed": "13", "other/more": ""}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert differences(tmp_path / "one", tmp_path / "other") == [str(Path("a", "changed")), "more"]


def test_nothing_written_is_not_the_same(tmp_path: Path) -> None:
    with pytest.raises(DifferenceError, match="nothing"):
        differences(tmp_path, tmp_path)
