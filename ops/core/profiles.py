"""The person's AWS credentials as Terraform sees them: whether it can use them at all, and until when they last.

botocore can do more than the AWS SDK for Go in Terraform's backend and its provider: ask for an MFA code, and what came
after hashicorp/aws 5.100.0. So that `ops` works says little of `cdktf deploy`.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import botocore.session
from botocore.exceptions import BotoCoreError

Configuration = Mapping[str, Any]

# Where tools write until when the keys of a profile last: saml2aws, aws-mfa (each in its README).
_ENDS: Final = ("x_security_token_expires", "expiration")


@dataclass(frozen=True)
class Credentials:
    """What Terraform will use. name: for people.

    obstacle: why Terraform cannot use them, and the fix. ends: when they end; None when they do not, or are renewed
    by themselves, or (is_open) when nothing says it. renew: how to have new ones.
    """

    name: str
    obstacle: tuple[str, str] | None = None
    ends: datetime | None = None
    is_open: bool = False
    renew: str = "log in again, or set new credentials"


def of_terraform(environ: Mapping[str, str]) -> Credentials | None:
    """Return the credentials in this environment and its AWS configuration; None when the configuration is unreadable.

    Keys in variables come before a profile: aws-sdk-go-v2, config/resolve_credentials.go.
    """
    if environ.get("AWS_ACCESS_KEY_ID") and environ.get("AWS_SECRET_ACCESS_KEY"):
        ends = _time(environ.get("AWS_CREDENTIAL_EXPIRATION"))
        return Credentials(
            "the AWS_ variables", ends=ends, is_open=bool(environ.get("AWS_SESSION_TOKEN")) and ends is None,
            renew="log in again, then set the AWS_ variables again",
        )  # fmt: skip
    if environ.get("AWS_WEB_IDENTITY_TOKEN_FILE"):
        return Credentials("AWS_WEB_IDENTITY_TOKEN_FILE")
    first, second = environ.get("AWS_PROFILE"), environ.get("AWS_DEFAULT_PROFILE")
    if first and second and first != second:
        return Credentials(
            f"profile {first}",
            obstacle=(
                f"Terraform uses AWS_PROFILE={first}, but ops and boto3 use AWS_DEFAULT_PROFILE={second}",
                "unset AWS_DEFAULT_PROFILE",
            ),
        )
    try:
        configuration: Configuration = botocore.session.Session().full_config
    except BotoCoreError:
        return None
    return _of_profile(first or second or "default", configuration, frozenset())


def login_bridge(profile: str) -> str:
    """Return how tools without support for `aws login` can use it; renews itself while the login lasts.

    https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-sign-in.html
    """
    return (
        f'add "[profile {profile}-process]" and below it "credential_process = aws configure export-credentials '
        f'--profile {profile} --format process" to ~/.aws/config, then set AWS_PROFILE={profile}-process'
    )


def _of_profile(name: str, configuration: Configuration, seen: frozenset[str]) -> Credentials:
    profile: Configuration = configuration.get("profiles", {}).get(name, {})
    shown = f"profile {name}"
    if "role_arn" in profile and "web_identity_token_file" not in profile:
        if profile.get("mfa_serial"):
            return Credentials(shown, obstacle=_needs_mfa(name))
        source = profile.get("source_profile")
        # A profile may be its own source, which are its keys then.
        if source and source != name and source not in seen:
            return _of_profile(source, configuration, seen | {name})
    if profile.get("aws_access_key_id"):
        ends = next((found for key in _ENDS if (found := _time(profile.get(key)))), None)
        is_open = bool(profile.get("aws_session_token")) and ends is None
        return Credentials(shown, ends=ends, is_open=is_open, renew=f"log in again to renew the keys of {shown}")
    if "sso_session" in profile or "sso_start_url" in profile:
        ends = _end_of_sso(profile)
        return Credentials(shown, ends=ends, renew=f"aws sso login --profile {name}")
    if "login_session" in profile and "credential_process" not in profile:
        return Credentials(shown, obstacle=_needs_bridge(name))
    return Credentials(shown)


def _needs_mfa(profile: str) -> tuple[str, str]:
    # "assume role with MFA enabled, but AssumeRoleTokenProvider session option not set": aws-sdk-go-v2,
    # config/resolve_credentials.go; neither Terraform nor the provider sets it.
    return (
        f"profile {profile} has an mfa_serial, and Terraform cannot ask for the code",
        "let the AWS CLI ask for it in this shell: "
        f'eval "$(aws configure export-credentials --profile {profile} --format env)". '
        "The credentials last an hour, or the duration_seconds of the profile",
    )


def _needs_bridge(profile: str) -> tuple[str, str]:
    # https://github.com/hashicorp/aws-sdk-go-base/issues/1433
    return (
        f"profile {profile} uses aws login (login_session), which Terraform cannot read",
        login_bridge(profile),
    )


def _end_of_sso(profile: Configuration) -> datetime | None:
    """Return when the login ends, unless the SDK renews it by itself, as it does for an sso-session.

    https://docs.aws.amazon.com/sdkref/latest/guide/feature-sso-credentials.html
    """
    key = str(profile.get("sso_session") or profile.get("sso_start_url"))
    file = Path.home() / ".aws" / "sso" / "cache" / f"{hashlib.sha1(key.encode()).hexdigest()}.json"
    try:
        token = json.loads(file.read_text(encoding="utf-8"))
        if "sso_session" in profile and token.get("refreshToken"):
            return _time(token.get("registrationExpiresAt"))
        return _time(token["expiresAt"])
    except (OSError, ValueError, KeyError, AttributeError):
        return None  # then nobody is logged in, which the first call says


def _time(text: str | None) -> datetime | None:
    """Return the time in ISO 8601 text, also with the "UTC" of older logins; None if it is not a time."""
    try:
        found = datetime.fromisoformat((text or "").strip().replace("UTC", "Z"))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
