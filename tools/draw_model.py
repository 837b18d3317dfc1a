"""What the picture of the infrastructure says, read from the synthesized Terraform JSON and from nothing else."""

import ipaddress
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from constructs_lib.packed_user_data import unpacked
from constructs_lib.user_data import UserDataError

Json = dict[str, Any]

# Types that are no part of the picture, by the name under which they are counted. What is neither is listed by address.
HELPERS: Final = {
    "aws_cloudwatch_log_group": "log group",
    "aws_default_security_group": "default security group",
    "aws_efs_access_point": "EFS access point",
    "aws_efs_backup_policy": "EFS backup policy",
    "aws_efs_file_system_policy": "EFS policy",
    "aws_eip": "Elastic IP",
    "aws_iam_instance_profile": "instance profile",
    "aws_iam_policy": "IAM policy",
    "aws_iam_role": "IAM role",
    "aws_iam_role_policy_attachment": "policy attachment",
    "aws_main_route_table_association": "main route table association",
    "aws_route_table": "route table",
    "aws_route_table_association": "route table association",
    "aws_sagemaker_code_repository": "code repository",
    "aws_sagemaker_notebook_instance_lifecycle_configuration": "lifecycle configuration",
    "aws_security_group": "security group",
    "aws_ssm_parameter": "SSM parameter",
    "data.aws_ebs_snapshot_ids": "snapshot lookup",
    "data.aws_ssm_parameter": "image lookup",
    "ephemeral.aws_secretsmanager_random_password": "generated password",
}
# A boot script that has both the program's name and its port starts it.
_SERVICES: Final = (("Grafana", 3000), ("TensorBoard", 6006))
_SSH: Final = 22
_IN_SUBNETS: Final = (
    "aws_instance",
    "aws_sagemaker_notebook_instance",
    "aws_nat_gateway",
    "aws_efs_mount_target",
)
_REFERENCE: Final = re.compile(
    r"data\.terraform_remote_state\.(?P<state>[\w-]+)\.outputs\.(?P<output>[\w-]+)(?:\.(?P<attribute>\w+))?"
    r"|(?<![\w.])(?P<address>aws_\w+\.[\w-]+)\.\w"
)


class ModelError(Exception):
    """The stacks cannot be drawn; the message says why."""


class Ref(NamedTuple):
    """A resource of a stack, by its Terraform address."""

    stack: str
    address: str

    @property
    def kind(self) -> str:
        """The resource type; begins with data. or ephemeral. where the address does."""
        return self.address.rpartition(".")[0]


class Subnet(NamedTuple):
    """A subnet; public when its routes lead to an internet gateway."""

    ref: Ref
    cidr: str
    az: str
    public: bool


class Part(NamedTuple):
    """A resource with a place: in `subnet`, else on the border of the VPC, or (storage) below what it is linked to."""

    ref: Ref
    title: str
    lines: tuple[str, ...]
    subnet: Ref | None


class Link(NamedTuple):
    """`source` reaches `target`. kind: in (from a CIDR block), ssh, nfs, mounts, volume, out (a subnet over a NAT)."""

    kind: str
    source: Ref | str
    target: Ref
    label: str


class Stack(NamedTuple):
    """What became of a stack's addresses: drawn, counted (name, number), or listed since nothing is known of them."""

    name: str
    drawn: tuple[str, ...]
    counted: tuple[tuple[str, int], ...]
    listed: tuple[str, ...]
    state_key: str
    reads: tuple[str, ...]


class Model(NamedTuple):
    """Everything the picture says."""

    region: str
    state_bucket: str
    vpc: Ref
    vpc_cidr: str
    subnets: tuple[Subnet, ...]
    parts: tuple[Part, ...]
    links: tuple[Link, ...]
    stacks: tuple[Stack, ...]


def read_model(stacks: Mapping[str, Json]) -> Model:
    """Return the model of synthesized stacks, name -> Terraform JSON. Raises ModelError without a VPC to draw."""
    read = _Reader(stacks)
    vpc = next(iter(read.of("aws_vpc")), None)
    if vpc is None:
        raise ModelError("no stack has an aws_vpc, so there is nothing to draw")
    subnets = {subnet.ref: subnet for subnet in read.subnets(vpc)}
    parts = {part.ref: part for part in map(read.part, read.of(*_IN_SUBNETS)) if part.subnet in subnets}
    border = [ref for ref in read.of("aws_internet_gateway", "aws_vpc_endpoint") if read.at(ref, "vpc_id") == vpc]
    storage = [link for link in read.storage() if link.source in parts]
    parts |= {ref: read.part(ref) for ref in (*border, *(link.target for link in storage))}
    drawn = {vpc, *subnets, *parts, *read.states}
    links = [*storage, *read.reach(read.bodies[vpc]["cidr_block"], subnets, parts), *read.mounting(parts)]
    links += [link for link in read.ways_out() if {link.source, link.target} <= drawn]
    drawn |= {ref for ref in read.of("aws_volume_attachment") if read.at(ref, "volume_id") in parts}
    shares = [read.share(name, drawn) for name in stacks]
    return Model(
        region=stacks[vpc.stack]["provider"]["aws"][0]["region"],
        state_bucket=", ".join(sorted({backend["bucket"] for backend in read.backends.values()})),
        vpc=vpc,
        vpc_cidr=read.bodies[vpc]["cidr_block"],
        subnets=tuple(subnets.values()),
        parts=tuple(parts.values()),
        links=tuple(links),
        stacks=tuple(sorted(shares, key=lambda share: (len(share.reads), share.name))),  # first who is read
    )


class _Reader:
    def __init__(self, stacks: Mapping[str, Json]) -> None:
        self.stacks = stacks
        self.bodies: dict[Ref, Json] = {
            Ref(stack, f"{prefix}{kind}.{name}"): body
            for stack in sorted(stacks)
            for prefix, section in (("", "resource"), ("data.", "data"), ("ephemeral.", "ephemeral"))
            for kind, named in sorted(stacks[stack].get(section, {}).items())
            if kind != "terraform_data"  # nothing of it is in AWS
            for name, body in sorted(named.items())
        }
        self.backends: dict[str, Json] = {name: stack["terraform"]["backend"]["s3"] for name, stack in stacks.items()}
        owners = {backend["key"]: name for name, backend in self.backends.items()}
        remote = {ref: self.bodies[ref]["config"]["key"] for ref in self.of("data.terraform_remote_state")}
        self.states = {ref: owners[key] for ref, key in remote.items() if key in owners}

    def of(self, *kinds: str) -> list[Ref]:
        return [ref for kind in kinds for ref in self.bodies if ref.kind == kind]

    def refs(self, stack: str, value: Any) -> list[Ref]:
        """Return the resources that a value refers to, through the outputs of other stacks too."""
        found: list[Ref] = []
        for match in _REFERENCE.finditer(value if isinstance(value, str) else json.dumps(value)):
            if match["address"]:
                found.append(Ref(stack, match["address"]))
            elif other := self.states.get(Ref(stack, f"data.terraform_remote_state.{match['state']}")):
                output = self.stacks[other].get("output", {}).get(match["output"], {}).get("value")
                found += self.refs(other, output.get(match["attribute"]) if isinstance(output, dict) else output)
        return [ref for ref in dict.fromkeys(found) if ref in self.bodies]

    def all_at(self, ref: Ref | None, key: str) -> list[Ref]:
        return self.refs(ref.stack, self.bodies[ref].get(key)) if ref else []

    def at(self, ref: Ref | None, key: str) -> Ref | None:
        return next(iter(self.all_at(ref, key)), None)

    def routes(self, place: str) -> dict[Ref | None, list[Ref]]:
        """Return the targets of the route tables associated with subnets (subnet_id) or VPCs (vpc_id)."""
        associations = self.of("aws_route_table_association", "aws_main_route_table_association")
        return {self.at(ref, place): self.all_at(self.at(ref, "route_table_id"), "route") for ref in associations}

    def subnets(self, vpc: Ref) -> Iterator[Subnet]:
        main, own = self.routes("vpc_id"), self.routes("subnet_id")
        for ref in self.of("aws_subnet"):
            if self.at(ref, "vpc_id") == vpc:
                body, ways = self.bodies[ref], own.get(ref, main.get(vpc, []))
                public = any(way.kind == "aws_internet_gateway" for way in ways)
                yield Subnet(ref, body["cidr_block"], body["availability_zone"], public)

    def part(self, ref: Ref) -> Part:
        body, script = self.bodies[ref], self.script(ref)
        tags = self.stacks[ref.stack]["provider"]["aws"][0].get("default_tags", [{}])[0].get("tags", {})
        name = str(body.get("tags", {}).get("Name", "")).removeprefix(tags.get("deployment", ""))
        title, *lines = _words(ref.kind, body, name.rpartition(" - ")[2].strip() or ref.address)
        runs = [f"{program} :{port}" for program, port in _SERVICES if program in script and f":{port}" in script]
        return Part(ref, title, (*filter(None, lines), *runs), self.at(ref, "subnet_id"))

    def script(self, ref: Ref) -> str:
        start = self.at(ref, "lifecycle_config_name")
        if start:
            return str(self.bodies[start].get("on_start"))
        body = self.bodies[ref]
        packed = str(body.get("user_data_base64", ""))
        try:
            return "\n".join([packed, *unpacked(packed).values()])
        except UserDataError:
            return str(body.get("user_data", ""))

    def storage(self) -> Iterator[Link]:
        for kind, resource, target in (
            ("volume", "aws_volume_attachment", "volume_id"),
            ("mounts", "aws_efs_mount_target", "file_system_id"),
        ):
            for ref in self.of(resource):
                source, stored = self.at(ref, "instance_id") or ref, self.at(ref, target)
                if stored:
                    yield Link(kind, source, stored, "")

    def reach(self, vpc_cidr: str, subnets: Mapping[Ref, Subnet], parts: Mapping[Ref, Part]) -> Iterator[Link]:
        """Return who gets in from outside, and which machines are reachable over SSH from there."""
        lets_in = {
            ref: [
                (rule, cidr)
                for group in self.all_at(ref, "vpc_security_group_ids")
                for rule in self.bodies[group].get("ingress") or []
                for cidr in rule.get("cidr_blocks") or []
            ]
            for ref in parts
            if ref.kind == "aws_instance"
        }
        doors: dict[Ref, str] = {}
        for ref, sources in lets_in.items():
            subnet = subnets[parts[ref].subnet or ref]
            for rule, cidr in sources:
                if subnet.public and not _inside(cidr, vpc_cidr):
                    doors |= {ref: subnet.cidr} if _has_ssh(rule) else {}
                    yield Link("in", cidr, ref, _port(rule))
        for ref, sources in lets_in.items():
            for door, near in doors.items():
                if ref not in doors and any(_has_ssh(rule) and _inside(near, cidr) for rule, cidr in sources):
                    yield Link("ssh", door, ref, "SSH")

    def mounting(self, parts: Mapping[Ref, Part]) -> Iterator[Link]:
        targets = {self.at(ref, "file_system_id"): ref for ref in parts if ref.kind == "aws_efs_mount_target"}
        policies = {self.at(ref, "file_system_id"): ref for ref in self.of("aws_efs_file_system_policy")}
        for ref in parts:
            for used in self.refs(ref.stack, self.script(ref)):
                if used in targets:
                    tls = used in policies and "aws:SecureTransport" in self.bodies[policies[used]]["policy"]
                    yield Link("nfs", ref, targets[used], "NFS over TLS" if tls else "NFS")

    def ways_out(self) -> Iterator[Link]:
        for subnet, ways in self.routes("subnet_id").items():
            for way in ways:
                if subnet and way.kind == "aws_nat_gateway":
                    yield Link("out", subnet, way, "")

    def share(self, name: str, drawn: set[Ref]) -> Stack:
        refs = [ref for ref in self.bodies if ref.stack == name]
        rest = [ref for ref in refs if ref not in drawn]
        return Stack(
            name=name,
            drawn=tuple(ref.address for ref in refs if ref in drawn),
            counted=tuple(sorted(Counter(HELPERS[ref.kind] for ref in rest if ref.kind in HELPERS).items())),
            listed=tuple(ref.address for ref in rest if ref.kind not in HELPERS),
            state_key=self.backends[name]["key"],
            reads=tuple(sorted({other for ref, other in self.states.items() if ref.stack == name})),
        )


def _words(kind: str, body: Json, name: str) -> tuple[str, ...]:
    """Return a title and the lines under it; empty ones are left out."""
    match kind:
        case "aws_instance":
            size = body.get("root_block_device", {}).get("volume_size")
            return name, f"EC2 {body['instance_type']}", f"root volume {size} GiB" if size else ""
        case "aws_sagemaker_notebook_instance":
            closed = body.get("direct_internet_access") == "Disabled"
            return "SageMaker notebook", body["instance_type"], "no direct internet" if closed else ""
        case "aws_vpc_endpoint":
            return f"{body['service_name'].rpartition('.')[2].upper()} {body.get('vpc_endpoint_type', '')} endpoint", ""
        case "aws_efs_file_system":
            zone, kept = body.get("availability_zone_name"), body.get("lifecycle", {}).get("prevent_destroy")
            facts = [body.get("throughput_mode", ""), "encrypted" if body.get("encrypted") else ""]
            return (
                "EFS file system",
                f"One Zone, {zone}" if zone else "Regional",
                ", ".join(filter(None, facts)),
                "protected from destroy" if kept else "",
            )
        case "aws_ebs_volume":
            speed = f"{body['iops']} IOPS, {body['throughput']} MiB/s" if "throughput" in body else ""
            kept = "snapshot when destroyed" if body.get("final_snapshot") else ""
            return name, f"data volume, {body.get('type', 'EBS')} {body.get('size')} GiB", speed, kept
    return {"aws_nat_gateway": "NAT gateway", "aws_efs_mount_target": "EFS mount target"}.get(
        kind, "Internet gateway"
    ), ""


def _port(rule: Json) -> str:
    first, last = rule["from_port"], rule["to_port"]
    if rule["protocol"] == "-1":
        return "all traffic"
    return (
        "SSH :22" if first == last == _SSH else f"{rule['protocol']} :{first}" + (f"-{last}" if last != first else "")
    )


def _has_ssh(rule: Json) -> bool:
    return rule["protocol"] == "-1" or (
        rule["protocol"] == "tcp" and _SSH in range(rule["from_port"], rule["to_port"] + 1)
    )


def _inside(cidr: str, outer: str) -> bool:
    return ipaddress.IPv4Network(cidr).subnet_of(ipaddress.IPv4Network(outer))
