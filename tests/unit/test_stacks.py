"""Every stack against the original, resource by resource: types, names, values and who refers to whom."""

import json
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from constructs_lib.packed_user_data import filled, unpacked, values
from tests.unit.synthesis import Json, only, stacks, statements, synthesize

# Terraform addresses are a contract. The first column of each is the original's (names and purposes), `ours` is what
# the fixes brought.
ADDRESSES: dict[str, dict[str, list[str]]] = {
    "mlcore": {
        "original": [
            "aws_vpc.core",
            "aws_subnet.subnet_pub",
            "aws_subnet.subnet_pub_2",
            "aws_subnet.subnet_pvt",
            "aws_internet_gateway.core",
            "aws_route_table.main",
            "aws_main_route_table_association.asc-main-vpc",
            "aws_eip.core",
            "aws_nat_gateway.nat",
            "aws_route_table.private",
            "aws_route_table_association.private",
            "aws_security_group.allow_ml_core_vpc",
            "aws_security_group.allow_deployer_sg",
            "aws_security_group.allow_egress",
            "aws_efs_file_system.core",
            "aws_efs_mount_target.ds_core_mnt_target",
            "aws_instance.jump",
            "aws_ssm_parameter.cloudwatch_agent_cfg",
        ],
        "ours": [
            "aws_route_table_association.public",
            "aws_route_table_association.public_2",
            "aws_vpc_endpoint.s3",
            "aws_default_security_group.core",
            "aws_efs_backup_policy.core",
            "aws_efs_file_system_policy.core",
            "aws_efs_access_point.core",
            "aws_ssm_parameter.jump_boot_status",
            "aws_iam_role.jump",
            "aws_iam_policy.jump",
            "aws_iam_role_policy_attachment.jump",
            "aws_iam_instance_profile.jump",
            "terraform_data.stacks_above",
        ],
        "read": ["aws_ssm_parameter.jump_ami"],
    },
    "stats-monitor": {
        "original": [
            "aws_iam_role.stats_instance_role",
            "aws_iam_policy.cloudwatch_stats_monitor",
            "aws_iam_role_policy_attachment.cloudwatch_stats_monitor",
            "aws_iam_instance_profile.stats_instance_role",
            "aws_instance.metrics",
        ],
        "ours": [
            "aws_ssm_parameter.grafana_admin",
            "aws_ssm_parameter.metrics_boot_status",
            "aws_ebs_volume.grafana",
            "aws_volume_attachment.grafana",
            "terraform_data.mlcore_is_there",
        ],
        "read": ["aws_ssm_parameter.metrics_ami", "aws_ebs_snapshot_ids.grafana", "terraform_remote_state.mlcore"],
    },
    "train-model": {
        "original": [
            "aws_iam_role.worker",
            "aws_iam_instance_profile.worker",
            "aws_instance.worker",
            "aws_ebs_volume.msls",
            "aws_volume_attachment.worker",
        ],
        "ours": [
            "aws_iam_policy.worker",
            "aws_iam_role_policy_attachment.worker",
            "aws_iam_role_policy_attachment.worker_cloudwatch_agent",
            "aws_iam_role_policy_attachment.worker_ssm",
            "aws_ssm_parameter.cloudwatch_agent_gpu_cfg",
            "aws_ssm_parameter.worker_boot_status",
            "aws_cloudwatch_log_group.training",
            "terraform_data.mlcore_is_there",
        ],
        "read": ["aws_ssm_parameter.worker_ami", "aws_ebs_snapshot_ids.msls", "terraform_remote_state.mlcore"],
    },
    "train-model-dev": {
        "original": [
            "aws_iam_role.sagemaker_nb_role",
            "aws_sagemaker_code_repository.dcgan",
            "aws_sagemaker_notebook_instance_lifecycle_configuration.mount_efs",
            "aws_sagemaker_notebook_instance.notebook_instance",
        ],
        "ours": [
            "aws_iam_policy.sagemaker_nb",
            "aws_iam_role_policy_attachment.sagemaker_nb",
            "aws_iam_role_policy_attachment.sagemaker_nb_cloudwatch_agent",
            "aws_ssm_parameter.notebook_boot_status",
            "terraform_data.mlcore_is_there",
        ],
        "read": ["terraform_remote_state.mlcore"],
    },
}

OUTPUTS = {
    "mlcore": {
        "vpc_id",
        "subnet_pub",
        "subnet_pub_2",
        "subnet_pvt",
        "allow_ml_core_sg",
        "allow_from_deployer_sg",
        "allow_ml_core_egress",
        "efs_mount_target",
        "jump_ip_addr",
        # ours: who mounts by file-system id needs it, and so does who fetches the agent's configuration
        "efs_file_system",
        "cloudwatch_agent_cfg",
    },
    "stats-monitor": {"metrics_ip_addr"},
    "train-model": {"worker_ip_addr"},
    # ours: the original gave no way to find it
    "train-model-dev": {"notebook_name", "notebook_url"},
}

REMOTE = "data.terraform_remote_state.mlcore.outputs"


def addresses(blocks: Json) -> list[str]:
    return [f"{kind}.{name}" for kind, named in blocks.items() for name in named]


@pytest.mark.parametrize("stack", ADDRESSES)
def test_addresses_are_exactly_the_originals_and_ours(stack: str) -> None:
    expected = ADDRESSES[stack]
    found = synthesize()[stack]

    assert Counter(addresses(found["resource"])) == Counter(expected["original"] + expected["ours"])
    assert Counter(addresses(found["data"])) == Counter(expected["read"])


@pytest.mark.parametrize("stack", OUTPUTS)
def test_outputs_are_the_originals(stack: str) -> None:
    assert set(synthesize()[stack].get("output", {})) == OUTPUTS[stack]


def test_the_notebook_can_be_found() -> None:
    outputs = synthesize()["train-model-dev"]["output"]

    assert {name: output["value"] for name, output in outputs.items()} == {
        "notebook_name": "ml-core-dev-gaudi-sagemaker-nb-instance",
        "notebook_url": "https://us-east-1.console.aws.amazon.com/sagemaker/home?region=us-east-1"
        "#/notebook-instances/openNotebook/ml-core-dev-gaudi-sagemaker-nb-instance?view=lab",
    }


@pytest.mark.parametrize("stack", ADDRESSES)
def test_state_is_in_s3_locked_and_encrypted_as_the_bucket_one_key_a_stack(stack: str) -> None:
    terraform = synthesize()[stack]["terraform"]

    assert terraform["backend"] == {
        "s3": {
            "bucket": "my-state-bucket",
            "key": f"ml-core/ml-core/us-east-1/{stack}.tfstate",
            "region": "us-east-1",
            "use_lockfile": True,
        }
    }
    assert terraform["required_version"] == ">= 1.11.0"
    assert terraform["required_providers"] == {"aws": {"source": "aws", "version": "5.100.0"}}


@pytest.mark.parametrize("stack", ADDRESSES)
def test_a_key_for_the_state_is_named_where_the_bucket_asks_for_it(stack: str) -> None:
    key = f"{KEY}ab"
    backend = synthesize(STATE__KMS_KEY_ARN=key)[stack]["terraform"]["backend"]["s3"]

    assert (backend["encrypt"], backend["kms_key_id"]) == (True, key)


@pytest.mark.parametrize("stack", [name for name in ADDRESSES if name != "mlcore"])
def test_stacks_meet_in_remote_state_only(stack: str) -> None:
    found = synthesize()[stack]

    read = found["data"]["terraform_remote_state"]["mlcore"]
    assert read.pop("defaults").keys() == OUTPUTS["mlcore"]
    assert read == {
        "backend": "s3",
        "config": {
            "bucket": "my-state-bucket",
            "key": "ml-core/ml-core/us-east-1/mlcore.tfstate",
            "region": "us-east-1",
        },
    }
    assert "cross-stack" not in json.dumps(found)


@pytest.mark.parametrize("stack", ADDRESSES)
def test_a_call_that_fails_is_tried_for_two_minutes_and_no_longer(stack: str) -> None:
    (provider,) = synthesize()[stack]["provider"]["aws"]

    # The pauses before the second to the tenth try are at most 1, 2, 4, 8, 16, 20, 20, 20 and 20 seconds: 111 in all.
    assert provider["max_retries"] == 10


@pytest.mark.parametrize("stack", [name for name in ADDRESSES if name != "mlcore"])
def test_without_mlcore_there_is_no_plan_but_a_destroy(stack: str) -> None:
    found = synthesize()[stack]

    conditions = found["resource"]["terraform_data"]["mlcore_is_there"]["lifecycle"]["precondition"]
    assert [check["condition"] for check in conditions] == [f'${{!strcontains(jsonencode({REMOTE}), "\\"gone\\"")}}']
    assert "cdktf deploy mlcore" in conditions[0]["error_message"]
    defaults = found["data"]["terraform_remote_state"]["mlcore"]["defaults"]
    assert defaults["vpc_id"] == "gone"
    assert defaults["efs_mount_target"] == {"id": "gone", "ip_address": "gone"}


def test_nothing_of_mlcore_goes_before_it_is_known_that_no_stack_stands_on_it() -> None:
    found = synthesize(STATE__BUCKET="another-bucket", STATE__REGION="eu-west-1")["mlcore"]["resource"]

    guard = found["terraform_data"]["stacks_above"]
    everything = set(addresses(found)) - {"terraform_data.stacks_above"}
    assert set(guard["depends_on"]) == everything
    assert json.loads(guard["input"]["states"]) == {
        stack: f"ml-core/ml-core/us-east-1/{stack}.tfstate"
        for stack in ("stats-monitor", "train-model", "train-model-dev")
    }
    assert (guard["input"]["bucket"], guard["input"]["region"]) == ("another-bucket", "eu-west-1")
    (provisioner,) = guard["provisioner"]
    assert provisioner["local-exec"]["when"] == "destroy"
    # Terraform runs the text as it is: no marker of a template is left in it.
    script = (Path(__file__).parents[2] / "constructs_lib" / "holds_nothing.py").read_text(encoding="utf-8")
    assert provisioner["local-exec"]["environment"]["CHECK"] == script.replace("${", "$${").replace("%{", "%%{")


@pytest.mark.parametrize("stack", ADDRESSES)
def test_everything_is_tagged(stack: str) -> None:
    (provider,) = synthesize(DEPLOYMENT__NAME="ada", DEPLOYMENT__PROJECT="night-gan")[stack]["provider"]["aws"]

    assert provider["default_tags"] == [
        {"tags": {"project": "night-gan", "deployment": "ada", "stack": stack, "managed-by": "terraform"}}
    ]


# What must be unique within a region of an account.
NAMES = ("name", "creation_token", "code_repository_name")
# What IAM shares between all regions.
GLOBAL = ("aws_iam_role", "aws_iam_policy", "aws_iam_instance_profile")


def names(stacks: dict[str, Json], *kinds: str) -> set[str]:
    """The names of these kinds of resources, or of all, and the keys of the states."""
    return {
        attributes[key]
        for stack in stacks.values()
        for kind, named in stack["resource"].items()
        if kind in kinds or not kinds
        for attributes in named.values()
        for key in NAMES
        if key in attributes
    } | {stack["terraform"]["backend"]["s3"]["key"] for stack in stacks.values()}


def test_two_deployments_share_no_name_and_no_state() -> None:
    ada, bob = synthesize(DEPLOYMENT__NAME="ada"), synthesize(DEPLOYMENT__NAME="bob")

    # mlcore: 3 groups, file system, agent parameter, jump (role, profile, policy). stats-monitor: role (its profile has
    # the same name), policy, password. train-model: role, profile and policy under one name, GPU parameter, log group.
    # train-model-dev: role, policy, repository, life cycle, notebook. Four boot statuses. Four states.
    assert len(names(ada)) == 6 + 3 + 3 + 5 + 4 + 4
    assert names(ada).isdisjoint(names(bob))


def test_another_region_is_another_deployment() -> None:
    """Else Terraform would forget, and leave running, what it does not find in the region that it is told of."""
    here, there = synthesize(), synthesize(DEPLOYMENT__REGION="eu-west-1", STATE__REGION="us-east-1")

    # Jump, metrics and worker: role and profile under one name; so is each policy but two. Four states.
    assert len(names(here, *GLOBAL)) == 4 + 2 + 4
    assert names(here, *GLOBAL).isdisjoint(names(there, *GLOBAL))


class TestNetwork:
    def test_subnets_are_the_originals_slices(self) -> None:
        resources = synthesize(MLCORE__VPC_CIDR="10.20.0.0/20")["mlcore"]["resource"]

        assert resources["aws_vpc"]["core"]["cidr_block"] == "10.20.0.0/20"
        assert resources["aws_vpc"]["core"]["enable_dns_hostnames"] is True
        assert resources["aws_vpc"]["core"]["instance_tenancy"] == "default"
        found = {
            name: (subnet["cidr_block"], subnet["availability_zone"], subnet["map_public_ip_on_launch"])
            for name, subnet in resources["aws_subnet"].items()
        }
        # Terraform's cidrsubnet("10.20.0.0/20", 4, n) for n = 1, 3, 2.
        assert found == {
            "subnet_pub": ("10.20.1.0/24", "us-east-1a", True),
            "subnet_pub_2": ("10.20.3.0/24", "us-east-1b", True),
            "subnet_pvt": ("10.20.2.0/24", "us-east-1a", False),
        }

    def test_only_the_public_subnets_are_routed_to_the_internet_gateway(self) -> None:
        resources = synthesize()["mlcore"]["resource"]

        routes = {name: table["route"] for name, table in resources["aws_route_table"].items()}
        assert [route["cidr_block"] for route in routes["main"] + routes["private"]] == ["0.0.0.0/0", "0.0.0.0/0"]
        assert routes["main"][0]["gateway_id"] == "${aws_internet_gateway.core.id}"
        assert routes["private"][0]["nat_gateway_id"] == "${aws_nat_gateway.nat.id}"
        assert resources["aws_route_table_association"] == {
            "public": association("subnet_pub", "main"),
            "public_2": association("subnet_pub_2", "main"),
            "private": association("subnet_pvt", "private"),
        }

    def test_a_subnet_nobody_associated_is_private(self) -> None:
        association = synthesize()["mlcore"]["resource"]["aws_main_route_table_association"]["asc-main-vpc"]

        assert association["route_table_id"] == "${aws_route_table.private.id}"

    def test_nat_stands_in_the_public_subnet_after_the_gateway(self) -> None:
        resources = synthesize()["mlcore"]["resource"]

        assert resources["aws_eip"]["core"]["domain"] == "vpc"
        assert resources["aws_eip"]["core"]["depends_on"] == ["aws_internet_gateway.core"]
        assert resources["aws_nat_gateway"]["nat"]["subnet_id"] == "${aws_subnet.subnet_pub.id}"
        assert resources["aws_nat_gateway"]["nat"]["allocation_id"] == "${aws_eip.core.id}"
        assert resources["aws_nat_gateway"]["nat"]["depends_on"] == ["aws_internet_gateway.core"]

    def test_s3_traffic_does_not_pass_the_nat_gateway(self) -> None:
        endpoint = synthesize(DEPLOYMENT__REGION="eu-west-1")["mlcore"]["resource"]["aws_vpc_endpoint"]["s3"]

        assert endpoint["service_name"] == "com.amazonaws.eu-west-1.s3"
        assert endpoint["vpc_endpoint_type"] == "Gateway"
        assert endpoint["route_table_ids"] == ["${aws_route_table.main.id}", "${aws_route_table.private.id}"]


class TestSecurityGroups:
    def test_rules_are_exactly_these(self) -> None:
        groups = synthesize(ACCESS__DEPLOYER_CIDRS="198.51.100.7/32,203.0.113.0/24")["mlcore"]["resource"][
            "aws_security_group"
        ]

        assert {name: rules(group) for name, group in groups.items()} == {
            "allow_ml_core_vpc": {
                ("in", "-1", 0, 0, "10.20.0.0/20"),
                ("out", "-1", 0, 0, "10.20.0.0/20"),
            },
            "allow_deployer_sg": {
                ("in", "tcp", 22, 22, "198.51.100.7/32"),
                ("in", "tcp", 22, 22, "203.0.113.0/24"),
            },
            "allow_egress": {
                ("out", "tcp", port, port, where) for port in (80, 443) for where in ("0.0.0.0/0", "::/0")
            },
        }
        # What is not said Terraform leaves alone: a rule that somebody added by hand would stay unseen.
        assert {name: (group["ingress"] == [], group["egress"] == []) for name, group in groups.items()} == {
            "allow_ml_core_vpc": (False, False),
            "allow_deployer_sg": (False, True),
            "allow_egress": (True, False),
        }
        assert {name: group["revoke_rules_on_delete"] for name, group in groups.items()} == dict.fromkeys(groups, True)

    def test_the_vpcs_own_group_is_emptied(self) -> None:
        """AWS makes it so that it lets all its members in and everything out."""
        group = only(synthesize()["mlcore"]["resource"]["aws_default_security_group"])

        assert (group["vpc_id"], group["ingress"], group["egress"]) == ("${aws_vpc.core.id}", [], [])

    def test_nothing_anywhere_lets_the_world_in(self) -> None:
        for stack in synthesize().values():
            for group in stack["resource"].get("aws_security_group", {}).values():
                sources = {rule[4] for rule in rules(group) if rule[0] == "in"}
                assert not sources & {"0.0.0.0/0", "::/0"}
            assert not {kind for kind in stack["resource"] if "ingress" in kind or kind == "aws_security_group_rule"}


class TestFileSystem:
    def test_values(self) -> None:
        file_system = synthesize()["mlcore"]["resource"]["aws_efs_file_system"]["core"]

        assert file_system == {
            "creation_token": "ml-core-gaudi_ml_core_efs",
            "availability_zone_name": "us-east-1a",
            "encrypted": True,
            "throughput_mode": "elastic",
            "performance_mode": "generalPurpose",
            "lifecycle_policy": [{"transition_to_ia": "AFTER_30_DAYS"}],
            "tags": {"Name": "ml-core-gaudi_ml_core_efs"},
            "lifecycle": {"prevent_destroy": True},
        }

    def test_one_named_setting_releases_it(self) -> None:
        released = synthesize(MLCORE__ALLOW_EFS_DESTROY="true")["mlcore"]["resource"]

        for found in (*released["aws_efs_file_system"].values(), *released["aws_efs_mount_target"].values()):
            assert "prevent_destroy" not in found.get("lifecycle", {})

    def test_backups_are_on(self) -> None:
        backup = synthesize()["mlcore"]["resource"]["aws_efs_backup_policy"]["core"]

        assert backup == {"file_system_id": "${aws_efs_file_system.core.id}", "backup_policy": {"status": "ENABLED"}}

    def test_clear_text_is_denied_and_nobody_is_allowed_in_for_nothing(self) -> None:
        policy = synthesize()["mlcore"]["resource"]["aws_efs_file_system_policy"]["core"]["policy"]

        (statement,) = statements(policy)
        assert statement["Effect"] == "Deny"
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        assert statement["Action"] == "*"

    def test_what_aws_backup_restored_can_be_read_beside_the_rest(self) -> None:
        """It lies in a folder of its own in the file system's root, where no access point led."""
        folder = "aws-backup-restore_2026-11-30T10-15-00-123456Z"
        plain, found = synthesize(), synthesize(MLCORE__RESTORED_FOLDER=folder)

        whole = synthesize(MLCORE__RESTORED_FOLDER="/")["mlcore"]["resource"]["aws_efs_access_point"]["restored"]
        assert whole["root_directory"] == {"path": "/"}
        point = found["mlcore"]["resource"]["aws_efs_access_point"]["restored"]
        assert point["root_directory"] == {"path": f"/{folder}/ml"}
        assert point["posix_user"] == {"uid": 1000, "gid": 1000}
        assert found["mlcore"]["output"]["restored_mount"]["value"] == (
            "sudo mkdir -p /mnt/restored && sudo mount -t efs -o "
            "ro,tls,iam,accesspoint=${aws_efs_access_point.restored.id} ${aws_efs_file_system.core.id}:/ /mnt/restored"
        )
        for stack in ("train-model", "train-model-dev"):
            read = found[stack]["data"]["terraform_remote_state"]["mlcore"]
            assert read["defaults"]["restored_access_point_arn"] == "gone"  # until mlcore is deployed with it
            assert "restored_access_point_arn" not in json.dumps(plain[stack])
            before, after = plain[stack]["resource"].copy(), found[stack]["resource"].copy()
            policies = [statements(only(resources.pop("aws_iam_policy"))["policy"]) for resources in (before, after)]
            assert before == after  # no machine is replaced for it
            (more,) = [statement for statement in policies[1] if statement not in policies[0]]
            assert more == {
                "Effect": "Allow",
                "Action": ["elasticfilesystem:ClientMount"],
                "Resource": [f"${{{REMOTE}.efs_file_system.arn}}"],
                "Condition": {
                    "StringEquals": {"elasticfilesystem:AccessPointArn": f"${{{REMOTE}.restored_access_point_arn}}"}
                },
            }

    def test_mounted_as_the_training_user_in_the_private_subnet(self) -> None:
        resources = synthesize()["mlcore"]["resource"]

        point = resources["aws_efs_access_point"]["core"]
        assert point["posix_user"] == {"uid": 1000, "gid": 1000}
        assert point["root_directory"]["creation_info"] == {"owner_uid": 1000, "owner_gid": 1000, "permissions": "0755"}
        target = resources["aws_efs_mount_target"]["ds_core_mnt_target"]
        assert target["subnet_id"] == "${aws_subnet.subnet_pvt.id}"
        assert target["security_groups"] == ["${aws_security_group.allow_ml_core_vpc.id}"]
        assert target["depends_on"] == ["aws_security_group.allow_ml_core_vpc"]
        # Another network would take it from under machines that write.
        assert target["lifecycle"] == {"prevent_destroy": True}


MACHINES = {
    "mlcore": ("jump", "t3.nano", "ml-core ML Core - Jump Instance"),
    "stats-monitor": ("metrics", "t3.medium", "ml-core ML Model Monitor - Metrics Instance"),
    "train-model": ("worker", "g6.12xlarge", "ml-core ML Core - Worker Instance"),
}


@pytest.mark.parametrize("stack", MACHINES)
class TestEveryMachine:
    def test_type_name_and_key(self, stack: str) -> None:
        name, instance_type, tag = MACHINES[stack]
        machine = synthesize()[stack]["resource"]["aws_instance"][name]

        assert machine["instance_type"] == instance_type
        assert machine["tags"] == {"Name": tag}
        assert machine["key_name"] == "my-key"

    def test_metadata_needs_a_token_and_the_root_disk_is_encrypted(self, stack: str) -> None:
        machine = only(synthesize()[stack]["resource"]["aws_instance"])

        assert machine["metadata_options"]["http_tokens"] == "required"
        assert machine["metadata_options"]["http_put_response_hop_limit"] == (2 if stack == "stats-monitor" else 1)
        assert machine["root_block_device"]["encrypted"] is True
        assert machine["root_block_device"]["delete_on_termination"] is True

    def test_image_is_looked_up_and_pinned(self, stack: str) -> None:
        name = MACHINES[stack][0]
        found = synthesize()[stack]
        machine = found["resource"]["aws_instance"][name]

        assert machine["ami"] == f"${{data.aws_ssm_parameter.{name}_ami.insecure_value}}"
        # EC2 shows no public address of a machine that is stopped, which would look like a change.
        also = ["associate_public_ip_address"] if name == "jump" else []
        assert machine["lifecycle"] == {"ignore_changes": ["ami", *also]}

    def test_it_runs_only_while_its_role_has_its_rights(self, stack: str) -> None:
        resources = synthesize()[stack]["resource"]

        attachments = {f"aws_iam_role_policy_attachment.{id}" for id in resources["aws_iam_role_policy_attachment"]}
        assert set(only(resources["aws_instance"])["depends_on"]) == attachments

    def test_changed_user_data_replaces_the_machine(self, stack: str) -> None:
        machine = only(synthesize()[stack]["resource"]["aws_instance"])

        assert machine["user_data_replace_on_change"] is True
        assert "user_data" not in machine
        assert "lib.sh" in unpacked(machine["user_data_base64"])


@pytest.mark.parametrize(
    ("stack", "setting"),
    [
        ("mlcore", "MLCORE__JUMP_AMI"),
        ("stats-monitor", "STATS_MONITOR__AMI"),
        ("train-model", "TRAIN_MODEL__AMI"),
    ],
)
def test_a_named_image_is_used_and_its_changes_are_not_ignored(stack: str, setting: str) -> None:
    found = synthesize(**{setting: "ami-0123456789abcdef0"})[stack]
    machine = only(found["resource"]["aws_instance"])

    assert machine["ami"] == "ami-0123456789abcdef0"
    assert "ami" not in machine.get("lifecycle", {}).get("ignore_changes", [])
    assert "aws_ssm_parameter" not in found.get("data", {})


class TestWhereMachinesStand:
    def test_jump_host(self) -> None:
        machine = synthesize()["mlcore"]["resource"]["aws_instance"]["jump"]

        assert machine["subnet_id"] == "${aws_subnet.subnet_pub.id}"
        assert machine["associate_public_ip_address"] is True
        assert machine["vpc_security_group_ids"] == [
            "${aws_security_group.allow_ml_core_vpc.id}",
            "${aws_security_group.allow_deployer_sg.id}",
            "${aws_security_group.allow_egress.id}",
        ]
        assert machine["iam_instance_profile"] == "${aws_iam_instance_profile.jump.name}"

    @pytest.mark.parametrize("stack", ["stats-monitor", "train-model"])
    def test_the_others_are_private(self, stack: str) -> None:
        machine = only(synthesize()[stack]["resource"]["aws_instance"])

        assert machine["subnet_id"] == f"${{{REMOTE}.subnet_pvt.id}}"
        assert machine["associate_public_ip_address"] is False
        assert machine["vpc_security_group_ids"] == [
            f"${{{REMOTE}.allow_ml_core_sg.id}}",
            f"${{{REMOTE}.allow_ml_core_egress.id}}",
        ]

    def test_notebook_is_private_on_the_services_default_platform(self) -> None:
        notebook = synthesize()["train-model-dev"]["resource"]["aws_sagemaker_notebook_instance"]["notebook_instance"]

        assert notebook["subnet_id"] == f"${{{REMOTE}.subnet_pvt.id}}"
        assert notebook["security_groups"] == [
            f"${{{REMOTE}.allow_ml_core_sg.id}}",
            f"${{{REMOTE}.allow_ml_core_egress.id}}",
        ]
        assert notebook["direct_internet_access"] == "Disabled"
        assert notebook["instance_metadata_service_configuration"] == {"minimum_instance_metadata_service_version": "2"}
        assert notebook["name"] == "ml-core-dev-gaudi-sagemaker-nb-instance"
        assert notebook["instance_type"] == "ml.t3.medium"
        assert notebook["default_code_repository"] == "${aws_sagemaker_code_repository.dcgan.code_repository_name}"
        assert "platform_identifier" not in notebook


class TestDisks:
    def test_metrics_root(self) -> None:
        root = synthesize()["stats-monitor"]["resource"]["aws_instance"]["metrics"]["root_block_device"]

        assert (root["volume_type"], root["volume_size"], root["iops"], root["throughput"]) == ("gp3", 10, 3000, 125)

    def test_worker_root(self) -> None:
        root = synthesize()["train-model"]["resource"]["aws_instance"]["worker"]["root_block_device"]

        assert (root["volume_type"], root["volume_size"], root["iops"], root["throughput"]) == ("gp3", 130, 3000, 125)

    def test_data_volume_survives_destroy_and_comes_back(self) -> None:
        found = synthesize()["train-model"]
        volume = found["resource"]["aws_ebs_volume"]["msls"]

        assert (volume["type"], volume["size"], volume["iops"], volume["throughput"]) == ("gp3", 50, 8000, 1000)
        assert volume["encrypted"] is True
        assert volume["availability_zone"] == f"${{{REMOTE}.subnet_pvt.availability_zone}}"
        assert volume["final_snapshot"] is True
        assert volume["snapshot_id"] == "${try(data.aws_ebs_snapshot_ids.msls.ids[0], null)}"
        assert volume["lifecycle"] == {"ignore_changes": ["snapshot_id"]}
        filters = {part["name"]: part["values"] for part in found["data"]["aws_ebs_snapshot_ids"]["msls"]["filter"]}
        assert filters == {"tag:Name": [volume["tags"]["Name"]], "tag:deployment": ["ml-core"]}
        assert found["data"]["aws_ebs_snapshot_ids"]["msls"]["owners"] == ["self"]

    @pytest.mark.parametrize(("restore", "snapshot"), [("none", None), ("snap-0123456789abcdef0",) * 2])
    def test_what_to_restore_can_be_named(self, restore: str, snapshot: str | None) -> None:
        found = synthesize(TRAIN_MODEL__DATA_VOLUME__RESTORE=restore)["train-model"]

        assert found["resource"]["aws_ebs_volume"]["msls"].get("snapshot_id") == snapshot
        assert "aws_ebs_snapshot_ids" not in found["data"]

    def test_no_snapshot_only_when_asked_by_name(self) -> None:
        found = synthesize(TRAIN_MODEL__DATA_VOLUME__SNAPSHOT_ON_DESTROY="false")["train-model"]

        assert found["resource"]["aws_ebs_volume"]["msls"]["final_snapshot"] is False

    def test_attachment_is_taken_off_a_stopped_machine(self) -> None:
        attachment = synthesize()["train-model"]["resource"]["aws_volume_attachment"]["worker"]

        assert attachment == {
            "device_name": "/dev/sdh",
            "volume_id": "${aws_ebs_volume.msls.id}",
            "instance_id": "${aws_instance.worker.id}",
            "stop_instance_before_detaching": True,
        }


EFS_CONDITION = {
    "StringEquals": {"elasticfilesystem:AccessPointArn": f"${{{REMOTE}.efs_file_system.access_point_arn}}"}
}


KEY = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-44cd-86ef-1234567890"


class TestIam:
    @pytest.mark.parametrize(
        ("stack", "service"),
        [
            ("mlcore", "ec2.amazonaws.com"),
            ("stats-monitor", "ec2.amazonaws.com"),
            ("train-model", "ec2.amazonaws.com"),
            ("train-model-dev", "sagemaker.amazonaws.com"),
        ],
    )
    def test_one_service_assumes_the_role(self, stack: str, service: str) -> None:
        role = only(synthesize()[stack]["resource"]["aws_iam_role"])

        (statement,) = statements(role["assume_role_policy"])
        assert statement == {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": service}}
        assert "managed_policy_arns" not in role

    def test_no_full_access_policy_and_no_wildcard_action(self) -> None:
        for stack in synthesize(TRAIN_MODEL__OUTPUT_S3_URI="s3://out/runs").values():
            for attachment in stack["resource"].get("aws_iam_role_policy_attachment", {}).values():
                assert "FullAccess" not in attachment["policy_arn"]
            for policy in stack["resource"].get("aws_iam_policy", {}).values():
                actions = [action for statement in statements(policy["policy"]) for action in statement["Action"]]
                assert actions
                assert not [action for action in actions if "*" in action]

    def test_managed_policies_are_exactly_these(self) -> None:
        managed = {
            stack: {
                attachment["policy_arn"]
                for attachment in found["resource"].get("aws_iam_role_policy_attachment", {}).values()
                if attachment["policy_arn"].startswith("arn:")
            }
            for stack, found in synthesize().items()
        }
        agent = "arn:aws:iam::aws:policy/CloudWatchAgentServerPolicy"
        assert managed == {
            "mlcore": set(),
            "stats-monitor": set(),
            "train-model": {agent, "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"},
            "train-model-dev": {agent},
        }

    def test_metrics_host_reads_what_grafana_needs_one_secret_and_the_file_system(self) -> None:
        policy = only(synthesize()["stats-monitor"]["resource"]["aws_iam_policy"])["policy"]

        grafana, logs, secret, mount, _ = statements(policy)
        assert set(grafana["Action"]) == {
            "cloudwatch:DescribeAlarmsForMetric",
            "cloudwatch:DescribeAlarmHistory",
            "cloudwatch:DescribeAlarms",
            "cloudwatch:ListMetrics",
            "cloudwatch:GetMetricData",
            "cloudwatch:GetInsightRuleReport",
            "logs:DescribeLogGroups",
            "logs:StopQuery",
            "logs:GetQueryResults",
            "ec2:DescribeTags",
            "ec2:DescribeInstances",
            "ec2:DescribeRegions",
            "tag:GetResources",
        }
        # What another team's programs log is not for this deployment's Grafana.
        assert logs == {
            "Effect": "Allow",
            "Action": ["logs:GetLogGroupFields", "logs:StartQuery", "logs:GetLogEvents"],
            "Resource": ["arn:aws:logs:us-east-1:*:log-group:/ml-infra/ml-core/*"],
        }
        assert (secret["Action"], secret["Resource"]) == (
            ["ssm:GetParameter"],
            ["${aws_ssm_parameter.grafana_admin.arn}"],
        )
        assert mount["Action"] == ["elasticfilesystem:ClientMount"]
        assert mount["Resource"] == [f"${{{REMOTE}.efs_file_system.arn}}"]
        assert mount["Condition"] == EFS_CONDITION

    def test_worker_without_buckets_gets_the_file_system_only(self) -> None:
        mount, status, denied = statements(only(synthesize()["train-model"]["resource"]["aws_iam_policy"])["policy"])
        assert status["Action"] == ["ssm:PutParameter"]
        # AmazonSSMManagedInstanceCore lets it read every parameter of the account.
        assert denied == {
            "Effect": "Deny",
            "Action": [
                "ssm:GetParameter",
                "ssm:GetParameters",
                "ssm:GetParametersByPath",
                "ssm:GetParameterHistory",
            ],
            "NotResource": ["arn:aws:ssm:*:*:parameter/AmazonCloudWatch-ml-core-*"],
        }

        assert mount["Action"] == ["elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite"]
        assert mount["Condition"] == EFS_CONDITION

    @pytest.mark.parametrize(
        ("stack", "section"), [("train-model", "TRAIN_MODEL"), ("train-model-dev", "TRAIN_MODEL_DEV")]
    )
    def test_one_prefix_to_read_and_one_to_write(self, stack: str, section: str) -> None:
        found = synthesize(
            **{f"{section}__DATA_S3_URI": "s3://pics/msls", f"{section}__OUTPUT_S3_URI": "s3://out/runs"}
        )
        s3 = [
            statement
            for statement in statements(only(found[stack]["resource"]["aws_iam_policy"])["policy"])
            if statement["Action"][0].startswith("s3:")
        ]

        def listing(bucket: str, prefix: str) -> Json:
            return {
                "Effect": "Allow",
                "Action": ["s3:ListBucket"],
                "Resource": [f"arn:aws:s3:::{bucket}"],
                "Condition": {"StringLike": {"s3:prefix": [prefix, f"{prefix}/*"]}},
            }

        assert s3 == [
            listing("pics", "msls"),
            {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::pics/msls/*"]},
            listing("out", "runs"),
            {
                "Effect": "Allow",
                "Action": ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"],
                "Resource": ["arn:aws:s3:::out/runs/*"],
            },
        ]

    @pytest.mark.parametrize(
        ("stack", "section"), [("train-model", "TRAIN_MODEL"), ("train-model-dev", "TRAIN_MODEL_DEV")]
    )
    def test_keys_of_ones_own_are_used_through_s3_only(self, stack: str, section: str) -> None:
        read, written = f"{KEY}ab", f"{KEY.replace('us-east-1', 'eu-west-1')}cd"
        found = synthesize(
            **{
                f"{section}__DATA_S3_URI": "s3://pics/msls",
                f"{section}__DATA_S3_KMS_KEY_ARN": read,
                f"{section}__OUTPUT_S3_URI": "s3://out/runs",
                f"{section}__OUTPUT_S3_KMS_KEY_ARN": written,
            }
        )
        policy = only(found[stack]["resource"]["aws_iam_policy"])["policy"]

        def through(region: str) -> Json:
            return {"StringEquals": {"kms:ViaService": f"s3.{region}.amazonaws.com"}}

        assert [statement for statement in statements(policy) if statement["Action"][0].startswith("kms:")] == [
            {"Effect": "Allow", "Action": ["kms:Decrypt"], "Resource": [read], "Condition": through("us-east-1")},
            {
                "Effect": "Allow",
                "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
                "Resource": [written],
                "Condition": through("eu-west-1"),
            },
        ]

    def test_the_notebook_handles_network_interfaces_of_its_own_subnet_only(self) -> None:
        policy = only(synthesize()["train-model-dev"]["resource"]["aws_iam_policy"])["policy"]
        written = [
            found
            for found in statements(policy)
            if any(each.startswith("ec2:") and not each.startswith("ec2:Describe") for each in found["Action"])
        ]
        subnet = f"${{{REMOTE}.subnet_pvt.arn}}"
        groups = [f"${{{REMOTE}.{name}.arn}}" for name in ("allow_ml_core_sg", "allow_ml_core_egress")]
        interfaces, here = ["arn:aws:ec2:us-east-1:*:network-interface/*"], {"ec2:Subnet": subnet}

        assert [(each["Action"], each["Resource"], each.get("Condition")) for each in written] == [
            (["ec2:CreateNetworkInterface"], [subnet, *groups], None),
            (["ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface"], interfaces, {"ArnEquals": here}),
            (
                ["ec2:CreateNetworkInterfacePermission", "ec2:DeleteNetworkInterfacePermission"],
                interfaces,
                {"ArnEquals": here},
            ),
        ]

    def test_the_notebook_writes_its_own_log_streams(self) -> None:
        policy = only(synthesize()["train-model-dev"]["resource"]["aws_iam_policy"])["policy"]
        (put,) = [each for each in statements(policy) if "logs:PutLogEvents" in each["Action"]]

        assert put["Resource"] == [
            "arn:aws:logs:us-east-1:*:log-group:/aws/sagemaker/NotebookInstances:log-stream:"
            "ml-core-dev-gaudi-sagemaker-nb-instance/*"
        ]

    def test_notebook_may_stop_only_itself(self) -> None:
        policy = only(synthesize()["train-model-dev"]["resource"]["aws_iam_policy"])["policy"]

        (stop,) = [found for found in statements(policy) if "sagemaker:StopNotebookInstance" in found["Action"]]
        assert stop["Resource"] == [
            "arn:aws:sagemaker:us-east-1:*:notebook-instance/ml-core-dev-gaudi-sagemaker-nb-instance"
        ]

    def test_notebook_waits_for_its_permissions(self) -> None:
        notebook = synthesize()["train-model-dev"]["resource"]["aws_sagemaker_notebook_instance"]["notebook_instance"]

        assert notebook["depends_on"] == [
            "aws_iam_role_policy_attachment.sagemaker_nb",
            "aws_iam_role_policy_attachment.sagemaker_nb_cloudwatch_agent",
        ]


STATUS = {"mlcore": "jump", "stats-monitor": "metrics", "train-model": "worker", "train-model-dev": "notebook"}


@pytest.mark.parametrize(("stack", "machine"), STATUS.items())
class TestBootStatus:
    def test_the_machine_may_write_its_own_parameter_and_no_other(self, stack: str, machine: str) -> None:
        found = synthesize()[stack]["resource"]
        writing = [
            statement
            for policy in found["aws_iam_policy"].values()
            for statement in statements(policy["policy"])
            if any(action.startswith("ssm:Put") for action in statement["Action"])
        ]

        resource = f"${{aws_ssm_parameter.{machine}_boot_status.arn}}"
        assert writing == [{"Effect": "Allow", "Action": ["ssm:PutParameter"], "Resource": [resource]}]

    def test_terraform_makes_the_parameter_and_leaves_what_the_machine_writes(self, stack: str, machine: str) -> None:
        parameter = synthesize()[stack]["resource"]["aws_ssm_parameter"][f"{machine}_boot_status"]

        assert parameter["name"] == f"/ml-infra/ml-core/{stack}/{machine}/boot-status"
        assert json.loads(parameter["value"]) == {"state": "not reported yet", "stages": []}
        assert parameter["lifecycle"] == {"ignore_changes": ["value"]}

    def test_the_machine_is_told_its_name(self, stack: str, machine: str) -> None:
        found = json.dumps(synthesize()[stack]["resource"])

        assert re.search(rf"STATUS_PARAMETER=[^\n]{{0,20}}aws_ssm_parameter\.{machine}_boot_status\.name", found)


def test_grafanas_volume_outlives_the_machine_and_the_stack() -> None:
    found = synthesize()["stats-monitor"]
    resources = found["resource"]

    assert resources["aws_ebs_volume"]["grafana"] == {
        "availability_zone": f"${{{REMOTE}.subnet_pvt.availability_zone}}",
        "type": "gp3",
        "size": 4,
        "iops": 3000,
        "throughput": 125,
        "encrypted": True,
        "final_snapshot": True,
        "snapshot_id": "${try(data.aws_ebs_snapshot_ids.grafana.ids[0], null)}",
        "lifecycle": {"ignore_changes": ["snapshot_id"]},
        "timeouts": {"delete": "3h"},
        "tags": {"Name": "ml-core Grafana Volume"},
    }
    filters = {part["name"]: part["values"] for part in found["data"]["aws_ebs_snapshot_ids"]["grafana"]["filter"]}
    assert filters == {"tag:Name": ["ml-core Grafana Volume"], "tag:deployment": ["ml-core"]}
    assert resources["aws_volume_attachment"]["grafana"] == {
        "device_name": "/dev/sdh",
        "volume_id": "${aws_ebs_volume.grafana.id}",
        "instance_id": "${aws_instance.metrics.id}",
        "stop_instance_before_detaching": True,
    }
    sent = values(resources["aws_instance"]["metrics"]["user_data_base64"])
    assert sent["GRAFANA_VOLUME_ID"] == "${aws_ebs_volume.grafana.id}"


def test_grafanas_data_goes_without_a_snapshot_only_when_asked_by_name() -> None:
    found = synthesize(STATS_MONITOR__SNAPSHOT_ON_DESTROY="false")["stats-monitor"]

    assert found["resource"]["aws_ebs_volume"]["grafana"]["final_snapshot"] is False


def test_training_logs_are_not_kept_for_ever() -> None:
    found = synthesize()["train-model"]["resource"]

    assert found["aws_cloudwatch_log_group"]["training"] == {
        "name": "/ml-infra/ml-core/train-model/training",
        "retention_in_days": 90,
    }
    sent = values(found["aws_instance"]["worker"]["user_data_base64"])
    assert sent["TRAINING_LOG_GROUP"] == "${aws_cloudwatch_log_group.training.name}"


@pytest.mark.parametrize("instance_type", ["g6.12xlarge", "p3.8xlarge", "dl1.24xlarge", "trn1.2xlarge", "t3.large"])
def test_user_data_fits_with_the_longest_settings(instance_type: str) -> None:
    """EC2 takes 16384 bytes, SageMaker 16384 characters of base64; synthesis itself refuses more."""
    # What cannot be compressed to much less than half.
    noise = random.Random(1)
    bucket, long = noise.randbytes(32).hex()[:63], noise.randbytes(128).hex()
    stacks = synthesize(
        DEPLOYMENT__NAME="a" * 20,
        TRAIN_MODEL__INSTANCE_TYPE=instance_type,
        TRAIN_MODEL__TRAINING_REPOSITORY=f"https://github.com/{noise.randbytes(128).hex()[: 256 - 19]}",
        TRAIN_MODEL__TRAINING_REVISION=noise.randbytes(128).hex()[:255],
        TRAIN_MODEL__DATA_S3_URI=f"s3://{bucket}/{long}",
        TRAIN_MODEL__OUTPUT_S3_URI=f"s3://{bucket}/{long[::-1]}",
        STATS_MONITOR__GRAFANA_IMAGE=f"registry.example.com/grafana/{'g' * 150}@sha256:{'0' * 64}",
    )
    for stack in ("mlcore", "stats-monitor", "train-model"):
        user_data = only(stacks[stack]["resource"]["aws_instance"])["user_data_base64"]
        # References become ids and addresses of fewer than 100 characters.
        assert len(filled(user_data, lambda _: "x" * 100)) <= 16384
    notebook = only(stacks["train-model-dev"]["resource"]["aws_sagemaker_notebook_instance_lifecycle_configuration"])
    assert len(notebook["on_start"]) * 4 / 3 <= 16384


class TestSecrets:
    def test_grafanas_password_is_made_by_terraform_and_kept_nowhere(self) -> None:
        found = synthesize()["stats-monitor"]
        parameter = found["resource"]["aws_ssm_parameter"]["grafana_admin"]

        assert found["ephemeral"]["aws_secretsmanager_random_password"] == {
            "grafana_password": {"password_length": 32, "exclude_punctuation": True}
        }
        assert parameter["type"] == "SecureString"
        assert (
            parameter["value_wo"] == "${ephemeral.aws_secretsmanager_random_password.grafana_password.random_password}"
        )
        assert "value" not in parameter
        # An update that is not of the version would send an empty value.
        assert parameter["lifecycle"] == {"ignore_changes": ["description", "allowed_pattern"]}
        sent = values(found["resource"]["aws_instance"]["metrics"]["user_data_base64"])
        assert "random_password" not in str(sent)
        assert sent["GRAFANA_PASSWORD_PARAMETER"] == "${aws_ssm_parameter.grafana_admin.name}"


def test_another_script_of_the_notebook_has_another_name() -> None:
    """Only so does it reach a notebook that runs; the notebook lets go of the old one before it is deleted."""
    found = synthesize()["train-model-dev"]["resource"]
    script = found["aws_sagemaker_notebook_instance_lifecycle_configuration"]["mount_efs"]
    notebook = found["aws_sagemaker_notebook_instance"]["notebook_instance"]

    content = script["on_start"].removeprefix("${base64encode(").removesuffix(")}")
    assert script["name"] == f'${{format("ml-core-mount-efs-%s", substr(sha256({content}), 0, 8))}}'
    assert "${" not in content  # within an expression a reference is bare
    assert script["lifecycle"] == {"create_before_destroy": True}
    reference = "${aws_sagemaker_notebook_instance_lifecycle_configuration.mount_efs.name}"
    assert notebook["lifecycle_config_name"] == reference


class TestAgentConfiguration:
    @pytest.mark.parametrize(
        ("stack", "id", "name"),
        [
            ("mlcore", "cloudwatch_agent_cfg", "AmazonCloudWatch-ml-core-cw_agent__config"),
            ("train-model", "cloudwatch_agent_gpu_cfg", "AmazonCloudWatch-ml-core-cw_agent__gpu"),
        ],
    )
    def test_is_plain_json_under_a_name_agents_may_read(self, stack: str, id: str, name: str) -> None:
        parameter = synthesize()[stack]["resource"]["aws_ssm_parameter"][id]

        assert parameter["name"] == name
        assert parameter["type"] == "String"
        assert isinstance(json.loads(parameter["value"]), dict)
        assert len(parameter["value"].encode()) <= 4096

    def test_a_metric_of_the_cpus_is_one_however_many_there_are(self) -> None:
        """Four for each of a p5.48xlarge's 192 would be 768, at 0.30 dollars a month."""
        value = synthesize()["mlcore"]["resource"]["aws_ssm_parameter"]["cloudwatch_agent_cfg"]["value"]

        cpu = json.loads(value)["metrics"]["metrics_collected"]["cpu"]
        # With "resources" the agent sends every CPU by itself:
        # https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch-Agent-Configuration-File-Details.html
        assert (cpu["totalcpu"], "resources" in cpu) == (True, False)

    def test_the_agents_own_placeholders_are_escaped(self) -> None:
        value = synthesize()["mlcore"]["resource"]["aws_ssm_parameter"]["cloudwatch_agent_cfg"]["value"]

        dimensions = json.loads(value)["metrics"]["append_dimensions"]
        assert dimensions == {
            name: f"$${{aws:{name}}}" for name in ("AutoScalingGroupName", "ImageId", "InstanceId", "InstanceType")
        }


PROFILES = [
    ("g6.12xlarge", "nvidia", 4),
    ("p3.8xlarge", "nvidia", 4),
    ("dl1.24xlarge", "gaudi", 8),
    ("trn1.2xlarge", "neuron", 1),
    ("t3.large", "none", 0),
]


@pytest.mark.parametrize(("instance_type", "profile", "count"), PROFILES)
class TestBootProfiles:
    def test_follow_the_accelerator_family(self, instance_type: str, profile: str, count: int) -> None:
        found = synthesize(TRAIN_MODEL__INSTANCE_TYPE=instance_type)["train-model"]
        user_data = found["resource"]["aws_instance"]["worker"]["user_data_base64"]

        assert values(user_data)["BOOT_PROFILE"] == profile
        assert values(user_data)["ACCELERATOR_COUNT"] == str(count)
        shipped = [name for name in unpacked(user_data) if name.startswith("profile_")]
        assert shipped == [f"profile_{profile}.sh"]

    def test_gpu_metrics_are_configured_for_nvidia_only(self, instance_type: str, profile: str, count: int) -> None:
        found = synthesize(TRAIN_MODEL__INSTANCE_TYPE=instance_type)["train-model"]

        assert ("cloudwatch_agent_gpu_cfg" in found["resource"]["aws_ssm_parameter"]) is (profile == "nvidia")


def test_a_type_that_needs_another_image_makes_another_machine() -> None:
    """Other user data replaces it; a change of the image alone is ignored, since it is looked up."""

    def user_data(instance_type: str) -> str:
        found = synthesize(TRAIN_MODEL__INSTANCE_TYPE=instance_type)["train-model"]
        return str(found["resource"]["aws_instance"]["worker"]["user_data_base64"])

    # Four GPUs each; p3's are too old for the image of the others.
    assert user_data("g6.12xlarge") == user_data("g5.12xlarge")
    assert user_data("g6.12xlarge") != user_data("p3.8xlarge")


@pytest.mark.parametrize(
    ("given", "warned"),
    [
        ({"INSTANCE_TYPE": "trn1.2xlarge"}, True),
        ({"INSTANCE_TYPE": "trn1.2xlarge", "ROOT_VOLUME__SIZE_GB": "512"}, False),
        ({"INSTANCE_TYPE": "trn1.2xlarge", "AMI": "ami-0123456789abcdef0"}, False),
        ({"INSTANCE_TYPE": "g6.12xlarge"}, False),
    ],
)
def test_a_root_volume_too_small_for_neurons_image_is_a_warning(given: dict[str, str], warned: bool) -> None:
    stack = stacks(**{f"TRAIN_MODEL__{key}": value for key, value in given.items()})["train-model"]

    warnings = [str(entry.data) for entry in stack.node.metadata if entry.type == "@cdktf/warn"]
    assert any("train_model.root_volume.size_gb is 130" in text for text in warnings) is warned


@pytest.mark.parametrize(("instance_type", "has"), [("ml.g5.xlarge", True), ("ml.t3.medium", False)])
def test_notebooks_with_nvidia_gpus_send_their_metrics(instance_type: str, has: bool) -> None:
    found = synthesize(TRAIN_MODEL_DEV__INSTANCE_TYPE=instance_type)["train-model-dev"]["resource"]
    script = found["aws_sagemaker_notebook_instance_lifecycle_configuration"]["mount_efs"]["on_start"]

    assert ("cloudwatch_agent_gpu_cfg" in found["aws_ssm_parameter"]) is has
    assert ("aws_ssm_parameter.cloudwatch_agent_gpu_cfg.name" in script) is has


def test_values_that_only_terraform_knows_reach_the_machine() -> None:
    sent = values(synthesize()["train-model"]["resource"]["aws_instance"]["worker"]["user_data_base64"])

    expected = {
        "EFS_FILE_SYSTEM_ID": f"${{{REMOTE}.efs_file_system.id}}",
        "EFS_ACCESS_POINT_ID": f"${{{REMOTE}.efs_file_system.access_point_id}}",
        "EFS_MOUNT_TARGET_IP": f"${{{REMOTE}.efs_mount_target.ip_address}}",
        "DATA_VOLUME_ID": "${aws_ebs_volume.msls.id}",
        "CLOUDWATCH_AGENT_PARAMETER": f"${{{REMOTE}.cloudwatch_agent_cfg.name}}",
        "AWS_REGION": "us-east-1",
    }
    assert {key: sent[key] for key in expected} == expected


def association(subnet: str, table: str) -> dict[str, str]:
    return {"subnet_id": f"${{aws_subnet.{subnet}.id}}", "route_table_id": f"${{aws_route_table.{table}.id}}"}


def rules(group: Json) -> set[tuple[str, str, int, int, str]]:
    """Every rule of a group as (direction, protocol, from, to, CIDR block)."""
    found: set[tuple[str, str, int, int, str]] = set()
    for direction, key in (("in", "ingress"), ("out", "egress")):
        for rule in group.get(key, []):
            blocks: list[Any] = [*(rule.get("cidr_blocks") or []), *(rule.get("ipv6_cidr_blocks") or [])]
            assert blocks
            assert not rule.get("security_groups")
            assert not rule.get("self")
            found |= {(direction, rule["protocol"], rule["from_port"], rule["to_port"], block) for block in blocks}
    return found
