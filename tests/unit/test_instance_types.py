"""The table of instance types says what EC2 says, and a wrong name is answered with the right one."""

import re
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

# Of g4dn, by price.
SIZES = ["xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge"]
# The same, with prices of 2026-01-19.
SPECIFICATION_2 = {
    "g4dn.2xlarge": (8, 1, "T4", 225, 0, "0.752", "ok"),
    "g4dn.4xlarge": (16, 1, "T4", 225, 0, "1.204", "ok"),
    "g4dn.8xlarge": (32, 1, "T4", 900, 1, "2.176", "ok"),
    "g4dn.16xlarge": (64, 1, "T4", 900, 1, "4.352", "ok"),
    "g5.4xlarge": (16, 1, "A10G", 600, 0, "1.624", "ok"),
    "g5.8xlarge": (32, 1, "A10G", 900, 1, "2.448", "ok"),
    "g5.16xlarge": (64, 1, "A10G", 1900, 1, "4.096", "ok"),
    "g5.24xlarge": (96, 4, "A10G", 3800, 1, "8.144", "ok"),
    "g6.4xlarge": (16, 1, "L4", 600, 0, "1.3232", "ok"),
    "g6.8xlarge": (32, 1, "L4", 900, 1, "2.0144", "ok"),
    "g6.16xlarge": (64, 1, "L4", 1880, 1, "3.3968", "ok"),
    "g6.24xlarge": (96, 4, "L4", 3760, 1, "6.6752", "ok"),
    "g6.48xlarge": (192, 8, "L4", 7520, 1, "13.3504", "ok"),
    "gr6.4xlarge": (16, 1, "L4", 600, 0, "1.5392", "ok"),
    "gr6.8xlarge": (32, 1, "L4", 900, 1, "2.4464", "ok"),
    "g6e.2xlarge": (8, 1, "L40S", 450, 0, "2.24208", "ok"),
    "g6e.4xlarge": (16, 1, "L40S", 600, 0, "3.00424", "ok"),
    "g6e.8xlarge": (32, 1, "L40S", 900, 1, "4.52856", "ok"),
    "g6e.12xlarge": (48, 4, "L40S", 3800, 1, "10.49264", "ok"),
    "g6e.16xlarge": (64, 1, "L40S", 1900, 1, "7.57719", "ok"),
    "g6e.24xlarge": (96, 4, "L40S", 3800, 2, "15.06559", "ok"),
    "g6e.48xlarge": (192, 8, "L40S", 7600, 4, "30.13118", "ok"),
    "p4de.24xlarge": (96, 8, "A100", 8000, 4, "27.44705", "ok"),
    "p5en.48xlarge": (192, 8, "H200", 30400, 16, "63.296", "ok"),
    "p6-b200.48xlarge": (192, 8, "B200", 30400, 8, "113.9328", "ok"),
}

PYTORCH = "/aws/service/deeplearning/ami/x86_64/oss-nvidia-driver-gpu-pytorch-2.12-ubuntu-24.04/latest/ami-id"
NEURON = "/aws/service/neuron/dlami/pytorch-2.9/ubuntu-24.04/latest/image_id"
UBUNTU_24 = "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"
UBUNTU_22 = "/aws/service/canonical/ubuntu/server/22.04/stable/current/amd64/hvm/ebs-gp2/ami-id"

# Prefix of the type: boot profile, image, on-demand quota, spot quota.
FAMILIES: dict[str, tuple[str, str, str, str | None]] = {
    "g4dn": ("nvidia", PYTORCH, "L-DB2E81BA", "L-3819A6DF"),
    "g5": ("nvidia", PYTORCH, "L-DB2E81BA", "L-3819A6DF"),
    "g6": ("nvidia", PYTORCH, "L-DB2E81BA", "L-3819A6DF"),
    "g6e": ("nvidia", PYTORCH, "L-DB2E81BA", "L-3819A6DF"),
    "gr6": ("nvidia", PYTORCH, "L-DB2E81BA", "L-3819A6DF"),
    "p4d": ("nvidia", PYTORCH, "L-417A185B", "L-7212CCBC"),
    "p4de": ("nvidia", PYTORCH, "L-417A185B", "L-7212CCBC"),
    "p5": ("nvidia", PYTORCH, "L-417A185B", "L-C4BD4855"),
    "p5en": ("nvidia", PYTORCH, "L-417A185B", "L-C4BD4855"),
    "p6-b200": ("nvidia", PYTORCH, "L-417A185B", None),
    "p3": ("nvidia", UBUNTU_24, "L-417A185B", "L-7212CCBC"),
    "p3dn": ("nvidia", UBUNTU_24, "L-417A185B", "L-7212CCBC"),
    "dl1": ("gaudi", UBUNTU_22, "L-6E869C2A", "L-85EED4F7"),
    "trn1": ("neuron", NEURON, "L-2C3B7624", "L-6B0D517C"),
    "t3": ("none", UBUNTU_24, "L-1216C47A", "L-34B43A08"),
}


def test_the_table_has_exactly_the_types_that_were_looked_up() -> None:
    assert set(INSTANCE_TYPES) == set(SPECIFICATION) | set(SPECIFICATION_2)


@pytest.mark.parametrize("name", [*SPECIFICATION, *SPECIFICATION_2])
def test_row(name: str) -> None:
    vcpu, count, accelerator, nvme_gb, efa, price, status = (SPECIFICATION | SPECIFICATION_2)[name]
    read_on = date(2026, 7, 20) if name in SPECIFICATION else date(2026, 1, 19)
    family, image, on_demand, spot = FAMILIES[name.split(".")[0]]
    row = find(name)
    assert (row.name, row.vcpu, row.accelerator_count, row.accelerator) == (name, vcpu, count, accelerator)
    assert (row.nvme_gb, row.efa_count, row.status) == (nvme_gb, efa, status)
    assert (row.usd_per_hour, row.priced_on) == (Decimal(price), read_on)
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
        "p3dn.24xlarge: previous generation. p4d.24xlarge is newer, has the same number of accelerators and costs less."
    )


def test_a_current_type_has_nothing_to_say() -> None:
    assert find("g6.12xlarge").notice is None


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("dl.24xlarge", "dl1.24xlarge? It costs $13.109 an hour"),
        ("g6.12xlage", "g6.12xlarge? It costs $4.6016 an hour"),
        ("P4D.24XLARGE", "p4d.24xlarge? It costs $21.9576 an hour"),
        ("t3-medium", "t3.medium? It costs $0.0416 an hour"),
        ("g6-12xlarge", "g6.12xlarge? It costs $4.6016 an hour"),
        ("trn1.32xlage", "trn1.32xlarge? It costs $21.50 an hour"),
    ],
)
def test_an_unknown_type_is_answered_with_the_nearest(typed: str, meant: str) -> None:
    with pytest.raises(RefusedError) as refused:
        worker_type(typed)
    assert f'"{typed}"' in refused.value.reason
    assert refused.value.fix == f"Did you mean {meant}."


@pytest.mark.parametrize(
    ("named", "why", "neighbours"),
    [
        ("p5e.48xlarge", ": its on-demand price is unknown", ["p5.48xlarge", "p5en.48xlarge", "p6-b200.48xlarge"]),
        ("trn2.48xlarge", ": its on-demand price is unknown", ["trn1.2xlarge", "trn1.32xlarge"]),
        (
            "g7e.12xlarge",
            ": AWS's PyTorch image does not support it",
            ["g4dn.12xlarge", "g6.12xlarge", "g5.12xlarge", "g6e.12xlarge"],
        ),
        ("g4dn.metal", "", [f"g4dn.{size}" for size in SIZES]),
        ("G4DN.METAL", "", [f"g4dn.{size}" for size in SIZES]),
        ("t3.micro", "", ["t3.nano", "t3.small", "t3.medium", "t3.large"]),
    ],
)
def test_a_real_type_is_never_taken_for_another(named: str, why: str, neighbours: list[str]) -> None:
    with pytest.raises(RefusedError) as refused:
        worker_type(named)
    assert refused.value.reason == (
        f"{named.lower()} is a real type that is not in the table in constructs_lib/instance_types.py{why}."
    )
    assert re.findall(r"(\S+) \(\$[0-9.]+ an hour\)", refused.value.fix) == neighbours
    assert "Did you mean" not in refused.value.fix


def test_neighbours_come_with_their_prices() -> None:
    with pytest.raises(RefusedError) as refused:
        worker_type("p5e.48xlarge")
    assert refused.value.fix == (
        "Similar types in the table: p5.48xlarge ($55.04 an hour), p5en.48xlarge ($63.296 an hour), "
        "p6-b200.48xlarge ($113.9328 an hour)."
    )


def test_a_real_type_without_neighbours_is_answered_with_all() -> None:
    with pytest.raises(RefusedError) as refused:
        worker_type("m5.large")
    assert refused.value.reason.startswith("m5.large is a real type that is not in the table")
    assert all(name in refused.value.fix for name in SPECIFICATION)


def test_a_host_is_told_of_hosts_only() -> None:
    with pytest.raises(RefusedError) as refused:
        host_type("t3.micro")
    assert refused.value.fix == (
        "Similar types in the table: t3.nano ($0.0052 an hour), t3.small ($0.0208 an hour), "
        "t3.medium ($0.0416 an hour), t3.large ($0.0832 an hour)."
    )


def test_a_name_near_to_none_is_answered_with_all() -> None:
    with pytest.raises(RefusedError) as refused:
        find("?")
    assert all(name in refused.value.fix for name in SPECIFICATION)


@pytest.mark.parametrize("name", ["t3.nano", "t3.small", "t3.medium", "t3.large"])
def test_hosts_take_types_without_accelerators(name: str) -> None:
    assert host_type(name) == name


def test_hosts_refuse_accelerators() -> None:
    with pytest.raises(RefusedError) as refused:
        host_type("g5.xlarge")
    assert "1 x A10G" in refused.value.reason
    assert refused.value.fix == "Choose one of t3.nano, t3.small, t3.medium, t3.large."


def test_hosts_are_only_offered_types_that_they_can_have() -> None:
    with pytest.raises(RefusedError) as refused:
        host_type("g5.xlarg")
    assert "g5" not in refused.value.fix
