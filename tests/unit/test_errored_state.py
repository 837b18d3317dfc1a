"""What of the CLI is refused while a state is only on this machine, and what a state file says."""

import json
from pathlib import Path

import pytest

from constructs_lib.cli_run import CliRun
from constructs_lib.errored_state import ErroredStateError, find, managed, refuse

DOCUMENT = {
    "version": 4,
    "serial": 7,
    "lineage": "one",
    "resources": [
        {"mode": "managed", "type": "aws_vpc", "name": "core", "instances": [{"attributes": {"id": "vpc-1"}}]},
        {
            "mode": "managed",
            "type": "aws_subnet",
            "name": "many",
            "instances": [
                {"index_key": "a", "attributes": {"id": "subnet-1"}},
                {"index_key": 1, "attributes": {"id": "subnet-2"}},
            ],
        },
        {"mode": "data", "type": "aws_ami", "name": "image", "instances": [{"attributes": {"id": "ami-1"}}]},
    ],
}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Two stacks, and the state of one could not be written."""
    for stack in ("mlcore", "train-model"):
        (tmp_path / "stacks" / stack / ".terraform").mkdir(parents=True)
    (tmp_path / "stacks" / "mlcore" / "errored.tfstate").write_text(json.dumps(DOCUMENT))
    backend = {"backend": {"type": "s3", "config": {"bucket": "a-bucket", "key": "a/key.tfstate"}}}
    (tmp_path / "stacks" / "mlcore" / ".terraform" / "terraform.tfstate").write_text(json.dumps(backend))
    return tmp_path


@pytest.mark.parametrize(
    "run",
    [
        None,
        CliRun("synth", ()),
        CliRun("deploy", ("mlcore", "stats-monitor")),
        CliRun("destroy", ("*",)),
        CliRun("diff", ("mlcore",)),
        CliRun("deploy", ("{a,b}",)),
    ],
)
def test_refused(out: Path, run: CliRun | None) -> None:
    with pytest.raises(ErroredStateError) as error:
        refuse(out, run)

    said = str(error.value)
    assert said.startswith("mlcore: Terraform could not write the state of s3://a-bucket/a/key.tfstate")
    assert f"{out}/stacks/mlcore/errored.tfstate (3 resources, written 20" in said
    assert said.endswith("ops push-state mlcore")


@pytest.mark.parametrize(
    "run",
    [
        CliRun("list", ()),
        CliRun("output", ("mlcore",)),
        # What costs by the hour can be destroyed whatever became of another stack's state.
        CliRun("destroy", ("train-model",)),
    ],
)
def test_not_refused(out: Path, run: CliRun) -> None:
    refuse(out, run)


def test_without_such_a_file_nothing_is(tmp_path: Path) -> None:
    refuse(tmp_path / "never-synthesized", CliRun("deploy", ("*",)))


def test_what_terraform_made_by_address() -> None:
    assert managed(DOCUMENT) == {
        "aws_vpc.core": "vpc-1",
        'aws_subnet.many["a"]': "subnet-1",
        "aws_subnet.many[1]": "subnet-2",
    }


@pytest.mark.parametrize(
    "text", ["", "{", "null", "[]", '{"serial": 1}', '{"resources": [1], "serial": 1, "lineage": ""}']
)
def test_what_is_no_state_is_said(out: Path, text: str) -> None:
    (out / "stacks" / "mlcore" / "errored.tfstate").write_text(text)
    (found,) = find(out)

    assert found.document is None
    assert found.says.startswith("not readable as a state, written 20")
