"""What others have put into the VPC: Terraform knows nothing of it, and EC2 deletes no VPC that holds anything.

GuardDuty does, where its Runtime Monitoring manages the agents itself, which an organization may decide for all its
accounts: an interface endpoint (com.amazonaws.REGION.guardduty-data) and a security group, both with the tag
GuardDutyManaged. It takes them away only when Runtime Monitoring is turned off:
https://docs.aws.amazon.com/guardduty/latest/ug/using-iac-with-gdu-automated-agents-runtime-monitoring.html
hashicorp/aws 5.100.0 leaves them alone: https://github.com/hashicorp/terraform-provider-aws/issues/46747
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from ops.deployment.stacks import read_stack
from ops.doctor.report import Check, Finding, Patient, ok

_GUARDDUTY: Final = "GuardDutyManaged"


def others(patient: Patient) -> Iterator[Finding]:
    """Report endpoints and security groups in mlcore's VPC that others created."""
    state = read_stack(patient.session, "mlcore") if "mlcore" in patient.stacks else None
    vpc = state.attributes("aws_vpc", "core") if state else None
    if vpc is None:
        return
    within = [{"Name": "vpc-id", "Values": [vpc["id"]]}]
    endpoints = [
        each
        for each in patient.everything("ec2", "describe_vpc_endpoints", "VpcEndpoints", Filters=within)
        if _is_foreign(patient, each) and str(each.get("State", "")).lower() not in ("deleting", "deleted")
    ]
    groups = [
        each
        for each in patient.everything("ec2", "describe_security_groups", "SecurityGroups", Filters=within)
        if _is_foreign(patient, each) and each["GroupName"] != "default"
    ]
    if endpoints or groups:
        yield ok("VPC", _told(patient, str(vpc["id"]), endpoints, groups))


def _tags(resource: Mapping[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in resource.get("Tags", [])}


def _is_foreign(patient: Patient, resource: Mapping[str, Any]) -> bool:
    return _tags(resource).get("deployment") != patient.session.name


def _told(patient: Patient, vpc: str, endpoints: list[dict[str, Any]], groups: list[dict[str, Any]]) -> str:
    ids = [*(each["VpcEndpointId"] for each in endpoints), *(each["GroupId"] for each in groups)]
    who = "GuardDuty" if all(_GUARDDUTY in _tags(each) for each in (*endpoints, *groups)) else "others"
    commands = []
    if endpoints:
        named = " ".join(each["VpcEndpointId"] for each in endpoints)
        commands.append(f"aws ec2 delete-vpc-endpoints --region {patient.region} --vpc-endpoint-ids {named}")
    # A group is free only when the endpoint that uses it is gone.
    commands += [
        f"aws ec2 delete-security-group --region {patient.region} --group-id {each['GroupId']}" for each in groups
    ]
    return (
        f"{who} created {', '.join(ids)} in {vpc}, so cdktf destroy mlcore would fail at the subnets and the VPC "
        f"(DependencyViolation). Destroy the other stacks first, then run: {'; '.join(commands)}"
    )


CHECKS = (Check("VPC", others),)
