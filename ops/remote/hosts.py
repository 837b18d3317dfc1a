"""The EC2 machines that a person logs in to, and where they are at this moment."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from ops.core.errors import OpsError
from ops.core.session import Session
from ops.deployment import machines, stacks
from ops.deployment.machines import PLACES, Name


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One kind of machine. output: the Terraform output with its address; public: reachable from outside.

    ssm: its role has AmazonSSMManagedInstanceCore, without which Session Manager does not know it.
    """

    name: Name
    output: str
    public: bool
    ssm: bool

    @property
    def stack(self) -> str:
        """The stack that makes it."""
        return PLACES[self.name].stack


# The roles are in the stacks (managed_policies); tests/ops/test_ssh.py holds the table to them.
MACHINES: Final[Mapping[str, Machine]] = MappingProxyType(
    {
        machine.name: machine
        for machine in (
            Machine(name="jump", output="jump_ip_addr", public=True, ssm=False),
            Machine(name="worker", output="worker_ip_addr", public=False, ssm=True),
            Machine(name="metrics", output="metrics_ip_addr", public=False, ssm=False),
        )
    }
)


@dataclass(frozen=True, kw_only=True)
class Host:
    """A machine that exists. state: EC2's word (running, …); moved_from: Terraform's address, when EC2 has another."""

    machine: Machine
    deployment: str
    instance_id: str
    address: str
    state: str
    moved_from: str | None = None

    @property
    def alias(self) -> str:
        """Its name for ssh."""
        return f"{self.deployment}-{self.machine.name}"


def machine_named(name: str) -> Machine:
    """Raises OpsError (a wrong command line) for a name that no machine has."""
    if name == "notebook":
        raise OpsError("the notebook has no SSH: ops notebook opens its Jupyter, which has a terminal too", status=2)
    if name not in MACHINES:
        raise OpsError(f"there is no machine {name!r}: one of {', '.join(MACHINES)}", status=2)
    return MACHINES[name]


def find(session: Session, machine: Machine) -> Host:
    """The machine, running or not. Raises OpsError when it is not deployed, EC2 has none, or it has no address now."""
    outputs = stacks.outputs(session, machine.stack)
    if machine.output not in outputs:
        raise OpsError(f"{machine.stack} has no output {machine.output}: cdktf deploy {machine.stack} writes it")
    written = str(outputs[machine.output])
    instance = _instance(session, machine, written)
    # EC2 knows better: without an Elastic IP, a machine that was stopped comes back under another public address, and
    # meanwhile the one that Terraform wrote down may be somebody else's.
    # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/using-instance-addressing.html
    address = instance.get("PublicIpAddress" if machine.public else "PrivateIpAddress")
    if not address:
        raise OpsError(_without_address(session, machine, instance))
    return Host(
        machine=machine,
        deployment=session.name,
        instance_id=instance["InstanceId"],
        address=address,
        state=instance["State"]["Name"],
        moved_from=written if address != written else None,
    )


def find_running(session: Session, machine: Machine) -> Host:
    """The machine, which runs. Raises OpsError with the way to start it when it does not."""
    host = find(session, machine)
    if host.state == "running":
        return host
    raise OpsError(_not_running(session, machine, host.instance_id, host.state))


def _not_running(session: Session, machine: Machine, instance_id: str, state: str) -> str:
    if state == "pending":
        return f"{machine.name} is still starting: ops wait {machine.name}"
    # `ops start` is for what is stopped to save money; the other two only stop by hand.
    start = f"aws ec2 start-instances --region {session.settings.deployment.region} --instance-ids {instance_id}"
    start = "ops start worker" if machine.name == "worker" else start
    return f"{machine.name} is {state} ({instance_id}): {start}"


def _without_address(session: Session, machine: Machine, instance: dict[str, Any]) -> str:
    instance_id, state = instance["InstanceId"], instance["State"]["Name"]
    if state != "running":
        return _not_running(session, machine, instance_id, state)
    kind = "public" if machine.public else "private"
    return f"{machine.name} runs without a {kind} address ({instance_id}): cdktf deploy {machine.stack} makes it anew"


def deployed(session: Session) -> tuple[list[Host], dict[str, str]]:
    """Every machine that exists, and why the others do not, by name."""
    hosts: list[Host] = []
    missing: dict[str, str] = {}
    for machine in MACHINES.values():
        try:
            hosts.append(find(session, machine))
        except OpsError as error:
            missing[machine.name] = str(error)
    return hosts, missing


def _instance(session: Session, machine: Machine, address: str) -> dict[str, Any]:
    found = machines.instances(
        session,
        [
            {"Name": "tag:deployment", "Values": [session.name]},
            {"Name": "tag:stack", "Values": [machine.stack]},
            {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]},
        ],
    )
    # While Terraform replaces a machine there may be two: its address tells them apart.
    matching = [one for one in found if address in (one.get("PublicIpAddress"), one.get("PrivateIpAddress"))]
    if len(matching) == 1:
        return matching[0]
    if len(found) == 1:
        return found[0]
    if not found:
        raise OpsError(
            f"Terraform's state has a {machine.name}, but EC2 has no such machine any more: "
            f"cdktf deploy {machine.stack} makes a new one"
        )
    ids = ", ".join(sorted(one["InstanceId"] for one in found))
    raise OpsError(f"EC2 has several machines for {machine.stack} ({ids}) and none at {address}: end the wrong ones")
