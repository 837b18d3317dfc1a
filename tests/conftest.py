"""Makes the import of the AWS provider cheap before any test module can import it, and Ctrl-C mean what it does."""

import os
import signal

import constructs_lib  # noqa: F401
from embedded_aws.control import ENDS_WITH

# Whoever is started in the background of a script ignores Ctrl-C, and so would every program that a test interrupts.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# An embedded AWS that a test starts, by whatever command, ends with the tests, even when they are killed.
os.environ[ENDS_WITH] = str(os.getpid())
