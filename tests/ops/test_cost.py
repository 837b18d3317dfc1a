"""`ops cost`: bills computed by hand, two bills compared, and every wrong input."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from ops.core.environment import ROOT
from tests.ops.support import Finished, run
from tests.unit.synthesis import MINIMAL, synthesize

# Every amount below is by hand, from the prices of 2026-07-20 (us-east-1), a month of 730 hours:
#   t3.nano 0.0052, t3.medium 0.0416, g6.12xlarge 4.6016, g5.xlarge 1.006 an hour; NAT gateway 0.045; address 0.005;
#   gp3 0.08 a GB, 0.005 an IOPS over 3000, 0.04 a MB/s over 125, a month.
HOURLY = {
    # 0.0052 jump + 2 x 0.005 addresses + 0.045 NAT; the jump's root disk, file system, backups, metrics unknown.
    "mlcore": "0.060200",
    # 0.0416 + (10 x 0.08 root + 4 x 0.08 Grafana) / 730 = 0.0416 + 0.0015342
    "stats-monitor": "0.043134",
    # 4.6016 + (130 x 0.08 + 50 x 0.08 + 5000 x 0.005 + 875 x 0.04) / 730 = 4.6016 + 74.4 / 730 = 4.6016 + 0.1019178
    "train-model": "4.703518",
    "train-model-dev": None,
}
MONTHLY = {"mlcore": "43.946000", "stats-monitor": "31.488000", "train-model": "3433.568000", "train-model-dev": None}
# NAT 32.85 and its address 3.65; disks.
STOPPED = {"mlcore": "36.500000", "stats-monitor": "1.120000", "train-model": "74.400000", "train-model-dev": None}
UNKNOWN = {
    "mlcore": {
        "backups (aws_efs_backup_policy.core)",
        "file system (aws_efs_file_system.core)",
        "root disk (aws_instance.jump)",
        "agent metrics (aws_ssm_parameter.cloudwatch_agent_cfg)",
    },
    "stats-monitor": set(),
    "train-model": {
        "log group (aws_cloudwatch_log_group.training)",
        "agent metrics (aws_ssm_parameter.cloudwatch_agent_gpu_cfg)",
    },
    "train-model-dev": {
        "notebook (aws_sagemaker_notebook_instance.notebook_instance)",
        "notebook volume (aws_sagemaker_notebook_instance.notebook_instance)",
    },
}
SMALL = """
[train_model]
instance_type = "g5.xlarge"
[train_model.data_volume]
size_gb = 100
iops = 3000
throughput_mbps = 125
"""


def cost(*arguments: str, cwd: Path = ROOT, **settings: str) -> Finished:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("ML_INFRA_", "AWS_"))}
    variables = {"COLUMNS": "80", "NO_COLOR": "1"} | MINIMAL | settings
    return run(("cost", *arguments), environment | {key: value for key, value in variables.items() if value}, cwd=cwd)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cdktf.out with our stacks in it."""
    made = tmp_path_factory.mktemp("cdktf out")
    for name, document in synthesize().items():
        file = made / "stacks" / name / "cdk.tf.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(document), encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def synthesized() -> Any:
    """The bill of the default settings."""
    return cost("--json").document


def by_stack(document: Any, *keys: str) -> dict[str, Any]:
    found = {}
    for stack in document["stacks"]:
        value = stack
        for key in keys:
            value = value[key]
        found[stack["name"]] = value
    return found


class TestBill:
    def test_hours_and_months_by_hand(self, synthesized: Any) -> None:
        assert by_stack(synthesized, "known", "per_hour") == HOURLY
        assert by_stack(synthesized, "known", "per_month") == MONTHLY
        assert by_stack(synthesized, "known", "per_month_stopped") == STOPPED

    def test_a_day_is_24_hours(self, synthesized: Any) -> None:
        # 0.0602 x 24; 4.7035178 x 24
        days = by_stack(synthesized, "known", "per_day")
        assert (days["mlcore"], days["train-model"]) == ("1.444800", "112.884427")

    def test_the_unknown_is_named_and_null_never_0(self, synthesized: Any) -> None:
        assert {name: set(found) for name, found in by_stack(synthesized, "unknown").items()} == UNKNOWN
        for stack in synthesized["stacks"]:
            for item in stack["items"]:
                unknown = f"{item['part']} ({item['address']})" in stack["unknown"]
                assert (item["per_hour"] is None) == unknown
                assert not unknown or item["note"]

    def test_the_sum_of_all_stacks(self, synthesized: Any) -> None:
        # 43.946 + 31.488 + 3433.568; 36.5 + 1.12 + 74.4
        assert synthesized["known"]["per_month"] == "3509.002000"
        assert synthesized["known"]["per_month_stopped"] == "112.020000"
        assert synthesized["unknown"] == 8

    def test_basis(self, synthesized: Any) -> None:
        assert synthesized["prices"] == {
            "region": "us-east-1",
            "read_on": "2026-07-20",
            "efs_and_cloudwatch": "2026-11",
        }
        assert (synthesized["currency"], synthesized["hours_per_month"]) == ("USD", 730)

    def test_a_folder_gives_the_same_as_a_synthesis(self, folder: Path, synthesized: Any) -> None:
        assert cost("--from", str(folder), "--json").document == synthesized

    def test_stored_gigabytes_are_priced(self, folder: Path) -> None:
        found = cost("--from", str(folder), "--efs-gb", "250", "--json").document

        # 250 x 0.16 = 40.00, running or stopped: 43.946 + 40 and 36.5 + 40.
        assert by_stack(found, "known", "per_month")["mlcore"] == "83.946000"
        assert by_stack(found, "known", "per_month_stopped")["mlcore"] == "76.500000"
        assert "file system (aws_efs_file_system.core)" not in by_stack(found, "unknown")["mlcore"]

    def test_text(self, folder: Path) -> None:
        finished = cost("--from", str(folder))

        assert finished.status == 0
        assert max(len(line.rstrip()) for line in finished.out.splitlines()) <= 80
        assert "mlcore: at least $0.0602 an hour, and 4 items unknown." in finished.out
        assert "stats-monitor: $0.0431 an hour." in finished.out
        assert "train-model: at least $4.7035 an hour, and 2 items unknown." in finished.out
        assert "train-model-dev: nothing known, 2 items unknown." in finished.out
        assert "machine worker, g6.12xlarge 4.6016 110.44 3,359.17 0.00" in finished.words
        assert "file system core, EFS One Zone unknown unknown unknown unknown" in finished.words
        assert "at least, 2 unknown 4.7035 112.88 3,433.57 74.40" in finished.words
        assert "NAT gateway (nat): and $0.045 for each GB that goes through it" in finished.words
        assert "prices read 2026-07-20" in finished.words
        assert "\x1b" not in finished.out

    def test_another_region_is_unknown_and_says_so(self) -> None:
        found = cost("--json", ML_INFRA_DEPLOYMENT__REGION="eu-west-1").document

        assert set(by_stack(found, "known", "per_hour").values()) == {None}
        notes = {item["note"] for stack in found["stacks"] for item in stack["items"]}
        assert notes == {"the price table is of us-east-1, not of eu-west-1"}

    def test_another_region_in_words(self) -> None:
        finished = cost(ML_INFRA_DEPLOYMENT__REGION="eu-west-1")

        assert finished.status == 0
        assert (
            "train-model: no amount is known, since the price table is of us-east-1, not of eu-west-1."
            in finished.words
        )
        assert "all stacks, at least unknown unknown unknown unknown" in finished.words
        assert "0.00" not in finished.out

    def test_a_type_that_nobody_knows_is_unknown(self, folder: Path, tmp_path: Path) -> None:
        shutil.copytree(folder, tmp_path / "out")
        file = tmp_path / "out" / "stacks" / "stats-monitor" / "cdk.tf.json"
        document = json.loads(file.read_text(encoding="utf-8"))
        document["resource"]["aws_redshift_cluster"] = {"big": {}}
        file.write_text(json.dumps(document), encoding="utf-8")

        finished = cost("--from", str(tmp_path / "out"))

        assert "stats-monitor: at least $0.0431 an hour, and 1 item unknown." in finished.out
        assert "redshift cluster (big): nothing is known of this type" in finished.words

    def test_the_limit_does_not_keep_anyone_from_looking(self) -> None:
        found = cost("--json", ML_INFRA_DEPLOYMENT__MAX_HOURLY_USD="0.01")

        assert found.status == 0
        assert by_stack(found.document, "known", "per_hour") == HOURLY

    def test_nobody_needs_an_account_to_see_the_prices(self, tmp_path: Path) -> None:
        (tmp_path / "settings.toml").write_text("[train_model]\ninstance_type = 't3.large'\n", encoding="utf-8")
        nothing = dict.fromkeys(MINIMAL, "")

        finished = cost("--settings", "settings.toml", "--json", cwd=tmp_path, **nothing)

        # 0.0832 + 74.4 / 730
        assert by_stack(finished.document, "known", "per_hour")["train-model"] == "0.185118"


class TestComparison:
    @pytest.fixture(scope="class")
    @classmethod
    def small(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        file = tmp_path_factory.mktemp("settings") / "small.toml"
        file.write_text(SMALL, encoding="utf-8")
        return file

    def test_by_item(self, folder: Path, small: Path) -> None:
        found = cost("--from", str(folder), "--compare", str(small), "--json").document

        changes = {
            (change["stack"], (change["first"] or change["second"])["part"]): change["per_month_difference"]
            for change in found["changes"]
        }
        assert changes == {
            # (1.006 - 4.6016) x 730 = -3.5956 x 730
            ("train-model", "machine"): "-2624.788000",
            # 100 x 0.08 - 50 x 0.08
            ("train-model", "data disk"): "4.000000",
            ("train-model", "data disk IOPS"): "-25.000000",
            ("train-model", "data disk MiB/s"): "-35.000000",
        }
        # -2624.788 + 4 - 25 - 35
        assert found["difference"]["per_month"] == "-2680.788000"
        assert found["difference"]["per_month_stopped"] == "-56.000000"

    def test_in_words(self, small: Path, tmp_path: Path) -> None:
        first = tmp_path / "first.toml"
        first.write_text("", encoding="utf-8")

        finished = cost("--settings", str(first), "--compare", str(small))

        assert finished.status == 0
        assert max(len(line.rstrip()) for line in finished.out.splitlines() if "second:" not in line) <= 80
        assert "machine worker 3,359.17 734.38 -2,624.79 g6.12xlarge -> g5.xlarge" in finished.words
        assert "data disk msls 4.00 8.00 +4.00 50 GiB gp3 -> 100 GiB gp3" in finished.words
        assert "data disk IOPS msls 25.00 - -25.00 5,000 over 3,000 -> none" in finished.words
        # -2680.788 / 730
        assert "Difference while everything runs, in dollars an hour: -3.6723." in finished.words
        assert "mlcore" not in finished.text.split("all stacks")[0].split("second:")[1]

    def test_what_is_unknown_stays_unknown(self, folder: Path, tmp_path: Path) -> None:
        other = tmp_path / "other.toml"
        other.write_text('[train_model_dev]\ninstance_type = "ml.m5.xlarge"\n', encoding="utf-8")

        found = cost("--from", str(folder), "--compare", str(other), "--json").document

        (change,) = found["changes"]
        assert (change["first"]["detail"], change["second"]["detail"]) == ("ml.t3.medium", "ml.m5.xlarge")
        assert change["per_month_difference"] is None
        assert found["difference"]["per_month"] is None
        assert found["unknown"] == [8, 8]

    def test_what_is_known_in_one_alone_is_not_money_saved(self, folder: Path, tmp_path: Path) -> None:
        shutil.copytree(folder, tmp_path / "out")
        file = tmp_path / "out" / "stacks" / "train-model" / "cdk.tf.json"
        text = file.read_text(encoding="utf-8").replace("g6.12xlarge", "p9.48xlarge")
        file.write_text(text, encoding="utf-8")
        same = tmp_path / "same.toml"
        same.write_text("", encoding="utf-8")

        finished = cost("--from", str(tmp_path / "out"), "--compare", str(same))

        assert "machine worker unknown 3,359.17 unknown p9.48xlarge -> g6.12xlarge" in finished.words
        # 43.946 + 31.488 + 3433.568 - 3359.168 = 149.834
        assert "all stacks, at least 149.83 3,509.00 unknown" in finished.words
        assert "in dollars an hour: unknown." in finished.words

    def test_the_same_twice(self, folder: Path, tmp_path: Path) -> None:
        same = tmp_path / "same.toml"
        same.write_text("", encoding="utf-8")

        assert "No item differs." in cost("--from", str(folder), "--compare", str(same)).out


class TestWrongInput:
    def test_two_sources(self, folder: Path) -> None:
        finished = cost("--from", str(folder), "--settings", "settings.toml")

        assert finished.status == 2
        assert "--settings and --from exclude each other" in finished.err

    @pytest.mark.parametrize("option", [["--efs-gb", "-1"], ["--efs-gb", "much"], ["--no-such-option"], ["mlcore"]])
    def test_command_line(self, option: list[str]) -> None:
        finished = cost(*option)

        assert finished.status == 2
        assert finished.out == ""
        assert "ops cost --help" in finished.err

    def test_a_folder_without_stacks(self, tmp_path: Path) -> None:
        finished = cost("--from", str(tmp_path), "--json")

        assert finished.status == 1
        assert finished.document == {
            "error": f"{tmp_path} holds no synthesized stack: name a cdktf.out folder, or run cdktf synth first"
        }

    def test_hcl(self, tmp_path: Path) -> None:
        (tmp_path / "stacks" / "mlcore").mkdir(parents=True)
        (tmp_path / "stacks" / "mlcore" / "cdk.tf").touch()

        finished = cost("--from", str(tmp_path))

        assert finished.status == 1
        assert "but ops cost reads JSON: run cdktf synth (without --hcl)" in finished.err

    @pytest.mark.parametrize("text", ["{", "[]", '{"resource": []}', '{"resource": {"aws_instance": {"it": []}}}'])
    def test_a_file_that_is_no_stack(self, tmp_path: Path, text: str) -> None:
        file = tmp_path / "stacks" / "mlcore" / "cdk.tf.json"
        file.parent.mkdir(parents=True)
        file.write_text(text, encoding="utf-8")

        finished = cost("--from", str(tmp_path))

        assert finished.status == 1
        assert f"{file} is not a readable stack" in finished.err

    @pytest.mark.parametrize("option", ["--settings", "--compare"])
    def test_settings_that_are_refused(self, folder: Path, tmp_path: Path, option: str) -> None:
        bad = tmp_path / "bad.toml"
        bad.write_text('[train_model]\ninstance_type = "dl.24xlarge"\n', encoding="utf-8")

        finished = cost(option, str(bad), *([] if option == "--settings" else ["--from", str(folder)]))

        assert finished.status == 1
        assert "Did you mean dl1.24xlarge?" in finished.err

    def test_settings_that_are_not_there(self, tmp_path: Path) -> None:
        finished = cost("--settings", str(tmp_path / "none.toml"))

        assert finished.status == 1
        assert "The file does not exist." in finished.err
