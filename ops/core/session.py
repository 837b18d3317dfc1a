"""One deployment and the account that it is in, as a command meets them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import boto3
from botocore.config import Config

from modules_equiv.settings import Settings, load_settings
from ops.core import aws_errors


@dataclass(frozen=True)
class Session:
    """This deployment as the settings and the environment name it: AWS, or the embedded AWS in `make local-shell`."""

    settings: Settings
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    _clients: dict[tuple[str, str | None], Any] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def open(cls) -> "Session":
        """Open the deployment that the settings describe. Raises SettingsError for invalid settings."""
        return cls(load_settings())

    @property
    def name(self) -> str:
        """The deployment's name."""
        return self.settings.deployment.name

    @cached_property
    def _boto(self) -> boto3.Session:
        return boto3.Session(region_name=self.settings.deployment.region)

    def client(self, service: str, region: str | None = None) -> Any:
        """Return a boto3 client in the deployment's region, or in another.

        Raises BotoCoreError, as the first call does.
        """
        # Making one takes longer than most calls.
        if (service, region) not in self._clients:
            self._clients[service, region] = aws_client(service, region, self._boto)
        return self._clients[service, region]


def aws_client(service: str, region: str | None, session: boto3.Session | None = None) -> Any:
    """Return a boto3 client for use before there are settings. Raises BotoCoreError; its calls, too, ClientError."""
    # A person waits in front of this: say soon that nobody answers.
    config = Config(connect_timeout=5, read_timeout=20, retries={"max_attempts": 2, "mode": "standard"})
    with aws_errors.translated():
        made = (session or boto3.Session()).client(service, region_name=region, config=config)  # type: ignore[call-overload]
    aws_errors.watch(made)
    return made
