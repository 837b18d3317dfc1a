"""AWS Backup: the recovery points of a vault."""

from typing import Any, Final
from urllib.parse import unquote

from moto.backup import urls
from moto.backup.responses import BackupResponse
from moto.core.exceptions import JsonRESTError

from embedded_aws.gaps.patching import add


class _NotFoundError(JsonRESTError):
    code = 400

    def __init__(self, vault: str) -> None:
        super().__init__("ResourceNotFoundException", f"Backup vault {vault} not found.")


_PATH: Final = r"{0}/backup-vaults/(?P<name>.+)/recovery-points/$"


def list_recovery_points(self: BackupResponse) -> Any:
    """Answer ListRecoveryPointsByBackupVault: no vault of EFS's is made here, as nothing is backed up.

    https://docs.aws.amazon.com/aws-backup/latest/devguide/API_ListRecoveryPointsByBackupVault.html
    """
    vault = self.path.split("/backup-vaults/")[1].rpartition("/recovery-points")[0]
    raise _NotFoundError(unquote(vault))


def install() -> None:
    """Put the closures of this module into moto."""
    add(BackupResponse, "list_recovery_points_by_backup_vault", list_recovery_points)
    urls.url_paths[_PATH] = BackupResponse.dispatch
