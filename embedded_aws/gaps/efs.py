"""Elastic File System."""

import json
from collections.abc import Callable
from typing import Any

from moto.efs.exceptions import EFSError, FileSystemNotFound
from moto.efs.models import EFSBackend, FileSystem, MountTarget
from moto.efs.responses import EFSResponse

from constructs_lib.regions import ONE_ZONE_EFS
from embedded_aws.gaps.patching import add, wrap

_JSON = {"Content-Type": "application/json"}


def _file_system(backend: EFSBackend, file_system_id: str) -> FileSystem:
    if file_system_id not in backend.file_systems_by_id:
        raise FileSystemNotFound(file_system_id)
    return backend.file_systems_by_id[file_system_id]


def create_file_system(original: Callable[..., FileSystem], self: EFSBackend, **request: Any) -> FileSystem:
    """Answer CreateFileSystem: One Zone only in zones that have it.

    https://docs.aws.amazon.com/efs/latest/ug/API_CreateFileSystem.html
    """
    name = request.get("availability_zone_name")
    known = ONE_ZONE_EFS.get(self.region_name)
    if name and known:
        ids = {zone.name: zone.zone_id for zone in self.ec2_backend.describe_availability_zones()}
        if ids.get(name) not in known:
            raise EFSError(
                "UnsupportedAvailabilityZone",
                f"The requested Amazon EFS functionality is not available in the Availability Zone {name}.",
            )
    return original(self, **request)


def create_mount_target(
    original: Callable[..., MountTarget], self: EFSBackend, file_system_id: str, subnet_id: str, *args: Any, **kw: Any
) -> MountTarget:
    """Answer CreateMountTarget: that of a One Zone file system is in its zone.

    https://docs.aws.amazon.com/efs/latest/ug/API_CreateMountTarget.html
    """
    zone = _file_system(self, file_system_id).availability_zone_name
    places = [place for place, subnets in self.ec2_backend.subnets.items() if subnet_id in subnets]
    if zone and places and zone not in places:
        raise EFSError(
            "AvailabilityZonesMismatch", f"The file system is in {zone}, and the subnet {subnet_id} in {places[0]}."
        )
    return original(self, file_system_id, subnet_id, *args, **kw)


def put_backup_policy(self: EFSResponse) -> tuple[str, dict[str, str]]:
    """Answer PutBackupPolicy: stores ENABLED or DISABLED and answers with it.

    https://docs.aws.amazon.com/efs/latest/ug/API_PutBackupPolicy.html. The states between (ENABLING, DISABLING)
    are left out: moto's file systems change at once.
    """
    file_system = _file_system(self.efs_backend, self._get_param("FileSystemId"))
    policy = {"Status": self._get_param("BackupPolicy")["Status"]}
    file_system.chosen_backup_policy = policy  # type: ignore[attr-defined]
    return json.dumps({"BackupPolicy": policy}), _JSON


def describe_backup_policy(original: Callable[..., Any], self: EFSBackend, file_system_id: str) -> Any:
    """DescribeBackupPolicy: after a policy was put, that one, DISABLED too. PolicyNotFound only when none ever was.

    https://docs.aws.amazon.com/efs/latest/ug/API_DescribeBackupPolicy.html
    """
    file_system = _file_system(self, file_system_id)
    return getattr(file_system, "chosen_backup_policy", None) or original(self, file_system_id)


def delete_file_system_policy(self: EFSResponse) -> tuple[str, dict[str, Any]]:
    """Answer DeleteFileSystemPolicy: back to the default policy; succeeds without one too. Answers 200 with no body.

    https://docs.aws.amazon.com/efs/latest/ug/API_DeleteFileSystemPolicy.html
    """
    _file_system(self.efs_backend, self._get_param("FileSystemId")).file_system_policy = None
    return "", dict(_JSON)


def install() -> None:
    """Put the closures of this module into moto."""
    add(EFSResponse, "put_backup_policy", put_backup_policy)
    add(EFSResponse, "delete_file_system_policy", delete_file_system_policy)
    wrap(EFSBackend, "describe_backup_policy", describe_backup_policy)
    wrap(EFSBackend, "create_file_system", create_file_system)
    wrap(EFSBackend, "create_mount_target", create_mount_target)
