"""The expected failures of `ops`."""


class OpsError(Exception):
    """An expected failure: the message says what is wrong and what to do. Ends the program with `status`."""

    def __init__(self, message: str, *, status: int = 1) -> None:
        super().__init__(message)
        self.status = status
