"""AWS Backup, as https://docs.aws.amazon.com/aws-backup/latest/devguide/api-reference.html documents it."""

import pytest

from tests.embedded_aws.conftest import ClientFactory


def test_the_vault_of_efs_is_not_there_before_its_first_backup(client: ClientFactory) -> None:
    backup = client("backup")

    with pytest.raises(backup.exceptions.ResourceNotFoundException, match="aws/efs/automatic-backup-vault"):
        backup.list_recovery_points_by_backup_vault(BackupVaultName="aws/efs/automatic-backup-vault")
