#!/usr/bin/env -S python3 -IS
"""Runs Terraform for the cdktf CLI, and answers for what the CLI (0.21.0, cli-core's models/pty-process.ts) leaves out.

It looks at the exit status alone. A Terraform that a signal killed (kill -9, the out-of-memory killer) has none, and
would count as one that succeeded: here it is 128 + the signal's number, as a shell says it.

A CLI that is killed, or whose terminal is closed, hangs up on its Terraforms, which would die at once and forget what
they made in the last seconds. Here Terraform is asked to stop instead: it ends what it is at, writes the state and
gives the lock back (https://developer.hashicorp.com/terraform/cli/commands/apply).
"""

import signal
import subprocess
import sys
from types import FrameType


def main(arguments: list[str]) -> int:
    """Returns Terraform's exit status."""
    # Inherited: Terraform lives on when its terminal is gone.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        child = subprocess.Popen(["terraform", *arguments])
    except OSError as error:
        print(f"terraform cannot be run: {error.strerror}", file=sys.stderr)
        return 127

    def stop(number: int, _: FrameType | None) -> None:
        child.send_signal(signal.SIGINT if number == signal.SIGHUP else number)

    signal.signal(signal.SIGHUP, stop)
    signal.signal(signal.SIGTERM, stop)
    # Ctrl-C reaches Terraform from the terminal.
    signal.signal(signal.SIGINT, lambda *_: None)
    status = child.wait()
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
