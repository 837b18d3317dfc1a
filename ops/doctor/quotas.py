"""Quotas against what is used already: vCPU by family, on demand and spot, Elastic IP addresses, VPCs, notebooks."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from botocore.exceptions import BotoCoreError, ClientError

from constructs_lib.instance_types import INSTANCE_TYPES
from ops.doctor.report import Check, Finding, Machine, Patient, ok, problem, unknown, why_unknown

# Service Quotas: "EC2-VPC Elastic IPs" (service ec2) and "VPCs per Region" (service vpc), read 2026-11.
ELASTIC_IPS: Final = ("ec2", "L-0263D0A3")
VPCS: Final = ("vpc", "L-F678F1CE")

# As in modules_equiv/train_model_dev/stack.py, after the deployment's name.
_NOTEBOOK: Final = "-dev-gaudi-sagemaker-nb-instance"


@dataclass(frozen=True)
class Family:
    """Instance types that share vCPU quotas, and the codes of these. spot None: not known.

    A type belongs to the family that names it up to the dot ("p5"), else to the one that names its first letters ("p").
    """

    name: str
    types: frozenset[str]
    on_demand: str
    spot: str | None


def _family(name: str, types: str, on_demand: str, spot: str | None) -> Family:
    return Family(name, frozenset(types.split()), on_demand, spot)


# EC2 user guide, "On-Demand Instance quotas" and "Spot Instance quotas" (which has P5 apart from P4, P3 and P2), read
# 2026-11; codes as in constructs_lib/instance_types.py. Types of no family here (mac, u, hpc, ...) have quotas of their
# own.
_FAMILIES: Final = (
    _family("Standard", "a c d h i im is m r t z", "L-1216C47A", "L-34B43A08"),
    _family("P", "p2 p3 p3dn p4d p4de", "L-417A185B", "L-7212CCBC"),
    _family("P5", "p5 p5e p5en", "L-417A185B", "L-C4BD4855"),
    _family("P", "p", "L-417A185B", None),
    _family("G and VT", "g gr vt", "L-DB2E81BA", "L-3819A6DF"),
    _family("DL", "dl", "L-6E869C2A", "L-85EED4F7"),
    _family("Trn", "trn", "L-2C3B7624", "L-6B0D517C"),
)


def family(instance_type: str) -> Family | None:
    """Return the family of an instance type; None for an unknown one."""
    match = re.match(r"[a-z]+", instance_type)
    for word in (instance_type.partition(".")[0], match[0] if match else ""):
        for each in _FAMILIES:
            if word in each.types:
                return each
    return None


def on_demand_quota(instance_type: str) -> str | None:
    """Return the code of the vCPU quota for machines of this type; None for an unknown family."""
    found = family(instance_type)
    return found.on_demand if found else None


def spot_quota(instance_type: str) -> str | None:
    """Return the code of the vCPU quota for spot machines of this type; None for an unknown family."""
    found = family(instance_type)
    return found.spot if found else None


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
    """Return the account's quota in the region, or AWS's default where it has none of its own.

    Else why neither is known.

    Only NoSuchResourceException says that there is none of its own: after any other failure the account may have more
    or less than the default.
    """
    client = patient.session.client("service-quotas")
    for call, default in (("get_service_quota", False), ("get_aws_default_service_quota", True)):
        try:
            answer = getattr(client, call)(ServiceCode=service, QuotaCode=code)["Quota"]
            return Limit(float(answer["Value"]), default)
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchResourceException":
                return why_unknown(error)
        except BotoCoreError as error:
            return why_unknown(error)
        except KeyError:
            return "Service Quotas returned no value"
    return f"Service Quotas has no {code} in this region"


def vcpus(patient: Patient) -> Iterator[Finding]:
    """Check that the machines fit into the vCPU quota of every family, beside those that run already."""
    if not patient.machines:
        return
    running = _running_types(patient, spot=False)
    for code, machines in _by_quota(patient.machines, on_demand_quota).items():
        subject = f"vCPU: {next(each.name for each in _FAMILIES if each.on_demand == code)}"
        others = [instance_type for instance_type in running if on_demand_quota(instance_type) == code]
        used = _vcpus_of(patient, others)
        found = limit(patient, "ec2", code)
        quota = f"ec2 --quota-code {code}"
        yield _against(subject, _need(machines), used, found, _who(machines), quota, patient, unit="vCPU")


def spot(patient: Patient) -> Iterator[Finding]:
    """Report whether the machines would fit as spot machines. No stack uses spot, so this is never a problem."""
    if not patient.machines:
        return
    taken = [*_running_types(patient, spot=True), *_requested_types(patient)]
    for code, machines in _by_quota(patient.machines, spot_quota).items():
        subject = f"spot: {next(each.name for each in _FAMILIES if each.spot == code)}"
        used = _vcpus_of(patient, [instance_type for instance_type in taken if spot_quota(instance_type) == code])
        need, found = _need(machines), limit(patient, "ec2", code)
        sentence = f"no stack uses spot; as spot, {need} vCPU would be needed ({_who(machines)})"
        if isinstance(found, str):
            yield unknown(subject, f"{sentence}; the quota is unknown: {found}")
        elif used is None:
            yield unknown(
                subject, f"{sentence}, quota {found.shown}; EC2 does not report the vCPU count of a running machine"
            )
        else:
            verdict = "fits" if need + used <= found.value else "does not fit"
            yield ok(subject, f"{sentence}, {used} used, quota {found.shown}: {verdict}")


def _by_quota(machines: Sequence[Machine], quota: Callable[[str], str | None]) -> dict[str, list[Machine]]:
    found: dict[str, list[Machine]] = {}
    for machine in machines:
        if code := quota(machine.type.name):
            found.setdefault(code, []).append(machine)
    return found


def _need(machines: Sequence[Machine]) -> int:
    return sum(machine.type.vcpu for machine in machines)


def _who(machines: Sequence[Machine]) -> str:
    return ", ".join(f"{machine.name} {machine.type.vcpu}" for machine in machines)


def _running_types(patient: Patient, *, spot: bool) -> list[str]:
    """Return the types of the machines that run or are about to, other than those of the stacks in question."""
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
        if (instance.get("InstanceLifecycle") == "spot") == spot and not patient.is_own(instance.get("Tags", []))
    ]


def _requested_types(patient: Patient) -> list[str]:
    """Return the types of open spot requests, which count like machines (EC2 user guide, "Spot Instance quotas")."""
    requests = patient.everything(
        "ec2",
        "describe_spot_instance_requests",
        "SpotInstanceRequests",
        Filters=[{"Name": "state", "Values": ["open"]}],
    )
    return [request["LaunchSpecification"]["InstanceType"] for request in requests]


def _vcpus_of(patient: Patient, instance_types: list[str]) -> int | None:
    """Return the total vCPU count of these types; None when EC2 does not report one of them."""
    known = {row.name: row.vcpu for row in INSTANCE_TYPES.values()}
    if asked := sorted(set(instance_types) - set(known)):
        described = patient.everything("ec2", "describe_instance_types", "InstanceTypes", InstanceTypes=asked)
        known |= {each["InstanceType"]: each["VCpuInfo"]["DefaultVCpus"] for each in described}
    if any(instance_type not in known for instance_type in instance_types):
        return None
    return sum(known[instance_type] for instance_type in instance_types)


def addresses(patient: Patient) -> Iterator[Finding]:
    """Check the quota for the NAT gateway's address."""
    if "mlcore" not in patient.stacks:
        return
    found = patient.session.client("ec2").describe_addresses()["Addresses"]
    used = sum(1 for address in found if not patient.is_own(address.get("Tags", [])))
    yield _against(
        "Elastic IPs", 1, used, limit(patient, *ELASTIC_IPS), "the NAT gateway", f"ec2 --quota-code {ELASTIC_IPS[1]}",
        patient, unit="address",
    )  # fmt: skip


def vpcs(patient: Patient) -> Iterator[Finding]:
    """Check the quota for the network's VPC."""
    if "mlcore" not in patient.stacks:
        return
    found = patient.everything("ec2", "describe_vpcs", "Vpcs")
    used = sum(1 for vpc in found if not patient.is_own(vpc.get("Tags", [])))
    yield _against(
        "VPCs", 1, used, limit(patient, *VPCS), "the network", f"vpc --quota-code {VPCS[1]}", patient, unit="VPC"
    )


def notebooks(patient: Patient) -> Iterator[Finding]:
    """Check the notebook quota, which SageMaker has per instance type, found by name."""
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
    # The first list leaves out what the account has no value of its own for (API reference, ListServiceQuotas).
    for call, default in (("list_service_quotas", False), ("list_aws_default_service_quotas", True)):
        try:
            found = patient.everything("service-quotas", call, "Quotas", ServiceCode="sagemaker")
        except (ClientError, BotoCoreError) as error:
            reasons.append(why_unknown(error))
            break
        for quota in found:
            if quota["QuotaName"] == name and "Value" in quota:
                value = Limit(float(quota["Value"]), default)
                code = f"sagemaker --quota-code {quota['QuotaCode']}"
                yield _against(subject, 1, used, value, kind, code, patient, unit="notebook")
                return
        reasons.append(f'no quota is named "{name}"')
    yield unknown(subject, f"1 needed ({kind}); the quota is unknown: {'; '.join(dict.fromkeys(reasons))}")


def _against(
    subject: str, need: int, used: int | None, found: Limit | str, who: str, quota: str, patient: Patient, *, unit: str
) -> Finding:
    """Compare the need with the quota; `used` None: unknown."""
    if isinstance(found, str):
        return unknown(subject, f"{need} needed ({who}); the quota is unknown: {found}")
    if used is None and need <= found.value:
        return unknown(
            subject,
            f"{need} needed ({who}), quota {found.shown}; EC2 does not report the vCPU count of a running machine",
        )
    sentence = f"{need} needed ({who}), {'?' if used is None else used} used by others, quota {found.shown}"
    total = need + (used or 0)
    if total <= found.value:
        return ok(subject, sentence)
    ask = (
        f"aws service-quotas request-service-quota-increase --region {patient.region} --service-code {quota} "
        f"--desired-value {total}"
    )
    freeing = "stop unused ones" if unit in ("vCPU", "notebook") else "release unused ones"
    return problem(subject, sentence, f"{ask}; or {freeing}")


CHECKS = (
    Check("vCPU", vcpus),
    Check("spot", spot),
    Check("Elastic IPs", addresses),
    Check("VPCs", vpcs),
    Check("notebook", notebooks),
)
