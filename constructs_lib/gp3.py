"""The size and speed of a gp3 volume.

Limits: EC2 API reference, CreateVolume, read 2026-11 (gp3: 1-65,536 GiB, 3,000-80,000 IOPS, 125-2,000 MiB/s); ratios:
EBS user guide, "General Purpose SSD volumes" (500 IOPS per GiB, 0.25 MiB/s per IOPS). Throughput ends at 1,000 here, as
hashicorp/aws 5.100.0 refuses more: "expected throughput to be in the range (125 - 1000)" from terraform validate.
"""

from typing import Final

from pydantic import ValidationInfo, field_validator

from constructs_lib.refused import RefusedError
from constructs_lib.settings_model import SettingsModel

SIZE_GB: Final = (1, 65_536)
IOPS: Final = (3_000, 80_000)
THROUGHPUT_MBPS: Final = (125, 1_000)
IOPS_PER_GB: Final = 500
IOPS_PER_MBPS: Final = 4


def in_range(value: int, limits: tuple[int, int], unit: str) -> int:
    """Return `value` if it is within the limits, both included. Raises RefusedError with the nearest limit."""
    low, high = limits
    if not low <= value <= high:
        raise RefusedError(
            f"{value:,} {unit} is outside {low:,} to {high:,}.",
            f"The nearest allowed value is {min(max(value, low), high)}.",
        )
    return value


class Gp3Volume(SettingsModel):
    """Configure a gp3 volume: size in GiB, speed in IOPS and MiB/s. Speed above the defaults costs extra."""

    size_gb: int
    iops: int = IOPS[0]
    throughput_mbps: int = THROUGHPUT_MBPS[0]

    @field_validator("size_gb")
    @classmethod
    def _size(cls, size_gb: int) -> int:
        return in_range(size_gb, SIZE_GB, "GiB")

    @field_validator("iops")
    @classmethod
    def _iops(cls, iops: int, info: ValidationInfo) -> int:
        in_range(iops, IOPS, "IOPS")
        size_gb = info.data.get("size_gb")
        # A volume of any size has the baseline IOPS.
        if size_gb is not None and iops > max(IOPS[0], size_gb * IOPS_PER_GB):
            raise RefusedError(
                f"{iops:,} IOPS is too much for {size_gb} GiB: gp3 allows {IOPS_PER_GB} IOPS per GiB.",
                f"Set iops = {max(IOPS[0], size_gb * IOPS_PER_GB)}, or size_gb = {-(-iops // IOPS_PER_GB)} or more.",
            )
        return iops

    @field_validator("throughput_mbps")
    @classmethod
    def _throughput(cls, throughput_mbps: int, info: ValidationInfo) -> int:
        if throughput_mbps > THROUGHPUT_MBPS[1]:
            raise RefusedError(
                f"{throughput_mbps:,} MiB/s is more than the pinned AWS provider (hashicorp/aws 5.100.0) accepts.",
                f"The maximum is {THROUGHPUT_MBPS[1]}.",
            )
        in_range(throughput_mbps, THROUGHPUT_MBPS, "MiB/s")
        iops = info.data.get("iops")
        if iops is not None and throughput_mbps * IOPS_PER_MBPS > iops:
            raise RefusedError(
                f"{throughput_mbps:,} MiB/s is too much for {iops:,} IOPS: gp3 allows 0.25 MiB/s per IOPS.",
                f"Set throughput_mbps = {iops // IOPS_PER_MBPS}, or iops = {throughput_mbps * IOPS_PER_MBPS} or more.",
            )
        return throughput_mbps
