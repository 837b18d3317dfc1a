"""The machines that can be chosen, as a table: adding a type is adding a row.

Sizes, prices, status and quota codes: what EC2, its price list and Service Quotas showed in 2026 (dates in the rows).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from types import MappingProxyType
from typing import Final, Literal

from constructs_lib.refused import RefusedError, did_you_mean

Family = Literal["nvidia", "gaudi", "neuron", "none"]
Status = Literal["ok", "withdrawn", "previous generation"]

# us-east-1, on demand, Linux.
PRICES_READ_ON: Final = date(2026, 7, 20)

# Canonical's public parameters; 22.04 is published under ebs-gp2 only.
UBUNTU_24_04: Final = "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"
UBUNTU_22_04: Final = "/aws/service/canonical/ubuntu/server/22.04/stable/current/amd64/hvm/ebs-gp2/ami-id"
# Supports G4dn, G5, G6, G6e, P4 and P5, not P3 (the image's release notes).
DLAMI_PYTORCH: Final = (
    "/aws/service/deeplearning/ami/x86_64/oss-nvidia-driver-gpu-pytorch-2.12-ubuntu-24.04/latest/ami-id"
)
# <prefix>/latest/image_id, as in the Neuron documentation, "Neuron DLAMI User Guide", read 2026-11.
# This one is the last with PyTorch for first-generation Trainium (SDK 2.31): later ones have none, or one for Trn2 on:
# https://awsdocs-neuron.readthedocs-hosted.com/en/v2.33.0/setup/pytorch/update-dlami.html
DLAMI_NEURON: Final = "/aws/service/neuron/dlami/pytorch-2.9/ubuntu-24.04/latest/image_id"
NEURON_ROOT_GIB: Final = 512  # the same page: the least that a Trainium machine's root volume should have


@dataclass(frozen=True, kw_only=True)
class InstanceType:
    """An EC2 instance type. `family` is also the boot profile of a machine of this type.

    nvme_gb: local instance store in GB, all disks together, lost when the machine stops; 0 for none.
    quota_*: Service Quotas codes (service ec2), counted in vCPU. image_parameter: an SSM public parameter.
    since: year and month from which `status` holds, where known.
    """

    name: str
    family: Family
    accelerator: str | None
    accelerator_count: int
    vcpu: int
    nvme_gb: int
    efa_count: int
    usd_per_hour: Decimal
    priced_on: date
    quota_on_demand: str
    quota_spot: str
    image_parameter: str
    status: Status
    since: str | None
    status_reason: str | None

    @property
    def notice(self) -> str | None:
        """What a person who chooses this type should know before it starts; None when all is well."""
        if self.status == "ok":
            return None
        since = f" since {self.since}" if self.since else ""
        return f"{self.name}: {self.status}{since}. {self.status_reason}"


# On demand, spot. P5 has a spot quota of its own.
_P: Final = ("L-417A185B", "L-7212CCBC")
_P5: Final = ("L-417A185B", "L-C4BD4855")
_G: Final = ("L-DB2E81BA", "L-3819A6DF")
_DL: Final = ("L-6E869C2A", "L-85EED4F7")
_TRN: Final = ("L-2C3B7624", "L-6B0D517C")
_STANDARD: Final = ("L-1216C47A", "L-34B43A08")

# Status, since, reason.
_OK: Final = ("ok", None, None)
_DL1_GONE: Final = (
    "withdrawn",
    "2026-07",
    "EC2 no longer lists it, so a launch will most likely be refused; no retirement notice was found. It was offered "
    "in use1-az2 and usw2-az1 only. There is no other type with Gaudi: choose an NVIDIA type such as g6.12xlarge.",
)
_P3_GONE: Final = (
    "withdrawn",
    "2026-05",
    "EC2 no longer lists it, so a launch will most likely be refused. Choose a type such as g6.12xlarge.",
)
_P3DN_OLD: Final = (
    "previous generation",
    None,
    "p4d.24xlarge is newer, has as many accelerators and costs less.",
)


def _row(
    name: str,
    family: Family,
    accelerator: str | None,
    count: int,
    vcpu: int,
    nvme_gb: int,
    efa: int,
    usd_per_hour: str,
    quotas: tuple[str, str],
    image: str,
    history: tuple[Status, str | None, str | None] = _OK,
) -> InstanceType:
    return InstanceType(
        name=name,
        family=family,
        accelerator=accelerator,
        accelerator_count=count,
        vcpu=vcpu,
        nvme_gb=nvme_gb,
        efa_count=efa,
        usd_per_hour=Decimal(usd_per_hour),
        priced_on=PRICES_READ_ON,
        quota_on_demand=quotas[0],
        quota_spot=quotas[1],
        image_parameter=image,
        status=history[0],
        since=history[1],
        status_reason=history[2],
    )


# name, family, accelerator, how many, vCPU, NVMe GB, EFA, $/h, quotas, image, history
_ROWS: Final = (
    _row("g4dn.xlarge", "nvidia", "T4", 1, 4, 125, 0, "0.526", _G, DLAMI_PYTORCH),
    _row("g4dn.12xlarge", "nvidia", "T4", 4, 48, 900, 1, "3.912", _G, DLAMI_PYTORCH),
    _row("g5.xlarge", "nvidia", "A10G", 1, 4, 250, 0, "1.006", _G, DLAMI_PYTORCH),
    _row("g5.2xlarge", "nvidia", "A10G", 1, 8, 450, 0, "1.212", _G, DLAMI_PYTORCH),
    _row("g5.12xlarge", "nvidia", "A10G", 4, 48, 3800, 1, "5.672", _G, DLAMI_PYTORCH),
    _row("g5.48xlarge", "nvidia", "A10G", 8, 192, 7600, 1, "16.288", _G, DLAMI_PYTORCH),
    _row("g6.xlarge", "nvidia", "L4", 1, 4, 250, 0, "0.8048", _G, DLAMI_PYTORCH),
    _row("g6.2xlarge", "nvidia", "L4", 1, 8, 450, 0, "0.9776", _G, DLAMI_PYTORCH),
    _row("g6.12xlarge", "nvidia", "L4", 4, 48, 3760, 1, "4.6016", _G, DLAMI_PYTORCH),
    _row("g6e.xlarge", "nvidia", "L40S", 1, 4, 250, 0, "1.861", _G, DLAMI_PYTORCH),
    _row("p4d.24xlarge", "nvidia", "A100", 8, 96, 8000, 4, "21.957642", _P, DLAMI_PYTORCH),
    _row("p5.4xlarge", "nvidia", "H100", 1, 16, 3800, 1, "6.88", _P5, DLAMI_PYTORCH),
    _row("p5.48xlarge", "nvidia", "H100", 8, 192, 30400, 32, "55.04", _P5, DLAMI_PYTORCH),
    _row("trn1.2xlarge", "neuron", "Trainium", 1, 8, 474, 0, "1.34375", _TRN, DLAMI_NEURON),
    _row("trn1.32xlarge", "neuron", "Trainium", 16, 128, 7600, 8, "21.50", _TRN, DLAMI_NEURON),
    # 22.04 is what the last Gaudi software naming first-generation Gaudi (1.21) runs on.
    _row("dl1.24xlarge", "gaudi", "Gaudi", 8, 96, 4000, 4, "13.10904", _DL, UBUNTU_22_04, _DL1_GONE),
    # No deep learning image supports P3: stock Ubuntu, which comes without an NVIDIA driver.
    _row("p3.2xlarge", "nvidia", "V100", 1, 8, 0, 0, "3.06", _P, UBUNTU_24_04, _P3_GONE),
    _row("p3.8xlarge", "nvidia", "V100", 4, 32, 0, 0, "12.24", _P, UBUNTU_24_04, _P3_GONE),
    _row("p3.16xlarge", "nvidia", "V100", 8, 64, 0, 0, "24.48", _P, UBUNTU_24_04, _P3_GONE),
    _row("p3dn.24xlarge", "nvidia", "V100", 8, 96, 1800, 1, "31.212", _P, UBUNTU_24_04, _P3DN_OLD),
    _row("t3.nano", "none", None, 0, 2, 0, 0, "0.0052", _STANDARD, UBUNTU_24_04),
    _row("t3.small", "none", None, 0, 2, 0, 0, "0.0208", _STANDARD, UBUNTU_24_04),
    _row("t3.medium", "none", None, 0, 2, 0, 0, "0.0416", _STANDARD, UBUNTU_24_04),
    _row("t3.large", "none", None, 0, 2, 0, 0, "0.0832", _STANDARD, UBUNTU_24_04),
)

INSTANCE_TYPES: Final[Mapping[str, InstanceType]] = MappingProxyType({row.name: row for row in _ROWS})


def find(name: str) -> InstanceType:
    """The row of an instance type. Raises RefusedError, with the nearest name, for a type that is not in the table."""
    return _find(name, suggest=list(INSTANCE_TYPES))


def _find(name: str, *, suggest: list[str]) -> InstanceType:
    if row := INSTANCE_TYPES.get(name):
        return row
    raise RefusedError(
        f'There is no instance type "{name}" in the table of constructs_lib/instance_types.py.',
        did_you_mean(name, suggest, otherwise=f"Choose one of {', '.join(suggest)}."),
    )


def worker_type(name: str) -> str:
    """`name`, when a worker can be of this type: any row, withdrawn ones too."""
    return find(name).name


def host_type(name: str) -> str:
    """`name`, when the jump or metrics host can be of this type: a row without accelerators."""
    hosts = [row.name for row in INSTANCE_TYPES.values() if row.family == "none"]
    row = _find(name, suggest=hosts)
    if row.family != "none":
        raise RefusedError(
            f"{name} has accelerators ({row.accelerator_count} x {row.accelerator}), which this host has no use for.",
            f"Choose one of {', '.join(hosts)}.",
        )
    return row.name


def metrics_type(name: str) -> str:
    """`name`, when the metrics host can be of this type: one of the jump host's with the memory for it."""
    if host_type(name) == "t3.nano":
        # https://grafana.com/docs/grafana/v13.2/setup-grafana/installation/#hardware-recommendations
        raise RefusedError(
            "t3.nano has 0.5 GiB of memory, and Grafana alone wants that much, without TensorBoard and Docker.",
            "Choose one of t3.small, t3.medium, t3.large.",
        )
    return name
