"""`ops unlock` with locks that real Terraform takes on the embedded AWS."""

import json
import os
import re
import signal
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pexpect
import psutil
import pytest

from ops.core.environment import LOCAL_BUCKET, ROOT
from ops.core.errors import OpsError
from ops.deployment import locks
from ops.deployment.lock_holder import holder
from tests.ops.status_support import Place
from tests.ops.support import Finished

pytestmark = pytest.mark.system

STACK = "train-model"
KEY = f"ml-core/unlock-test/us-east-1/{STACK}.tfstate.tflock"
# Without a provider, since terraform_data is Terraform's own.
SLOW = {
    "resource": {"terraform_data": {"slow": {"provisioner": [{"local-exec": {"command": "echo begun; sleep 600"}}]}}}
}
QUICK: dict[str, Any] = {"resource": {"terraform_data": {"quick": {}}}}


@pytest.fixture(scope="module")
def place(prepared: Place) -> Place:
    return prepared.named("unlock-test")


@pytest.fixture
def orphan(place: Place) -> str:
    """A lock whose Terraform was killed in the middle of an apply, unless one is left. Gives its id."""
    if not is_held(place):
        place.write(STACK, SLOW)
        process = place.terraform(STACK, "apply", "-auto-approve", "-input=false", "-no-color")
        assert process.stdout is not None
        try:
            assert any("begun" in line for line in process.stdout)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    return str(held(place)["ID"])


@pytest.fixture
def here(place: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    place.enter(monkeypatch)
    return place


def held(place: Place) -> dict[str, str]:
    found: dict[str, str] = json.loads(place.aws("s3").get_object(Bucket=LOCAL_BUCKET, Key=KEY)["Body"].read())
    return found


def is_held(place: Place) -> bool:
    return bool(place.aws("s3").list_objects_v2(Bucket=LOCAL_BUCKET, Prefix=KEY)["KeyCount"])


def put(place: Place, **changes: str) -> None:
    """A lock as Terraform 1.11 writes it, with changes."""
    body = {
        "ID": "62327dd9-6638-89e8-f742-1a1974c2861f",
        "Operation": "OperationTypeApply",
        "Info": "",
        "Who": "ada@laptop",
        "Version": "1.11.4",
        "Created": f"{datetime.now(UTC) - timedelta(hours=3, seconds=1):%Y-%m-%dT%H:%M:%S}.885607817Z",
        "Path": f"{LOCAL_BUCKET}/x",
        **changes,
    }
    place.aws("s3").put_object(Bucket=LOCAL_BUCKET, Key=KEY, Body=json.dumps(body))


def remove(place: Place) -> None:
    place.aws("s3").delete_object(Bucket=LOCAL_BUCKET, Key=KEY)


def answered(place: Place, answer: str) -> Finished:
    """What a person sees who is asked and answers."""
    child = pexpect.spawn(
        sys.executable,
        ["-m", "ops", "unlock", STACK],
        cwd=str(ROOT),
        env={**place.variables, "TERM": "xterm"},
        timeout=100,
        dimensions=(40, 80),
        encoding="utf-8",
    )
    child.expect(r"Release the lock of train-model\? \[y/N\]")
    before = child.before
    child.sendline(answer)
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus is not None
    return Finished(child.exitstatus, re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", f"{before}{child.before}"), "")


class TestNoLock:
    @pytest.mark.parametrize("arguments", [[], [STACK], ["--yes"]])
    def test_is_well(self, place: Place, arguments: list[str]) -> None:
        finished = place.ops("unlock", *arguments)

        assert finished.status == 0
        assert "no lock is held on" in finished.out

    def test_json(self, place: Place) -> None:
        assert place.ops("unlock", STACK, "--json").document == {"held": [], "released": [], "problems": []}


class TestRealLock:
    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def clean(cls, place: Place) -> Iterator[None]:
        yield
        remove(place)

    def test_it_is_shown_and_stays_until_a_person_agrees(self, place: Place, orphan: str) -> None:
        finished = place.ops("unlock", STACK)

        assert finished.status == 1
        assert f"id {orphan}" in finished.words
        assert f"who {held(place)['Who']}" in finished.words
        assert "operation apply, Terraform 1.11" in finished.words
        # Terraform writes the time in UTC: 2026-11-25T20:00:00.885607817Z.
        created = held(place)["Created"]
        assert f"since {created[:10]} {created[11:16]} UTC, for " in finished.words
        assert "recent" not in finished.err
        assert "taken on this machine by a Terraform run that is gone" in " ".join(finished.err.split())
        assert "add --yes" in finished.err
        assert held(place)["ID"] == orphan

    def test_no_is_the_default(self, place: Place, orphan: str) -> None:
        finished = answered(place, "")

        assert finished.status == 1
        assert "nothing was released" in finished.out
        assert held(place)["ID"] == orphan

    def test_after_yes_terraform_gets_its_lock_again(self, place: Place, orphan: str) -> None:
        refused = place.terraform(STACK, "apply", "-auto-approve", "-input=false", "-no-color")
        assert orphan in refused.communicate(timeout=100)[0]
        assert refused.returncode != 0

        finished = answered(place, "y")

        assert finished.status == 0
        assert f"released: {STACK}" in finished.out
        assert not is_held(place)
        place.write(STACK, QUICK)
        place.finish(STACK, "apply", "-auto-approve", "-input=false", "-no-color")

    def test_yes_as_json(self, place: Place, orphan: str) -> None:
        shown = place.ops("unlock", "--json")
        assert shown.status == 1
        assert shown.document["released"] == []
        assert "--yes" in shown.document["problems"][0]

        finished = place.ops("unlock", "--json", "--yes")

        assert finished.status == 0
        assert [lock["id"] for lock in finished.document["held"]] == [orphan]
        assert finished.document["released"] == [STACK]
        assert not is_held(place)


class TestWhoHoldsIt:
    @pytest.fixture(autouse=True)
    def clean(self, place: Place) -> Iterator[None]:
        yield
        remove(place)

    def test_a_terraform_that_is_at_work_keeps_it_whatever_is_said(self, place: Place) -> None:
        place.write(STACK, SLOW)
        process = place.terraform(STACK, "apply", "-auto-approve", "-input=false", "-no-color")
        assert process.stdout is not None
        try:
            assert any("begun" in line for line in process.stdout)
            finished = place.ops("unlock", STACK, "--yes")
            status = place.ops("status", "--json").document
            still = is_held(place)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()

        assert finished.status == 1
        assert f"train-model: process {process.pid} on this machine is using that state" in finished.words
        assert still
        (lock,) = [stack["lock"] for stack in status["stacks"] if stack["lock"]]
        assert (lock["holder"], lock["processes"]) == ("at work", [process.pid])

    @pytest.mark.parametrize("who", [f"ada@{socket.gethostname()}", socket.gethostname()])
    def test_of_this_machine_without_a_terraform_age_says_nothing(self, place: Place, who: str) -> None:
        put(place, Who=who, Created=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}Z")

        finished = place.ops("unlock", STACK, "--yes")

        assert finished.status == 0
        assert "recent" not in finished.err
        assert "by a Terraform run that is gone" in " ".join(finished.err.split())

    def test_whose_process_counts(self, here: Place, tmp_path: Path) -> None:
        put(here, Who=f"ada@{socket.gethostname()}")
        lock, session = locks.read_lock(here.session(), STACK), here.session()
        assert lock
        own, others = tmp_path / "own", tmp_path / "others"
        for folder, key in ((own, here.key(STACK)), (others, here.key("mlcore"))):
            (folder / ".terraform").mkdir(parents=True)
            backend = {"backend": {"config": {"bucket": LOCAL_BUCKET, "key": key}}}
            (folder / ".terraform" / "terraform.tfstate").write_text(json.dumps(backend))

        def found(*processes: Process) -> tuple[str, tuple[int, ...]]:
            in_place = [
                each if each.endpoint else replace(each, endpoint=here.variables["AWS_ENDPOINT_URL"])
                for each in processes
            ]
            answer = holder(session, lock, in_place)
            return answer.is_, answer.pids

        assert found(Process(1, "terraform", str(own))) == ("at work", (1,))
        both = Process(1, "terraform", str(own)), Process(9, "terraform", str(own), parent=1)
        assert found(*both) == ("at work", (1,))
        assert found(Process(2, "tofu", str(tmp_path), ("tofu", "-chdir=own", "apply"))) == ("at work", (2,))
        assert found(Process(3, "terraform", str(others))) == ("gone", ())
        assert found(Process(4, "terraform", str(tmp_path))) == ("gone", ())
        assert found(Process(8, "terraform", str(own), endpoint="http://127.0.0.1:1")) == ("gone", ())
        assert found(Process(5, "vim", str(own))) == ("gone", ())
        assert found(Process(6, "terraform", str(own), state=psutil.STATUS_ZOMBIE)) == ("gone", ())
        assert found(Process(7, "terraform", None)) == ("unknown", (7,))
        assert found(Process(7, "terraform", None), Process(1, "terraform", str(own))) == ("at work", (1,))

    def test_what_runs_for_another_user_is_warned_of(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        put(place, Who=f"ada@{socket.gethostname()}")
        monkeypatch.setattr(psutil, "process_iter", lambda: [Process(7, "terraform", None)])

        finished = place.ops("unlock", STACK, "--yes")

        assert finished.status == 0
        assert "another user runs Terraform here (process 7)" in " ".join(finished.err.split())


@dataclass(frozen=True)
class Process:
    """As psutil shows one; without a folder it is somebody else's."""

    pid: int
    program: str
    folder: str | None
    line: tuple[str, ...] = ("terraform", "apply")
    state: str = psutil.STATUS_RUNNING
    endpoint: str = ""
    parent: int = 1000

    def ppid(self) -> int:
        return self.parent

    def environ(self) -> dict[str, str]:
        return {"AWS_ENDPOINT_URL": self.endpoint}

    def name(self) -> str:
        return self.program

    def status(self) -> str:
        return self.state

    def cmdline(self) -> list[str]:
        return list(self.line)

    def cwd(self) -> str:
        if self.folder is None:
            raise psutil.AccessDenied
        return self.folder


class TestWhatIsDeleted:
    @pytest.fixture(autouse=True)
    def clean(self, place: Place) -> Iterator[None]:
        yield
        remove(place)

    def test_another_lock_that_came_meanwhile_stays(self, here: Place) -> None:
        put(here)
        shown = locks.read_lock(here.session(), STACK)
        assert shown
        remove(here)
        put(here, ID="another", Who="bob@desk")

        with pytest.raises(OpsError, match=r"another run took the lock in the meantime \(bob@desk"):
            locks.release(here.session(), shown)

        assert held(here)["ID"] == "another"

    def test_the_same_content_put_anew_is_another_lock(self, here: Place) -> None:
        put(here, Created="2026-11-25T20:00:00Z")
        shown = locks.read_lock(here.session(), STACK)
        assert shown
        put(here, Created="2026-11-25T20:00:00Z")

        with pytest.raises(OpsError, match="another run took the lock in the meantime"):
            locks.release(here.session(), shown)

        assert is_held(here)

    def test_exactly_the_version_that_was_shown(self, here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        """Even when the lock changes hands after the last look: what is deleted is a version, not a name."""
        put(here)
        shown = locks.read_lock(here.session(), STACK)
        assert shown
        put(here, ID="another")
        monkeypatch.setattr(locks, "read_lock", lambda session, stack: shown)

        locks.release(here.session(), shown)

        assert held(here)["ID"] == "another"

    def test_one_that_was_released_meanwhile(self, here: Place) -> None:
        put(here)
        shown = locks.read_lock(here.session(), STACK)
        assert shown
        remove(here)

        with pytest.raises(OpsError, match="already released"):
            locks.release(here.session(), shown)

    def test_without_versions_the_content_decides(self, here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(here.variables, "ML_INFRA_STATE__BUCKET", "no-versions")
        s3, session = here.aws("s3"), here.session()
        s3.create_bucket(Bucket="no-versions")
        s3.put_object(Bucket="no-versions", Key=KEY, Body='{"ID":"one"}')
        shown = locks.read_lock(session, STACK)
        assert shown
        assert shown.version is None
        s3.put_object(Bucket="no-versions", Key=KEY, Body='{"ID":"two"}')
        with monkeypatch.context() as patch:
            # The lock changes hands after the last look.
            patch.setattr(locks, "read_lock", lambda session, stack: shown)
            with pytest.raises(OpsError, match="another run took the lock in the meantime"):
                locks.release(session, shown)
        again = locks.read_lock(session, STACK)
        assert again
        assert again.id == "two"

        locks.release(session, again)

        assert "Contents" not in s3.list_objects_v2(Bucket="no-versions")


class TestAge:
    @pytest.fixture(autouse=True)
    def clean(self, place: Place) -> Iterator[None]:
        yield
        remove(place)

    def test_an_old_lock_is_shown_without_the_warning(self, place: Place) -> None:
        put(place)

        finished = place.ops("unlock", STACK, "--yes")

        assert finished.status == 0
        assert "for 3 h" in finished.out
        assert "recent" not in finished.err

    @pytest.mark.parametrize("minutes", [0, 14])
    def test_a_young_one_is_warned_of(self, place: Place, minutes: int) -> None:
        put(place, Created=f"{datetime.now(UTC) - timedelta(minutes=minutes):%Y-%m-%dT%H:%M:%S}Z")

        finished = place.ops("unlock", STACK, "--yes")

        assert finished.status == 0
        assert "this lock is recent, so that run is probably still active. Ask ada@laptop first." in " ".join(
            finished.err.split()
        )

    def test_one_that_does_not_say_since_when_counts_as_young(self, place: Place) -> None:
        put(place, Created="yesterday")

        finished = place.ops("unlock", STACK, "--yes")

        assert "since unknown" in finished.words
        assert "recent" in finished.err


class TestWrongInput:
    def test_a_stack_that_is_none(self, place: Place) -> None:
        finished = place.ops("unlock", "train-modl")

        assert finished.status == 2
        assert "unknown stack 'train-modl': did you mean train-model?" in finished.err

    def test_an_object_that_is_no_lock_is_left_alone(self, place: Place) -> None:
        place.aws("s3").put_object(Bucket=LOCAL_BUCKET, Key=KEY, Body=b"no lock")
        finished = place.ops("unlock", STACK, "--yes")
        still = is_held(place)
        remove(place)

        assert finished.status == 1
        assert f"s3://{LOCAL_BUCKET}/{KEY} is not a readable Terraform lock" in finished.err
        assert still

    def test_ctrl_c_at_the_question(self, place: Place) -> None:
        put(place)
        child = pexpect.spawn(
            sys.executable,
            ["-m", "ops", "unlock", STACK],
            cwd=str(ROOT),
            env={**place.variables, "TERM": "xterm"},
            timeout=100,
            encoding="utf-8",
        )
        child.expect("Release the lock")
        child.sendintr()
        child.expect(pexpect.EOF)
        child.close()
        still = is_held(place)
        remove(place)

        assert child.exitstatus == 130
        assert still
