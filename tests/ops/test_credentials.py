"""Credentials with which `ops` gets on and Terraform does not, and those that end before a deploy does."""

import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from embedded_aws import control
from ops.core import synthesis
from ops.doctor import account
from tests.ops.aws_support import Person
from tests.ops.support import Finished

KEYS = "aws_access_key_id = AKIA\naws_secret_access_key = secret\n"
ROLE = "role_arn = arn:aws:iam::123456789012:role/deployer\n"
MFA = "mfa_serial = arn:aws:iam::123456789012:mfa/me\n"
LOGIN = "login_session = arn:aws:iam::123456789012:user/me\n"
SSO = "sso_account_id = 123456789012\nsso_role_name = Deployer\n"
NEW_SSO = f"sso_session = work\n{SSO}"
OLD_SSO = f"sso_start_url = https://example.awsapps.com/start\nsso_region = us-east-1\n{SSO}"
SESSION = "[sso-session work]\nsso_start_url = https://example.awsapps.com/start\nsso_region = us-east-1\n"

WITHOUT_KEYS: dict[str, Any] = dict.fromkeys(["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_PROFILE"])


@pytest.fixture
def person(empty_endpoint: control.Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Person:
    """Somebody who has no keys in variables, and an AWS configuration of their own."""
    # No names to look for: of those are tests/ops/test_doctor_names.py.
    monkeypatch.setattr(synthesis, "synthesized", lambda _: {"mlcore": {}})
    person = Person(tmp_path, empty_endpoint)
    person.write()
    person.variables = {"AWS_CONFIG_FILE": str(tmp_path / ".aws" / "config")}
    return person


def configure(person: Person, text: str) -> None:
    file = person.home / ".aws" / "config"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text, encoding="utf-8")


def logged_in(person: Person, of: str, **token: str) -> None:
    """A log-in to IAM Identity Center, as the AWS CLI keeps it: the SHA-1 of session or start URL names the file."""
    file = person.home / ".aws" / "sso" / "cache" / f"{hashlib.sha1(of.encode()).hexdigest()}.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"accessToken": "x", **token}), encoding="utf-8")


def doctor(person: Person, **variables: str | None) -> Finished:
    """Doctor without keys in variables. Every call that would leave the machine goes to the embedded AWS."""
    return person.ops("doctor", "mlcore", "--json", **{**WITHOUT_KEYS, "AWS_PROFILE": "me", **variables})


def said(ended: Finished, subject: str) -> tuple[str, str, str]:
    """State, detail and fix of the one finding with this subject."""
    (found,) = [each for each in ended.document["findings"] if each["subject"] == subject]
    return found["state"], found["detail"], found["fix"] or ""


def subjects(ended: Finished) -> list[str]:
    return [each["subject"] for each in ended.document["findings"]]


def after(**span: float) -> str:
    return (datetime.now(UTC) + timedelta(**span)).strftime("%Y-%m-%dT%H:%M:%SZ")


# What follows "[profile me]", and the profile that needs the code.
WITH_A_CODE = [
    (f"{ROLE}{MFA}{KEYS}", "me"),
    (f"{ROLE}{MFA}source_profile = other\n[profile other]\n{KEYS}", "me"),
    (f"{ROLE}source_profile = other\n[profile other]\n{ROLE}{MFA}{KEYS}", "other"),
]


@pytest.mark.parametrize(("text", "profile"), WITH_A_CODE)
def test_terraform_cannot_ask_for_an_mfa_code(person: Person, text: str, profile: str) -> None:
    configure(person, f"[profile me]\n{text}")

    ended = doctor(person)

    state, detail, fix = said(ended, "credentials")
    assert (state, ended.status) == ("problem", 1)
    assert detail == f"profile {profile} has an mfa_serial, and Terraform cannot ask for the code"
    assert f'eval "$(aws configure export-credentials --profile {profile} --format env)"' in fix
    assert said(ended, "the rest")[0] == "unknown"


@pytest.mark.parametrize("text", [LOGIN, f"{ROLE}source_profile = other\n[profile other]\n{LOGIN}"])
def test_terraform_cannot_read_a_profile_of_aws_login(person: Person, text: str) -> None:
    configure(person, f"[profile me]\n{text}")
    profile = "other" if "other" in text else "me"

    state, detail, fix = said(doctor(person), "credentials")

    assert state == "problem"
    assert f"profile {profile} uses aws login (login_session), which Terraform cannot read" in detail
    assert f"[profile {profile}-process]" in fix
    assert f"credential_process = aws configure export-credentials --profile {profile} --format process" in fix


def test_other_commands_say_the_way_out_of_aws_login_too(person: Person) -> None:
    configure(person, f"[profile me]\n{LOGIN}")

    ended = person.ops("status", AWS_PROFILE="me", **WITHOUT_KEYS)

    assert ended.status == 1
    assert "credential_process = aws configure export-credentials --profile me" in " ".join(ended.err.split())


def test_two_profiles_in_the_environment_are_two_accounts(person: Person) -> None:
    """Terraform takes the first, botocore the second."""
    configure(person, f"[profile me]\n{KEYS}[profile other]\n{KEYS}")

    state, detail, fix = said(doctor(person, AWS_DEFAULT_PROFILE="other"), "credentials")

    assert (state, fix) == ("problem", "unset AWS_DEFAULT_PROFILE")
    assert "Terraform uses AWS_PROFILE=me, but ops and boto3 use AWS_DEFAULT_PROFILE=other" in detail


@pytest.mark.parametrize(
    "text",
    [
        KEYS,
        f"{KEYS}{MFA}",  # without a role no code is asked for
    ],
)
def test_what_terraform_can_use_is_well_and_does_not_end(person: Person, text: str) -> None:
    configure(person, f"[profile me]\n{text}")

    ended = doctor(person)

    assert said(ended, "credentials")[0] == "ok"
    assert "credentials last" not in subjects(ended)


def test_a_credential_process_is_well(person: Person) -> None:
    made = {
        "Version": 1,
        "AccessKeyId": "AKIA",
        "SecretAccessKey": "s",
        "SessionToken": "t",
        "Expiration": after(hours=1),
    }
    file = person.home / "made.json"
    file.write_text(json.dumps(made), encoding="utf-8")
    configure(person, f"[profile me]\ncredential_process = cat {file}\n")

    ended = doctor(person)

    assert said(ended, "credentials")[0] == "ok"
    assert "credentials last" not in subjects(ended)  # Terraform runs it again


def in_variables(person: Person, ends: str | None) -> Finished:
    """With temporary keys in variables, as `aws configure export-credentials --format env` sets them."""
    keys = {"AWS_ACCESS_KEY_ID": "ASIA", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t", "AWS_PROFILE": None}
    return doctor(person, **keys, AWS_CREDENTIAL_EXPIRATION=ends)


def test_keys_that_end_before_a_deploy_would(person: Person) -> None:
    state, detail, fix = said(in_variables(person, after(minutes=25)), "credentials last")

    assert state == "problem"
    assert "the AWS_ variables: expire in 2" in detail  # the minutes go on while it looks
    assert "cannot save its state and leaves it locked" in detail
    assert fix == "log in again, then set the AWS_ variables again"


def test_keys_that_have_just_been_made_for_an_hour_are_well(person: Person) -> None:
    ended = in_variables(person, after(minutes=60))

    assert said(ended, "credentials last")[0] == "ok"
    assert said(ended, "credentials")[0] == "ok"


def test_keys_that_have_ended_are_not_tried(person: Person) -> None:
    ended = in_variables(person, after(hours=-2, seconds=-30))

    state, detail, _ = said(ended, "credentials last")
    assert state == "problem"
    assert detail.startswith("the AWS_ variables: expired 2 h ")
    assert said(ended, "the rest")[0] == "unknown"


def test_other_commands_say_that_keys_have_ended(person: Person) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "ASIA", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"}
    ended = person.ops("status", **keys, AWS_CREDENTIAL_EXPIRATION=after(hours=-2))

    assert ended.status == 1
    assert "the credentials in the AWS_ variables have expired" in " ".join(ended.err.split())


def test_temporary_keys_that_do_not_say_their_end_are_unknown(person: Person) -> None:
    state, detail, _ = said(in_variables(person, None), "credentials last")

    assert (state, "with an unknown expiry time" in detail) == ("unknown", True)


@pytest.mark.parametrize(
    ("profile", "of", "minutes", "token", "state", "detail"),
    [
        # Renewed by itself while the registration lasts.
        (NEW_SSO, "work", 20, {"refreshToken": "r"}, None, ""),
        (NEW_SSO, "work", 20, {}, "problem", "profile me: expire in "),
        (OLD_SSO, "https://example.awsapps.com/start", 20, {}, "problem", "expire in "),
        (OLD_SSO, "https://example.awsapps.com/start", 360, {}, "ok", "5 h "),
    ],
)
@pytest.mark.parametrize("end", ["Z", "UTC"])  # as older CLIs wrote it
def test_a_log_in_that_ends_before_a_deploy_would(
    person: Person,
    monkeypatch: pytest.MonkeyPatch,
    profile: str,
    of: str,
    minutes: int,
    token: dict[str, str],
    state: str | None,
    detail: str,
    end: str,
) -> None:
    configure(person, f"[profile me]\n{profile}{SESSION}")
    logged_in(person, of, expiresAt=after(minutes=minutes).replace("Z", end), **token)
    for name, value in person.environment(**WITHOUT_KEYS, AWS_PROFILE="me").items():
        monkeypatch.setenv(name, value)
    # Nobody is asked: botocore took the home folder when it was imported, and finds no log-in in this one.
    monkeypatch.setattr(account, "_asked", lambda *_: account.Caller(()))

    found = account.caller(None, "us-east-1").findings

    assert [(each.subject, each.state) for each in found] == ([("credentials last", state)] if state else [])
    for each in found:
        assert detail in each.detail
        assert each.fix == (None if state == "ok" else "aws sso login --profile me")
