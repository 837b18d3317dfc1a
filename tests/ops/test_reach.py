"""Who is not let in, or gets no answer, is told why: `ops` ssh, push, pull, tunnel, wait and doctor."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from embedded_aws import control
from ops.account.own_address import Seen
from ops.core.errors import OpsError
from ops.remote import reach
from tests.ops.aws_support import BUCKET, Person, clear
from tests.ops.sshd_support import GATEWAY, World
from tests.ops.support import Finished

pytestmark = pytest.mark.system

HERE, ELSEWHERE = "198.51.100.9", "203.0.113.7"  # RFC 5737; the second is the one that the settings let in
STATE = "ml-core/ml-core/us-east-1/mlcore.tfstate"


@pytest.fixture
def person(empty_endpoint: control.Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Person:
    """Somebody outside, whose account is not on this machine."""
    clear(empty_endpoint)
    person = Person(tmp_path, empty_endpoint)
    person.write()
    person.aws("s3").create_bucket(Bucket=BUCKET)
    outside(monkeypatch, HERE)
    return person


def outside(monkeypatch: pytest.MonkeyPatch, address: str | None, *, proxy: str | None = None) -> None:
    """As if the account were AWS's, and this machine came from `address`; None: nobody says from where."""

    def seen_address() -> Seen:
        if address is None:
            raise OpsError("https://checkip.amazonaws.com does not answer (timed out)", fix="pass it with --address")
        return Seen(address=address, proxy=proxy)

    monkeypatch.setattr(reach, "on_this_machine", lambda _: False)
    monkeypatch.setattr(reach, "seen_address", seen_address)


def deployed(person: Person, *blocks: str) -> None:
    """mlcore's state, as Terraform writes it, with these blocks let in."""
    group = {
        "mode": "managed",
        "type": "aws_security_group",
        "name": "allow_deployer_sg",
        "instances": [{"attributes": {"id": "sg-1", "ingress": [{"cidr_blocks": list(blocks), "from_port": 22}]}}],
    }
    document = {"version": 4, "serial": 1, "outputs": {}, "resources": [group]}
    person.aws("s3").put_object(Bucket=BUCKET, Key=STATE, Body=json.dumps(document))


def doctors_word(ended: Finished) -> tuple[str, str, str | None]:
    (found,) = [each for each in ended.document["findings"] if each["subject"] == "your address"]
    return found["state"], found["detail"], found["fix"]


PUT = f'add "{HERE}/32" to access.deployer_cidrs in settings.toml'


@pytest.mark.parametrize(
    ("settings", "let_in", "expected"),
    [
        (
            f"{ELSEWHERE}/32",
            None,
            (f"your address is {HERE}, but the jump host allows only {ELSEWHERE}/32", PUT),
        ),
        (
            f"{ELSEWHERE}/32",
            f"{ELSEWHERE}/32",
            (
                f"your address is {HERE}, but the jump host allows only {ELSEWHERE}/32",
                f"{PUT}, then: cdktf deploy mlcore",
            ),
        ),
        (
            f"{HERE}/32",
            f"{ELSEWHERE}/32",
            (
                f"your address {HERE} is in access.deployer_cidrs, but the deployed security group allows only "
                f"{ELSEWHERE}/32",
                "cdktf deploy mlcore",
            ),
        ),
        (
            f"{ELSEWHERE}/32",
            f"{HERE}/32",
            (f"the next deploy of mlcore would block your address {HERE}", PUT),
        ),
        ("198.51.100.0/24", None, None),
        (f"{HERE}/32", "198.51.0.0/16", None),
    ],
)
def test_an_address_against_what_is_wanted_and_what_is_deployed(
    settings: str, let_in: str | None, expected: tuple[str, str] | None
) -> None:
    standing = reach.Standing(HERE, (settings,), (let_in,) if let_in else None)

    assert standing.problem == expected


def test_doctor_compares_ones_own_address(person: Person) -> None:
    deployed(person, f"{ELSEWHERE}/32", "192.0.2.0/24")

    word = doctors_word(person.ops("doctor", "mlcore", "--json"))

    assert word == (
        "problem",
        f"your address is {HERE}, but the jump host allows only {ELSEWHERE}/32, 192.0.2.0/24",
        f"{PUT}, then: cdktf deploy mlcore",
    )


def test_doctor_does_not_know_an_address_that_nobody_tells(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    outside(monkeypatch, None)

    word = doctors_word(person.ops("doctor", "mlcore", "--json"))

    assert word == ("unknown", "https://checkip.amazonaws.com does not answer (timed out)", None)


def test_an_address_seen_through_a_proxy_is_not_taken_for_that_of_ssh(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside(monkeypatch, HERE, proxy="proxy.example.com:3128")

    state, detail, _fix = doctors_word(person.ops("doctor", "mlcore", "--json"))

    assert state == "unknown"
    assert f"{HERE} may be the address of the proxy proxy.example.com:3128" in detail


def test_on_the_embedded_aws_nobody_comes_from_outside(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()

    ended = person.ops("doctor", "mlcore", "--json")

    assert "your address" not in [each["subject"] for each in ended.document["findings"]]


def test_wait_says_at_once_who_will_not_get_in(person: Person) -> None:
    deployed(person, f"{ELSEWHERE}/32")

    ended = person.ops("wait", "jump", "--timeout", "1s")

    assert f"your address is {HERE}, but the jump host allows only {ELSEWHERE}/32: {PUT}" in " ".join(ended.err.split())


@contextmanager
def silent_jump_host(world: World) -> Iterator[None]:
    """It hears, and what it answers is lost: as with packets that a security group drops."""
    jump = world.boxes["jump"]
    jump.network("ip", "route", "replace", "blackhole", f"{GATEWAY}/32")
    try:
        yield
    finally:
        jump.network("ip", "route", "replace", f"{GATEWAY}/32", "dev", "eth0", "src", world.jump_address)


@pytest.mark.system
class TestSilence:
    @pytest.fixture
    def silent(self, world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
        outside(monkeypatch, HERE)
        monkeypatch.setattr(reach, "_SECONDS", 1.0)
        with silent_jump_host(world):
            yield world

    @pytest.fixture
    def commands(self, tmp_path: Path) -> list[list[str]]:
        (tmp_path / "images").mkdir()
        (tmp_path / "images" / "a.jpg").write_bytes(b"a")
        return [
            ["ssh", "jump", "--json", "--", "true"],
            ["ssh", "worker", "--json", "--", "true"],
            ["push", str(tmp_path / "images")],
            ["pull", "--to", str(tmp_path / "models")],
            ["tunnel", "jupyter"],
        ]

    def test_who_is_not_let_in_is_told_instead_of_left_waiting(self, silent: World, commands: list[list[str]]) -> None:
        for command in commands:
            said = silent.ops(*command)

            assert said.status == 255, command
            words = " ".join(said.err.split())
            assert f"{silent.jump_address} does not answer on port 22: your address is {HERE}" in words, command
            assert f'add "{HERE}/32" to access.deployer_cidrs' in words, command
            assert "--via ssm" in words, command

    def test_where_the_persons_own_proxy_stands_between_nothing_is_tried(
        self, silent: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tried: list[object] = []
        monkeypatch.setattr(reach, "_is_silent", lambda *hop: tried.append(hop))
        own = silent.home / ".ssh" / "config"
        own.write_text("Host *\n    ProxyCommand false\n")
        try:
            said = silent.ops("ssh", "jump", "--json", "--", "true")
        finally:
            own.unlink()

        assert said.document["status"] == 255
        assert not tried


@pytest.mark.system
@pytest.mark.parametrize(
    ("address", "remark"),
    [(None, reach.MAYBE), ("203.0.113.10", "although your address is allowed: check that SSH may leave this network")],
)
def test_who_may_be_let_in_is_told_and_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: str | None, remark: str
) -> None:
    outside(monkeypatch, address)
    monkeypatch.setattr(reach, "_is_silent", lambda *_: True)  # as if it had begun to answer just after

    said = world.ops("pull", "--dry-run", "--to", str(tmp_path))

    words = " ".join(said.err.split())
    assert said.status == 0
    assert f"{world.jump_address} does not answer on port 22" in words
    assert remark in words


@pytest.mark.system
def test_who_gets_an_answer_notices_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    outside(monkeypatch, HERE)

    said = world.ops("ssh", "worker", "--json", "--", "echo in")

    assert (said.status, said.document["stdout"]) == (0, "in\n")
    assert HERE not in said.err
