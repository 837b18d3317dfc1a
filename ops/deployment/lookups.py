"""How resources that have a name are looked for in AWS by it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

Body = Mapping[str, Any]


@dataclass(frozen=True)
class Named:
    """How a kind of resource is looked for by its name.

    ask: `call` of `service` takes these arguments; found: whether its answer has the name. missing: the code that says
    that there is none, and a part of the message where the code says other things too.
    """

    kind: str
    attribute: str
    service: str
    call: str
    ask: Callable[[str, str], dict[str, Any]]
    missing: tuple[str, str] = ("", "")
    found: Callable[[dict[str, Any], str], bool] = lambda answer, name: True


# The codes as hashicorp/aws 5.100.0 reads them: internal/service/{iam,ssm,logs,efs,sagemaker}/, the finders.
LOOKUPS: Final[Mapping[str, Named]] = MappingProxyType(
    {
        "aws_cloudwatch_log_group": Named(
            "log group", "name", "logs", "describe_log_groups",
            lambda name, _: {"logGroupNamePrefix": name},
            found=lambda answer, name: any(group["logGroupName"] == name for group in answer["logGroups"]),
        ),
        "aws_efs_file_system": Named(
            "EFS creation token", "creation_token", "efs", "describe_file_systems",
            lambda name, _: {"CreationToken": name}, ("FileSystemNotFound", ""),
            lambda answer, _: bool(answer["FileSystems"]),
        ),
        "aws_iam_instance_profile": Named(
            "instance profile", "name", "iam", "get_instance_profile",
            lambda name, _: {"InstanceProfileName": name}, ("NoSuchEntity", ""),
        ),
        "aws_iam_policy": Named(
            "IAM policy", "name", "iam", "get_policy",
            lambda name, account: {"PolicyArn": f"arn:aws:iam::{account}:policy/{name}"}, ("NoSuchEntity", ""),
        ),
        "aws_iam_role": Named(
            "IAM role", "name", "iam", "get_role", lambda name, _: {"RoleName": name}, ("NoSuchEntity", ""),
        ),
        "aws_sagemaker_code_repository": Named(
            "code repository", "code_repository_name", "sagemaker", "describe_code_repository",
            lambda name, _: {"CodeRepositoryName": name}, ("ValidationException", "Cannot find CodeRepository"),
        ),
        "aws_sagemaker_notebook_instance": Named(
            "notebook", "name", "sagemaker", "describe_notebook_instance",
            lambda name, _: {"NotebookInstanceName": name}, ("ValidationException", "RecordNotFound"),
        ),
        "aws_ssm_parameter": Named(
            "SSM parameter", "name", "ssm", "get_parameter", lambda name, _: {"Name": name}, ("ParameterNotFound", ""),
        ),
    }
)  # fmt: skip
