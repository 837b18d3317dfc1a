#!/usr/bin/env -S python3 -IS
"""Runs Terraform for the cdktf CLI, and answers for what the CLI (0.21.0, cli-core's models/pty-process.ts) leaves out.

It looks at the exit status alone. A Terraform that a signal killed (kill -9, the out-of-memory killer) has none, and
would count as one that succeeded: here it is 128 + the signal's number, as a shell says it.

A CLI that is killed, or whose terminal is closed, hangs up on its Terraforms, which would die at once and forget what
they made in the last seconds. Here Terraform is asked to stop instead: it ends what it is at, writes the state and
gives the lock back (https://developer.hashicorp.com/terraform/cli/commands/apply). At Ctrl-C the CLI passes the
interrupt on and ends, which hangs up as well. A second request would have Terraform end at once and lose the state, so
Terraform gets no signal from the terminal, but from here, and one for both.

It reads for 200 ms after the end and no longer, and on a busy machine loses the last lines, which say why.

And where AWS has no capacity or allows none, what to change is said below AWS's own sentence.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

# EC2's codes: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
FIXES: Mapping[str, str] = {
    "InsufficientInstanceCapacity": "EC2 has no capacity for this instance type in this zone at the moment. What was\n"
    "created stays. You can:\n"
    "- deploy again later: capacity often returns within hours;\n"
    "- choose another type in train_model.instance_type (ops cost --compare shows what it costs);\n"
    "- use a zone that EC2 names above, with a second deployment (deployment.name, mlcore.az, mlcore.az_2): the\n"
    "  file system and the network of this one cannot move to another zone.",
    "VcpuLimitExceeded": "The account's vCPU quota for this instance family is too small. ops doctor shows the quota,\n"
    "its value and the command that requests an increase. Or choose a smaller type in train_model.instance_type.",
}
_LAST_LINES_SECONDS = 1.0
# The person's own log is left alone.
_LOGGING = ("TF_LOG", "TF_LOG_CORE", "TF_LOG_PROVIDER", "TF_LOG_PATH")


def main(arguments: list[str]) -> int:
    """Run Terraform; return its exit status."""
    with tempfile.TemporaryDirectory(prefix="terraform-errors-") as folder:
        log = Path(folder, "log")
        own = (
            {} if any(os.environ.get(name) for name in _LOGGING) else {"TF_LOG_CORE": "error", "TF_LOG_PATH": str(log)}
        )
        status = run(["terraform", *arguments], {**os.environ, **own})
        if status != 0:
            print("".join(f"\n{text}\n" for text in fixes_for(log)), end="", flush=True)
            time.sleep(_LAST_LINES_SECONDS)
    return status


def run(command: list[str], environment: Mapping[str, str]) -> int:
    """Run the command, passing signals on; return its exit status."""
    child: subprocess.Popen[bytes] | None = None
    early: list[int] = []
    asked = False

    def stop(number: int, _: FrameType | None = None) -> None:
        nonlocal asked
        if number == signal.SIGHUP:
            if asked:
                return
            number = signal.SIGINT
        asked = True
        if child:
            child.send_signal(number)
        else:
            early.append(number)

    # Before Terraform runs: it may be hung up on at once.
    for request in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
        signal.signal(request, stop)
    try:
        # In a session of its own, where no signal of the terminal comes; it reads from it all the same.
        child = subprocess.Popen(command, env=environment, start_new_session=True)
    except OSError as error:
        print(f"{command[0]} cannot be run: {error.strerror}", file=sys.stderr)
        return 127
    for number in early:
        child.send_signal(number)
    status = child.wait()
    return status if status >= 0 else 128 - status


def fixes_for(log: Path) -> list[str]:
    """Return the fixes for the errors in Terraform's log."""
    said = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    return [text for code, text in FIXES.items() if code in said]


if __name__ == "__main__":
    # A terminal that is gone takes no more words.
    try:
        code = main(sys.argv[1:])
    except OSError:
        code = 1
    sys.exit(code)
