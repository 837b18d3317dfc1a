"""SageMaker, as https://docs.aws.amazon.com/sagemaker/latest/APIReference/ documents it."""

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

ROLE = "arn:aws:iam::123456789012:role/notebook"
GIT: Any = {"RepositoryUrl": "https://github.com/example/msls-pytorch-dcgan.git", "Branch": "main"}
TAGS: Any = [{"Key": "deployment", "Value": "ml-core"}, {"Key": "stack", "Value": "dev"}]


@pytest.fixture
def name() -> str:
    return f"n{uuid.uuid4().hex[:12]}"


def status(sagemaker: "SageMakerClient", name: str) -> str:
    return sagemaker.describe_notebook_instance(NotebookInstanceName=name)["NotebookInstanceStatus"]


def as_dict(tags: Any) -> dict[str, str]:
    assert len({tag["Key"] for tag in tags}) == len(tags)
    return {tag["Key"]: tag["Value"] for tag in tags}


# --- code repositories


def test_a_code_repository_lives_and_dies(sagemaker: "SageMakerClient", name: str) -> None:
    arn = sagemaker.create_code_repository(CodeRepositoryName=name, GitConfig=GIT, Tags=TAGS)["CodeRepositoryArn"]
    assert arn == f"arn:aws:sagemaker:us-east-1:123456789012:code-repository/{name}"
    described = sagemaker.describe_code_repository(CodeRepositoryName=name)
    assert (described["CodeRepositoryName"], described["CodeRepositoryArn"]) == (name, arn)
    assert described["GitConfig"] == GIT
    assert as_dict(sagemaker.list_tags(ResourceArn=arn)["Tags"]) == {
        "deployment": "ml-core",
        "stack": "dev",
    }
    sagemaker.delete_code_repository(CodeRepositoryName=name)
    with pytest.raises(ClientError, match="Cannot find CodeRepository") as missing:
        sagemaker.describe_code_repository(CodeRepositoryName=name)
    assert missing.value.response["Error"]["Code"] == "ValidationException"


def test_a_code_repository_name_is_taken_only_once(sagemaker: "SageMakerClient", name: str) -> None:
    sagemaker.create_code_repository(CodeRepositoryName=name, GitConfig=GIT)
    with pytest.raises(ClientError) as refused:
        sagemaker.create_code_repository(CodeRepositoryName=name, GitConfig=GIT)
    assert refused.value.response["Error"]["Code"] == "ValidationException"


def test_updating_a_code_repository_changes_only_its_secret(sagemaker: "SageMakerClient", name: str) -> None:
    secret = "arn:aws:secretsmanager:us-east-1:123456789012:secret:git"
    sagemaker.create_code_repository(CodeRepositoryName=name, GitConfig=GIT)
    sagemaker.update_code_repository(CodeRepositoryName=name, GitConfig={"SecretArn": secret})
    assert sagemaker.describe_code_repository(CodeRepositoryName=name)["GitConfig"] == {**GIT, "SecretArn": secret}


def test_code_repositories_are_listed_by_name_in_pages(sagemaker: "SageMakerClient", name: str) -> None:
    for suffix in ("b", "c", "a"):
        sagemaker.create_code_repository(CodeRepositoryName=f"{name}-{suffix}", GitConfig=GIT)
    first = sagemaker.list_code_repositories(NameContains=name, MaxResults=2)
    assert [r["CodeRepositoryName"] for r in first["CodeRepositorySummaryList"]] == [f"{name}-a", f"{name}-b"]
    second = sagemaker.list_code_repositories(NameContains=name, MaxResults=2, NextToken=first["NextToken"])
    assert [r["CodeRepositoryName"] for r in second["CodeRepositorySummaryList"]] == [f"{name}-c"]
    assert "NextToken" not in second


# --- lifecycle configurations and tags


def test_a_lifecycle_configuration_has_tags_and_can_be_changed(sagemaker: "SageMakerClient", name: str) -> None:
    arn = sagemaker.create_notebook_instance_lifecycle_config(
        NotebookInstanceLifecycleConfigName=name, OnStart=[{"Content": "b25l"}], Tags=TAGS
    )["NotebookInstanceLifecycleConfigArn"]
    assert as_dict(sagemaker.list_tags(ResourceArn=arn)["Tags"]) == {
        "deployment": "ml-core",
        "stack": "dev",
    }
    sagemaker.update_notebook_instance_lifecycle_config(
        NotebookInstanceLifecycleConfigName=name, OnStart=[{"Content": "dHdv"}]
    )
    described = sagemaker.describe_notebook_instance_lifecycle_config(NotebookInstanceLifecycleConfigName=name)
    assert described["OnStart"] == [{"Content": "dHdv"}]


def test_lifecycle_configurations_are_listed_by_a_part_of_their_name(sagemaker: "SageMakerClient") -> None:
    for name in ("listed-one", "another"):
        sagemaker.create_notebook_instance_lifecycle_config(NotebookInstanceLifecycleConfigName=name)

    found = sagemaker.list_notebook_instance_lifecycle_configs(NameContains="listed-")
    (one,) = found["NotebookInstanceLifecycleConfigs"]
    assert one["NotebookInstanceLifecycleConfigName"] == "listed-one"
    assert one["NotebookInstanceLifecycleConfigArn"].endswith(":notebook-instance-lifecycle-config/listed-one")


def test_tags_of_a_missing_lifecycle_configuration_are_refused(sagemaker: "SageMakerClient") -> None:
    arn = "arn:aws:sagemaker:us-east-1:123456789012:notebook-instance-lifecycle-config/missing"
    with pytest.raises(ClientError) as refused:
        sagemaker.list_tags(ResourceArn=arn)
    assert refused.value.response["Error"]["Code"] == "ValidationException"


def test_adding_a_tag_that_is_there_overwrites_it(sagemaker: "SageMakerClient", name: str) -> None:
    arn = sagemaker.create_code_repository(CodeRepositoryName=name, GitConfig=GIT, Tags=TAGS)["CodeRepositoryArn"]
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "stack", "Value": "other"}, {"Key": "new", "Value": "1"}])
    expected = {"deployment": "ml-core", "stack": "other", "new": "1"}
    assert as_dict(sagemaker.list_tags(ResourceArn=arn)["Tags"]) == expected


# --- notebook instances


def test_a_notebook_instance_passes_through_its_states(sagemaker: "SageMakerClient", name: str) -> None:
    arn = sagemaker.create_notebook_instance(
        NotebookInstanceName=name, InstanceType="ml.t3.medium", RoleArn=ROLE, Tags=TAGS
    )["NotebookInstanceArn"]
    assert as_dict(sagemaker.list_tags(ResourceArn=arn)["Tags"]) == {
        "deployment": "ml-core",
        "stack": "dev",
    }
    assert [status(sagemaker, name), status(sagemaker, name)] == ["Pending", "InService"]
    sagemaker.stop_notebook_instance(NotebookInstanceName=name)
    with pytest.raises(ClientError, match="Stopping"):  # only what is stopped or failed can be deleted
        sagemaker.delete_notebook_instance(NotebookInstanceName=name)
    assert [status(sagemaker, name), status(sagemaker, name)] == ["Stopping", "Stopped"]
    sagemaker.delete_notebook_instance(NotebookInstanceName=name)
    with pytest.raises(ClientError, match="RecordNotFound"):
        status(sagemaker, name)


def test_a_notebook_instance_has_a_url_that_is_signed_anew(sagemaker: "SageMakerClient", name: str) -> None:
    sagemaker.create_notebook_instance(NotebookInstanceName=name, InstanceType="ml.t3.medium", RoleArn=ROLE)
    urls = {
        sagemaker.create_presigned_notebook_instance_url(NotebookInstanceName=name)["AuthorizedUrl"] for _ in range(2)
    }
    assert len(urls) == 2
    assert all(url.startswith(f"https://{name}.notebook.us-east-1.sagemaker.aws?authToken=") for url in urls)
    with pytest.raises(ClientError, match="RecordNotFound"):
        sagemaker.create_presigned_notebook_instance_url(NotebookInstanceName="missing")


def test_a_notebook_instance_is_changed_only_while_it_is_stopped(sagemaker: "SageMakerClient", name: str) -> None:
    sagemaker.create_notebook_instance(
        NotebookInstanceName=name,
        InstanceType="ml.t3.medium",
        RoleArn=ROLE,
        LifecycleConfigName="old",
        VolumeSizeInGB=20,
    )
    status(sagemaker, name)
    with pytest.raises(ClientError, match="InService"):
        sagemaker.update_notebook_instance(NotebookInstanceName=name, InstanceType="ml.g5.xlarge")
    sagemaker.stop_notebook_instance(NotebookInstanceName=name)
    status(sagemaker, name)
    sagemaker.update_notebook_instance(
        NotebookInstanceName=name, InstanceType="ml.g5.xlarge", DisassociateLifecycleConfig=True
    )
    described: Any = sagemaker.describe_notebook_instance(NotebookInstanceName=name)
    assert (described["NotebookInstanceStatus"], described["InstanceType"]) == ("Updating", "ml.g5.xlarge")
    assert described["VolumeSizeInGB"] == 20
    assert "NotebookInstanceLifecycleConfigName" not in described
    assert status(sagemaker, name) == "Stopped"


def test_metadata_service_and_platform_are_kept_or_have_the_services_default(
    sagemaker: "SageMakerClient", name: str
) -> None:
    common: Any = {"InstanceType": "ml.t3.medium", "RoleArn": ROLE}
    sagemaker.create_notebook_instance(
        NotebookInstanceName=name,
        InstanceMetadataServiceConfiguration={"MinimumInstanceMetadataServiceVersion": "2"},
        **common,
    )
    described: Any = sagemaker.describe_notebook_instance(NotebookInstanceName=name)
    assert described["InstanceMetadataServiceConfiguration"] == {"MinimumInstanceMetadataServiceVersion": "2"}
    assert described["PlatformIdentifier"] == "notebook-al2023-v1"
    sagemaker.create_notebook_instance(NotebookInstanceName=f"{name}-2", **common)
    default = sagemaker.describe_notebook_instance(NotebookInstanceName=f"{name}-2")
    assert default["InstanceMetadataServiceConfiguration"] == {"MinimumInstanceMetadataServiceVersion": "1"}


@pytest.mark.parametrize("instance_type", ["ml.g5.2xlarge", "ml.p4d.24xlarge", "ml.trn1.2xlarge", "ml.m7i.large"])
def test_instance_types_of_today_are_taken(sagemaker: "SageMakerClient", name: str, instance_type: Any) -> None:
    sagemaker.create_notebook_instance(NotebookInstanceName=name, InstanceType=instance_type, RoleArn=ROLE)
    assert sagemaker.describe_notebook_instance(NotebookInstanceName=name)["InstanceType"] == instance_type


def test_an_instance_type_that_does_not_exist_is_refused(sagemaker: "SageMakerClient", name: str) -> None:
    unknown: Any = "ml.z9.xlarge"
    with pytest.raises(ClientError) as refused:
        sagemaker.create_notebook_instance(NotebookInstanceName=name, InstanceType=unknown, RoleArn=ROLE)
    assert refused.value.response["Error"]["Code"] == "ValidationException"
