"""What every command of `ops` shares: settings, AWS, options, how results and failures are shown."""

import json
import os
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, Final

import boto3
import typer
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from constructs_lib.refused import did_you_mean, printable_lines
from modules_equiv.settings import Settings, load_settings
from ops import aws_trouble, when
from ops.profiles import login_bridge

STACKS: Final = ("mlcore", "stats-monitor", "train-model", "train-model-dev")


def completed_from(*words: str) -> Callable[[str], list[str]]:
    """For an argument's `autocompletion`: those of the words that begin as what is typed."""
    return lambda incomplete: [word for word in words if word.startswith(incomplete)]


Timeout = Annotated[str, typer.Option(metavar="TIME", help="How long to wait at most: 90s, 30m, 1h30m.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout instead of text.")]


OneStack = Annotated[
    str | None,
    typer.Argument(
        metavar="[STACK]",
        help="Which stack; all of them when left out.",
        autocompletion=completed_from(*STACKS),
    ),
]


class OpsError(Exception):
    """An expected failure: the message says what is wrong and what to do. Ends the program with `status`."""

    def __init__(self, message: str, *, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Session:
    """This deployment as the settings and the environment name it: AWS, or the embedded AWS in `make local-shell`."""

    settings: Settings
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    _clients: dict[tuple[str, str | None], Any] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def open(cls) -> "Session":
        """Raises SettingsError when the settings are refused."""
        return cls(load_settings())

    @property
    def name(self) -> str:
        """The deployment's name."""
        return self.settings.deployment.name

    @cached_property
    def _boto(self) -> boto3.Session:
        return boto3.Session(region_name=self.settings.deployment.region)

    def client(self, service: str, region: str | None = None) -> Any:
        """A boto3 client in the deployment's region, or in another. Raises BotoCoreError, as the first call does."""
        # Making one takes longer than most calls.
        if (service, region) not in self._clients:
            self._clients[service, region] = aws_client(service, region, self._boto)
        return self._clients[service, region]


def aws_client(service: str, region: str | None, session: boto3.Session | None = None) -> Any:
    """A boto3 client for where there are no settings yet. Raises BotoCoreError, and its calls ClientError too."""
    # A person waits in front of this: say soon that nobody answers.
    config = Config(connect_timeout=5, read_timeout=20, retries={"max_attempts": 2, "mode": "standard"})
    with aws_trouble.translated():
        made = (session or boto3.Session()).client(service, region_name=region, config=config)  # type: ignore[call-overload]
    aws_trouble.watch(made)
    return made


def state_key(settings: Settings, stack: str) -> str:
    """The key of the stack's state in the state bucket. The lock's is the same, followed by .tflock."""
    return settings.stack_deployment().state_key(stack)


def state_place(settings: Settings, stack: str) -> str:
    """The s3:// URL of the stack's state."""
    return f"s3://{settings.state.bucket}/{state_key(settings, stack)}"


def require_stack(name: str) -> None:
    """Raises OpsError (a wrong command line) for a name that no stack has."""
    if name not in STACKS:
        hint = did_you_mean(name, STACKS, otherwise=f"The stacks are {', '.join(STACKS)}.")
        raise OpsError(f"there is no stack {name!r}. {hint}", status=2)


def seconds_in(timeout: str) -> int:
    """What `Timeout` says, in seconds. Raises OpsError (a wrong command line) for what is no span of time."""
    try:
        return when.seconds(timeout)
    except ValueError as error:
        raise OpsError(f"--timeout: {error}", status=2) from None


def show(result: RenderableType, document: Any, *, as_json: bool) -> None:
    """Prints a command's result: for a person, or (as_json) as one JSON document."""
    if as_json:
        show_json(document)
    else:
        console().print(result)


def show_json(document: Any) -> None:
    """Prints the one JSON document."""
    print(json.dumps(document, indent=2, default=str), flush=True)


class _LiteralConsole(Console):
    """What it shows came from machines, tags, locks and files of anybody: a terminal must not obey any of it."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Generator[Segment, None, None]:
        """The pieces that are printed. Those that are rich's own, to move the cursor, say so."""
        for piece in super().render(renderable, options):
            yield piece if piece.control else Segment(printable_lines(piece.text), piece.style)


def console() -> Console:
    """For results. Colours and width follow the terminal; a pipe gets plain text."""
    return _LiteralConsole()


def progress_console() -> Console:
    """For progress and remarks: standard error, so that results can be piped."""
    return _LiteralConsole(stderr=True)


def explained(error: BotoCoreError | ClientError) -> str:
    """An AWS failure in one line, and what to do about it."""
    if isinstance(error, ClientError):
        code, message = error.response["Error"]["Code"], error.response["Error"].get("Message", "")
        if code in ("ExpiredToken", "ExpiredTokenException", "RequestExpired"):
            return f"AWS: the credentials have expired ({code}): log in again (aws sso login, or new keys)"
        if code in ("InvalidClientTokenId", "UnrecognizedClientException", "AuthFailure", "SignatureDoesNotMatch"):
            return f"AWS does not accept the credentials ({code}): aws sts get-caller-identity shows which are used"
        return f"AWS refused {error.operation_name} ({code}): {message}"
    name = type(error).__name__
    if name in ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "TokenRetrievalError"):
        what = str(error).rstrip(".")
        return f"AWS: {what}. Set credentials as for the AWS CLI, or use make local-shell for the embedded AWS"
    if name == "MissingDependencyException":
        # botocore reads a profile of `aws login` only with its C library, and Terraform not at all.
        profile = os.environ.get("AWS_PROFILE") or "default"
        return f"AWS: profile {profile} is one of aws login, which only the AWS CLI reads: {login_bridge(profile)}"
    return f"AWS cannot be reached or used: {error}"
