"""Makes the import of the AWS provider cheap before any test module can import it, and Ctrl-C mean what it does."""

import signal

import constructs_lib  # noqa: F401

# Whoever is started in the background of a script ignores Ctrl-C, and so would every program that a test interrupts.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
