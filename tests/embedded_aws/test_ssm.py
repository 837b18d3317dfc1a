"""Systems Manager's public parameters, and secrets in SecureString parameters."""

from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError

from tests.embedded_aws.conftest import ClientFactory

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ssm import SSMClient

NEURON = "/aws/service/neuron/dlami/pytorch-2.9/ubuntu-24.04/latest/image_id"
CANONICAL = "/aws/service/canonical/ubuntu/server"
DEEP_LEARNING = "/aws/service/deeplearning/ami/x86_64"
PUBLIC_PARAMETERS = {  # parameter: name of the image it stands for
    f"{CANONICAL}/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id": "ubuntu-noble-24.04",
    f"{CANONICAL}/22.04/stable/current/amd64/hvm/ebs-gp2/ami-id": "ubuntu-jammy-22.04",
    f"{DEEP_LEARNING}/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id": "Deep Learning Base OSS",
    f"{DEEP_LEARNING}/oss-nvidia-driver-gpu-pytorch-2.12-ubuntu-24.04/latest/ami-id": "PyTorch 2.12",
    NEURON: "Neuron PyTorch 2.9 (Ubuntu 24.04)",
    "/aws/service/neuron/dlami/multi-framework/ubuntu-22.04/latest/image_id": "Neuron (Ubuntu 22.04)",
}


@pytest.mark.parametrize(("parameter", "image_name"), PUBLIC_PARAMETERS.items())
def test_public_parameters_name_images(ssm: "SSMClient", ec2: "EC2Client", parameter: str, image_name: str) -> None:
    found = ssm.get_parameter(Name=parameter)["Parameter"]
    assert (found["Type"], found["DataType"]) == ("String", "aws:ec2:image")
    (image,) = ec2.describe_images(ImageIds=[found["Value"]])["Images"]
    assert image_name in image["Name"]
    assert image["Architecture"] == "x86_64"


def test_public_parameters_are_found_by_path_in_another_region(client: ClientFactory) -> None:
    found = client("ssm", "us-west-2").get_parameters_by_path(Path="/aws/service/neuron", Recursive=True)["Parameters"]
    assert len(found) == 2


def test_public_parameters_cannot_be_written(ssm: "SSMClient") -> None:
    with pytest.raises(ClientError) as refused:
        ssm.put_parameter(Name=NEURON, Value="ami-0123456789abcdef0", Type="String", Overwrite=True)
    assert refused.value.response["Error"]["Code"] == "AccessDeniedException"


def test_public_parameters_are_not_listed_with_the_accounts_own(ssm: "SSMClient") -> None:
    ssm.get_parameter(Name=NEURON)
    ssm.put_parameter(Name="AmazonCloudWatch-own", Value="{}", Type="String")
    names = [parameter["Name"] for parameter in ssm.describe_parameters()["Parameters"]]
    assert "AmazonCloudWatch-own" in names
    assert [name for name in names if name.startswith("/aws/")] == []


def test_a_name_that_is_not_public_is_not_found(ssm: "SSMClient") -> None:
    with pytest.raises(ssm.exceptions.ParameterNotFound):
        ssm.get_parameter(Name="/aws/service/canonical/ubuntu/server/4.10/stable/current/amd64/hvm/ebs-gp3/ami-id")


def test_a_generated_password_comes_back_only_decrypted(ssm: "SSMClient", client: ClientFactory) -> None:
    password = client("secretsmanager").get_random_password(PasswordLength=24, ExcludePunctuation=True)[
        "RandomPassword"
    ]
    assert len(password) == 24
    assert password.isalnum()
    ssm.put_parameter(Name="/ml-core/password", Value=password, Type="SecureString")
    assert ssm.get_parameter(Name="/ml-core/password", WithDecryption=True)["Parameter"]["Value"] == password
    assert ssm.get_parameter(Name="/ml-core/password")["Parameter"]["Value"] != password


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ('{"error":"docker info -f {{json .Runtimes}}"}', "can't nest another parameter"),
        ("{{ssm:other}}", "can't nest another parameter"),
        ("", "length greater than or equal to 1"),
        ("x" * 4097, "maximum parameter value of 4096 characters"),
    ],
)
def test_values_that_parameters_do_not_take(ssm: "SSMClient", value: str, reason: str) -> None:
    ssm.put_parameter(Name="/ml-core/status", Value="{ {x} }", Type="String", Overwrite=True)
    with pytest.raises(ClientError, match=reason) as refused:
        ssm.put_parameter(Name="/ml-core/status", Value=value, Overwrite=True)
    assert refused.value.response["Error"]["Code"] == "ValidationException"
    assert ssm.get_parameter(Name="/ml-core/status")["Parameter"]["Value"] == "{ {x} }"
