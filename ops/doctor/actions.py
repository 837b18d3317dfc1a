"""The IAM actions that Terraform needs to deploy, refresh, change and destroy each stack.

Every call that Terraform and hashicorp/aws 5.100.0 make: the end-to-end tests record them, and fail for one that is not
in this table. Besides, what AWS asks of the caller without a call of Terraform's: PassRole, tags, the interfaces of a
mount target and of a notebook. Resources are given where their names are known before the deploy.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from constructs_lib.instance_types import find
from constructs_lib.notebook_types import has_nvidia_gpus
from modules_equiv.settings import Settings
from ops.core.stack_names import STACKS, state_key


@dataclass(frozen=True)
class Group:
    """Actions of one service on one resource ("*" where no name is known). passed_to: the service a role goes to.

    service_role_of: the service whose service-linked role `resource` is; needed only while there is no such role.
    allowed_by: what may allow it besides the caller's policies, and is not seen here.
    """

    service: str
    actions: tuple[str, ...]
    resource: str = "*"
    passed_to: str | None = None
    service_role_of: str | None = None
    allowed_by: str | None = None

    @property
    def names(self) -> list[str]:
        """The actions with their service, as IAM writes them."""
        return [f"{self.service}:{action}" for action in self.actions]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_MACHINE: Final = _words(
    """CreateTags DeleteTags DescribeImages DescribeInstanceAttribute DescribeInstanceCreditSpecifications
    DescribeInstanceTypes DescribeInstances DescribeTags DescribeVolumes DescribeVpcs ModifyInstanceAttribute
    RunInstances StartInstances StopInstances TerminateInstances"""
)
# With the snapshot that a destroy takes, and the one that a deploy looks for.
_KEPT_VOLUME: Final = _words(
    "AttachVolume CreateSnapshot CreateVolume DeleteVolume DescribeSnapshots DetachVolume ModifyVolume"
)
_NETWORK: Final = _words(
    """AllocateAddress AssociateRouteTable AttachInternetGateway AuthorizeSecurityGroupEgress
    AuthorizeSecurityGroupIngress CreateInternetGateway CreateNatGateway CreateNetworkInterface CreateRoute
    CreateRouteTable CreateSecurityGroup CreateSubnet CreateTags CreateVpc CreateVpcEndpoint
    DeleteInternetGateway DeleteNatGateway DeleteNetworkInterface DeleteRoute DeleteRouteTable
    DeleteSecurityGroup DeleteSubnet DeleteVpc DeleteVpcEndpoints DescribeAddresses
    DescribeAddressesAttribute DescribeInternetGateways DescribeNatGateways DescribeNetworkAcls
    DescribeNetworkInterfaces DescribePrefixLists DescribeRouteTables DescribeSecurityGroupRules
    DescribeSecurityGroups DescribeSubnets DescribeVpcAttribute DescribeVpcEndpoints DescribeVpcs
    DetachInternetGateway DisassociateAddress DisassociateRouteTable ModifySubnetAttribute
    ModifyVpcAttribute ReleaseAddress ReplaceRouteTableAssociation RevokeSecurityGroupEgress
    RevokeSecurityGroupIngress"""
)
_FILE_SYSTEM: Final = _words(
    """CreateAccessPoint CreateFileSystem CreateMountTarget DeleteAccessPoint DeleteFileSystem
    DeleteFileSystemPolicy DeleteMountTarget DescribeAccessPoints DescribeBackupPolicy
    DescribeFileSystemPolicy DescribeFileSystems DescribeLifecycleConfiguration
    DescribeMountTargetSecurityGroups DescribeMountTargets PutBackupPolicy PutFileSystemPolicy
    PutLifecycleConfiguration TagResource"""
)
_PARAMETER: Final = _words("AddTagsToResource DeleteParameter GetParameter ListTagsForResource PutParameter")
_ROLE: Final = _words(
    """AttachRolePolicy CreateRole DeleteRole DetachRolePolicy GetRole ListAttachedRolePolicies
    ListInstanceProfilesForRole ListRolePolicies TagRole"""
)
_POLICY: Final = _words(
    """CreatePolicy CreatePolicyVersion DeletePolicy DeletePolicyVersion GetPolicy GetPolicyVersion
    ListPolicyVersions TagPolicy"""
)
_PROFILE: Final = _words(
    """AddRoleToInstanceProfile CreateInstanceProfile DeleteInstanceProfile GetInstanceProfile
    RemoveRoleFromInstanceProfile TagInstanceProfile"""
)
_LOGS: Final = _words("CreateLogGroup DeleteLogGroup ListTagsForResource PutRetentionPolicy TagResource")
_NOTEBOOK: Final = _words(
    """AddTags CreateCodeRepository CreateNotebookInstance CreateNotebookInstanceLifecycleConfig
    DeleteCodeRepository DeleteNotebookInstance DeleteNotebookInstanceLifecycleConfig DescribeCodeRepository
    DescribeNotebookInstance DescribeNotebookInstanceLifecycleConfig ListTags StartNotebookInstance
    StopNotebookInstance UpdateNotebookInstance"""
)
# SageMaker makes and removes a notebook's interface in the VPC by the caller's permissions:
# https://docs.aws.amazon.com/sagemaker/latest/dg/api-permissions-reference.html (CreateNotebookInstance,
# StartNotebookInstance, DeleteNotebookInstance).
_NOTEBOOK_INTERFACE: Final = _words(
    """CreateNetworkInterface DeleteNetworkInterface DescribeNetworkInterfaces DescribeSecurityGroups
    DescribeSubnets DescribeVpcs"""
)
# EFS makes it with the first mount target of an account, by the caller's permission: EFS user guide, "Using
# service-linked roles for Amazon EFS", read 2026-11. By its whole name, which every policy that allows it matches.
_EFS: Final = "elasticfilesystem.amazonaws.com"
_EFS_ROLE: Final = f"aws-service-role/{_EFS}/AWSServiceRoleForAmazonElasticFileSystem"


# What the other stacks stand on.
FOUNDATION: Final = "mlcore"
_GRAFANA_PASSWORD: Final = "ml-infra/{name}/stats-monitor/grafana-admin-password"


@dataclass(frozen=True)
class _Stack:
    ec2: tuple[str, ...]
    role: str
    policy: str
    parameters: tuple[str, ...]


# Names as in modules_equiv/*/stack.py, without the deployment's; parameters are whole, with {name} for it.
_STACKS: Final[Mapping[str, _Stack]] = MappingProxyType(
    {
        "mlcore": _Stack(
            (*_NETWORK, *_MACHINE), "jump", "jump",
            ("ml-infra/{name}/mlcore/jump/boot-status", "AmazonCloudWatch-{name}-cw_agent__config"),
        ),
        "stats-monitor": _Stack(
            (*_MACHINE, *_KEPT_VOLUME), "stats_instance_role", "cloudwatch_stats_monitor",
            ("ml-infra/{name}/stats-monitor/metrics/boot-status", _GRAFANA_PASSWORD),
        ),
        "train-model": _Stack(
            (*_MACHINE, *_KEPT_VOLUME), "ml_worker", "ml_worker",
            ("ml-infra/{name}/train-model/worker/boot-status",),
        ),
        "train-model-dev": _Stack(
            _NOTEBOOK_INTERFACE, "sagemaker_nb_role", "sagemaker_nb",
            ("ml-infra/{name}/train-model-dev/notebook/boot-status",),
        ),
    }
)  # fmt: skip


def _looked_up_image(settings: Settings, stack: str) -> str | None:
    """The public parameter of the machine's image; None where there is no machine or its image is named."""
    kinds = {
        "mlcore": (settings.mlcore.jump_ami, settings.mlcore.jump_instance_type),
        "stats-monitor": (settings.stats_monitor.ami, settings.stats_monitor.instance_type),
        "train-model": (settings.train_model.ami, settings.train_model.instance_type),
    }
    ami, instance_type = kinds.get(stack, ("", ""))
    return find(instance_type).image_parameter if ami is None else None


def _gpu_parameter(settings: Settings, stack: str) -> tuple[str, ...]:
    """The agent's configuration for GPUs, where the stack has one."""
    if stack == "train-model" and settings.train_model.worker.family == "nvidia":
        return ("AmazonCloudWatch-{name}-cw_agent__gpu",)
    if stack == "train-model-dev" and has_nvidia_gpus(settings.train_model_dev.instance_type):
        return ("AmazonCloudWatch-{name}-cw_agent__notebook_gpu",)
    return ()


def groups(settings: Settings, stack: str, account: str, *, state_kms_key: str | None = None) -> Iterator[Group]:
    """Everything that a stack's deploy and destroy call.

    account: 12 digits, for the names of resources. state_kms_key: the state bucket's own, where it has one.
    """
    name, region = settings.deployment.name, settings.deployment.region
    part = _STACKS[stack]
    bucket = f"arn:aws:s3:::{settings.state.bucket}"
    key = f"{bucket}/{state_key(settings, stack)}"
    yield Group("s3", ("ListBucket",), bucket)
    yield Group("s3", ("GetObject", "PutObject"), key)
    yield Group("s3", ("GetObject", "PutObject", "DeleteObject"), f"{key}.tflock")
    # The others read its outputs from its state. It is destroyed when their states hold nothing and are not locked.
    for other in (FOUNDATION,) if stack != FOUNDATION else [each for each in STACKS if each != FOUNDATION]:
        state = f"{bucket}/{state_key(settings, other)}"
        for read in (state,) if other == FOUNDATION else (state, f"{state}.tflock"):
            yield Group("s3", ("GetObject",), read)
    if kms_key := settings.state.kms_key_arn or state_kms_key:
        # https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html, "Permissions".
        yield Group("kms", ("Decrypt", "GenerateDataKey"), kms_key, allowed_by="the key's own policy")
    yield Group("ec2", tuple(dict.fromkeys(part.ec2)))
    for parameter in (*part.parameters, *_gpu_parameter(settings, stack)):
        resource = f"arn:aws:ssm:{region}:{account}:parameter/{parameter.format(name=name)}"
        yield Group("ssm", _PARAMETER, resource)
    yield Group("ssm", ("DescribeParameters",))
    if image := _looked_up_image(settings, stack):
        yield Group("ssm", ("GetParameter",), f"arn:aws:ssm:{region}::parameter{image}")
    deployment = settings.stack_deployment()
    named, policy = deployment.prefixed_globally(part.role), deployment.prefixed_globally(part.policy)
    role = f"arn:aws:iam::{account}:role/{named}"
    yield Group("iam", _ROLE, role)
    yield Group("iam", _POLICY, f"arn:aws:iam::{account}:policy/{policy}")
    notebook = stack == "train-model-dev"
    yield Group("iam", ("PassRole",), role, "sagemaker.amazonaws.com" if notebook else "ec2.amazonaws.com")
    if not notebook:
        yield Group("iam", _PROFILE, f"arn:aws:iam::{account}:instance-profile/{named}")
    if stack == FOUNDATION:
        yield Group("elasticfilesystem", _FILE_SYSTEM)
        service_role = f"arn:aws:iam::{account}:role/{_EFS_ROLE}"
        yield Group("iam", ("CreateServiceLinkedRole",), service_role, service_role_of=_EFS)
    elif stack == "stats-monitor":
        yield Group("secretsmanager", ("GetRandomPassword",))
    elif stack == "train-model":
        log_group = f"arn:aws:logs:{region}:{account}:log-group:/ml-infra/{name}/train-model/training"
        yield Group("logs", _LOGS, log_group)
        yield Group("logs", ("DescribeLogGroups",))
    elif notebook:
        yield Group("sagemaker", _NOTEBOOK)
