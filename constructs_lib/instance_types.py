"""The table of supported instance types. To add a type, add a row.

Sizes, prices, status and quota codes: from EC2, its price list and Service Quotas in 2026 (dates in the rows).
vCPU, accelerators, NVMe and EFA: EC2's DescribeInstanceTypes, as moto 5.2 has recorded it
(https://github.com/getmoto/moto/blob/master/moto/ec2/resources/instance_types.json.gz).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from types import MappingProxyType
from typing import Final, Literal

from constructs_lib import ec2_types
from constructs_lib.refused import RefusedError, nearest

Family = Literal["nvidia", "gaudi", "neuron", "none"]
Status = Literal["ok", "withdrawn", "previous generation"]

# us-east-1, on demand, Linux.
PRICES_READ_ON: Final = date(2026, 7, 20)
# Rows with this date: from AWS's price list of that day. Its other prices were the same as on PRICES_READ_ON.
# https://github.com/aws/karpenter-provider-aws/blob/031e72b/pkg/providers/pricing/zz_generated.pricing_aws.go
OLDER_PRICES_READ_ON: Final = date(2026, 1, 19)
_OLDER: Final = OLDER_PRICES_READ_ON

# Canonical's public parameters; 22.04 is published under ebs-gp2 only.
UBUNTU_24_04: Final = "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"
UBUNTU_22_04: Final = "/aws/service/canonical/ubuntu/server/22.04/stable/current/amd64/hvm/ebs-gp2/ami-id"
# Supports G4dn, G5, G6, Gr6, G6e, P4, P4de, P5, P5e, P5en and P6-B200, not P3 (the image's release notes, 2026-08-24):
# https://docs.amazonaws.cn/dlami/latest/devguide/aws-deep-learning-ami-gpupt212oss-ul2404-2026-08-24.html
DLAMI_PYTORCH: Final = (
    "/aws/service/deeplearning/ami/x86_64/oss-nvidia-driver-gpu-pytorch-2.12-ubuntu-24.04/latest/ami-id"
)
# <prefix>/latest/image_id, as in the Neuron documentation, "Neuron DLAMI User Guide", read 2026-11.
# This one is the last with PyTorch for first-generation Trainium (SDK 2.31): later ones have none, or one for Trn2 on:
# https://awsdocs-neuron.readthedocs-hosted.com/en/v2.33.0/setup/pytorch/update-dlami.html
DLAMI_NEURON: Final = "/aws/service/neuron/dlami/pytorch-2.9/ubuntu-24.04/latest/image_id"
NEURON_ROOT_GIB: Final = 512  # the same page: the minimum size of a Trainium machine's root volume


@dataclass(frozen=True, kw_only=True)
class InstanceType:
    """Describe an EC2 instance type. `family` is also the boot profile of a machine of this type.

    nvme_gb: total local instance store in GB, lost when the machine stops; 0 for none.
    quota_*: Service Quotas codes (service ec2), counted in vCPU; None if unknown. image_parameter: a public SSM
    parameter.
    since: year and month of `status`, if known.
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
    quota_spot: str | None
    image_parameter: str
    status: Status
    since: str | None
    status_reason: str | None

    @property
    def notice(self) -> str | None:
        """Return the warning to show before a machine of this type starts; None if there is none."""
        if self.status == "ok":
            return None
        since = f" since {self.since}" if self.since else ""
        return f"{self.name}: {self.status}{since}. {self.status_reason}"


# On demand, spot. P5 has a spot quota of its own.
_P: Final = ("L-417A185B", "L-7212CCBC")
_P5: Final = ("L-417A185B", "L-C4BD4855")
_P6: Final = ("L-417A185B", None)
_G: Final = ("L-DB2E81BA", "L-3819A6DF")
_DL: Final = ("L-6E869C2A", "L-85EED4F7")
_TRN: Final = ("L-2C3B7624", "L-6B0D517C")
_STANDARD: Final = ("L-1216C47A", "L-34B43A08")

# Status, since, reason.
_OK: Final = ("ok", None, None)
_DL1_GONE: Final = (
    "withdrawn",
    "2026-07",
    "EC2 no longer lists it, so a launch will most likely fail; AWS published no retirement notice. It was available "
    "in use1-az2 and usw2-az1 only. No other type has Gaudi accelerators: choose an NVIDIA type such as g6.12xlarge.",
)
_P3_GONE: Final = (
    "withdrawn",
    "2026-05",
    "EC2 no longer lists it, so a launch will most likely fail. Choose a type such as g6.12xlarge.",
)
_P3DN_OLD: Final = (
    "previous generation",
    None,
    "p4d.24xlarge is newer, has the same number of accelerators and costs less.",
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
    quotas: tuple[str, str | None],
    image: str,
    history: tuple[Status, str | None, str | None] = _OK,
    *,
    priced_on: date = PRICES_READ_ON,
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
        priced_on=priced_on,
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
    _row("g4dn.2xlarge", "nvidia", "T4", 1, 8, 225, 0, "0.752", _G, DLAMI_PYTORCH, priced_on=_OLDER),
    _row("g4dn.4xlarge", "nvidia", "T4", 1, 16, 225, 0, "1.204", _G, DLAMI_PYTORCH, priced_on=_OLDER),
    _row("g4dn.8xlarge", "nvidia", "T4", 1, 32, 900, 1, "2.176", _G, DLAMI_PYTORCH, priced_on=_OLDER),
    _row("g4dn.12xlarge", "nvidia", "T4", 4, 48, 900, 1, "3.912", _G, DLAMI_PYTORCH),
    _row("g4dn.16xlarge", "nvidia", "T4", 1, 64, 900, 1, "4.352", _G, DLAMI_PYTORCH, priced_on=_OLDER),
    _row("g5.xlarge", "nvidia", "A10G", 1, 4, 250, 0, "1.006", _G, DLAMI_PYTORCH),
    _row("g5.2xlarge", "nvidia", "A10G", 1, 8, 450, 0, "1.212", _G, DLAMI_PYTORCH),
    _row("g5.4xlarge", "nvidia", "A10G", 1, 16, 600, 0, "1.624", _G, DLAMI_PYTORCH, priced_on=_OLDER),
    _row("g5.8xlarge", "nvidia", "A10G", 1, 32, 900, 1, "2.448", _G, DLAMI_PYTORCH, priced_on=_OLDER),
    _row("g5.12xlarge", "nvidia", "A10G", 4, 48, 3800, 1, "5.672", _G, DLAMI_PYTORCH),
    _row("g5.16xlarge", "nvidia", "A10G", 1, 64, 1900, 1, "4.096", _G, DLAMI_PYTORCH, priced_on=_OLDER),
    _row("g5.24xlarge", "nvidia", "A10G", 4, 96, 3800, 1, "8.144", _G, DLAMI_PYTORCH, priced_on=_OLDER),
    _row("g5.48xlarge", "nvidia", "A10G", 8, 192, 7600, 1, "16.288", _G, DLAMI_PYTORCH),
    _row("g6.xlarge", "nvidia", "L4", 1, 4, 250, 0, "0.8048", _G, DLAMI_PYTORCH),
    _row("g6.2xlarge", "nvidia", "L4", 1, 8, 450, 0, "0.9776", _G, DLAMI_PYTORCH),
    _row("g6.4xlarge", "nvidia", "L4", 1, 16, 600, 0, "1.3232", _G, DLAMI_PYTORCH, priced_on=_OLDER),
    _row("g6.8xlarge", "nvidia", "L4", 1, 32, 900, 1, "2.0144", _G, DLAMI_PYTORCH, priced_on=_OLDER),
    _row("g6.12xlarge", "nvidia", "L4", 4, 48, 3760, 1, "4.6016", _G, DLAMI_PYTORCH),
    _row("g6.16xlarge", "nvidia", "L4", 1, 64, 1880, 1, "3.3968", _G, DLAMI_PYTORCH, priced_on=_OLDER),
    _row("g6.24xlarge", "nvidia", "L4", 4, 96, 3760, 1, "6.6752", _G, DLAMI_PYTORCH, priced_on=_OLDER),
    _row("g6.48xlarge", "nvidia", "L4", 8, 192, 7520, 1, "13.3504", _G, DLAMI_PYTORCH, priced_on=_OLDER),
    _row("gr6.4xlarge", "nvidia", "L4", 1, 16, 600, 0, "1.5392", _G, DLAMI_PYTORCH, priced_on=_OLDER),
    _row("gr6.8xlarge", "nvidia", "L4", 1, 32, 900, 1, "2.4464", _G, DLAMI_PYTORCH, priced_on=_OLDER),
    _row("g6e.xlarge", "nvidia", "L40S", 1, 4, 250, 0, "1.861", _G, DLAMI_PYTORCH),
    _row("g6e.2xlarge", "nvidia", "L40S", 1, 8, 450, 0, "2.24208", _G, DLAMI_PYTORCH, priced_on=_OLDER),
    _row("g6e.4xlarge", "nvidia", "L40S", 1, 16, 600, 0, "3.00424", _G, DLAMI_PYTORCH, priced_on=_OLDER),
    _row("g6e.8xlarge", "nvidia", "L40S", 1, 32, 900, 1, "4.52856", _G, DLAMI_PYTORCH, priced_on=_OLDER),
    _row("g6e.12xlarge", "nvidia", "L40S", 4, 48, 3800, 1, "10.49264", _G, DLAMI_PYTORCH, priced_on=_OLDER),
    _row("g6e.16xlarge", "nvidia", "L40S", 1, 64, 1900, 1, "7.57719", _G, DLAMI_PYTORCH, priced_on=_OLDER),
    _row("g6e.24xlarge", "nvidia", "L40S", 4, 96, 3800, 2, "15.06559", _G, DLAMI_PYTORCH, priced_on=_OLDER),
    _row("g6e.48xlarge", "nvidia", "L40S", 8, 192, 7600, 4, "30.13118", _G, DLAMI_PYTORCH, priced_on=_OLDER),
    _row("p4d.24xlarge", "nvidia", "A100", 8, 96, 8000, 4, "21.957642", _P, DLAMI_PYTORCH),
    _row("p4de.24xlarge", "nvidia", "A100", 8, 96, 8000, 4, "27.44705", _P, DLAMI_PYTORCH, priced_on=_OLDER),
    _row("p5.4xlarge", "nvidia", "H100", 1, 16, 3800, 1, "6.88", _P5, DLAMI_PYTORCH),
    _row("p5.48xlarge", "nvidia", "H100", 8, 192, 30400, 32, "55.04", _P5, DLAMI_PYTORCH),
    _row("p5en.48xlarge", "nvidia", "H200", 8, 192, 30400, 16, "63.296", _P5, DLAMI_PYTORCH, priced_on=_OLDER),
    _row("p6-b200.48xlarge", "nvidia", "B200", 8, 192, 30400, 8, "113.9328", _P6, DLAMI_PYTORCH, priced_on=_OLDER),
    _row("trn1.2xlarge", "neuron", "Trainium", 1, 8, 474, 0, "1.34375", _TRN, DLAMI_NEURON),
    _row("trn1.32xlarge", "neuron", "Trainium", 16, 128, 7600, 8, "21.50", _TRN, DLAMI_NEURON),
    # 22.04: the last Gaudi software that supports first-generation Gaudi (1.21) runs on it.
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
    """Return the row of an instance type. Raises RefusedError, with the closest name, if the table has none."""
    return _find(name, suggest=list(INSTANCE_TYPES))


def _find(name: str, *, suggest: list[str]) -> InstanceType:
    if row := INSTANCE_TYPES.get(name):
        return row
    lower = name.lower()
    if lower not in INSTANCE_TYPES and ec2_types.is_real(lower):
        raise _not_in_table(lower, suggest)
    match = nearest(name, suggest)
    raise RefusedError(
        f'The table in constructs_lib/instance_types.py has no instance type "{name}".',
        f"Did you mean {match}? It costs {_price(match)}." if match else f"Choose one of {', '.join(suggest)}.",
    )


def _not_in_table(name: str, suggest: list[str]) -> RefusedError:
    """Refuse a real type with its neighbours. A similar name may be another machine at ten times the price."""
    why = ec2_types.left_out(name)
    near = _neighbours(name, suggest)
    return RefusedError(
        f"{name} is a real type that is not in the table in constructs_lib/instance_types.py"
        f"{f': {why}' if why else ''}.",
        f"Similar types in the table: {', '.join(f'{one} ({_price(one)})' for one in near)}."
        if near
        else f"Choose one of {', '.join(suggest)}.",
    )


_MOST_NEIGHBOURS: Final = 4


def _neighbours(name: str, known: list[str]) -> list[str]:
    """Return the family's types; if there are none, types of the same kind, of the same size where possible."""
    current = [one for one in known if INSTANCE_TYPES[one].status == "ok"]
    family = [one for one in current if ec2_types.family(one) == ec2_types.family(name)]
    kind = [one for one in current if ec2_types.kind(one) == ec2_types.kind(name)]
    size = [one for one in kind if ec2_types.size(one) == ec2_types.size(name)]
    found = family or (size or kind)[:_MOST_NEIGHBOURS]
    return sorted(found, key=lambda one: INSTANCE_TYPES[one].usd_per_hour)


def _price(name: str) -> str:
    dollars, _, parts = f"{INSTANCE_TYPES[name].usd_per_hour:.4f}".partition(".")
    return f"${dollars}.{parts.rstrip('0'):0<2} an hour"


def worker_type(name: str) -> str:
    """Return `name` if a worker can have this type: any row, withdrawn types included."""
    return find(name).name


def host_type(name: str) -> str:
    """Return `name` if the jump or metrics host can have this type: a row without accelerators."""
    hosts = [row.name for row in INSTANCE_TYPES.values() if row.family == "none"]
    row = _find(name, suggest=hosts)
    if row.family != "none":
        raise RefusedError(
            f"{name} has accelerators ({row.accelerator_count} x {row.accelerator}), which this host does not use.",
            f"Choose one of {', '.join(hosts)}.",
        )
    return row.name


def metrics_type(name: str) -> str:
    """Return `name` if the metrics host can have this type: one of the jump host's types with enough memory."""
    if host_type(name) == "t3.nano":
        # https://grafana.com/docs/grafana/v13.2/setup-grafana/installation/#hardware-recommendations
        raise RefusedError(
            "t3.nano has 0.5 GiB of memory. Grafana alone needs that much, and TensorBoard and Docker need more.",
            "Choose one of t3.small, t3.medium, t3.large.",
        )
    return name
