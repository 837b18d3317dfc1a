"""`ops adopt` after a run that was killed while it replaced something, with the real CLI."""

from collections.abc import Callable, Iterator

import pytest

from tests.e2e.conftest import Shell
from tests.e2e.faults import DENIED, behind_a_gateway, everything, ids, kill, locked, recover, state, terraforms
from tests.e2e.proxy import HANG_UP, Call, Fault, Gateway, Rule
from tests.e2e.test_lifecycle import left_over

ADDRESS = "aws_internet_gateway.core"


@pytest.fixture
def between(new_shell: Callable[[], Shell]) -> Iterator[tuple[Shell, Gateway]]:
    with behind_a_gateway(new_shell()) as made:
        yield made


def gateways(shell: Shell) -> set[str]:
    found = shell.aws("ec2").describe_internet_gateways()["InternetGateways"]
    return {each["InternetGatewayId"] for each in found}


def test_what_a_killed_run_made_in_place_of_another_is_brought_in(between: tuple[Shell, Gateway]) -> None:
    """The state names the one that is gone, and the next deploy would make a third."""
    shell, door = between
    with door.under(Rule(DENIED, services=["ec2"], actions=["AttachInternetGateway"], times=1)):
        shell.cdktf("deploy", "mlcore", "--auto-approve").refused()
    (first,) = gateways(shell)
    assert ids(shell, "mlcore")[ADDRESS] == first  # tainted: the next run replaces it

    def kill_all(call: Call) -> Fault | None:
        if call.action != "AttachInternetGateway":
            return None
        kill(terraforms(shell))
        return HANG_UP

    with door.under(kill_all):
        shell.cdktf("deploy", "mlcore", "--auto-approve").refused()
    kill(everything(shell))
    (second,) = gateways(shell)
    assert second != first
    assert ids(shell, "mlcore")[ADDRESS] == first

    adopted = recover(shell)

    assert f"mlcore: {ADDRESS} {second}" in [" ".join(line.split()) for line in adopted]
    assert ids(shell, "mlcore")[ADDRESS] == second
    shell.cdktf("deploy", "mlcore", "--auto-approve").ok()
    assert gateways(shell) == {second}
    known = str(state(shell, "mlcore"))
    assert [each for each in left_over(shell) if each not in known and each.rpartition("/")[2] not in known] == []
    assert locked(shell) == []
