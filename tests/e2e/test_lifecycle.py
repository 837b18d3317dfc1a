"""What a person does from the first deploy to the last destroy, with the real CLI, Terraform and provider.

The tests of this module build on each other, in their order.
"""

import base64
import json
import os
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pexpect
import pytest

from constructs_lib import packed_user_data
from constructs_lib.user_data import shipped, unpacked
from modules_equiv.settings import load_settings
from ops.core.environment import LOCAL_BUCKET, LOCAL_SETTINGS, ROOT
from ops.doctor.actions import groups
from tests.e2e.conftest import Shell

STACKS = ("mlcore", "stats-monitor", "train-model", "train-model-dev")
DATA_VOLUME = [{"Name": "tag:Name", "Values": ["ml-core MSLS Volume"]}]
NO_SNAPSHOT = {
    "ML_INFRA_TRAIN_MODEL__DATA_VOLUME__SNAPSHOT_ON_DESTROY": "false",
    "ML_INFRA_STATS_MONITOR__SNAPSHOT_ON_DESTROY": "false",
}
TAG = [{"Name": "tag:deployment", "Values": ["ml-core"]}]
# Each changes something in place, and all together every kind of resource that settings can change.
CHANGED_IN_PLACE = {
    "ML_INFRA_DEPLOYMENT__PROJECT": "another",
    "ML_INFRA_ACCESS__DEPLOYER_CIDRS": "198.51.100.0/24",
    "ML_INFRA_MLCORE__JUMP_INSTANCE_TYPE": "t3.small",
    "ML_INFRA_STATS_MONITOR__INSTANCE_TYPE": "t3.large",
    "ML_INFRA_TRAIN_MODEL__DATA_VOLUME__SIZE_GB": "60",
    "ML_INFRA_TRAIN_MODEL_DEV__OUTPUT_S3_URI": "s3://a-bucket/output",
    "ML_INFRA_TRAIN_MODEL_DEV__VOLUME_SIZE_GB": "60",
}
# IAM's names where they differ from the API's: https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html and
# https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html, each under "Permissions".
IAM_ACTIONS = {
    "s3:HeadObject": "s3:GetObject",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:ListObjects": "s3:ListBucket",
    "s3:ListObjectsV2": "s3:ListBucket",
}
# "No permissions are required": https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
NO_PERMISSION = {"sts:GetCallerIdentity"}
WITHOUT_A_CALL = {
    # Of the caller without a call of Terraform's: a role that is passed on, the one that EFS makes for itself, the
    # network interfaces of a mount target and of a notebook.
    *("iam:PassRole", "iam:CreateServiceLinkedRole", "ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface"),
    *("ec2:DescribeNetworkInterfaces", "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets", "ec2:DescribeVpcs"),
    # Other machines and other changes than those above: not burstable, resized in place, policies, routes, scripts.
    *("ec2:DescribeInstanceCreditSpecifications", "ec2:StartInstances", "ec2:DeleteTags", "ec2:ModifyVolume"),
    *("iam:CreatePolicyVersion", "iam:DeletePolicyVersion", "ec2:DeleteRoute"),
}


def state(shell: Shell, stack: str) -> dict[str, Any]:
    answer = shell.aws("s3").get_object(Bucket=LOCAL_BUCKET, Key=f"ml-core/ml-core/us-east-1/{stack}.tfstate")
    found: dict[str, Any] = json.load(answer["Body"])
    return found


def outputs(shell: Shell, stack: str) -> dict[str, Any]:
    return {name: output["value"] for name, output in state(shell, stack)["outputs"].items()}


def ids(shell: Shell, stack: str) -> dict[str, list[str]]:
    """The id of everything that the stack manages, by address."""
    return {
        f"{resource['type']}.{resource['name']}": [one["attributes"]["id"] for one in resource["instances"]]
        for resource in state(shell, stack)["resources"]
        if resource["mode"] == "managed"
    }


def machine(shell: Shell, name: str) -> dict[str, Any]:
    """The one machine with this Name tag that is not gone."""
    reservations = shell.aws("ec2").describe_instances(
        Filters=[
            {"Name": "tag:Name", "Values": [name]},
            {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]},
        ]
    )["Reservations"]
    (found,) = [instance for reservation in reservations for instance in reservation["Instances"]]
    result: dict[str, Any] = found
    return result


def stack_folder(shell: Shell, stack: str) -> Path:
    """Where the CLI works on the stack."""
    return Path(shell.variables["CDKTF_OUTPUT"]) / "stacks" / stack


def planned(shell: Shell, stack: str, command: str = "cdktf", **settings: str) -> dict[str, list[str]]:
    """What a diff would do, by address: {"aws_vpc.core": ["update"]}.

    From the plan that the CLI leaves, since on a busy machine it loses the last lines of what Terraform says: node-pty
    reads for 200 ms after Terraform's end and no longer.
    """
    folder = stack_folder(shell, stack)
    (folder / "plan").unlink(missing_ok=True)
    shell.run(command, "diff", stack, settings=settings).ok()
    plan = json.loads(shell.run("terraform", "show", "-json", "plan", cwd=folder).ok().said)
    actions = {change["address"]: change["change"]["actions"] for change in plan["resource_changes"]}
    return {address: action for address, action in actions.items() if action not in (["no-op"], ["read"])}


def changed(shell: Shell, stack: str, **settings: str) -> dict[str, str]:
    """Plans without the CLI, in the folder where it has deployed: {"aws_vpc.core": "update"}.

    Costs less than half of what `planned` does, which starts the provider twice.
    """
    folder = stack_folder(shell, stack)
    output = {"CDKTF_OUTDIR": str(folder.parent.parent)}
    shell.run("python", "main.py", settings=output | settings).ok()
    said = shell.run("terraform", "plan", "-json", "-input=false", cwd=folder, settings=settings).ok().said
    lines = [json.loads(line) for line in said.splitlines()]
    changes = [line["change"] for line in lines if line["type"] == "planned_change"]
    assert [line["type"] for line in lines].count("change_summary") == 1
    return {change["resource"]["addr"]: change["action"] for change in changes}


def reason(shell: Shell, stack: str, *options: str) -> str:
    """Why Terraform refused what the CLI has just tried, from Terraform itself (see `planned`)."""
    command = ("terraform", "plan", "-input=false", "-no-color", *options)
    return shell.run(*command, cwd=stack_folder(shell, stack)).refused().said


@contextmanager
def at_the_question(shell: Shell, stack: str, **settings: str) -> Iterator["pexpect.spawn[str]"]:
    """A deploy without any flag that has come to its question, as a person has it in a terminal."""
    variables = {key: value for key, value in shell.variables.items() if key != "CI"}
    with (ROOT / "build" / "approve.log").open("a", encoding="utf-8") as log:
        child = pexpect.spawn(
            f"cdktf deploy {stack}",
            cwd=str(ROOT),
            env=variables | {"TERM": "xterm"} | settings,
            timeout=240,
            dimensions=(50, 160),
            encoding="utf-8",
            logfile=log,
        )
        try:
            child.expect("Approve")
            yield child
        finally:
            child.close(force=True)


def approve(child: "pexpect.spawn[str]") -> None:
    """Agrees, and waits for the end of the deploy."""
    child.send("\r")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


class TestBeforeAnything:
    def test_synth_and_list(self, shell: Shell) -> None:
        shell.cdktf("synth").ok()

        listed = shell.cdktf("list").ok().said
        assert [line.split()[0] for line in listed.splitlines() if line.startswith(STACKS)] == list(STACKS)

    @pytest.mark.parametrize("stack", ["train-model", "stats-monitor", "train-model-dev"])
    def test_a_stack_before_mlcore_fails_clearly_and_creates_nothing(self, shell: Shell, stack: str) -> None:
        shell.cdktf("deploy", stack, "--auto-approve").refused()

        assert "Unable to find remote state" in reason(shell, stack)
        assert shell.aws("ec2").describe_instances()["Reservations"] == []
        assert shell.aws("iam").list_roles()["Roles"] == []
        keys = shell.aws("s3").list_objects_v2(Bucket=LOCAL_BUCKET).get("Contents", [])
        assert keys == []

    def test_bad_settings_are_refused_before_anything(self, shell: Shell) -> None:
        said = (
            shell.cdktf("deploy", "mlcore", "--auto-approve", ML_INFRA_TRAIN_MODEL__INSTANCE_TYPE="dl.24xlarge")
            .refused()
            .said
        )

        assert "Did you mean dl1.24xlarge?" in said
        assert shell.aws("ec2").describe_vpcs(Filters=TAG)["Vpcs"] == []

    def test_a_withdrawn_type_is_a_warning_that_says_since_when(self, shell: Shell) -> None:
        said = shell.cdktf("synth", ML_INFRA_TRAIN_MODEL__INSTANCE_TYPE="dl1.24xlarge").ok().said

        assert re.search(r"dl1\.24xlarge: withdrawn since (2026-07|July 2026)", " ".join(said.split()))


class TestDeploy:
    def test_core_and_monitor_in_one_command(self, shell: Shell) -> None:
        shell.cdktf("deploy", "mlcore", "stats-monitor", "--auto-approve").ok()

    def test_worker_alone(self, shell: Shell) -> None:
        shell.cdktf("deploy", "train-model", "--auto-approve").ok()

    def test_notebook_after_a_person_approved(self, shell: Shell) -> None:
        """No extra flag: the CLI shows the plan and asks."""
        with at_the_question(shell, "train-model-dev") as child:
            assert shell.aws("sagemaker").list_notebook_instances()["NotebookInstances"] == []
            approve(child)


class TestWhatAwsShows:
    def test_network(self, shell: Shell) -> None:
        ec2 = shell.aws("ec2")
        (vpc,) = ec2.describe_vpcs(Filters=TAG)["Vpcs"]
        assert vpc["CidrBlock"] == "10.20.0.0/20"
        subnets = ec2.describe_subnets(Filters=TAG)["Subnets"]
        assert {(s["CidrBlock"], s["AvailabilityZone"], s["MapPublicIpOnLaunch"]) for s in subnets} == {
            ("10.20.1.0/24", "us-east-1a", True),
            ("10.20.3.0/24", "us-east-1b", True),
            ("10.20.2.0/24", "us-east-1a", False),
        }

    def test_routes(self, shell: Shell) -> None:
        published = outputs(shell, "mlcore")
        tables = shell.aws("ec2").describe_route_tables(Filters=TAG)["RouteTables"]
        routed: dict[str, str] = {}
        main = ""
        for table in tables:
            (way_out,) = [
                route.get("NatGatewayId") or route["GatewayId"]
                for route in table["Routes"]
                if route.get("DestinationCidrBlock") == "0.0.0.0/0"
            ]
            for association in table["Associations"]:
                if association.get("Main"):
                    main = way_out[:4]
                if "SubnetId" in association:
                    routed[association["SubnetId"]] = way_out[:4]
        assert main == "nat-"
        assert routed == {
            published["subnet_pub"]["id"]: "igw-",
            published["subnet_pub_2"]["id"]: "igw-",
            published["subnet_pvt"]["id"]: "nat-",
        }

    def test_who_is_let_in(self, shell: Shell) -> None:
        groups = shell.aws("ec2").describe_security_groups(Filters=TAG)["SecurityGroups"]
        inward = {
            (group["GroupName"], rule["IpProtocol"], rule.get("FromPort"), source["CidrIp"])
            for group in groups
            for rule in group["IpPermissions"]
            for source in rule["IpRanges"]
        }
        assert inward == {
            ("ml-core-gaudi_ml_vpc_allow_all", "-1", None, "10.20.0.0/20"),
            ("ml-core-allow_ssh_from_deployer", "tcp", 22, "203.0.113.10/32"),
        }
        assert [group["GroupName"] for group in groups for rule in group["IpPermissions"] if rule["Ipv6Ranges"]] == []

    def test_shared_file_system(self, shell: Shell) -> None:
        efs = shell.aws("efs")
        (file_system,) = efs.describe_file_systems()["FileSystems"]
        id = file_system["FileSystemId"]
        assert file_system["Encrypted"] is True
        assert file_system["AvailabilityZoneName"] == "us-east-1a"
        assert file_system["ThroughputMode"] == "elastic"
        assert efs.describe_backup_policy(FileSystemId=id)["BackupPolicy"]["Status"] in ("ENABLED", "ENABLING")
        assert (
            json.loads(efs.describe_file_system_policy(FileSystemId=id)["Policy"])["Statement"][0]["Effect"] == "Deny"
        )
        (target,) = efs.describe_mount_targets(FileSystemId=id)["MountTargets"]
        published = outputs(shell, "mlcore")
        assert target["SubnetId"] == published["subnet_pvt"]["id"]
        assert published["efs_mount_target"] == {"id": target["MountTargetId"], "ip_address": target["IpAddress"]}
        assert published["efs_file_system"]["id"] == id

    def test_machines(self, shell: Shell) -> None:
        published = outputs(shell, "mlcore")
        core, egress = published["allow_ml_core_sg"]["id"], published["allow_ml_core_egress"]["id"]
        jump = machine(shell, "ml-core ML Core - Jump Instance")
        metrics = machine(shell, "ml-core ML Model Monitor - Metrics Instance")
        worker = machine(shell, "ml-core ML Core - Worker Instance")

        assert (jump["InstanceType"], metrics["InstanceType"], worker["InstanceType"]) == (
            "t3.nano",
            "t3.medium",
            "g6.12xlarge",
        )
        assert jump["SubnetId"] == published["subnet_pub"]["id"]
        assert {metrics["SubnetId"], worker["SubnetId"]} == {published["subnet_pvt"]["id"]}
        groups = {m["InstanceId"]: {group["GroupId"] for group in m["SecurityGroups"]} for m in (jump, metrics, worker)}
        assert groups == {
            jump["InstanceId"]: {core, published["allow_from_deployer_sg"]["id"], egress},
            metrics["InstanceId"]: {core, egress},
            worker["InstanceId"]: {core, egress},
        }
        assert published["jump_ip_addr"] == jump["PublicIpAddress"]
        assert outputs(shell, "stats-monitor") == {"metrics_ip_addr": metrics["PrivateIpAddress"]}
        assert outputs(shell, "train-model") == {"worker_ip_addr": worker["PrivateIpAddress"]}
        for found in (jump, metrics, worker):
            assert found["MetadataOptions"]["HttpTokens"] == "required"
            assert found["KeyName"] == "ml-core-local"

    def test_disks_are_encrypted_and_the_data_volume_is_on_the_worker(self, shell: Shell) -> None:
        volumes = shell.aws("ec2").describe_volumes()["Volumes"]
        worker = machine(shell, "ml-core ML Core - Worker Instance")
        # Three roots, the data volume and Grafana's.
        assert sorted(volume["Size"] for volume in volumes) == [4, 8, 10, 50, 130]
        assert {volume["Encrypted"] for volume in volumes} == {True}
        (data,) = [volume for volume in volumes if volume["Size"] == 50]
        assert (data["VolumeType"], data["Iops"], data["Throughput"]) == ("gp3", 8000, 1000)
        assert [attachment["InstanceId"] for attachment in data["Attachments"]] == [worker["InstanceId"]]
        metrics = machine(shell, "ml-core ML Model Monitor - Metrics Instance")
        (grafana,) = [volume for volume in volumes if volume["Size"] == 4]
        assert [attachment["InstanceId"] for attachment in grafana["Attachments"]] == [metrics["InstanceId"]]

    @pytest.mark.parametrize(
        ("name", "files"),
        [
            (
                "ml-core ML Core - Jump Instance",
                [
                    "constructs_lib/boot/lib.sh",
                    "constructs_lib/boot/memory.sh",
                    "modules_equiv/mlcore/boot/jump.sh",
                    "modules_equiv/mlcore/boot/reboot.sh",
                ],
            ),
            (
                "ml-core ML Model Monitor - Metrics Instance",
                [
                    "constructs_lib/boot/lib.sh",
                    "constructs_lib/boot/disks.sh",
                    "constructs_lib/boot/memory.sh",
                    "modules_equiv/stats_monitor/boot/metrics.sh",
                    "modules_equiv/stats_monitor/boot/grafana.service",
                    "modules_equiv/stats_monitor/boot/grafana_datasource.yaml",
                    "modules_equiv/stats_monitor/boot/grafana_dashboards.yaml",
                    "modules_equiv/stats_monitor/boot/tensorboard.service",
                    "modules_equiv/stats_monitor/dashboards/machines.json",
                ],
            ),
            (
                "ml-core ML Core - Worker Instance",
                [
                    "constructs_lib/boot/lib.sh",
                    "constructs_lib/boot/disks.sh",
                    "modules_equiv/train_model/boot/worker.sh",
                    "modules_equiv/train_model/boot/train.sh",
                    "modules_equiv/train_model/boot/sitecustomize.py",
                    "modules_equiv/train_model/boot/profile_nvidia.sh",
                ],
            ),
        ],
    )
    def test_user_data_carries_the_shipped_files(self, shell: Shell, name: str, files: list[str]) -> None:
        id = machine(shell, name)["InstanceId"]
        answer = shell.aws("ec2").describe_instance_attribute(InstanceId=id, Attribute="userData")
        user_data = base64.b64decode(answer["UserData"]["Value"])

        assert len(user_data) <= 16384
        assert packed_user_data.unpacked(user_data) == {Path(file).name: shipped(ROOT / file) for file in files}
        file_system = outputs(shell, "mlcore")["efs_file_system"]
        if name != "ml-core ML Core - Jump Instance":
            sent = packed_user_data.values(user_data)
            assert sent["EFS_FILE_SYSTEM_ID"] == file_system["id"]
            assert sent["EFS_ACCESS_POINT_ID"] == file_system["access_point_id"]

    def test_roles(self, shell: Shell) -> None:
        iam = shell.aws("iam")
        mine = "ml-core-us-east-1"
        attached = {
            role["RoleName"]: {
                policy["PolicyName"]
                for policy in iam.list_attached_role_policies(RoleName=role["RoleName"])["AttachedPolicies"]
            }
            for role in iam.list_roles()["Roles"]
        }
        agent, ssm = "CloudWatchAgentServerPolicy", "AmazonSSMManagedInstanceCore"
        assert attached == {
            f"{mine}-jump": {f"{mine}-jump"},
            f"{mine}-stats_instance_role": {f"{mine}-cloudwatch_stats_monitor"},
            f"{mine}-ml_worker": {f"{mine}-ml_worker", agent, ssm},
            f"{mine}-sagemaker_nb_role": {f"{mine}-sagemaker_nb", agent},
        }

    def test_agent_configuration_as_agents_will_read_it(self, shell: Shell) -> None:
        ssm = shell.aws("ssm")
        base = json.loads(ssm.get_parameter(Name="AmazonCloudWatch-ml-core-cw_agent__config")["Parameter"]["Value"])
        gpu = json.loads(ssm.get_parameter(Name="AmazonCloudWatch-ml-core-cw_agent__gpu")["Parameter"]["Value"])

        assert base["metrics"]["append_dimensions"]["InstanceId"] == "${aws:InstanceId}"
        assert base == json.loads((ROOT / "modules_equiv/mlcore/cloudwatch_agent.json").read_text(encoding="utf-8"))
        assert "nvidia_gpu" in gpu["metrics"]["metrics_collected"]

    @pytest.mark.parametrize(
        ("stack", "name"),
        [("mlcore", "jump"), ("stats-monitor", "metrics"), ("train-model", "worker"), ("train-model-dev", "notebook")],
    )
    def test_every_machine_has_a_parameter_for_its_status(self, shell: Shell, stack: str, name: str) -> None:
        parameter = shell.aws("ssm").get_parameter(Name=f"/ml-infra/ml-core/{stack}/{name}/boot-status")["Parameter"]

        assert json.loads(parameter["Value"]) == {"state": "not reported yet", "stages": []}

    def test_what_a_machine_reports_is_no_change(self, shell: Shell) -> None:
        name = "/ml-infra/ml-core/train-model/worker/boot-status"
        shell.aws("ssm").put_parameter(Name=name, Value='{"state":"ready","stages":[]}', Overwrite=True)

        assert changed(shell, "train-model") == {}

    def test_grafanas_password_is_a_secret_and_only_there(self, shell: Shell) -> None:
        name = "/ml-infra/ml-core/stats-monitor/grafana-admin-password"
        parameter = shell.aws("ssm").get_parameter(Name=name, WithDecryption=True)["Parameter"]

        assert parameter["Type"] == "SecureString"
        assert re.fullmatch(r"[A-Za-z0-9]{32}", parameter["Value"])
        assert parameter["Value"] not in json.dumps(state(shell, "stats-monitor"))

    def test_notebook(self, shell: Shell) -> None:
        sagemaker = shell.aws("sagemaker")
        found = sagemaker.describe_notebook_instance(NotebookInstanceName="ml-core-dev-gaudi-sagemaker-nb-instance")
        assert found["NotebookInstanceStatus"] == "InService"
        assert found["InstanceType"] == "ml.t3.medium"
        assert found["DirectInternetAccess"] == "Disabled"
        assert found["SubnetId"] == outputs(shell, "mlcore")["subnet_pvt"]["id"]
        name = found["NotebookInstanceLifecycleConfigName"]
        on_start = sagemaker.describe_notebook_instance_lifecycle_config(NotebookInstanceLifecycleConfigName=name)
        content = on_start["OnStart"][0]["Content"]
        assert len(content) <= 16384
        script = base64.b64decode(content).decode()
        files = ["constructs_lib/boot/lib.sh", "modules_equiv/train_model_dev/boot/notebook.sh"]
        assert unpacked(script) == {Path(file).name: shipped(ROOT / file) for file in files}
        assert f"\nEFS_FILE_SYSTEM_ID={outputs(shell, 'mlcore')['efs_file_system']['id']}\n" in script
        subprocess.run(["bash", "-n", "-c", script], check=True)

    def test_state_objects_are_versioned_one_a_stack_and_no_lock_is_left(self, shell: Shell) -> None:
        s3 = shell.aws("s3")
        keys = {found["Key"] for found in s3.list_objects_v2(Bucket=LOCAL_BUCKET)["Contents"]}
        assert keys == {f"ml-core/ml-core/us-east-1/{stack}.tfstate" for stack in STACKS}
        assert s3.get_bucket_versioning(Bucket=LOCAL_BUCKET)["Status"] == "Enabled"

    def test_everything_that_can_be_is_tagged(self, shell: Shell) -> None:
        for stack in STACKS:
            for resource in state(shell, stack)["resources"]:
                for instance in resource["instances"]:
                    tags = instance["attributes"].get("tags_all")
                    if resource["mode"] == "managed" and tags is not None:
                        expected = {"deployment": "ml-core", "stack": stack, "managed-by": "terraform"}
                        assert expected.items() <= tags.items(), resource["type"]


class TestAfterwards:
    @pytest.mark.parametrize("stack", STACKS)
    def test_a_second_diff_is_empty(self, shell: Shell, stack: str) -> None:
        assert planned(shell, stack) == {}

    def test_the_same_deploy_again_changes_nothing(self, shell: Shell) -> None:
        """Terraform may write down what AWS filled in after the first deploy; nothing in AWS is touched."""
        before = [ids(shell, stack) for stack in ("mlcore", "stats-monitor")]
        said = shell.cdktf("deploy", "mlcore", "stats-monitor", "--auto-approve").ok().said

        applied = re.findall(r"Resources: (\d+) added, (\d+) changed, (\d+) destroyed", " ".join(said.split()))
        assert set(applied) <= {("0", "0", "0")}
        assert [ids(shell, stack) for stack in ("mlcore", "stats-monitor")] == before

    def test_output(self, shell: Shell, tmp_path: Path) -> None:
        said = shell.cdktf("output", "mlcore", "--outputs-file", str(tmp_path / "outputs.json")).ok().said

        assert "jump_ip_addr" in said
        written = json.loads((tmp_path / "outputs.json").read_text(encoding="utf-8"))
        assert written["mlcore"]["vpc_id"] == outputs(shell, "mlcore")["vpc_id"]

    def test_a_larger_volume_changes_the_volume_and_nothing_else(self, shell: Shell) -> None:
        changes = changed(shell, "train-model", ML_INFRA_TRAIN_MODEL__DATA_VOLUME__SIZE_GB="60")

        assert changes == {"aws_ebs_volume.msls": "update"}

    def test_another_deployer_changes_one_group(self, shell: Shell) -> None:
        changes = changed(shell, "mlcore", ML_INFRA_ACCESS__DEPLOYER_CIDRS="198.51.100.0/24")

        assert changes == {"aws_security_group.allow_deployer_sg": "update"}

    def test_a_rule_that_somebody_added_by_hand_is_seen(self, shell: Shell) -> None:
        """Of a group, too, that has no rules of its own in that direction."""
        ec2 = shell.aws("ec2")
        group = outputs(shell, "mlcore")["allow_ml_core_egress"]["id"]
        by_hand = {"GroupId": group, "IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "CidrIp": "0.0.0.0/0"}
        ec2.authorize_security_group_ingress(**by_hand)
        try:
            assert changed(shell, "mlcore") == {"aws_security_group.allow_egress": "update"}
        finally:
            ec2.revoke_security_group_ingress(**by_hand)

    def test_another_network_is_refused_while_machines_write_into_the_file_system(self, shell: Shell) -> None:
        change = {"ML_INFRA_MLCORE__VPC_CIDR": "10.30.0.0/20"}
        shell.cdktf("diff", "mlcore", **change).refused()

        said = reason(shell, "mlcore")
        assert "aws_efs_mount_target.ds_core_mnt_target" in said
        assert "prevent_destroy" in said

    def test_another_worker_type_keeps_the_data_volume(self, shell: Shell) -> None:
        changes = changed(shell, "train-model", ML_INFRA_TRAIN_MODEL__INSTANCE_TYPE="p4d.24xlarge")

        assert "aws_ebs_volume.msls" not in changes
        assert "aws_instance.worker" in changes

    def test_another_script_reaches_the_notebook_that_runs(self, shell: Shell) -> None:
        """With GPUs the script is told of another parameter."""
        changes = planned(shell, "train-model-dev", ML_INFRA_TRAIN_MODEL_DEV__INSTANCE_TYPE="ml.g5.xlarge")

        script = changes["aws_sagemaker_notebook_instance_lifecycle_configuration.mount_efs"]
        assert (script, changes["aws_sagemaker_notebook_instance.notebook_instance"]) == (
            ["create", "delete"],
            ["update"],
        )

    def test_a_description_that_somebody_changed_does_not_touch_the_password(self, shell: Shell) -> None:
        ssm, name = shell.aws("ssm"), "/ml-infra/ml-core/stats-monitor/grafana-admin-password"
        password = ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"]
        ssm.put_parameter(Name=name, Value=password, Type="SecureString", Description="by hand", Overwrite=True)

        assert changed(shell, "stats-monitor") == {}

    def test_a_new_image_replaces_no_running_machine(self, shell: Shell, tmp_path: Path) -> None:
        shell.cdktf("synth", "--output", str(tmp_path)).ok()
        folder = tmp_path / "stacks" / "stats-monitor"
        file = folder / "cdk.tf.json"
        configuration = json.loads(file.read_text(encoding="utf-8"))
        # Another parameter stands for another image behind the same one.
        lookup = configuration["data"]["aws_ssm_parameter"]["metrics_ami"]
        lookup["name"] = "/aws/service/canonical/ubuntu/server/22.04/stable/current/amd64/hvm/ebs-gp2/ami-id"
        file.write_text(json.dumps(configuration), encoding="utf-8")
        plan = ("terraform", "plan", "-input=false", "-no-color", "-detailed-exitcode")
        shell.run("terraform", "init", "-input=false", cwd=folder).ok()

        assert shell.run(*plan, cwd=folder).status == 0

        del configuration["resource"]["aws_instance"]["metrics"]["lifecycle"]
        file.write_text(json.dumps(configuration), encoding="utf-8")
        unpinned = shell.run(*plan, cwd=folder)
        assert unpinned.status == 2
        assert "aws_instance.metrics must be replaced" in unpinned.said


class TestLeaving:
    def test_hcl_says_the_same_as_json(self, shell: Shell, tmp_path: Path) -> None:
        """Valid, and against the deployed state nothing to change: a person can carry on with HCL alone."""
        shell.cdktf("synth", "--hcl", "--output", str(tmp_path)).ok()

        for stack in STACKS:
            folder = tmp_path / "stacks" / stack
            assert (folder / "cdk.tf").exists()
            shell.run("terraform", "init", "-input=false", "-no-color", cwd=folder).ok()
            validated = json.loads(shell.run("terraform", "validate", "-json", cwd=folder).said)
            assert validated["valid"] is True, validated
            plan = shell.run("terraform", "plan", "-input=false", "-no-color", "-detailed-exitcode", cwd=folder)
            assert plan.status == 0, plan.said

    def test_cdktn_runs_the_same_project(self, shell: Shell) -> None:
        listed = shell.run("cdktn", "list").ok().said
        assert all(stack in listed for stack in STACKS)
        shell.run("cdktn", "deploy", "train-model", "--auto-approve").ok()
        assert planned(shell, "train-model", "cdktn") == {}
        shell.run("cdktn", "destroy", "mlcore", "--auto-approve").refused()


class TestLock:
    def test_of_two_deploys_at_once_one_is_refused_and_the_state_is_whole(self, shell: Shell, tmp_path: Path) -> None:
        """Ada's deploy is at its question when Bob's begins. Folders of their own, as two persons have them."""
        change = {"ML_INFRA_ACCESS__DEPLOYER_CIDRS": "203.0.113.10/32,198.51.100.1/32"}
        before = state(shell, "mlcore")
        bob = replace(shell, variables={**shell.variables, "CDKTF_OUTPUT": str(tmp_path / "bob")})

        with at_the_question(shell, "mlcore", CDKTF_OUTPUT=str(tmp_path / "ada"), **change) as ada:
            bob.cdktf("deploy", "mlcore", "--auto-approve", **change).refused()
            refusal = reason(bob, "mlcore")
            assert state(shell, "mlcore") == before
            approve(ada)

        assert "Error acquiring the state lock" in refusal
        assert "Who:" in refusal
        after = state(shell, "mlcore")
        assert after["lineage"] == before["lineage"]
        assert after["serial"] == before["serial"] + 1
        assert {r["type"] + r["name"] for r in after["resources"]} == {
            r["type"] + r["name"] for r in before["resources"]
        }
        # Nobody is shut out afterwards.
        shell.cdktf("deploy", "mlcore", "--auto-approve").ok()


class TestDestroy:
    def test_mlcore_alone_is_refused(self, shell: Shell) -> None:
        said = shell.cdktf("destroy", "mlcore", "--auto-approve").refused().said

        assert "stats-monitor" in said
        assert machine(shell, "ml-core ML Core - Jump Instance")["State"]["Name"] == "running"

    def test_training_is_over_and_the_data_is_in_a_snapshot(self, shell: Shell) -> None:
        ec2 = shell.aws("ec2")
        (volume,) = ec2.describe_volumes(Filters=DATA_VOLUME)["Volumes"]

        shell.cdktf("destroy", "train-model", "--auto-approve").ok()

        assert ec2.describe_volumes(Filters=DATA_VOLUME)["Volumes"] == []
        (snapshot,) = ec2.describe_snapshots(OwnerIds=["self"], Filters=TAG)["Snapshots"]
        assert snapshot["VolumeId"] == volume["VolumeId"]
        assert state(shell, "stats-monitor")["resources"] != []

    def test_the_file_system_cannot_be_destroyed_by_default(self, shell: Shell) -> None:
        """And nothing else is, on the way to finding out."""
        before = [state(shell, stack) for stack in STACKS]

        said = shell.cdktf("destroy", "*", "--auto-approve").refused().said

        assert "mlcore contains the shared file system with every checkpoint" in said
        assert "ML_INFRA_MLCORE__ALLOW_EFS_DESTROY=true cdktf destroy '*'" in said
        assert [state(shell, stack) for stack in STACKS] == before
        assert "cdktf destroy stats-monitor train-model train-model-dev" in said
        shell.cdktf("destroy", "stats-monitor", "train-model-dev", "--auto-approve").ok()

    def test_terraform_refuses_to_destroy_the_file_system_too(self, shell: Shell) -> None:
        said = reason(shell, "mlcore", "-destroy")
        assert "aws_efs_file_system.core" in said
        assert "prevent_destroy" in said
        (file_system,) = shell.aws("efs").describe_file_systems()["FileSystems"]
        assert file_system["NumberOfMountTargets"] == 1

    def test_everything_at_once_and_the_data_is_back(self, shell: Shell) -> None:
        ec2 = shell.aws("ec2")
        # Grafana's was taken when stats-monitor went.
        kept = {
            only_tag(snapshot, "Name"): snapshot["SnapshotId"]
            for snapshot in ec2.describe_snapshots(OwnerIds=["self"], Filters=TAG)["Snapshots"]
        }
        assert kept.keys() == {"ml-core MSLS Volume", "ml-core Grafana Volume"}

        shell.cdktf("deploy", "*", "--auto-approve", **NO_SNAPSHOT).ok()

        assert {stack: bool(state(shell, stack)["resources"]) for stack in STACKS} == dict.fromkeys(STACKS, True)
        made = {
            only_tag(volume, "Name"): volume["SnapshotId"]
            for volume in ec2.describe_volumes(Filters=[*TAG, {"Name": "tag-key", "Values": ["Name"]}])["Volumes"]
            if "Volume" in only_tag(volume, "Name")
        }
        assert made == kept
        assert changed(shell, "train-model", **NO_SNAPSHOT) == {}

    def test_settings_that_change_things_in_place(self, shell: Shell) -> None:
        before = {stack: ids(shell, stack) for stack in STACKS}

        shell.cdktf("deploy", "*", "--auto-approve", **NO_SNAPSHOT, **CHANGED_IN_PLACE).ok()

        assert {stack: ids(shell, stack) for stack in STACKS} == before
        assert machine(shell, "ml-core ML Core - Jump Instance")["InstanceType"] == "t3.small"
        (volume,) = shell.aws("ec2").describe_volumes(Filters=DATA_VOLUME)["Volumes"]
        assert volume["Size"] == 60

    def test_destroy_with_everything_released_by_name_leaves_nothing(self, shell: Shell) -> None:
        kept = shell.aws("ec2").describe_snapshots(OwnerIds=["self"], Filters=TAG)["Snapshots"]

        shell.cdktf("destroy", "*", "--auto-approve", ML_INFRA_MLCORE__ALLOW_EFS_DESTROY="true", **NO_SNAPSHOT).ok()

        assert [state(shell, stack)["resources"] for stack in STACKS] == [[], [], [], []]
        # The snapshots of the earlier destroy are the person's; there are no others.
        assert len(kept) == 2
        assert {arn.rpartition("/")[2] for arn in left_over(shell)} == {snapshot["SnapshotId"] for snapshot in kept}
        assert gaps(shell) == []


class TestRights:
    """What doctor says that a caller must be allowed, against every call that was made above."""

    @pytest.mark.parametrize("stack", STACKS)
    def test_every_call_is_in_the_table_of_doctor(self, shell: Shell, stack: str) -> None:
        made = {action for action, _ in actions(shell, stack)}

        assert {"s3:GetObject", "ssm:PutParameter", "iam:CreateRole", "iam:DeleteRole"} <= made
        assert sorted(made - allowed(stack).keys()) == []
        assert sorted(allowed(stack).keys() - made - WITHOUT_A_CALL) == []

    @pytest.mark.parametrize("stack", STACKS)
    def test_every_object_in_the_state_bucket_is_in_the_table_of_doctor(self, shell: Shell, stack: str) -> None:
        """That of other stacks' states, too."""
        touched = {(action, f"arn:aws:s3:::{of}") for action, of in actions(shell, stack) if of}

        states = f"arn:aws:s3:::{LOCAL_BUCKET}/ml-core/ml-core/us-east-1"
        assert ("s3:GetObject", f"{states}/mlcore.tfstate") in touched
        # What Terraform runs before it destroys mlcore looks at every other one.
        above = ("s3:GetObject", f"{states}/train-model-dev.tfstate.tflock")
        assert (above in touched) == (stack in ("mlcore", "train-model-dev"))
        assert sorted((action, of) for action, of in touched if of not in allowed(stack)[action]) == []


def actions(shell: Shell, stack: str) -> set[tuple[str, str]]:
    """IAM's name for every call that Terraform made for the stack, and for S3 the object."""
    calls = [call for call in page(shell.variables["AWS_ENDPOINT_URL"], "calls") if call["stack"] == stack]
    made = {(f"{call['service']}:{call['operation']}", call["object"]) for call in calls}
    return {(IAM_ACTIONS.get(call, call), of) for call, of in made if call not in NO_PERMISSION}


def allowed(stack: str) -> dict[str, list[str]]:
    """The table of doctor: action -> resources."""
    settings = load_settings(environ={**LOCAL_SETTINGS, "ML_INFRA_SETTINGS": os.devnull})
    found: dict[str, list[str]] = {}
    for group in groups(settings, stack, "123456789012"):
        for action in group.names:
            found.setdefault(action, []).append(group.resource)
    return found


def only_tag(resource: dict[str, Any], key: str) -> str:
    (value,) = [tag["Value"] for tag in resource["Tags"] if tag["Key"] == key]
    return str(value)


def left_over(shell: Shell) -> list[str]:
    """Everything of the deployment that would still exist or cost: by tag, and by name where there are no tags."""
    ec2, iam = shell.aws("ec2"), shell.aws("iam")
    # These are shown for about an hour after they are gone.
    gone = {
        instance["InstanceId"]
        for reservation in ec2.describe_instances()["Reservations"]
        for instance in reservation["Instances"]
        if instance["State"]["Name"] == "terminated"
    }
    gone |= {n["NatGatewayId"] for n in ec2.describe_nat_gateways()["NatGateways"] if n["State"] == "deleted"}
    gone |= {e["VpcEndpointId"] for e in ec2.describe_vpc_endpoints()["VpcEndpoints"] if e["State"] == "deleted"}
    tagged = shell.aws("resourcegroupstaggingapi").get_paginator("get_resources")
    pages = tagged.paginate(TagFilters=[{"Key": "deployment", "Values": ["ml-core"]}])
    arns = [resource["ResourceARN"] for page in pages for resource in page["ResourceTagMappingList"]]
    # The bucket of the states is the person's, and stays.
    found = [arn for arn in arns if arn.rpartition("/")[2] not in gone and arn != f"arn:aws:s3:::{LOCAL_BUCKET}"]
    found += [volume["VolumeId"] for volume in ec2.describe_volumes()["Volumes"]]
    found += [address["AllocationId"] for address in ec2.describe_addresses()["Addresses"]]
    found += [file["FileSystemId"] for file in shell.aws("efs").describe_file_systems()["FileSystems"]]
    found += [role["RoleName"] for role in iam.list_roles()["Roles"]]
    found += [policy["PolicyName"] for policy in iam.list_policies(Scope="Local")["Policies"]]
    found += [profile["InstanceProfileName"] for profile in iam.list_instance_profiles()["InstanceProfiles"]]
    found += [group["logGroupName"] for group in shell.aws("logs").describe_log_groups()["logGroups"]]
    found += [parameter["Name"] for parameter in shell.aws("ssm").describe_parameters()["Parameters"]]
    sagemaker = shell.aws("sagemaker")
    found += [notebook["NotebookInstanceName"] for notebook in sagemaker.list_notebook_instances()["NotebookInstances"]]
    found += [r["CodeRepositoryName"] for r in sagemaker.list_code_repositories()["CodeRepositorySummaryList"]]
    return found


def gaps(shell: Shell) -> list[Any]:
    """Calls that the embedded AWS could not answer."""
    return page(shell.variables["AWS_ENDPOINT_URL"], "gaps")


def page(url: str, name: str) -> list[Any]:
    """One of the embedded AWS's own pages. url: where it listens."""
    with urllib.request.urlopen(f"{url}/_embedded/{name}") as answer:
        found: list[Any] = json.load(answer)
    return found
