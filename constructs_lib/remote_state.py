"""What one stack reads of another: its outputs, from its state in S3 and nowhere else."""

from cdktf import DataTerraformRemoteStateS3
from constructs import Construct

from constructs_lib.deployment import Deployment


def remote_state(scope: Construct, stack: str, *, deployment: Deployment) -> DataTerraformRemoteStateS3:
    """The state of a stack of the same deployment, as `data.terraform_remote_state.<stack>`.

    Terraform fails at plan with "Unable to find remote state" when that stack was never deployed.
    """
    return DataTerraformRemoteStateS3(
        scope,
        stack.replace("-", "_"),
        bucket=deployment.state_bucket,
        key=deployment.state_key(stack),
        region=deployment.state_region,
        use_path_style=deployment.state_use_path_style or None,
    )
