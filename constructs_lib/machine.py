"""An EC2 instance with a pinned image, IMDSv2 and an encrypted root volume, replaced when its boot files change."""

from collections.abc import Sequence

from cdktf import TerraformResourceLifecycle
from cdktf_cdktf_provider_aws.data_aws_ssm_parameter import DataAwsSsmParameter
from cdktf_cdktf_provider_aws.instance import (
    Instance,
    InstanceMetadataOptions,
    InstanceRootBlockDevice,
)
from constructs import Construct

from constructs_lib.gp3 import Gp3Volume
from constructs_lib.iam import ServiceRole


class Machine(Construct):
    """Create `aws_instance.<id>`, with `data.aws_ssm_parameter.<id>_ami` unless `ami` is given.

    A looked-up image is ignored after creation, so that a new image never replaces a running machine. A given one is
    not ignored. role: for this machine only, since its instance profile is created here.
    Changed user data replaces the machine: an update in place would stop the machine without running the new user data.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        name: str,
        instance_type: str,
        ami: str | None,
        image_parameter: str,
        subnet_id: str,
        security_group_ids: Sequence[str],
        key_name: str,
        user_data_base64: str,
        public_ip: bool,
        role: ServiceRole,
        root_volume: Gp3Volume | None = None,
        metadata_hop_limit: int = 1,
    ) -> None:
        super().__init__(scope, id)
        lookup = None if ami else DataAwsSsmParameter(self, f"{id}_ami", name=image_parameter)
        ignored = ["ami"] if lookup else []
        if public_ip:
            # For a stopped machine, the provider reads false and would replace it at the next deploy:
            # https://github.com/hashicorp/terraform-provider-aws/issues/33775
            ignored.append("associate_public_ip_address")
        self.instance = Instance(
            self,
            id,
            # insecure_value: `value` would hide the AMI id, which is public, in every plan.
            ami=lookup.insecure_value if lookup else ami,
            instance_type=instance_type,
            subnet_id=subnet_id,
            vpc_security_group_ids=list(security_group_ids),
            associate_public_ip_address=public_ip,
            key_name=key_name,
            iam_instance_profile=role.instance_profile().name,
            user_data_base64=user_data_base64,
            user_data_replace_on_change=True,
            metadata_options=InstanceMetadataOptions(
                http_endpoint="enabled", http_tokens="required", http_put_response_hop_limit=metadata_hop_limit
            ),
            root_block_device=InstanceRootBlockDevice(
                encrypted=True,
                delete_on_termination=True,
                volume_type="gp3",
                volume_size=root_volume.size_gb if root_volume else None,
                iops=root_volume.iops if root_volume else None,
                throughput=root_volume.throughput_mbps if root_volume else None,
            ),
            tags={"Name": name},
            lifecycle=TerraformResourceLifecycle(ignore_changes=ignored) if ignored else None,
            # Depends on the policies, so that the role works from boot to shutdown.
            depends_on=role.attachments,
        )
