"""Backups of the shared file system that have outlived it: nobody sees them any more, and they cost until they end."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

from botocore.exceptions import ClientError

from constructs_lib import prices
from ops.doctor.report import Check, Finding, Patient, ok

# EFS makes it with the first automatic backup: https://docs.aws.amazon.com/efs/latest/ug/awsbackup.html
VAULT: Final = "aws/efs/automatic-backup-vault"

_GB: Final = 10**9


def backups(patient: Patient) -> Iterator[Finding]:
    """Report kept backups of deleted file systems, their end and their cost."""
    if "mlcore" not in patient.stacks:
        return
    try:
        points = patient.everything(
            "backup", "list_recovery_points_by_backup_vault", "RecoveryPoints",
            BackupVaultName=VAULT, ByResourceType="EFS",
        )  # fmt: skip
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceNotFoundException":
            raise
        return  # there was never a backup
    there = {each["FileSystemArn"] for each in patient.everything("efs", "describe_file_systems", "FileSystems")}
    # The name of the file system is that of modules_equiv/mlcore/file_system.py.
    name = patient.settings.stack_deployment().prefixed("gaudi_ml_core_efs")
    left = [each for each in points if each["ResourceArn"] not in there and each.get("ResourceName", name) == name]
    if left:
        yield ok("backups", _told(patient, left))


def _told(patient: Patient, points: list[dict[str, Any]]) -> str:
    systems = ", ".join(sorted({point["ResourceArn"].rpartition("/")[2] for point in points}))
    size = Decimal(sum(point.get("BackupSizeInBytes", 0) for point in points)) / _GB
    ends = [point["CalculatedLifecycle"]["DeleteAt"] for point in points if "CalculatedLifecycle" in point]
    until = (
        f"until {max(ends):%Y-%m-%d} at the latest" if len(ends) == len(points) else "until they are deleted by hand"
    )
    cost = (
        "" if prices.other_region(patient.region) else f", {size * prices.EFS_BACKUP_PER_GB_MONTH:.2f} dollars a month"
    )
    return (
        f"{len(points)} of the deleted {systems}, kept {until}: at most {size:.1f} GB{cost}. To delete one: "
        f"aws backup delete-recovery-point --region {patient.region} --backup-vault-name {VAULT} "
        f"--recovery-point-arn {points[0]['RecoveryPointArn']}"
    )


CHECKS = (Check("backups", backups),)
