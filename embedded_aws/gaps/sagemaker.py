"""SageMaker: notebook instances, their lifecycle configurations and code repositories."""

import secrets
from collections.abc import Callable
from typing import Any

from moto.core.responses import ActionResult, EmptyResult
from moto.core.utils import get_service_model, utcnow
from moto.sagemaker.exceptions import ValidationError
from moto.sagemaker.models import (
    FakeSagemakerNotebookInstance,
    FakeSageMakerNotebookInstanceLifecycleConfig,
    SageMakerModelBackend,
)
from moto.sagemaker.responses import SageMakerResponse
from moto.sagemaker.utils import arn_formatter

from embedded_aws.gaps.patching import add, replace, wrap

_DEFAULT_PLATFORM = "notebook-al2023-v1"  # since 2026-05-15
_DEFAULT_IMDS = {"MinimumInstanceMetadataServiceVersion": "1"}
_NEXT_STATUS = {"Pending": "InService", "Stopping": "Stopped", "Updating": "Stopped"}


# --- tags


def get_resource_from_arn(original: Callable[..., Any], self: SageMakerModelBackend, arn: str) -> Any:
    """Answer ListTags, AddTags, DeleteTags: on code repositories and lifecycle configurations too."""
    kind, name = arn.split(":")[-1].split("/")
    ours: dict[str, dict[str, Any]] = {
        "code-repository": _code_repositories(self),
        "notebook-instance-lifecycle-config": self.notebook_instance_lifecycle_configurations,
    }
    if kind not in ours:
        return original(self, arn)
    if name not in ours[kind]:
        raise ValidationError(message=f"Could not find {kind} with name {name}")
    return ours[kind][name]


def add_tags(self: SageMakerModelBackend, arn: str, tags: list[dict[str, str]]) -> list[dict[str, str]]:
    """Answer AddTags: overwrites the value of a key that is there, where moto keeps both.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_AddTags.html
    """
    resource = self._get_resource_from_arn(arn)
    merged = {tag["Key"]: tag for tag in [*resource.tags, *tags]}
    resource.tags = list(merged.values())
    return resource.tags  # type: ignore[no-any-return]


# --- code repositories


class _CodeRepository:
    def __init__(
        self, backend: SageMakerModelBackend, name: str, git_config: dict[str, str], tags: list[dict[str, str]]
    ):
        self.code_repository_name = name
        self.code_repository_arn = arn_formatter("code-repository", name, backend.account_id, backend.region_name)
        self.git_config = git_config
        self.tags = tags
        self.creation_time = self.last_modified_time = utcnow()


def _code_repositories(backend: SageMakerModelBackend) -> dict[str, _CodeRepository]:
    repositories: dict[str, _CodeRepository] = backend.__dict__.setdefault("code_repositories", {})
    return repositories


def _code_repository(response: SageMakerResponse) -> _CodeRepository:
    name = response._get_param("CodeRepositoryName")
    try:
        return _code_repositories(response.sagemaker_backend)[name]
    except KeyError:
        raise ValidationError(message=f"Cannot find CodeRepository {name}") from None


def create_code_repository(self: SageMakerResponse) -> ActionResult:
    """Answer CreateCodeRepository: refuses a name that is taken.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateCodeRepository.html
    """
    name = self._get_param("CodeRepositoryName")
    repositories = _code_repositories(self.sagemaker_backend)
    if name in repositories:
        raise ValidationError(message=f"Cannot create already existing CodeRepository {name}")
    git_config, tags = self._get_param("GitConfig"), self._get_param("Tags") or []
    repositories[name] = _CodeRepository(self.sagemaker_backend, name, git_config, tags)
    return ActionResult({"CodeRepositoryArn": repositories[name].code_repository_arn})


def describe_code_repository(self: SageMakerResponse) -> ActionResult:
    """Answer DescribeCodeRepository."""
    return ActionResult(_code_repository(self))


def update_code_repository(self: SageMakerResponse) -> ActionResult:
    """Answer UpdateCodeRepository: only the secret can change (GitConfigForUpdate)."""
    repository = _code_repository(self)
    repository.git_config = {**repository.git_config, **(self._get_param("GitConfig") or {})}
    repository.last_modified_time = utcnow()
    return ActionResult({"CodeRepositoryArn": repository.code_repository_arn})


def delete_code_repository(self: SageMakerResponse) -> ActionResult:
    """Answer DeleteCodeRepository."""
    del _code_repositories(self.sagemaker_backend)[_code_repository(self).code_repository_name]
    return EmptyResult()


def list_code_repositories(self: SageMakerResponse) -> ActionResult:
    """Answer ListCodeRepositories: NameContains, SortBy (default Name), SortOrder, MaxResults and NextToken."""
    keys: dict[str, Callable[[_CodeRepository], Any]] = {
        "Name": lambda repository: repository.code_repository_name,
        "CreationTime": lambda repository: repository.creation_time,
        "LastModifiedTime": lambda repository: repository.last_modified_time,
    }
    name_part = self._get_param("NameContains", "")
    found = sorted(
        (r for r in _code_repositories(self.sagemaker_backend).values() if name_part in r.code_repository_name),
        key=keys[self._get_param("SortBy", "Name")],
        reverse=self._get_param("SortOrder") == "Descending",
    )
    start = int(self._get_param("NextToken", 0))
    end = start + int(self._get_param("MaxResults", 100))
    next_token = str(end) if end < len(found) else None
    return ActionResult({"CodeRepositorySummaryList": found[start:end], "NextToken": next_token})


# --- lifecycle configurations


def create_lifecycle_config(original: Callable[..., ActionResult], self: SageMakerResponse) -> ActionResult:
    """Answer CreateNotebookInstanceLifecycleConfig: keeps the tags."""
    result = original(self)
    _lifecycle_config(self).tags = self._get_param("Tags") or []  # type: ignore[attr-defined]
    return result


def update_lifecycle_config(self: SageMakerResponse) -> ActionResult:
    """Answer UpdateNotebookInstanceLifecycleConfig: replaces both scripts; one that is left out is gone."""
    config = _lifecycle_config(self)
    config.on_create, config.on_start = self._get_param("OnCreate"), self._get_param("OnStart")
    config.last_modified_time = utcnow()
    return EmptyResult()


def list_lifecycle_configs(self: SageMakerResponse) -> ActionResult:
    """Answer ListNotebookInstanceLifecycleConfigs: NameContains; all on one page.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ListNotebookInstanceLifecycleConfigs.html
    """
    part = self._get_param("NameContains", "")
    found = self.sagemaker_backend.notebook_instance_lifecycle_configurations.values()
    listed = [
        {
            "NotebookInstanceLifecycleConfigName": each.notebook_instance_lifecycle_config_name,
            "NotebookInstanceLifecycleConfigArn": each.arn,
            "CreationTime": each.creation_time,
            "LastModifiedTime": each.last_modified_time,
        }
        for each in found
        if part in each.notebook_instance_lifecycle_config_name
    ]
    return ActionResult({"NotebookInstanceLifecycleConfigs": listed})


def _lifecycle_config(response: SageMakerResponse) -> FakeSageMakerNotebookInstanceLifecycleConfig:
    name = response._get_param("NotebookInstanceLifecycleConfigName")
    backend = response.sagemaker_backend
    backend.describe_notebook_instance_lifecycle_config(name)  # raises the error of the API when there is none
    return backend.notebook_instance_lifecycle_configurations[name]


# --- notebook instances


def validate_instance_type(self: FakeSagemakerNotebookInstance, instance_type: str) -> None:
    """Answer CreateNotebookInstance InstanceType: the values of the service's own model; moto's list ends in 2019."""
    shape: Any = get_service_model("sagemaker").shape_for("InstanceType")
    if instance_type not in shape.enum:
        constraint = f"failed to satisfy constraint: Member must satisfy enum value set: {shape.enum}"
        raise ValidationError(message=f"Value '{instance_type}' at 'instanceType' {constraint}")


def create_notebook_instance(original: Callable[..., ActionResult], self: SageMakerResponse) -> ActionResult:
    """Answer CreateNotebookInstance: keeps the platform and the metadata service configuration."""
    result = original(self)
    notebook: Any = self.sagemaker_backend.get_notebook_instance(self._get_param("NotebookInstanceName"))
    notebook.platform_identifier = self._get_param("PlatformIdentifier") or _DEFAULT_PLATFORM
    notebook.imds = self._get_param("InstanceMetadataServiceConfiguration") or _DEFAULT_IMDS
    return result


def update_notebook_instance(self: SageMakerResponse) -> ActionResult:
    """Answer UpdateNotebookInstance: only while it is stopped; what the request leaves out stays.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_UpdateNotebookInstance.html
    """
    notebook: Any = self.sagemaker_backend.get_notebook_instance(self._get_param("NotebookInstanceName"))
    if notebook.status != "Stopped":
        problem = f"Status ({notebook.status}) not in ([Stopped]). Unable to transition to (Updating)"
        raise ValidationError(message=f"{problem} for Notebook Instance ({notebook.arn})")
    if self._get_param("InstanceType"):
        notebook.validate_instance_type(self._get_param("InstanceType"))
    for parameter, attribute in {
        "InstanceType": "instance_type",
        "RoleArn": "role_arn",
        "LifecycleConfigName": "lifecycle_config_name",
        "VolumeSizeInGB": "volume_size_in_gb",
        "DefaultCodeRepository": "default_code_repository",
        "AdditionalCodeRepositories": "additional_code_repositories",
        "RootAccess": "root_access",
        "PlatformIdentifier": "platform_identifier",
        "InstanceMetadataServiceConfiguration": "imds",
    }.items():
        value = self._get_param(parameter)
        if value is not None:
            setattr(notebook, attribute, value)
    for parameter, attribute in {
        "DisassociateLifecycleConfig": "lifecycle_config_name",
        "DisassociateDefaultCodeRepository": "default_code_repository",
        "DisassociateAdditionalCodeRepositories": "additional_code_repositories",
    }.items():
        if self._get_param(parameter):
            setattr(notebook, attribute, None)
    notebook.status = "Updating"
    notebook.last_modified_time = utcnow()
    return EmptyResult()


def create_presigned_notebook_instance_url(self: SageMakerResponse) -> ActionResult:
    """Answer CreatePresignedNotebookInstanceUrl: nothing listens there.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreatePresignedNotebookInstanceUrl.html
    """
    notebook: Any = self.sagemaker_backend.get_notebook_instance(self._get_param("NotebookInstanceName"))
    return ActionResult({"AuthorizedUrl": f"https://{notebook.url}?authToken={secrets.token_urlsafe(32)}"})


def start(self: FakeSagemakerNotebookInstance) -> None:
    """Answer CreateNotebookInstance, StartNotebookInstance: Pending first, InService once that was seen."""
    self.status = "Pending"


def stop(self: FakeSagemakerNotebookInstance) -> None:
    """Answer StopNotebookInstance: Stopping first, Stopped once that was seen."""
    self.status = "Stopping"


def to_dict(original: Callable[..., dict[str, Any]], self: Any) -> dict[str, Any]:
    """DescribeNotebookInstance, ListNotebookInstances: each look at a passing status is the last that shows it."""
    described = original(self)
    described["PlatformIdentifier"] = getattr(self, "platform_identifier", _DEFAULT_PLATFORM)
    described["InstanceMetadataServiceConfiguration"] = getattr(self, "imds", _DEFAULT_IMDS)
    self.status = _NEXT_STATUS.get(self.status, self.status)
    return described


def install() -> None:
    """Put the closures of this module into moto."""
    wrap(SageMakerModelBackend, "_get_resource_from_arn", get_resource_from_arn)
    replace(SageMakerModelBackend, "add_tags", add_tags)
    add(SageMakerResponse, "create_code_repository", create_code_repository)
    add(SageMakerResponse, "describe_code_repository", describe_code_repository)
    add(SageMakerResponse, "update_code_repository", update_code_repository)
    add(SageMakerResponse, "delete_code_repository", delete_code_repository)
    add(SageMakerResponse, "list_code_repositories", list_code_repositories)
    wrap(SageMakerResponse, "create_notebook_instance_lifecycle_config", create_lifecycle_config)
    add(SageMakerResponse, "update_notebook_instance_lifecycle_config", update_lifecycle_config)
    add(SageMakerResponse, "list_notebook_instance_lifecycle_configs", list_lifecycle_configs)
    replace(FakeSagemakerNotebookInstance, "validate_instance_type", validate_instance_type)
    wrap(SageMakerResponse, "create_notebook_instance", create_notebook_instance)
    add(SageMakerResponse, "update_notebook_instance", update_notebook_instance)
    add(SageMakerResponse, "create_presigned_notebook_instance_url", create_presigned_notebook_instance_url)
    replace(FakeSagemakerNotebookInstance, "start", start)
    replace(FakeSagemakerNotebookInstance, "stop", stop)
    wrap(FakeSagemakerNotebookInstance, "to_dict", to_dict)
