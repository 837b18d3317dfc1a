"""How Terraform is run for the CLI: a death is a failure, and a hang-up a request to stop."""

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from ops.core import environment, terraform_for_cli

pytestmark = pytest.mark.system

PROGRAM = environment.ROOT / "ops" / "core" / "terraform_for_cli.py"


def start(folder: Path, script: str, *arguments: str) -> "subprocess.Popen[str]":
    """Runs the program with this shell script as Terraform."""
    stand_in = folder / "terraform"
    stand_in.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    stand_in.chmod(0o755)
    variables = {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.Popen(
        [PROGRAM, *arguments], env=variables, stdout=subprocess.PIPE, text=True, start_new_session=True
    )


@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 2", 2), ("kill -9 $$", 128 + 9), ("kill -15 $$", 128 + 15)]
)
def test_the_exit_status_is_terraforms_and_a_death_is_none_of_success(tmp_path: Path, script: str, status: int) -> None:
    process = start(tmp_path, script)
    process.communicate(timeout=30)

    assert process.returncode == status


def test_it_gets_the_arguments_as_they_are(tmp_path: Path) -> None:
    said, _ = start(tmp_path, 'printf "%s|" "$@"', "apply", "-var", "a=b c").communicate(timeout=30)

    assert said == "apply|-var|a=b c|"


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_a_request_to_stop_that_comes_before_terraform_runs_reaches_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    begin = subprocess.Popen

    def begin_late(*arguments: Any, **options: Any) -> Any:
        signal.raise_signal(number)
        return begin(*arguments, **options)

    before = {each: signal.getsignal(each) for each in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)}
    monkeypatch.setattr(subprocess, "Popen", begin_late)
    try:
        # It ends by itself when nobody asks.
        status = terraform_for_cli.run(["sleep", "100"], os.environ)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)

    assert status == 128 + (signal.SIGINT if number == signal.SIGHUP else number)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_terminal_that_is_closed_is_a_request_to_stop_and_is_waited_for(
    tmp_path: Path, number: signal.Signals
) -> None:
    script = (
        "trap 'echo asked to stop; exit 5' INT TERM\necho ready\n"
        # It ends by itself when nobody asks.
        "for i in $(seq 300); do sleep 0.1; done"
    )
    process = start(tmp_path, script)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"

    # All in the session of a terminal get the hang-up.
    if number == signal.SIGHUP:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)

    said, _ = process.communicate(timeout=30)
    assert said == "asked to stop\n"
    assert process.returncode == 5


@pytest.mark.parametrize(
    ("signals", "asked"),
    [
        # What the CLI does at Ctrl-C: it passes the interrupt on, ends, and so hangs up.
        ([signal.SIGINT, signal.SIGHUP], 1),
        ([signal.SIGHUP, signal.SIGHUP], 1),
        # A person who asks twice wants an end at once.
        ([signal.SIGINT, signal.SIGINT], 2),
        ([signal.SIGHUP, signal.SIGTERM], 2),
    ],
)
def test_an_interrupt_and_the_hang_up_that_follows_are_one_request(
    tmp_path: Path, signals: list[signal.Signals], asked: int
) -> None:
    """At the second request Terraform ends without writing the state."""
    script = (
        f"trap 'echo asked >>{tmp_path}/asked' INT TERM\necho ready\n"
        # Long enough for all of them; what a trap interrupts is looked at anew.
        f"for i in $(seq 30); do sleep 0.1; done"
    )
    process = start(tmp_path, script)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"

    for number in signals:
        before = (tmp_path / "asked").read_text() if (tmp_path / "asked").exists() else ""
        # All in the session of a terminal get both.
        os.killpg(process.pid, number)
        for _ in range(10):
            if (tmp_path / "asked").exists() and (tmp_path / "asked").read_text() != before:
                break
            time.sleep(0.1)

    process.communicate(timeout=30)
    assert (tmp_path / "asked").read_text() == "asked\n" * asked


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("InsufficientInstanceCapacity", ["train_model.instance_type", "mlcore.az"]),
        ("VcpuLimitExceeded", ["ops doctor", "train_model.instance_type"]),
        ("UnauthorizedOperation", []),
    ],
)
def test_where_aws_has_no_machine_it_says_what_to_change(tmp_path: Path, code: str, told: list[str]) -> None:
    """Below Terraform's own words, which nothing is done to."""
    process = start(tmp_path, f'echo "api error {code}: in AWS words"; echo "[ERROR] {code}" >"$TF_LOG_PATH"; exit 1')
    said, _ = process.communicate(timeout=30)

    assert process.returncode == 1
    own, *added = said.splitlines()
    assert own == f"api error {code}: in AWS words"
    assert [word for word in told if word not in "\n".join(added)] == []
    assert bool(added) == bool(told)


def test_the_persons_own_log_of_terraform_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_LOG_PATH", "/my/log")
    monkeypatch.delenv("TF_LOG_CORE", raising=False)

    said, _ = start(tmp_path, 'echo "$TF_LOG_PATH $TF_LOG_CORE"').communicate(timeout=30)

    assert said == "/my/log \n"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", "--max-old-space-size=4096 --unhandled-rejections=warn-with-error-code"),
        ("--max-old-space-size=99", "--max-old-space-size=99 --unhandled-rejections=warn-with-error-code"),
        ("--trace-gc", "--trace-gc --max-old-space-size=4096 --unhandled-rejections=warn-with-error-code"),
    ],
)
def test_the_cli_is_told_to_run_it_and_to_bear_a_failure(given: str, expected: str) -> None:
    found = environment.commands({**os.environ, "NODE_OPTIONS": given})
    again = environment.commands(found)

    assert Path(found["TERRAFORM_BINARY_NAME"]) == PROGRAM
    assert os.access(PROGRAM, os.X_OK)
    assert found["NODE_OPTIONS"] == expected
    assert again["NODE_OPTIONS"] == expected
