"""`ops init`: the few settings a person must choose, asked for, checked and written."""

import ipaddress
import json
import os
import secrets
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import typer
from botocore.exceptions import BotoCoreError, ClientError

from constructs_lib import checks, cidr_checks, regions
from constructs_lib.refused import RefusedError, printable
from constructs_lib.settings_model import check_literal
from modules_equiv.settings import PREFIX, DeploymentConfig
from ops.account.own_address import seen_address
from ops.account.settings_file import Key, SettingsFile, Value
from ops.core.aws_errors import explained
from ops.core.console import progress_console
from ops.core.errors import OpsError
from ops.core.progress import progress
from ops.core.session import aws_client

REGION: Final[Key] = ("deployment", "region")
NAME: Final[Key] = ("deployment", "name")
KEY_PAIR: Final[Key] = ("access", "ssh_keypair_name")
ADDRESSES: Final[Key] = ("access", "deployer_cidrs")
BUCKET: Final[Key] = ("state", "bucket")


@dataclass(frozen=True, kw_only=True)
class Question:
    """One setting. flag: how it is given on the command line."""

    key: Key
    flag: str
    what: str
    own_check: Callable[[str], str]
    many: bool = False

    def check(self, value: str) -> str:
        """Return the value to write. Raises RefusedError, as the settings would."""
        check_literal(value)
        return self.own_check(value)


def cidr(address: str) -> str:
    """Return an address or block in the form of the settings; a bare address becomes a /32. Raises RefusedError."""
    try:
        plain = str(ipaddress.IPv4Address(address))
    except ValueError:
        return cidr_checks.deployer_cidr(address)
    return cidr_checks.deployer_cidr(f"{plain}/32")


QUESTIONS: Final = {
    question.key: question
    for question in (
        Question(key=REGION, flag="--region", what="AWS region", own_check=regions.deployment_region),
        Question(key=NAME, flag="--name", what="Name of this deployment", own_check=checks.deployment_name),
        Question(key=KEY_PAIR, flag="--key-pair", what="EC2 key pair", own_check=checks.key_pair_name),
        Question(key=ADDRESSES, flag="--address", what="Your public address", own_check=cidr, many=True),
        Question(key=BUCKET, flag="--bucket", what="S3 bucket for Terraform's state", own_check=checks.bucket_name),
    )
}


@dataclass(frozen=True, kw_only=True)
class Answered:
    """What became of one setting. outcome: "set", "changed" (from `before`) or "kept"."""

    key: Key
    value: Value
    outcome: str
    before: Any = None

    @property
    def name(self) -> str:
        """The setting as messages write it."""
        return ".".join(self.key)

    @property
    def shown(self) -> str:
        """The value as messages write it."""
        return _shown(self.value)


@dataclass(kw_only=True)
class Interview:
    """Goes through the settings in order. given: what the flags say. take_proposals: --yes. replace: --force."""

    file: SettingsFile
    given: dict[Key, list[str]]
    take_proposals: bool
    replace: bool
    answers: list[Answered] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    _account: str | None = None
    _credentials_tried: bool = False

    @property
    def asks(self) -> bool:
        """Whether there is somebody to ask."""
        return sys.stdin.isatty() and not self.take_proposals

    def run(self) -> SettingsFile:
        """Return the file with every answer in it, not yet saved. Raises OpsError without a terminal to ask on."""
        for question in QUESTIONS.values():
            for value in self.given.get(question.key, []):
                self._refuse_early(question, value)
        default = DeploymentConfig.model_fields
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        if region not in regions.REGIONS:
            region = default["region"].default
        self._settle(QUESTIONS[REGION], lambda: region)
        self._settle(QUESTIONS[NAME], lambda: str(default["name"].default))
        self._settle(QUESTIONS[KEY_PAIR], self._only_key_pair)
        self._settle(QUESTIONS[ADDRESSES], self._address)
        self._settle(QUESTIONS[BUCKET], self._bucket)
        for key in QUESTIONS:
            variable = PREFIX + "__".join(key).upper()
            if os.environ.get(variable):
                self.remarks.append(f"{variable} is set in this shell and overrides the file.")
        return self.file

    def _refuse_early(self, question: Question, value: str) -> None:
        try:
            question.check(value)
        except RefusedError as error:
            raise OpsError(f"{question.flag} {value}: {error}", status=2) from None

    def _settle(self, question: Question, propose: Callable[[], str | None]) -> None:
        before = self.file.get(question.key)
        given = [question.check(value) for value in self.given.get(question.key, [])]
        value: Value
        if given:
            value = given if question.many else given[0]
            if before not in (None, value) and not self._may_replace(question, before, value):
                value = before
        elif before is not None:
            value = self._ask(question, _shown(before), before) if self.asks else before
        elif self.asks:
            value = self._ask(question, propose(), None)
        else:
            found = propose() if self.take_proposals or question.key in (REGION, NAME) else None
            if found is None:
                raise self._nothing_for(question)
            value = [question.check(found)] if question.many else question.check(found)
        if before == value:
            self.answers.append(Answered(key=question.key, value=value, outcome="kept"))
            return
        self.file = self.file.with_value(question.key, value)
        outcome = "set" if before is None else "changed"
        self.answers.append(Answered(key=question.key, value=value, outcome=outcome, before=before))

    def _nothing_for(self, question: Question) -> OpsError:
        name = ".".join(question.key)
        if not self.take_proposals:
            return OpsError(
                f"{name} is not set, and there is no terminal to ask on",
                fix=f"pass {question.flag}, or --yes to accept the proposed values",
                status=2,
            )
        reasons = " ".join([f"pass {question.flag}.", *self.remarks])
        return OpsError(f"{name} is not set, and there is no value to propose", fix=reasons, status=2)

    def _may_replace(self, question: Question, before: Any, value: Value) -> bool:
        if self.replace:
            return True
        change = f"{'.'.join(question.key)} is {_shown(before)} in {self.file.path}"
        if not self.asks:
            raise OpsError(change, fix=f"--force replaces it with {_shown(value)}")
        return typer.confirm(f"{change}. Replace it with {_shown(value)}?", default=False, err=True)

    def _ask(self, question: Question, proposal: str | None, before: Any) -> Value:
        """Ask until an answer is accepted. Raises typer.Abort at the end of the input."""
        while True:
            text = str(typer.prompt(question.what, default=proposal, err=True)).strip()
            if before is not None and text == _shown(before):
                return before  # type: ignore[no-any-return]
            parts = [part.strip() for part in text.split(",")] if question.many else [text]
            try:
                values = [question.check(part) for part in parts]
            except RefusedError as error:
                self._remark(str(error))
                continue
            return values if question.many else values[0]

    def value(self, key: Key) -> Any:
        """Return the answer to a question already settled."""
        return next(answer.value for answer in self.answers if answer.key == key)

    def _remark(self, text: str) -> None:
        """Print a remark before its question, or, without a terminal, keep it for the result."""
        if self.asks:
            progress_console().print(f"  {text}", style="yellow", highlight=False, markup=False)
        else:
            self.remarks.append(text)

    def _only_key_pair(self) -> str | None:
        region = self.value(REGION)
        try:
            with progress("Listing your key pairs …"):
                found = aws_client("ec2", region).describe_key_pairs()["KeyPairs"]
        except (ClientError, BotoCoreError) as error:
            self._remark(f"Cannot list your key pairs. {explained(error)}")
            return None
        names = [pair["KeyName"] for pair in found]
        if self.asks and names:
            progress_console().print(f"  in {region}: {', '.join(names)}", highlight=False, markup=False)
        if not names:
            self._remark(
                f"{region} has no key pair yet: aws ec2 create-key-pair --region {region} --key-name NAME "
                "--query KeyMaterial --output text > ~/.ssh/NAME.pem && chmod 600 ~/.ssh/NAME.pem"
            )
        return names[0] if len(names) == 1 else None

    def _address(self) -> str | None:
        try:
            with progress("Looking up your public address …"):
                seen = seen_address()
        except OpsError as error:
            if not self.asks:
                raise
            self._remark(str(error))
            return None
        if seen.doubt:
            self._remark(str(seen.doubt))
        return cidr(seen.address)

    def _bucket(self) -> str:
        try:
            with progress("Looking up your AWS account …"):
                suffix = str(aws_client("sts", self.value(REGION)).get_caller_identity()["Account"])
        except (ClientError, BotoCoreError):
            suffix = secrets.token_hex(4)  # bucket names are unique among all accounts
        return proposed_bucket(self.value(NAME), suffix)


def proposed_bucket(deployment: str, suffix: str) -> str:
    """Return a bucket name that S3 accepts, of the deployment's name and what makes it unique."""
    name = f"{deployment}-state-{suffix}"
    try:
        return checks.bucket_name(name)
    except RefusedError:  # a deployment may be called sthree-x, which S3 keeps for itself
        return checks.bucket_name(f"tf-{name}")


def _shown(value: Any) -> str:
    """Return a value as a question shows it, with control characters escaped for the terminal."""
    if isinstance(value, list):
        return printable(", ".join(map(str, value)))
    return printable(value if isinstance(value, str) else json.dumps(value))
