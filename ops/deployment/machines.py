"""The machines of a deployment: which there are, and what AWS says of them now."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple

from botocore.exceptions import ClientError

from constructs_lib import prices
from ops.core.errors import OpsError
from ops.core.session import Session
from ops.deployment.stacks import StackState, read_stack

Name = Literal["jump", "metrics", "worker", "notebook"]

INSTANCE: Final = "aws_instance"
NOTEBOOK: Final = "aws_sagemaker_notebook_instance"


class Place(NamedTuple):
    """Where a machine is described: its stack and its Terraform address."""

    stack: str
    kind: str
    resource: str


PLACES: Final[Mapping[Name, Place]] = {
    "jump": Place("mlcore", INSTANCE, "jump"),
    "metrics": Place("stats-monitor", INSTANCE, "metrics"),
    "worker": Place("train-model", INSTANCE, "worker"),
    "notebook": Place("train-model-dev", NOTEBOOK, "notebook_instance"),
}


class Machine(NamedTuple):
    """A machine now. id: the instance's, or the notebook's name.

    state: as EC2 and SageMaker name it, "gone" when AWS no longer knows it. since: an instance's last start; a
    notebook's last change. Addresses: None when there is none.
    """

    name: Name
    id: str
    state: str
    type: str
    since: datetime | None
    private_address: str | None = None
    public_address: str | None = None
    failure: str | None = None

    @property
    def is_notebook(self) -> bool:
        """Whether SageMaker runs it, not EC2."""
        return PLACES[self.name].kind == NOTEBOOK

    @property
    def is_up(self) -> bool:
        """Whether it is charged by the hour now."""
        return self.state in ("running", "InService")

    def spent(self, now: datetime, region: str) -> tuple[Decimal | None, str]:
        """Dollars since its last start, without disks and addresses; or None and why that is not known."""
        if not self.is_up:
            return Decimal(0), "it does not run"
        if self.is_notebook:
            return None, "SageMaker's ml.* prices are not verified"
        hourly, why = prices.machine_per_hour(self.type, region)
        if hourly is None:
            return None, why
        if self.since is None:
            return None, "EC2 does not say since when it runs"
        return hourly * Decimal(max(0, int((now - self.since).total_seconds()))) / 3600, ""


def id_in(state: StackState, name: Name) -> str | None:
    """The machine's id in its stack's state; None when it is not in it."""
    attributes = state.attributes(PLACES[name].kind, PLACES[name].resource)
    return str(attributes["id"]) if attributes else None


def deployed_id(session: Session, name: Name) -> str:
    """The id of a deployed machine. Raises OpsError when its stack is not deployed."""
    stack = PLACES[name].stack
    state = read_stack(session, stack)
    found = id_in(state, name) if state else None
    if found is None:
        raise OpsError(f"there is no {name}: {stack} is not deployed. cdktf deploy {stack}")
    return found


def look(session: Session, ids: Mapping[Name, str]) -> dict[Name, Machine]:
    """What AWS says of these machines now, by name."""
    instances = {name: id for name, id in ids.items() if PLACES[name].kind == INSTANCE}
    found = _instances(session, list(instances.values())) if instances else {}
    machines = {name: _instance(name, id, found.get(id)) for name, id in instances.items()}
    for name, id in ids.items():
        if name not in instances:
            machines[name] = _notebook(session, name, id)
    return machines


def look_at(session: Session, name: Name, id: str) -> Machine:
    """What AWS says of one machine now."""
    return look(session, {name: id})[name]


def disks(session: Session, instance_id: str) -> tuple[Decimal | None, list[str]]:
    """What an instance's volumes cost a month while it is stopped too: dollars, and a line for each.

    None when the price of one of them is not known; its line says so.
    """
    volumes = session.client("ec2").describe_volumes(
        Filters=[{"Name": "attachment.instance-id", "Values": [instance_id]}]
    )["Volumes"]
    total: Decimal | None = Decimal(0)
    lines = []
    for volume in sorted(volumes, key=lambda volume: str(volume["VolumeId"])):
        charges = prices.volume(
            str(volume["VolumeId"]),
            kind=volume.get("VolumeType"),
            size_gb=volume.get("Size"),
            iops=volume.get("Iops"),
            throughput_mbps=volume.get("Throughput"),
            region=session.settings.deployment.region,
        )
        month = prices.total([charge.per_month for charge in charges])
        total = None if total is None or month is None else total + month
        said = f"{prices.usd(month)} a month" if month is not None else f"unknown ({charges[0].note})"
        speed = [
            f"{volume[key]:,} {unit}" for key, unit in (("Iops", "IOPS"), ("Throughput", "MiB/s")) if volume.get(key)
        ]
        lines.append(f"{', '.join([volume['VolumeId'], charges[0].detail, *speed])}: {said}")
    return total, lines


def _instances(session: Session, ids: list[str]) -> dict[str, dict[str, Any]]:
    # By filter: asked for an id that is forgotten by now, EC2 refuses the whole call.
    found = instances(session, [{"Name": "instance-id", "Values": ids}])
    return {instance["InstanceId"]: instance for instance in found}


def instances(session: Session, filters: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """EC2's instances that these filters let through."""
    pages = session.client("ec2").get_paginator("describe_instances").paginate(Filters=filters)
    return [one for page in pages for reservation in page["Reservations"] for one in reservation["Instances"]]


def _instance(name: Name, id: str, found: dict[str, Any] | None) -> Machine:
    if found is None:
        return Machine(name, id, "gone", "unknown", None)
    return Machine(
        name,
        id,
        found["State"]["Name"],
        found["InstanceType"],
        found.get("LaunchTime"),
        found.get("PrivateIpAddress"),
        found.get("PublicIpAddress") or None,
        (found.get("StateReason") or {}).get("Message"),
    )


def _notebook(session: Session, name: Name, id: str) -> Machine:
    try:
        found = session.client("sagemaker").describe_notebook_instance(NotebookInstanceName=id)
    except ClientError as error:
        # A ValidationException like many others; only the message tells.
        if "RecordNotFound" in error.response["Error"].get("Message", ""):
            return Machine(name, id, "gone", "unknown", None)
        raise
    return Machine(
        name,
        id,
        found["NotebookInstanceStatus"],
        found["InstanceType"],
        found.get("LastModifiedTime"),
        failure=found.get("FailureReason"),
    )


def up_for(machine: Machine, now: datetime) -> timedelta | None:
    """How long an instance runs by now; None for what does not run and for notebooks, of which nobody says."""
    return now - machine.since if machine.since and machine.is_up and not machine.is_notebook else None
