"""Names that a deploy would give and that are taken already, by what no state of this deployment knows.

AWS refuses a second role, parameter or file system of one name, and Terraform finds out in the middle of the deploy,
when a NAT gateway runs already. The names are those of the synthesized stacks.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from botocore.exceptions import ClientError

from ops.account.state_bucket import StateBucket
from ops.core import synthesis
from ops.core.errors import OpsError
from ops.core.stack_names import state_key
from ops.deployment.lookups import LOOKUPS, Body, Named
from ops.deployment.stacks import StackState, read_stack
from ops.doctor.report import Finding, Patient, is_denied, ok, problem, unknown, why_unknown

# Its name is its own within a VPC only; see `_group_is_taken`.
SECURITY_GROUP: Final = "aws_security_group"
_REFERENCE: Final = re.compile(r"\$\{(\w+)\.([\w-]+)\.id\}")


def names(patient: Patient, account: str) -> Iterator[Finding]:
    """Check, for each stack, the names that its state lacks. account: 12 digits."""
    try:
        documents = synthesis.synthesized(patient.session.environment)
    except synthesis.SynthesisError as error:
        raise OpsError(error.problem, fix=error.fix) from None
    for stack in patient.stacks:
        state = _state(patient, stack)
        missing = [each for each in _resources(documents[stack]) if not _is_in(state, *each[:2])]
        yield from _of_stack(patient, stack, state, missing, account)


def _state(patient: Patient, stack: str) -> StackState | None:
    """Return the stack's state; None also without a bucket."""
    try:
        return read_stack(patient.session, stack)
    except OpsError:
        if StateBucket(patient.session).exists():
            raise
        return None


def _of_stack(
    patient: Patient, stack: str, state: StackState | None, missing: list[tuple[str, str, Body]], account: str
) -> Iterator[Finding]:
    subject = f"names: {stack}"
    looked, taken, not_known = 0, [], []
    for kind, address, body in missing:
        named = LOOKUPS.get(kind)
        if named is None and kind != SECURITY_GROUP:
            continue
        name = str(body[named.attribute if named else "name"])
        if "${" in name:
            continue  # it has in it what Terraform makes, so nobody else has it
        shown = f"{named.kind if named else 'security group'} {name}"
        try:
            is_taken = _is_taken(patient, named, name, account) if named else _group_is_taken(patient, state, body)
        except ClientError as error:
            if not is_denied(error):
                raise
            not_known.append(f"{shown} ({why_unknown(error)})")
            continue
        looked += 1
        if is_taken:
            taken.append((shown, f"{kind}.{address}"))
    if taken:
        yield _problem(patient, stack, taken)
    elif looked:
        yield ok(subject, f"all {looked} names are free")
    if not_known:
        yield unknown(subject, f"cannot tell whether these are taken: {', '.join(not_known)}")


def _problem(patient: Patient, stack: str, taken: list[tuple[str, str]]) -> Finding:
    place = f"s3://{patient.settings.state.bucket}/{state_key(patient.settings, stack)}"
    addresses = ", ".join(address for _, address in taken)
    return problem(
        f"names: {stack}",
        f"already exist, but are not in {place}: {', '.join(shown for shown, _ in taken)}. A deploy would fail at them "
        "halfway",
        "if another state manages them: use its state.bucket and state.prefix, or choose another deployment.name. "
        f"Otherwise delete them, or import them (ops adopt {stack}, for {addresses})",
    )


def _resources(document: Body) -> Iterator[tuple[str, str, Body]]:
    """Yield type, Terraform name and arguments of every resource of a synthesized stack."""
    for kind, named in sorted(document.get("resource", {}).items()):
        for address, body in sorted(named.items()):
            yield kind, address, body


def _is_in(state: StackState | None, kind: str, address: str) -> bool:
    return state is not None and state.attributes(kind, address) is not None


def _is_taken(patient: Patient, named: Named, name: str, account: str) -> bool:
    code, message = named.missing
    try:
        answer: dict[str, Any] = getattr(patient.session.client(named.service), named.call)(**named.ask(name, account))
    except ClientError as error:
        said = error.response["Error"]
        if code and said["Code"] == code and message in said.get("Message", ""):
            return False
        raise
    return named.found(answer, name)


def _group_is_taken(patient: Patient, state: StackState | None, body: Body) -> bool:
    """Return whether the security group's name is taken in its VPC; False while there is no VPC."""
    reference = _REFERENCE.fullmatch(str(body["vpc_id"]))
    vpc = state.attributes(reference[1], reference[2]) if state and reference else None
    if vpc is None:
        return False
    filters = [{"Name": "vpc-id", "Values": [vpc["id"]]}, {"Name": "group-name", "Values": [body["name"]]}]
    return bool(patient.everything("ec2", "describe_security_groups", "SecurityGroups", Filters=filters))
