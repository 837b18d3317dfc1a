"""Whether the caller may do what a deploy does, by IAM's own simulation."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from ops.core.errors import OpsError
from ops.core.session import Session
from ops.deployment.stacks import state_client
from ops.doctor.actions import Group, groups
from ops.doctor.report import Finding, Patient, is_denied, ok, problem, unknown


def permissions(patient: Patient, arn: str, account: str) -> Iterator[Finding]:
    """One finding a stack. arn and account are those of sts:GetCallerIdentity."""
    if arn.endswith(":root"):
        yield ok("permissions", "the account's root user may do everything (an IAM role would be safer)")
        return
    try:
        principal = principal_arn(patient, arn)
        for stack in patient.stacks:
            yield _stack(patient, stack, principal, account)
    except ClientError as error:
        if not is_denied(error):
            raise
        yield unknown(
            "permissions",
            f"these credentials may not ask ({error.operation_name} is denied)",
            "allow iam:SimulatePrincipalPolicy (and iam:GetRole for a role) to have them checked",
        )


def principal_arn(patient: Patient, arn: str) -> str:
    """The user or role whose policies count. Raises OpsError for callers that have none, ClientError."""
    kind, _, name = arn.partition(":")[2].rpartition(":")[2].partition("/")
    if arn.split(":")[2] == "iam" and kind == "user":
        return arn
    if kind == "assumed-role":
        # The session's ARN leaves out the role's path, which IAM Identity Center's roles have.
        role = name.partition("/")[0]
        answer: dict[str, Any] = patient.session.client("iam").get_role(RoleName=role)
        return str(answer["Role"]["Arn"])
    raise OpsError(f"{arn} is neither an IAM user nor a role, and IAM simulates only these")


@dataclass
class _Verdict:
    """What the simulation says of a stack's actions."""

    allowed: int = 0
    denied: list[str] = field(default_factory=list)
    depends: list[str] = field(default_factory=list)
    conditions: set[str] = field(default_factory=set)
    organization: bool = False

    def add(self, result: dict[str, Any], group: Group, unless: str | None) -> None:
        """unless: what is not known, and would make it no matter that no policy allows it."""
        action = result["EvalActionName"]
        shown = action if group.resource == "*" else f"{action} on {group.resource}"
        missing = result.get("MissingContextValues", [])
        if result["EvalDecision"] == "allowed":
            self.allowed += 1
        elif missing:
            # The policy asks for something that only the real call carries: no verdict without it.
            self.depends.append(shown)
            self.conditions.update(missing)
        elif unless and result["EvalDecision"] != "explicitDeny":
            self.depends.append(shown)
            self.conditions.add(unless)
        else:
            self.denied.append(shown)
            detail = result.get("OrganizationsDecisionDetail", {})
            self.organization |= detail.get("AllowedByOrganizations") is False


def _stack(patient: Patient, stack: str, principal: str, account: str) -> Finding:
    verdict, subject = _Verdict(), f"permissions: {stack}"
    simulate = patient.session.client("iam").get_paginator("simulate_principal_policy")
    for group in groups(patient.settings, stack, account, state_kms_key=key_of_the_bucket(patient.session)):
        there = _is_there(patient, group.resource) if group.service_role_of else False
        if there:
            continue
        unless = "that this role is not there yet (iam:GetRole is denied)" if there is None else group.allowed_by
        context = [_entry("aws:RequestedRegion", patient.region)]
        if group.passed_to:
            context.append(_entry("iam:PassedToService", group.passed_to))
        if group.service_role_of:
            context.append(_entry("iam:AWSServiceName", group.service_role_of))
        # One resource a call: only then is the verdict at the top the one on this resource.
        pages = simulate.paginate(
            PolicySourceArn=principal,
            ActionNames=group.names,
            ResourceArns=[group.resource],
            ContextEntries=context,
        )
        for page in pages:
            for result in page["EvaluationResults"]:
                verdict.add(result, group, unless)
    if verdict.denied:
        who = "an organization's policy (SCP)" if verdict.organization else f"no policy of {principal}"
        verb = "denies" if verdict.organization else "allows"
        return problem(
            subject,
            f"{who} {verb} {_some(verdict.denied)}",
            "have these allowed (ops doctor --json lists all; a policy that allows them on certain resources only is "
            "not seen where no resource is named here)",
        )
    if verdict.depends:
        return unknown(
            subject,
            f"{_some(verdict.depends)} depend on conditions that only the real call meets: "
            f"{', '.join(sorted(verdict.conditions))}",
        )
    return ok(subject, f"{verdict.allowed} actions allowed")


def key_of_the_bucket(session: Session) -> str | None:
    """The KMS key by which the state bucket encrypts what names none; None where it is S3's or AWS's, or not told."""
    try:
        answer = state_client(session).get_bucket_encryption(Bucket=session.settings.state.bucket)
    except ClientError:
        return None  # there is none, or no bucket, or it may not be read; the check of the bucket says so
    for rule in answer["ServerSideEncryptionConfiguration"]["Rules"]:
        key = str(rule.get("ApplyServerSideEncryptionByDefault", {}).get("KMSMasterKeyID", ""))
        # Of an alias or a bare id IAM's simulation knows nothing.
        if key.startswith("arn:") and ":key/" in key:
            return key
    return None


def _is_there(patient: Patient, role: str) -> bool | None:
    """Whether the account has this role (an ARN) already; None when that may not be asked."""
    try:
        patient.session.client("iam").get_role(RoleName=role.rpartition("/")[2])
    except ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchEntity":
            return False
        if is_denied(error):
            return None
        raise
    return True


def _entry(name: str, value: str) -> dict[str, Any]:
    return {"ContextKeyName": name, "ContextKeyValues": [value], "ContextKeyType": "string"}


def _some(names: list[str], most: int = 4) -> str:
    rest = len(names) - most
    return f"{', '.join(names[:most])} and {rest} more" if rest > 0 else ", ".join(names)
