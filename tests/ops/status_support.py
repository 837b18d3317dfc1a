"""Deployments on the embedded AWS: one by Terraform, others as copies of it, and `ops` looking at them."""

import json
import os
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from embedded_aws import control
from modules_equiv.settings import load_settings
from ops.core import environment
from ops.core.environment import LOCAL_BUCKET
from ops.core.session import Session
from tests.ops import support
from tests.ops.support import Finished, Running, wait_for
from tools import local

NOT_REPORTED = '{"state":"not reported yet",\n"stages":[]}\n'
UBUNTU = "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"
WORKER_TYPE, NOTEBOOK_TYPE, ZONE = "g6.12xlarge", "ml.t3.medium", "us-east-1a"


@dataclass(frozen=True)
class Place:
    """A deployment: `variables` is the environment of `make local-shell` in it, `folder` is for what tests write."""

    variables: dict[str, str]
    folder: Path
    name: str = "ml-core"

    def named(self, name: str) -> "Place":
        """The same account under another deployment's name."""
        folder = self.folder / name
        folder.mkdir()
        return replace(self, name=name, folder=folder, variables={**self.variables, "ML_INFRA_DEPLOYMENT__NAME": name})

    def ops(self, *arguments: str, **more: str) -> Finished:
        """Runs it in this process."""
        return support.run(arguments, {**self.variables, **more})

    def start(self, *arguments: str, **more: str) -> Running:
        """A process."""
        return support.start(arguments, {**self.variables, **more}, self.folder)

    def aws(self, service: str) -> Any:
        return support.client(self.variables["AWS_ENDPOINT_URL"], service)

    def key(self, stack: str) -> str:
        """Of the stack's state."""
        return f"ml-core/{self.name}/us-east-1/{stack}.tfstate"

    def enter(self, patch: pytest.MonkeyPatch) -> None:
        """This process talks to the embedded AWS too."""
        for name, value in self.variables.items():
            if name.startswith(("AWS_", "NO_PROXY", "no_proxy")):
                patch.setenv(name, value)

    def session(self) -> Session:
        """For calls in the test's own process, after `enter`."""
        return Session(load_settings(environ=self.variables), self.variables)

    def terraform(self, stack: str, *command: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            ["terraform", *command],
            cwd=self.folder / stack,
            env=dict(self.variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def write(self, stack: str, configuration: Mapping[str, Any]) -> None:
        """A Terraform configuration whose state is where the stack's would be; initialized."""
        folder = self.folder / stack
        folder.mkdir(exist_ok=True)
        backend = {
            "bucket": LOCAL_BUCKET,
            "key": self.key(stack),
            "region": "us-east-1",
            "encrypt": True,
            "use_lockfile": True,
            "use_path_style": True,
        }
        document = {**configuration, "terraform": {"backend": {"s3": backend}, **configuration.get("terraform", {})}}
        (folder / "main.tf.json").write_text(json.dumps(document), encoding="utf-8")
        if not (folder / ".terraform").exists():
            self.finish(stack, "init", "-input=false", "-no-color")

    def finish(self, stack: str, *command: str) -> None:
        process = self.terraform(stack, *command)
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said

    def report(self, whose: str, **document: Any) -> None:
        """What the machine's boot scripts would publish."""
        stack = {"worker": "train-model", "notebook": "train-model-dev"}[whose]
        self.aws("ssm").put_parameter(
            Name=f"/ml-infra/{self.name}/{stack}/{whose}/boot-status", Value=json.dumps(document), Overwrite=True
        )


def prepared(endpoint: control.Endpoint, folder: Path) -> Place:
    """The state bucket and the key pair, and nothing deployed."""
    base = support.environment(endpoint) | {"ML_INFRA_SETTINGS": os.devnull, "NO_COLOR": "1"}
    settings = load_settings(environ=base | environment.LOCAL_SETTINGS)
    local.prepare_account(settings, endpoint, folder)
    return Place(local.variables(endpoint, "us-east-1", base), folder)


def deploy(place: Place) -> None:
    """train-model and train-model-dev as far as `ops` looks at them, by Terraform: 6 and 3 resources."""
    versions = {"required_providers": {"aws": {"source": "hashicorp/aws", "version": "5.100.0"}}}

    def apply(stack: str) -> None:
        described = {"train-model": _train_model, "train-model-dev": _train_model_dev}[stack](place.name)
        provider = {"terraform": versions, "provider": {"aws": {"region": "us-east-1"}}}
        place.write(stack, {**described, **provider})
        place.finish(stack, "apply", "-auto-approve", "-input=false", "-no-color")

    with ThreadPoolExecutor() as pool:
        list(pool.map(apply, ("train-model", "train-model-dev")))


def copied(place: Place, name: str) -> Place:
    """A second deployment, of machines that are made here; its states are those of Terraform with other names."""
    made = place.named(name)
    ec2, ssm, sagemaker = made.aws("ec2"), made.aws("ssm"), made.aws("sagemaker")
    data = ec2.create_volume(AvailabilityZone=ZONE, VolumeType="gp3", Size=50, Iops=8000, Throughput=1000)
    (worker,) = ec2.run_instances(
        ImageId=ssm.get_parameter(Name=UBUNTU)["Parameter"]["Value"],
        InstanceType=WORKER_TYPE,
        Placement={"AvailabilityZone": ZONE},
        BlockDeviceMappings=[
            {
                "DeviceName": "/dev/sda1",
                "Ebs": {"VolumeType": "gp3", "VolumeSize": 130, "Iops": 3000, "Throughput": 125},
            }
        ],
        TagSpecifications=[
            {
                "ResourceType": "instance",
                "Tags": [{"Key": key, "Value": value} for key, value in _tags(name, "train-model").items()],
            }
        ],
        MinCount=1,
        MaxCount=1,
    )["Instances"]
    ec2.attach_volume(Device="/dev/sdh", InstanceId=worker["InstanceId"], VolumeId=data["VolumeId"])
    made.aws("logs").create_log_group(logGroupName=f"/ml-infra/{name}/train-model/training")
    role = made.aws("iam").get_role(RoleName=f"{place.name}-notebook")["Role"]["Arn"]
    sagemaker.create_notebook_instance(
        NotebookInstanceName=f"{name}-notebook", InstanceType=NOTEBOOK_TYPE, RoleArn=role
    )
    for stack, machine in (("train-model", "worker"), ("train-model-dev", "notebook")):
        ssm.put_parameter(Name=_status_parameter(name, stack, machine)["name"], Value=NOT_REPORTED, Type="String")
        text = made.aws("s3").get_object(Bucket=LOCAL_BUCKET, Key=place.key(stack))["Body"].read().decode()
        for before, after in (
            (instance_id(place), worker["InstanceId"]),
            (f"{place.name}-notebook", f"{name}-notebook"),
            (f"/ml-infra/{place.name}/", f"/ml-infra/{name}/"),
        ):
            text = text.replace(before, after)
        made.aws("s3").put_object(Bucket=LOCAL_BUCKET, Key=made.key(stack), Body=text)
    wait_for("the notebook", lambda: notebook_status(made) == "InService")
    return made


def _train_model(name: str) -> dict[str, Any]:
    return {
        "data": {"aws_ssm_parameter": {"ami": {"name": UBUNTU}}},
        "resource": {
            "aws_instance": {
                "worker": {
                    "ami": "${data.aws_ssm_parameter.ami.insecure_value}",
                    "instance_type": WORKER_TYPE,
                    "availability_zone": ZONE,
                    "root_block_device": {"volume_type": "gp3", "volume_size": 130, "iops": 3000, "throughput": 125},
                    "tags": _tags(name, "train-model"),
                }
            },
            "aws_ebs_volume": {
                "msls": {"availability_zone": ZONE, "type": "gp3", "size": 50, "iops": 8000, "throughput": 1000}
            },
            "aws_volume_attachment": {
                "worker": {
                    "device_name": "/dev/sdh",
                    "volume_id": "${aws_ebs_volume.msls.id}",
                    "instance_id": "${aws_instance.worker.id}",
                }
            },
            "aws_ssm_parameter": {"worker_boot_status": _status_parameter(name, "train-model", "worker")},
            "aws_cloudwatch_log_group": {"training": {"name": f"/ml-infra/{name}/train-model/training"}},
            "aws_iam_role": {"worker": _role(name, "ec2", "worker")},
        },
    }


def _train_model_dev(name: str) -> dict[str, Any]:
    return {
        "resource": {
            "aws_iam_role": {"notebook": _role(name, "sagemaker", "notebook")},
            "aws_sagemaker_notebook_instance": {
                "notebook_instance": {
                    "name": f"{name}-notebook",
                    "role_arn": "${aws_iam_role.notebook.arn}",
                    "instance_type": NOTEBOOK_TYPE,
                }
            },
            "aws_ssm_parameter": {"notebook_boot_status": _status_parameter(name, "train-model-dev", "notebook")},
        }
    }


def instance_id(place: Place) -> str:
    """The worker's, whatever its state."""
    tags = [{"Name": f"tag:{key}", "Values": [value]} for key, value in _tags(place.name, "train-model").items()]
    (reservation,) = place.aws("ec2").describe_instances(Filters=tags)["Reservations"]
    return str(reservation["Instances"][0]["InstanceId"])


def notebook_status(place: Place) -> str:
    found = place.aws("sagemaker").describe_notebook_instance(NotebookInstanceName=f"{place.name}-notebook")
    return str(found["NotebookInstanceStatus"])


def instance(place: Place, id: str) -> Any:
    (reservation,) = place.aws("ec2").describe_instances(InstanceIds=[id])["Reservations"]
    return reservation["Instances"][0]


def now() -> str:
    """As the boot scripts write it."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


def stage(name: str, *, ms: int = 1200, error: str = "") -> dict[str, Any]:
    return {"stage": name, "start": now(), "end": now(), "ms": ms, "ok": not error, "error": error}


def _tags(name: str, stack: str) -> dict[str, str]:
    return {"deployment": name, "stack": stack}


def _status_parameter(name: str, stack: str, machine: str) -> dict[str, Any]:
    return {
        "name": f"/ml-infra/{name}/{stack}/{machine}/boot-status",
        "type": "String",
        "value": NOT_REPORTED,
        "lifecycle": {"ignore_changes": ["value"]},
    }


def _role(name: str, service: str, machine: str) -> dict[str, Any]:
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": f"{service}.amazonaws.com"}}
        ],
    }
    return {"name": f"{name}-{machine}", "assume_role_policy": json.dumps(policy)}
