"""An EC2 machine: image looked up and pinned, IMDSv2, encrypted root, rebuilt when its boot files change."""

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
    """`aws_instance.<id>`, with `data.aws_ssm_parameter.<id>_ami` unless `ami` names an image.

    A looked-up image is ignored after creation, so that a new one never replaces a running machine; a named one is not.
    role: of this machine alone, since its instance profile is made here.
    Changed user data replaces the machine: changing it in place would stop the machine and not run it.
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
            # Of a machine that is stopped the provider reads false, and would replace it at the next deploy:
            # https://github.com/hashicorp/terraform-provider-aws/issues/33775
            ignored.append("associate_public_ip_address")
        self.instance = Instance(
            self,
            id,
            # insecure_value: a public AMI id is no secret, and `value` would hide it in every plan.
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
            # It never runs without its rights: not at its start, not while it stops.
            depends_on=role.attachments,
        )
