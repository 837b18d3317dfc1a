"""What a run made and did not live to write down: found in AWS by its name or its tags, and brought into the state.

Terraform writes the state while it applies, but not more often than every 20 seconds
(https://github.com/hashicorp/terraform/blob/v1.11.4/internal/backend/local/hook_state.go). What it made since is lost
to one that is killed: it goes on and is paid for, and the next deploy fails at a name that is taken, or makes it twice.
"""

import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from botocore.exceptions import ClientError

from ops.core import synthesis
from ops.core.errors import OpsError
from ops.core.session import Session
from ops.deployment import push_state
from ops.deployment.lookups import LOOKUPS, Body
from ops.deployment.stacks import StackState, read_stack

_SECONDS: Final = 300
_GONE: Final = frozenset({"deleted", "deleting", "failed", "terminated", "shutting-down"})


class Tagged(NamedTuple):
    """How a kind of EC2 resource is listed, and where its id is."""

    call: str
    items: str
    id: str


# By tag: `deployment`, `stack` and `Name` together are of one address.
TAGGED: Final[Mapping[str, Tagged]] = MappingProxyType(
    {
        "aws_ebs_volume": Tagged("describe_volumes", "Volumes", "VolumeId"),
        "aws_eip": Tagged("describe_addresses", "Addresses", "AllocationId"),
        "aws_instance": Tagged("describe_instances", "Reservations", "InstanceId"),
        "aws_internet_gateway": Tagged("describe_internet_gateways", "InternetGateways", "InternetGatewayId"),
        "aws_nat_gateway": Tagged("describe_nat_gateways", "NatGateways", "NatGatewayId"),
        "aws_route_table": Tagged("describe_route_tables", "RouteTables", "RouteTableId"),
        "aws_security_group": Tagged("describe_security_groups", "SecurityGroups", "GroupId"),
        "aws_subnet": Tagged("describe_subnets", "Subnets", "SubnetId"),
        "aws_vpc": Tagged("describe_vpcs", "Vpcs", "VpcId"),
        "aws_vpc_endpoint": Tagged("describe_vpc_endpoints", "VpcEndpoints", "VpcEndpointId"),
    }
)
_REFERENCE: Final = re.compile(r"\$\{(\w+\.[\w-]+)\.id\}")


# Others whose id in the state is their id in AWS, as it is of those above: the call that finds one, and its parameter.
_EFS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "aws_efs_access_point": ("describe_access_points", "AccessPointId"),
        "aws_efs_file_system": ("describe_file_systems", "FileSystemId"),
        "aws_efs_mount_target": ("describe_mount_targets", "MountTargetId"),
    }
)


class Lost(NamedTuple):
    """Something that is there and in no state: its address, and its ids in AWS (more than one when made twice).

    gone: the id that the state still has at this address, when AWS no longer has it: a run deleted it, made another
    one, and was killed.
    """

    address: str
    ids: tuple[str, ...]
    gone: str = ""


def find(session: Session, stack: str) -> list[Lost]:
    """Find the lost resources, in the order in which to import them. Raises OpsError, BotoCoreError, ClientError."""
    try:
        resources = synthesis.synthesized(session.environment)[stack].get("resource", {})
    except synthesis.SynthesisError as error:
        raise OpsError(error.problem, fix=error.fix) from None
    look = _Look(session, stack, read_stack(session, stack))
    found: dict[str, Lost] = {}
    for finder in (look.named, look.tagged, look.belonging):
        for kind, bodies in sorted(resources.items()):
            for name, body in sorted(bodies.items()):
                address = f"{kind}.{name}"
                known = look.id(address)
                # Of the others the id in the state does not tell whether the one that is found is the same.
                if known is not None and not (known and (kind in TAGGED or kind in _EFS)):
                    continue
                ids = tuple(finder(kind, body))
                if not ids or known in ids or (known is not None and not look.is_gone(kind, known)):
                    continue
                found[address] = Lost(address, ids, known or "")
                look.add(address, ids[0])
    return list(found.values())


class _Look:
    def __init__(self, session: Session, stack: str, state: StackState | None) -> None:
        self._session = session
        self._stack = stack
        self._ids: dict[str, str] = {}
        for resource in state.document["resources"] if state else []:
            if resource["mode"] == "managed" and resource["instances"]:
                id = resource["instances"][0]["attributes"].get("id", "")
                self._ids[f"{resource['type']}.{resource['name']}"] = id

    def id(self, address: str) -> str | None:
        """Return the id at this address, or None if nothing is known there."""
        return self._ids.get(address)

    def is_gone(self, kind: str, id: str) -> bool:
        """Return True if AWS no longer has the resource with this id."""
        try:
            if kind in _EFS:
                call, parameter = _EFS[kind]
                self._call("efs", call, **{parameter: id})
                return False
            return not list(self._existing(TAGGED[kind], **{f"{TAGGED[kind].id}s": [id]}))
        except ClientError as error:
            # InvalidInternetGatewayID.NotFound, NatGatewayNotFound, FileSystemNotFound and so on:
            # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
            if error.response["Error"]["Code"].endswith("NotFound"):
                return True
            raise

    def add(self, address: str, id: str) -> None:
        self._ids[address] = id

    def named(self, kind: str, body: Body) -> Iterator[str]:
        """Yield the import id of a resource that AWS finds by name."""
        if kind == "aws_sagemaker_notebook_instance_lifecycle_configuration":
            # Its name ends in a hash of what only Terraform knows.
            called = f"{self._session.name}-mount-efs-"
            answer = self._call("sagemaker", "list_notebook_instance_lifecycle_configs", NameContains=called)
            for each in answer["NotebookInstanceLifecycleConfigs"]:
                yield each["NotebookInstanceLifecycleConfigName"]
        named = LOOKUPS.get(kind)
        name = str(body.get(named.attribute, "")) if named else ""
        if named is None or "${" in name:
            return
        code, message = named.missing
        try:
            answer = self._call(named.service, named.call, **named.ask(name, self._account))
        except ClientError as error:
            said = error.response["Error"]
            if said["Code"] == code and message in said.get("Message", ""):
                return
            raise
        if named.found(answer, name):
            yield _import_id(kind, name, answer)

    def tagged(self, kind: str, body: Body) -> Iterator[str]:
        """Yield the ids of existing resources with the tags of this address."""
        how = TAGGED.get(kind)
        if how is None:
            return
        tags = {"deployment": self._session.name, "stack": self._stack, "Name": body["tags"]["Name"]}
        filters = [{"Name": f"tag:{key}", "Values": [value]} for key, value in tags.items()]
        yield from self._existing(how, Filters=filters)

    def _existing(self, how: Tagged, **arguments: Any) -> Iterator[str]:
        items = self._call("ec2", how.call, **arguments)[how.items]
        if how.items == "Reservations":
            items = [machine for reservation in items for machine in reservation["Instances"]]
        for item in items:
            state = item.get("State", "")
            if (state["Name"] if isinstance(state, dict) else state) not in _GONE:
                yield item[how.id]

    def belonging(self, kind: str, body: Body) -> Iterator[str]:
        """Yield the import id of a resource that belongs to one already found."""
        finder: Callable[[Body], Iterator[str]] | None = {
            "aws_efs_access_point": self._access_points,
            "aws_efs_mount_target": self._mount_targets,
            "aws_route_table_association": self._associations,
            "aws_volume_attachment": self._attachments,
        }.get(kind)
        return finder(body) if finder else iter(())

    def _access_points(self, body: Body) -> Iterator[str]:
        if file_system := self._referenced(body["file_system_id"]):
            for each in self._call("efs", "describe_access_points", FileSystemId=file_system)["AccessPoints"]:
                if each.get("Name") == body["tags"]["Name"]:
                    yield each["AccessPointId"]

    def _mount_targets(self, body: Body) -> Iterator[str]:
        if file_system := self._referenced(body["file_system_id"]):
            for each in self._call("efs", "describe_mount_targets", FileSystemId=file_system)["MountTargets"]:
                yield each["MountTargetId"]

    def _associations(self, body: Body) -> Iterator[str]:
        subnet, table = self._referenced(body["subnet_id"]), self._referenced(body["route_table_id"])
        if subnet and table:
            (found,) = self._call("ec2", "describe_route_tables", RouteTableIds=[table])["RouteTables"]
            if any(each.get("SubnetId") == subnet for each in found["Associations"]):
                yield f"{subnet}/{table}"

    def _attachments(self, body: Body) -> Iterator[str]:
        volume, machine = self._referenced(body["volume_id"]), self._referenced(body["instance_id"])
        if volume and machine:
            (found,) = self._call("ec2", "describe_volumes", VolumeIds=[volume])["Volumes"]
            if any(each["InstanceId"] == machine for each in found["Attachments"]):
                yield f"{body['device_name']}:{volume}:{machine}"

    def _referenced(self, reference: str) -> str | None:
        match = _REFERENCE.fullmatch(reference)
        return self._ids.get(match[1]) if match else None

    @property
    def _account(self) -> str:
        return str(self._call("sts", "get_caller_identity")["Account"])

    def _call(self, service: str, call: str, **arguments: Any) -> dict[str, Any]:
        answer: dict[str, Any] = getattr(self._session.client(service), call)(**arguments)
        return answer


def _import_id(kind: str, name: str, answer: Mapping[str, Any]) -> str:
    match kind:
        case "aws_iam_policy":
            return str(answer["Policy"]["Arn"])
        case "aws_efs_file_system":
            return str(answer["FileSystems"][0]["FileSystemId"])
        case _:
            return name


def bring_in(session: Session, stack: str, lost: Lost) -> None:
    """Import the resource with Terraform. Raises OpsError with Terraform's message."""
    folder = push_state.folder(session.environment) / "stacks" / stack
    if not (folder / ".terraform").is_dir():
        raise OpsError(
            f"{push_state.shown(folder)} is not initialized for Terraform", fix=f"cdktf diff {stack} initializes it"
        )
    if lost.gone:
        _terraform(folder, lost.address, ["state", "rm", lost.address], session.environment)
    _terraform(
        folder, lost.address, ["import", "-input=false", "-no-color", lost.address, *lost.ids], session.environment
    )


def _terraform(folder: Path, address: str, arguments: list[str], environment: Mapping[str, str]) -> None:
    try:
        run = subprocess.run(
            ["terraform", *arguments],
            cwd=folder,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise OpsError(f"terraform does not run ({error})", fix="use ops in make shell") from None
    if run.returncode != 0:
        raise OpsError(f"{address} was not imported. Terraform says: {(run.stderr or run.stdout).strip()[-1500:]}")
