"""States that Terraform could not write, as it leaves them when credentials end in the middle of an apply."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ops.core.environment import LOCAL_BUCKET, ROOT
from tests.e2e.proxy import expired_after, gateway
from tests.ops.status_support import Place

pytestmark = pytest.mark.system

STACK = "train-model"
PARAMETERS = ("first", "second", "third")


def configuration(name: str) -> dict[str, Any]:
    """Three parameters, one after the other."""
    made = {}
    for before, parameter in zip((None, *PARAMETERS), PARAMETERS, strict=False):
        after = {"depends_on": [f"aws_ssm_parameter.{before}"]} if before else {}
        made[parameter] = {"name": f"/{name}/{parameter}", "type": "String", "value": "x", **after}
    versions = {"required_providers": {"aws": {"source": "hashicorp/aws", "version": "5.100.0"}}}
    return {"terraform": versions, "provider": {"aws": {}}, "resource": {"aws_ssm_parameter": made}}


def apply(place: Place, **variables: str) -> tuple[int, str]:
    process = replace(place, variables={**place.variables, **variables}).terraform(
        STACK, "apply", "-auto-approve", "-input=false", "-no-color"
    )
    said, _ = process.communicate(timeout=300)
    return process.returncode, said


def parameters(place: Place) -> list[str]:
    found = place.aws("ssm").describe_parameters()["Parameters"]
    return sorted(each["Name"] for each in found if each["Name"].startswith(f"/{place.name}/"))


def lock_key(place: Place) -> str:
    return f"{place.key(STACK)}.tflock"


def put_lock(place: Place, **changes: str) -> None:
    body = {
        "ID": "62327dd9-6638-89e8-f742-1a1974c2861f",
        "Operation": "OperationTypeApply",
        "Who": f"ada@{socket.gethostname()}",
        "Created": "2026-11-25T20:00:00.885607817Z",
        **changes,
    }
    place.aws("s3").put_object(Bucket=LOCAL_BUCKET, Key=lock_key(place), Body=json.dumps(body))


def objects(place: Place) -> list[str]:
    found = place.aws("s3").list_objects_v2(Bucket=LOCAL_BUCKET, Prefix=f"ml-core/{place.name}/")
    return [each["Key"] for each in found.get("Contents", [])]


def in_s3(place: Place) -> Any:
    return json.loads(place.aws("s3").get_object(Bucket=LOCAL_BUCKET, Key=place.key(STACK))["Body"].read())


def synthesized(place: Place) -> tuple[int, str]:
    """What the app says to the environment."""
    run = subprocess.run(
        [sys.executable, "main.py"],
        cwd=ROOT,
        env={**place.variables, "ML_INFRA_SETTINGS": os.devnull},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return run.returncode, run.stderr


def named(prepared: Place, name: str) -> Place:
    """A deployment whose stacks lie where the CLI has them."""
    place = prepared.named(name)
    out = place.folder
    (out / "stacks").mkdir()
    return replace(place, folder=out / "stacks", variables={**place.variables, "CDKTF_OUTPUT": str(out)})


class TestExpired:
    @pytest.fixture(scope="class")
    @classmethod
    def place(cls, prepared: Place) -> Place:
        """After an apply whose credentials ended when the first of three parameters was made."""
        place = named(prepared, "expired")
        place.write(STACK, configuration(place.name))
        with gateway(place.variables["AWS_ENDPOINT_URL"]) as between:
            between.verdicts.append(expired_after("PutParameter"))
            status, said = apply(place, AWS_ENDPOINT_URL=between.url)
        assert status != 0
        assert "ExpiredToken" in said
        assert "terraform state push errored.tfstate" in said
        return place

    def test_what_is_left(self, place: Place) -> None:
        assert parameters(place) == ["/expired/first"]
        assert objects(place) == [lock_key(place)]

    def test_status_does_not_call_it_not_deployed(self, place: Place) -> None:
        finished = place.ops("status")

        assert finished.status == 0
        assert finished.out.count("not deployed") == 3
        assert "not pushed" in finished.out
        assert "nothing is deployed" not in finished.out
        assert "train-model: the last run could not write its state to S3; it is only in" in finished.words
        assert "errored.tfstate(1resource,written20" in "".join(finished.out.split())
        assert "fix this first: ops push-state train-model" in finished.words
        assert "by a Terraform run that is gone: ops push-state train-model" in finished.words
        (stack,) = [s for s in place.ops("status", "--json").document["stacks"] if s["name"] == STACK]
        assert stack["not_pushed"]["resources"] == 1
        assert (stack["lock"]["holder"], stack["lock"]["processes"]) == ("gone", [])

    def test_doctor_finds_it(self, place: Place) -> None:
        found = place.ops("doctor", STACK, "--json").document["findings"]

        fixes = {(each["subject"], each["fix"]) for each in found if each["state"] == "problem"}
        assert ("states on this machine", "ops push-state train-model") in fixes
        assert ("state locks", "ops push-state train-model") in fixes

    @pytest.mark.parametrize("options", [[], ["--yes"], ["--json", "--yes"]])
    def test_unlock_says_what_comes_first_and_releases_nothing(self, place: Place, options: list[str]) -> None:
        finished = place.ops("unlock", STACK, *options)

        assert finished.status == 1
        assert "Run ops push-state train-model, which also releases the lock" in finished.words
        assert objects(place) == [lock_key(place)]

    def test_a_run_is_refused(self, place: Place) -> None:
        """As the CLI starts it; without an ancestor that is the CLI, every stack counts."""
        main = replace(place, variables={**place.variables, "CDKTF_OUTDIR": place.variables["CDKTF_OUTPUT"]})
        finished = synthesized(main)

        assert finished[0] == 1
        assert "train-model: Terraform could not write the state of s3://ml-core-local-state/" in finished[1]
        assert "ops push-state train-model" in finished[1]
        assert sorted(path.name for path in (place.folder / STACK).iterdir() if path.suffix == ".json") == [
            "main.tf.json"
        ]

    def test_pushed_and_the_next_apply_goes_on(self, place: Place) -> None:
        finished = place.ops("push-state", STACK)

        assert finished.status == 0, finished.err
        assert (
            "train-model: the state is now in S3 (1 resource); the lock of that run was released. cdktf deploy "
            "train-model continues from it"
        ) in finished.words
        assert objects(place) == [place.key(STACK)]
        assert not (place.folder / STACK / "errored.tfstate").exists()
        assert "not pushed" not in place.ops("status").out
        status, said = apply(place)
        assert status == 0, said
        assert parameters(place) == ["/expired/first", "/expired/second", "/expired/third"]
        assert len(in_s3(place)["resources"]) == 3

    def test_again_there_is_nothing_to_do(self, place: Place) -> None:
        finished = place.ops("push-state")

        assert finished.status == 0
        assert "holds no unpushed state of expired" in finished.words
        assert place.ops("push-state", "--json").document == {"pushed": [], "problems": []}


LINEAGE = "0d5dcb0e-9d34-5b4a-8a44-6a8a4a3f8f11"


def state(*names: str, serial: int = 3, lineage: str = LINEAGE) -> dict[str, Any]:
    """As Terraform 1.11 writes it."""
    resources = [
        {
            "mode": "managed",
            "type": "aws_ssm_parameter",
            "name": name,
            "provider": 'provider["registry.terraform.io/hashicorp/aws"]',
            "instances": [{"schema_version": 0, "attributes": {"id": f"/{name}"}}],
        }
        for name in names
    ]
    return {
        "version": 4,
        "terraform_version": "1.11.4",
        "serial": serial,
        "lineage": lineage,
        "outputs": {},
        "resources": resources,
        "check_results": None,
    }


class TestWhatIsNotOverwritten:
    @pytest.fixture(scope="class")
    @classmethod
    def initialized(cls, prepared: Place) -> Place:
        place = named(prepared, "not-overwritten")
        place.write(STACK, {})
        return place

    @pytest.fixture
    def place(self, initialized: Place) -> Iterator[Place]:
        yield initialized
        for key in objects(initialized):
            initialized.aws("s3").delete_object(Bucket=LOCAL_BUCKET, Key=key)
        self.file(initialized).unlink(missing_ok=True)

    @staticmethod
    def file(place: Place) -> Path:
        return place.folder / STACK / "errored.tfstate"

    def leave(self, place: Place, document: Mapping[str, Any]) -> None:
        self.file(place).write_text(json.dumps(document), encoding="utf-8")

    def put(self, place: Place, document: Mapping[str, Any]) -> None:
        place.aws("s3").put_object(Bucket=LOCAL_BUCKET, Key=place.key(STACK), Body=json.dumps(document))

    def test_an_older_state_of_the_same_lineage_is_replaced(self, place: Place) -> None:
        self.put(place, state("a", serial=2))
        self.leave(place, state("a", "b"))

        finished = place.ops("push-state")

        assert finished.status == 0, finished.out
        assert [each["name"] for each in in_s3(place)["resources"]] == ["a", "b"]

    def test_where_nothing_is_left_the_file_is_all_there_is(self, place: Place) -> None:
        """Somebody deployed and destroyed meanwhile."""
        self.put(place, state(serial=9, lineage="another"))
        self.leave(place, state("a"))

        finished = place.ops("push-state")

        assert finished.status == 0, finished.out
        assert [each["name"] for each in in_s3(place)["resources"]] == ["a"]

    @pytest.mark.parametrize("there", [state("a", "c", serial=4), state("c", lineage="another")])
    def test_what_was_written_since_stays_and_what_is_only_here_is_named(
        self, place: Place, there: dict[str, Any]
    ) -> None:
        self.put(place, there)
        self.leave(place, state("a", "b"))

        finished = place.ops("push-state")

        assert finished.status == 1
        assert f"the state in S3 (serial {there['serial']}) was written after" in finished.words
        assert "aws_ssm_parameter.b (/b)" in finished.words
        assert "import ADDRESS ID" in finished.words
        assert in_s3(place) == there
        assert self.file(place).exists()

    def test_one_that_somebody_pushed_by_hand_is_put_away(self, place: Place) -> None:
        self.put(place, state("a", "b"))
        self.leave(place, state("a", "b"))
        put_lock(place)

        finished = place.ops("push-state", "--json")

        assert finished.status == 0
        assert [each["outcome"] for each in finished.document["pushed"]] == ["was there"]
        assert not self.file(place).exists()
        assert objects(place) == [place.key(STACK)]

    @pytest.mark.parametrize(
        "changes", [{"Who": "ada@another-laptop"}, {"Created": "2099-11-25T20:00:00Z"}], ids=["elsewhere", "later"]
    )
    def test_under_the_lock_of_another_run(self, place: Place, changes: dict[str, str]) -> None:
        self.leave(place, state("a"))
        put_lock(place, **changes)

        finished = place.ops("push-state")

        assert finished.status == 1
        assert "the state is locked by another run" in finished.words
        assert objects(place) == [lock_key(place)]
        assert self.file(place).exists()

    def test_half_a_file(self, place: Place) -> None:
        self.file(place).write_text('{"version": 4, "serial"', encoding="utf-8")

        finished = place.ops("push-state")

        assert finished.status == 1
        assert "is not a readable state" in finished.words
        assert "Key=deployment,Values=not-overwritten" in finished.words
        assert "not readable as a state" in place.ops("status").words
        assert self.file(place).exists()

    def test_one_of_another_deployment(self, place: Place) -> None:
        self.leave(place, state("a"))

        other = place.ops("push-state", ML_INFRA_DEPLOYMENT__NAME="somebody-else")

        assert other.status == 1
        assert "run this with the settings of that deployment" in other.words
        assert objects(place) == []
        assert self.file(place).exists()
