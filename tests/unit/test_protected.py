"""A destroy that takes in the protected file system is refused, with the commands that are meant."""

import pytest

from constructs_lib.cli_run import CliRun
from modules_equiv.protected import ProtectedError, check_protection

STACKS = ["mlcore", "stats-monitor", "train-model", "train-model-dev"]


def check(run: CliRun | None, *, allowed: bool = False) -> None:
    check_protection(run, allow_efs_destroy=allowed, core="mlcore", stacks=STACKS)


@pytest.mark.parametrize(
    ("patterns", "else_"),
    [
        (("*",), "cdktf destroy stats-monitor train-model train-model-dev\n"),
        (("mlcore", "train-model"), "cdktf destroy train-model\n"),
        (("mlcore",), "cdktf destroy stats-monitor train-model train-model-dev\n"),
    ],
)
def test_it_says_what_is_protected_what_releases_it_and_what_destroys_the_rest(
    patterns: tuple[str, ...], else_: str
) -> None:
    with pytest.raises(ProtectedError) as refused:
        check(CliRun("destroy", patterns))

    said = str(refused.value)
    assert "shared file system" in said
    assert "Nothing was destroyed." in said
    assert else_ in said
    assert "mlcore.allow_efs_destroy = true" in " ".join(said.split())
    assert all(len(line) <= 80 for line in said.splitlines())


def test_the_command_that_releases_it_once_can_be_pasted() -> None:
    with pytest.raises(
        ProtectedError, match=r"ML_INFRA_MLCORE__ALLOW_EFS_DESTROY=true cdktf destroy 'm\*' train-model$"
    ):
        check(CliRun("destroy", ("m*", "train-model")))


@pytest.mark.parametrize(
    ("run", "allowed"),
    [
        (CliRun("destroy", ("train-model", "stats-monitor")), False),
        (CliRun("destroy", ("*",)), True),
        (CliRun("deploy", ("*",)), False),
        (None, False),
    ],
)
def test_everything_else_goes_on(run: CliRun | None, allowed: bool) -> None:
    check(run, allowed=allowed)
