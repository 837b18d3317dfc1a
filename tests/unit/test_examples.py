"""The settings in examples/: valid, accepted by Terraform, and at the prices that their page names."""

import json
import os
import re
from pathlib import Path

import pytest
from cdktf import Testing

from constructs_lib import prices, stack_cost
from constructs_lib.stack_cost import StackCost
from modules_equiv.app import add_stacks
from modules_equiv.settings import Settings, load_settings
from ops.core import environment
from tests.unit.synthesis import Json
from tests.unit.test_validation import validate

FOLDER = Path(__file__).resolve().parents[2] / "examples"
EXAMPLES = ("cheapest-trial", "eight-h100", "one-gpu", "two-people-ada", "two-people-grace")
# The other stacks are, but for names, those that test_validation.py validates.
CHANGED = [*[(example, "train-model") for example in EXAMPLES], ("cheapest-trial", "stats-monitor")]


def load(example: str) -> Settings:
    return load_settings(FOLDER / f"{example}.toml", {})


def synthesize(example: str, stack: str) -> Json:
    document: Json = json.loads(Testing.synth(add_stacks(Testing.app(), load(example))[stack]))
    return document


def cost(example: str, stack: str) -> StackCost:
    return stack_cost.price(stack, synthesize(example, stack))


def test_every_example_is_tested() -> None:
    assert tuple(sorted(file.stem for file in FOLDER.glob("*.toml"))) == EXAMPLES


@pytest.mark.parametrize(("example", "stack"), CHANGED)
def test_terraform_accepts_it(example: str, stack: str, tmp_path: Path) -> None:
    variables = environment.commands(os.environ, build=tmp_path / "build")
    folder = tmp_path / "stack"
    folder.mkdir()

    result = validate(synthesize(example, stack), folder, variables)

    assert result["diagnostics"] == []
    assert result["valid"] is True


@pytest.mark.parametrize("example", EXAMPLES)
def test_it_is_within_its_own_limit(example: str) -> None:
    limit = load(example).deployment.max_hourly_usd
    if limit is None:
        assert example.startswith("two-people-")
        return
    for stack in ("mlcore", "stats-monitor", "train-model"):
        assert prices.per_hour(cost(example, stack).running) < limit


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_page_names_its_price(example: str) -> None:
    (row,) = [
        line for line in (FOLDER / "README.md").read_text(encoding="utf-8").splitlines() if f"({example}." in line
    ]
    found = cost(example, "train-model")

    assert f"| {load(example).train_model.instance_type} |" in row
    assert re.findall(r"\| ([\d.]+)", row) == [
        prices.dollars(prices.per_hour(found.running)),
        prices.dollars(found.stopped),
    ]


def test_two_people_share_nothing_but_account_and_bucket() -> None:
    ada, grace = load("two-people-ada"), load("two-people-grace")

    assert ada.state.bucket == grace.state.bucket
    assert ada.stack_deployment().state_key("mlcore") != grace.stack_deployment().state_key("mlcore")
    assert ada.stack_deployment().prefixed("x") != grace.stack_deployment().prefixed("x")
