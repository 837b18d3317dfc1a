"""What EC2 deletes only when nothing is left in it.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteVpc.html and API_DeleteSubnet.html ("you must terminate
all running instances in the subnet", and detach or delete everything else); the error is DependencyViolation.
"""

from collections.abc import Callable
from typing import Any

from moto.ec2.exceptions import DependencyViolationError
from moto.ec2.models.subnets import SubnetBackend
from moto.ec2.models.vpcs import VPCBackend

from embedded_aws.gaps.patching import wrap


def delete_vpc(original: Callable[..., Any], self: Any, vpc_id: str) -> Any:
    """DeleteVpc: not with an endpoint or a security group other than the default one, which moto would leave behind."""
    groups = [name for name in (group.name for group in self.groups.get(vpc_id, {}).values()) if name != "default"]
    if groups or any(endpoint.vpc_id == vpc_id for endpoint in _endpoints(self)):
        raise DependencyViolationError(f"The vpc '{vpc_id}' has dependencies and cannot be deleted.")
    return original(self, vpc_id)


def delete_subnet(original: Callable[..., Any], self: Any, subnet_id: str) -> Any:
    """Answer DeleteSubnet: not with an interface of an endpoint in it."""
    if any(subnet_id in (endpoint.subnet_ids or []) for endpoint in _endpoints(self)):
        raise DependencyViolationError(f"The subnet '{subnet_id}' has dependencies and cannot be deleted.")
    return original(self, subnet_id)


def _endpoints(backend: Any) -> list[Any]:
    return [endpoint for endpoint in backend.vpc_end_points.values() if endpoint.state != "deleted"]


def install() -> None:
    """Put the closures of this module into moto."""
    wrap(VPCBackend, "delete_vpc", delete_vpc)
    wrap(SubnetBackend, "delete_subnet", delete_subnet)
