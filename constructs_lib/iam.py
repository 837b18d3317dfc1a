"""IAM policy documents, and the role of a machine."""

import json
from collections.abc import Sequence
from typing import Any

from cdktf_cdktf_provider_aws.iam_instance_profile import IamInstanceProfile
from cdktf_cdktf_provider_aws.iam_policy import IamPolicy
from cdktf_cdktf_provider_aws.iam_role import IamRole
from cdktf_cdktf_provider_aws.iam_role_policy_attachment import IamRolePolicyAttachment
from constructs import Construct

from constructs_lib.deployment import Deployment
from constructs_lib.terraform_text import lines

Statement = dict[str, Any]

EC2 = "ec2.amazonaws.com"
SAGEMAKER = "sagemaker.amazonaws.com"

# AWS managed policies, by the name that follows arn:aws:iam::aws:policy/.
CLOUDWATCH_AGENT = "CloudWatchAgentServerPolicy"
SSM_CORE = "AmazonSSMManagedInstanceCore"


def allow(
    actions: Sequence[str], resources: Sequence[str], condition: dict[str, dict[str, object]] | None = None
) -> Statement:
    """Return one Allow statement. condition: operator -> key -> value(s)."""
    statement: Statement = {"Effect": "Allow", "Action": list(actions), "Resource": list(resources)}
    return statement | ({"Condition": condition} if condition else {})


def deny_reading_parameters(*, but: str) -> Statement:
    """Return a statement that denies reading every SSM parameter except those whose names start with `but`.

    For roles with AmazonSSMManagedInstanceCore, which allows reading every parameter in the account, secrets included:
    https://docs.aws.amazon.com/aws-managed-policy/latest/reference/AmazonSSMManagedInstanceCore.html
    """
    actions = ["GetParameter", "GetParameters", "GetParametersByPath", "GetParameterHistory"]
    return {
        "Effect": "Deny",
        "Action": [f"ssm:{action}" for action in actions],
        "NotResource": [f"arn:aws:ssm:*:*:parameter/{but}*"],
    }


def policy_document(*statements: Statement) -> str:
    """Return an IAM policy document as JSON."""
    return lines(json.dumps({"Version": "2012-10-17", "Statement": list(statements)}, indent=2) + "\n")


def efs_client(file_system_arn: str, access_point_arn: str, *, write: bool) -> Statement:
    """Allow mounting one file system through one access point.

    https://docs.aws.amazon.com/efs/latest/ug/iam-access-control-nfs-efs.html
    """
    actions = ["elasticfilesystem:ClientMount"] + (["elasticfilesystem:ClientWrite"] if write else [])
    return allow(actions, [file_system_arn], {"StringEquals": {"elasticfilesystem:AccessPointArn": access_point_arn}})


def s3_prefix(uri: str | None, *, write: bool, key_arn: str | None = None) -> list[Statement]:
    """Allow reading, or reading and writing, one `s3://bucket/prefix`. Returns no statement for None.

    key_arn: the customer-managed KMS key that encrypts the bucket's objects; usable through S3 only. A multipart upload
    needs Decrypt too: https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html
    """
    if uri is None:
        return []
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    prefix = prefix.strip("/")
    below = f"{prefix}/*" if prefix else "*"
    # AbortMultipartUpload: otherwise an interrupted upload stays in the bucket, invisible and billed.
    actions = ["s3:GetObject"] + (["s3:PutObject", "s3:AbortMultipartUpload"] if write else [])
    found = [
        allow(["s3:ListBucket"], [f"arn:aws:s3:::{bucket}"], {"StringLike": {"s3:prefix": [prefix, below]}}),
        allow(actions, [f"arn:aws:s3:::{bucket}/{below}"]),
    ]
    if key_arn:
        # An S3 bucket and its key are in one region.
        by_s3: dict[str, dict[str, object]] = {
            "StringEquals": {"kms:ViaService": f"s3.{key_arn.split(':')[3]}.amazonaws.com"}
        }
        found.append(allow(["kms:Decrypt"] + (["kms:GenerateDataKey"] if write else []), [key_arn], by_s3))
    return found


class ServiceRole(Construct):
    """Create a role that one AWS service assumes, with one customer managed policy and any AWS managed policies.

    `id` is the address of the role, `policy_id` that of the policy and its attachment.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        deployment: Deployment,
        service: str,
        name: str,
        policy_id: str,
        policy_name: str,
        statements: Sequence[Statement],
        managed_policies: dict[str, str] | None = None,
    ) -> None:
        super().__init__(scope, id)
        self.role = IamRole(
            self,
            id,
            name=deployment.prefixed_globally(name),
            assume_role_policy=policy_document(
                {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": service}}
            ),
        )
        grants = Construct(self, "grants")
        self.policy = IamPolicy(
            grants, policy_id, name=deployment.prefixed_globally(policy_name), policy=policy_document(*statements)
        )
        attachments = Construct(self, "attachments")
        attached = [IamRolePolicyAttachment(attachments, policy_id, role=self.role.name, policy_arn=self.policy.arn)]
        for attachment_id, managed in (managed_policies or {}).items():
            attached.append(
                IamRolePolicyAttachment(
                    attachments, attachment_id, role=self.role.name, policy_arn=f"arn:aws:iam::aws:policy/{managed}"
                )
            )
        self.attachments = attached
        self._profile_name = deployment.prefixed_globally(name)

    def instance_profile(self) -> IamInstanceProfile:
        """Create the instance profile (same id, same name) that gives the role to a machine. Call once."""
        return IamInstanceProfile(
            Construct(self, "profile"), self.node.id, name=self._profile_name, role=self.role.name
        )
