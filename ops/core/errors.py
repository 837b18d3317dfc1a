"""The expected failures of `ops`: what is wrong, and what to do about it."""


class FixableError(Exception):
    """A failure with its fix. `str()` gives "problem: fix", or the problem alone where there is no fix to name."""

    def __init__(self, problem: str, *, fix: str = "") -> None:
        # What another program printed comes with its line ends, and then the fix gets a line of its own.
        separator = "\n" if "\n" in problem else ": "
        super().__init__(f"{problem}{separator}{fix}" if fix else problem)
        self.problem = problem
        self.fix = fix


class OpsError(FixableError):
    """An expected failure of a command. Ends the program with `status`."""

    def __init__(self, problem: str, *, fix: str = "", status: int = 1) -> None:
        super().__init__(problem, fix=fix)
        self.status = status
