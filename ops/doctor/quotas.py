"""Quotas against what is used already: vCPU by family, Elastic IP addresses, VPCs, notebooks."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from constructs_lib.instance_types import INSTANCE_TYPES
from ops.doctor.report import Check, Finding, Patient, ok, problem, unknown, why_unknown

# Service Quotas: "EC2-VPC Elastic IPs" (service ec2) and "VPCs per Region" (service vpc), read 2026-11.
ELASTIC_IPS: Final = ("ec2", "L-0263D0A3")
VPCS: Final = ("vpc", "L-F678F1CE")

# As in modules_equiv/train_model_dev/stack.py, after the deployment's name.
_NOTEBOOK: Final = "-dev-gaudi-sagemaker-nb-instance"

# The first letters of a type name its family; the quotas are of these groups of families. EC2 user guide, "On-Demand
# Instance quotas", read 2026-11. Families without a group here (mac, u, hpc, …) have quotas of their own.
_GROUPS: Final = {
    "L-1216C47A": ("Standard", frozenset({"a", "c", "d", "h", "i", "im", "is", "m", "r", "t", "z"})),
    "L-417A185B": ("P", frozenset({"p"})),
    "L-DB2E81BA": ("G and VT", frozenset({"g", "gr", "vt"})),
    "L-6E869C2A": ("DL", frozenset({"dl"})),
    "L-2C3B7624": ("Trn", frozenset({"trn"})),
}


def family_quota(instance_type: str) -> str | None:
    """The code of the on-demand vCPU quota that an instance type counts against; None for a family not known here."""
    if row := INSTANCE_TYPES.get(instance_type):
        return row.quota_on_demand
    match = re.match(r"[a-z]+", instance_type)
    letters = match[0] if match else ""
    return next((code for code, (_, families) in _GROUPS.items() if letters in families), None)


@dataclass(frozen=True)
class Limit:
    """A quota's value. default: AWS's for everyone, where the account's own is not told."""

    value: float
    default: bool

    @property
    def shown(self) -> str:
        """The value as a person writes it."""
        return f"{self.value:g}{' (AWS default)' if self.default else ''}"


def limit(patient: Patient, service: str, code: str) -> Limit | str:
    """The account's quota in the region, else AWS's default; else the reason why neither is known."""
    client = patient.session.client("service-quotas")
    reasons = []
    for call, default in (("get_service_quota", False), ("get_aws_default_service_quota", True)):
        try:
            answer = getattr(client, call)(ServiceCode=service, QuotaCode=code)["Quota"]
            return Limit(float(answer["Value"]), default)
        except (ClientError, BotoCoreError) as error:
            reasons.append(_why_no_value(error))
        except KeyError:
            reasons.append("Service Quotas answered without a value")
    return "; ".join(dict.fromkeys(reasons))


def _why_no_value(error: ClientError | BotoCoreError) -> str:
    # Normal for the first call: what nobody ever raised has the default only.
    if isinstance(error, ClientError) and error.response["Error"]["Code"] == "NoSuchResourceException":
        return f"{error.operation_name} has no value"
    return why_unknown(error)


def vcpus(patient: Patient) -> Iterator[Finding]:
    """Every family that the machines need: what they take and what runs already fits into its quota."""
    needed: dict[str, list[Any]] = {}
    for machine in patient.machines:
        needed.setdefault(machine.type.quota_on_demand, []).append(machine)
    if not needed:
        return
    running = _running_types(patient)
    for code, machines in needed.items():
        name = _GROUPS[code][0] if code in _GROUPS else code
        subject = f"vCPU: {name}"
        need = sum(machine.type.vcpu for machine in machines)
        found = limit(patient, "ec2", code)
        who = ", ".join(f"{machine.name} {machine.type.vcpu}" for machine in machines)
        others = [instance_type for instance_type in running if family_quota(instance_type) == code]
        used = _vcpus_of(patient, others)
        yield _against(subject, need, used, found, who, f"ec2 --quota-code {code}", patient, unit="vCPU")


def _running_types(patient: Patient) -> list[str]:
    """The types of the on-demand machines that run or are about to, other than those of the stacks in question."""
    reservations = patient.everything(
        "ec2",
        "describe_instances",
        "Reservations",
        Filters=[{"Name": "instance-state-name", "Values": ["pending", "running"]}],
    )
    return [
        instance["InstanceType"]
        for reservation in reservations
        for instance in reservation["Instances"]
        # Spot has quotas of its own.
        if instance.get("InstanceLifecycle") != "spot" and not patient.is_own(instance.get("Tags", []))
    ]


def _vcpus_of(patient: Patient, instance_types: list[str]) -> int | None:
    """How many vCPU these machines have together; None when EC2 does not tell it of one of them."""
    known = {row.name: row.vcpu for row in INSTANCE_TYPES.values()}
    if asked := sorted(set(instance_types) - set(known)):
        described = patient.everything("ec2", "describe_instance_types", "InstanceTypes", InstanceTypes=asked)
        known |= {each["InstanceType"]: each["VCpuInfo"]["DefaultVCpus"] for each in described}
    if any(instance_type not in known for instance_type in instance_types):
        return None
    return sum(known[instance_type] for instance_type in instance_types)


def addresses(patient: Patient) -> Iterator[Finding]:
    """The NAT gateway's address."""
    if "mlcore" not in patient.stacks:
        return
    found = patient.session.client("ec2").describe_addresses()["Addresses"]
    used = sum(1 for address in found if not patient.is_own(address.get("Tags", [])))
    yield _against(
        "Elastic IPs", 1, used, limit(patient, *ELASTIC_IPS), "the NAT gateway", f"ec2 --quota-code {ELASTIC_IPS[1]}",
        patient, unit="address",
    )  # fmt: skip


def vpcs(patient: Patient) -> Iterator[Finding]:
    """The network's VPC."""
    if "mlcore" not in patient.stacks:
        return
    found = patient.everything("ec2", "describe_vpcs", "Vpcs")
    used = sum(1 for vpc in found if not patient.is_own(vpc.get("Tags", [])))
    yield _against(
        "VPCs", 1, used, limit(patient, *VPCS), "the network", f"vpc --quota-code {VPCS[1]}", patient, unit="VPC"
    )


def notebooks(patient: Patient) -> Iterator[Finding]:
    """The notebook: SageMaker counts instances of each type, and has no quota code that follows from the type."""
    if "train-model-dev" not in patient.stacks:
        return
    kind = patient.settings.train_model_dev.instance_type
    subject, name = "notebook", f"{kind} for notebook instance usage"
    ours = f"{patient.session.name}{_NOTEBOOK}"
    listed = patient.everything("sagemaker", "list_notebook_instances", "NotebookInstances")
    used = sum(
        1
        for each in listed
        if each["InstanceType"] == kind
        and each["NotebookInstanceName"] != ours
        and each["NotebookInstanceStatus"] not in ("Stopped", "Failed")
    )
    reasons = []
    for call, default in (("list_service_quotas", False), ("list_aws_default_service_quotas", True)):
        try:
            found = patient.everything("service-quotas", call, "Quotas", ServiceCode="sagemaker")
        except (ClientError, BotoCoreError) as error:
            reasons.append(_why_no_value(error))
            continue
        for quota in found:
            if quota["QuotaName"] == name and "Value" in quota:
                value = Limit(float(quota["Value"]), default)
                code = f"sagemaker --quota-code {quota['QuotaCode']}"
                yield _against(subject, 1, used, value, kind, code, patient, unit="notebook")
                return
        reasons.append(f'no quota is called "{name}"')
    yield unknown(subject, f"1 needed ({kind}); the quota is not known: {'; '.join(dict.fromkeys(reasons))}")


def _against(
    subject: str, need: int, used: int | None, found: Limit | str, who: str, quota: str, patient: Patient, *, unit: str
) -> Finding:
    """Compares; `used` None: not known."""
    if isinstance(found, str):
        return unknown(subject, f"{need} needed ({who}); the quota is not known: {found}")
    if used is None and need <= found.value:
        return unknown(
            subject, f"{need} needed ({who}), quota {found.shown}; EC2 does not tell the vCPU of a machine that runs"
        )
    sentence = f"{need} needed ({who}), {'?' if used is None else used} used by others, quota {found.shown}"
    total = need + (used or 0)
    if total <= found.value:
        return ok(subject, sentence)
    ask = (
        f"aws service-quotas request-service-quota-increase --region {patient.region} --service-code {quota} "
        f"--desired-value {total}"
    )
    freeing = "stop what is not needed" if unit in ("vCPU", "notebook") else "release what is not needed"
    return problem(subject, sentence, f"{ask}; or {freeing}")


CHECKS = (Check("vCPU", vcpus), Check("Elastic IPs", addresses), Check("VPCs", vpcs), Check("notebook", notebooks))
