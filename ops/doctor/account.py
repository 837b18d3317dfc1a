"""Who calls: credentials, how long they last, and whether the clock here is right enough for AWS to believe them."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ProxyConnectionError,
)

from ops.core import profiles
from ops.core.aws_errors import NOT_AWS_FIX, UnusableAwsError, problem_and_fix
from ops.core.session import Session, aws_client
from ops.doctor.report import Finding, guarded, ok, problem, unknown

# A signature is valid for five minutes: IAM user guide, "AWS Signature Version 4 for API requests".
LARGEST_SKEW: Final = timedelta(minutes=5)
# A deploy takes less than an hour. Not a whole one, since the AWS CLI's temporary credentials are for that by default
# (https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html, DurationSeconds), and somebody has just got
# them.
A_DEPLOY: Final = timedelta(minutes=50)


@dataclass(frozen=True)
class Caller:
    """What AWS says to "who am I": the findings, and the identity when it answered."""

    findings: tuple[Finding, ...]
    arn: str | None = None
    account: str | None = None


def caller(session: Session | None, region: str | None = None) -> Caller:
    """Ask STS who calls. Without a session (invalid settings), asks in `region`. A failure becomes a finding.

    Not where Terraform cannot use the credentials: botocore would ask for an MFA code, or fail for another reason.
    """
    who = Caller(())

    def examine() -> Iterator[Finding]:
        nonlocal who
        used = profiles.of_terraform(session.environment if session else os.environ)
        if used and used.obstacle:
            yield problem("credentials", *used.obstacle)
            return
        if not (used and used.ends and used.ends <= datetime.now(UTC)):
            who = _asked(session, region)
            yield from who.findings
        if used and (last := _last(used)):
            yield last

    findings = tuple(guarded("credentials", examine))
    return replace(who, findings=findings)


def _last(used: profiles.Credentials) -> Finding | None:
    """Check that the credentials outlive a deploy; None when they do not expire."""
    subject = "credentials last"
    if used.is_open:
        return unknown(
            subject,
            f"{used.name}: temporary, with an unknown expiry time",
            "aws configure export-credentials --format env shows it in AWS_CREDENTIAL_EXPIRATION",
        )
    if used.ends is None:
        return None
    left = used.ends - datetime.now(UTC)
    if left <= timedelta(0):
        return problem(subject, f"{used.name}: expired {_minutes(-left)} ago", used.renew)
    if left < A_DEPLOY:
        return problem(
            subject,
            f"{used.name}: expire in {_minutes(left)}; a deploy that takes longer cannot save its state and leaves "
            "it locked",
            used.renew,
        )
    return ok(subject, f"{_minutes(left)} more")


def _minutes(span: timedelta) -> str:
    hours, minutes = divmod(int(span.total_seconds()) // 60, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _asked(session: Session | None, region: str | None) -> Caller:
    try:
        sts = session.client("sts") if session else aws_client("sts", region)
        answer: dict[str, Any] = sts.get_caller_identity()
    except ClientError as error:
        return Caller((_refused(error), clock(_metadata(error))))
    except BotoCoreError as error:
        return Caller((_refused(error), unknown("clock", "AWS did not answer, so its time is unknown")))
    identity = ok("credentials", f"{answer['Arn']}, account {answer['Account']}")
    return Caller((identity, clock(answer["ResponseMetadata"])), answer["Arn"], answer["Account"])


def _refused(error: ClientError | BotoCoreError) -> Finding:
    if isinstance(error, UnusableAwsError):
        return problem("credentials", error.problem, error.fix)
    what, fix = problem_and_fix(error)
    if isinstance(error, ClientError) and not _is_of_aws(_metadata(error)):
        return problem("credentials", what, NOT_AWS_FIX)
    if isinstance(error, EndpointConnectionError | ConnectTimeoutError | ProxyConnectionError):
        return problem("credentials", what, "check the network, a proxy and AWS_ENDPOINT_URL, then try again")
    return problem("credentials", what, fix or "log in, or set credentials as for the AWS CLI")


def _metadata(error: ClientError) -> Mapping[str, Any]:
    return dict(error.response.get("ResponseMetadata", {}))


def _is_of_aws(metadata: Mapping[str, Any]) -> bool:
    """Return whether AWS answered: its answers have a request id, a proxy's error page has none."""
    return bool(metadata.get("RequestId"))


def clock(metadata: Mapping[str, Any], now: datetime | None = None) -> Finding:
    """Compare this machine's time with the Date header of an answer."""
    if not _is_of_aws(metadata):
        return unknown("clock", "the answer does not seem to come from AWS")
    try:
        skew = (now or datetime.now(UTC)) - parsedate_to_datetime(metadata["HTTPHeaders"]["date"])
    except (KeyError, ValueError, TypeError):
        return unknown("clock", "the answer from AWS has no readable date")
    seconds = round(abs(skew).total_seconds())
    way = "ahead of" if skew > timedelta(0) else "behind"
    if abs(skew) <= LARGEST_SKEW:
        return ok("clock", f"{seconds} s {way} AWS's" if seconds > 1 else "in sync with AWS")
    return problem(
        "clock",
        f"{timedelta(seconds=seconds)} {way} AWS's, and AWS refuses signatures more than 5 minutes off",
        "synchronize this machine's clock: timedatectl set-ntp true (macOS: sntp -sS time.apple.com)",
    )
