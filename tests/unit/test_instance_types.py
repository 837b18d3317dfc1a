"""The table of instance types says what EC2 says, and a wrong name is answered with the right one."""

from datetime import date
from decimal import Decimal

import pytest

from constructs_lib.instance_types import INSTANCE_TYPES, find, host_type, worker_type
from constructs_lib.refused import RefusedError

# Type: vCPU, accelerators, accelerator, NVMe GB, EFA, $/h, status.
SPECIFICATION = {
    "g4dn.xlarge": (4, 1, "T4", 125, 0, "0.526", "ok"),
    "g4dn.12xlarge": (48, 4, "T4", 900, 1, "3.912", "ok"),
    "g5.xlarge": (4, 1, "A10G", 250, 0, "1.006", "ok"),
    "g5.2xlarge": (8, 1, "A10G", 450, 0, "1.212", "ok"),
    "g5.12xlarge": (48, 4, "A10G", 3800, 1, "5.672", "ok"),
    "g5.48xlarge": (192, 8, "A10G", 7600, 1, "16.288", "ok"),
    "g6.xlarge": (4, 1, "L4", 250, 0, "0.8048", "ok"),
    "g6.2xlarge": (8, 1, "L4", 450, 0, "0.9776", "ok"),
    "g6.12xlarge": (48, 4, "L4", 3760, 1, "4.6016", "ok"),
    "g6e.xlarge": (4, 1, "L40S", 250, 0, "1.861", "ok"),
    "p4d.24xlarge": (96, 8, "A100", 8000, 4, "21.957642", "ok"),
    "p5.4xlarge": (16, 1, "H100", 3800, 1, "6.88", "ok"),
    "p5.48xlarge": (192, 8, "H100", 30400, 32, "55.04", "ok"),
    "trn1.2xlarge": (8, 1, "Trainium", 474, 0, "1.34375", "ok"),
    "trn1.32xlarge": (128, 16, "Trainium", 7600, 8, "21.50", "ok"),
    "dl1.24xlarge": (96, 8, "Gaudi", 4000, 4, "13.10904", "withdrawn"),
    "p3.2xlarge": (8, 1, "V100", 0, 0, "3.06", "withdrawn"),
    "p3.8xlarge": (32, 4, "V100", 0, 0, "12.24", "withdrawn"),
    "p3.16xlarge": (64, 8, "V100", 0, 0, "24.48", "withdrawn"),
    "p3dn.24xlarge": (96, 8, "V100", 1800, 1, "31.212", "previous generation"),
    "t3.nano": (2, 0, None, 0, 0, "0.0052", "ok"),
    "t3.small": (2, 0, None, 0, 0, "0.0208", "ok"),
    "t3.medium": (2, 0, None, 0, 0, "0.0416", "ok"),
    "t3.large": (2, 0, None, 0, 0, "0.0832", "ok"),
}

PYTORCH = "/aws/service/deeplearning/ami/x86_64/oss-nvidia-driver-gpu-pytorch-2.12-ubuntu-24.04/latest/ami-id"
NEURON = "/aws/service/neuron/dlami/pytorch-2.9/ubuntu-24.04/latest/image_id"
UBUNTU_24 = "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"
UBUNTU_22 = "/aws/service/canonical/ubuntu/server/22.04/stable/current/amd64/hvm/ebs-gp2/ami-id"

# Prefix of the type: boot profile, image, on-demand quota, spot quota.
FAMILIES = {
    "g4dn": ("nvidia", PYTORCH, "L-DB2E81BA", "L-3819A6DF"),
    "g5": ("nvidia", PYTORCH, "L-DB2E81BA", "L-3819A6DF"),
    "g6": ("nvidia", PYTORCH, "L-DB2E81BA", "L-3819A6DF"),
    "g6e": ("nvidia", PYTORCH, "L-DB2E81BA", "L-3819A6DF"),
    "p4d": ("nvidia", PYTORCH, "L-417A185B", "L-7212CCBC"),
    "p5": ("nvidia", PYTORCH, "L-417A185B", "L-C4BD4855"),
    "p3": ("nvidia", UBUNTU_24, "L-417A185B", "L-7212CCBC"),
    "p3dn": ("nvidia", UBUNTU_24, "L-417A185B", "L-7212CCBC"),
    "dl1": ("gaudi", UBUNTU_22, "L-6E869C2A", "L-85EED4F7"),
    "trn1": ("neuron", NEURON, "L-2C3B7624", "L-6B0D517C"),
    "t3": ("none", UBUNTU_24, "L-1216C47A", "L-34B43A08"),
}


def test_the_table_has_exactly_the_types_that_were_looked_up() -> None:
    assert set(INSTANCE_TYPES) == set(SPECIFICATION)


@pytest.mark.parametrize("name", SPECIFICATION)
def test_row(name: str) -> None:
    vcpu, count, accelerator, nvme_gb, efa, price, status = SPECIFICATION[name]
    family, image, on_demand, spot = FAMILIES[name.split(".")[0]]
    row = find(name)
    assert (row.name, row.vcpu, row.accelerator_count, row.accelerator) == (name, vcpu, count, accelerator)
    assert (row.nvme_gb, row.efa_count, row.status) == (nvme_gb, efa, status)
    assert (row.usd_per_hour, row.priced_on) == (Decimal(price), date(2026, 7, 20))
    assert (row.family, row.image_parameter) == (family, image)
    assert (row.quota_on_demand, row.quota_spot) == (on_demand, spot)


@pytest.mark.parametrize(
    ("name", "since"),
    [("dl1.24xlarge", "2026-07"), ("p3.2xlarge", "2026-05"), ("p3.8xlarge", "2026-05"), ("p3.16xlarge", "2026-05")],
)
def test_a_withdrawn_type_can_be_chosen_and_says_since_when(name: str, since: str) -> None:
    assert worker_type(name) == name
    notice = find(name).notice
    assert notice is not None
    assert notice.startswith(f"{name}: withdrawn since {since}. EC2 no longer lists it")


def test_a_previous_generation_says_what_is_newer() -> None:
    assert find("p3dn.24xlarge").notice == (
        "p3dn.24xlarge: previous generation. p4d.24xlarge is newer, has as many accelerators and costs less."
    )


def test_a_current_type_has_nothing_to_say() -> None:
    assert find("g6.12xlarge").notice is None


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("dl.24xlarge", "dl1.24xlarge"),
        ("g6.12xlage", "g6.12xlarge"),
        ("P4D.24XLARGE", "p4d.24xlarge"),
        ("t3-medium", "t3.medium"),
    ],
)
def test_an_unknown_type_is_answered_with_the_nearest(typed: str, meant: str) -> None:
    with pytest.raises(RefusedError) as refused:
        worker_type(typed)
    assert f'"{typed}"' in refused.value.reason
    assert refused.value.way_out == f"Did you mean {meant}?"


def test_a_name_near_to_none_is_answered_with_all() -> None:
    with pytest.raises(RefusedError) as refused:
        find("?")
    assert all(name in refused.value.way_out for name in SPECIFICATION)


@pytest.mark.parametrize("name", ["t3.nano", "t3.small", "t3.medium", "t3.large"])
def test_hosts_take_types_without_accelerators(name: str) -> None:
    assert host_type(name) == name


def test_hosts_refuse_accelerators() -> None:
    with pytest.raises(RefusedError) as refused:
        host_type("g5.xlarge")
    assert "1 x A10G" in refused.value.reason
    assert refused.value.way_out == "Choose one of t3.nano, t3.small, t3.medium, t3.large."


def test_hosts_are_only_offered_types_that_they_can_have() -> None:
    with pytest.raises(RefusedError) as refused:
        host_type("g5.xlarg")
    assert "g5" not in refused.value.way_out
