"""AWS's prices in us-east-1, and calculations with them. Machine prices are in instance_types.py.

Rates are US dollars. A month is 730 hours, as in AWS's own calculator.
"""

from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Final, NamedTuple

from constructs_lib import gp3, instance_types

# AWS's prices differ by region; only this region's are known.
REGION: Final = "us-east-1"
HOURS_PER_MONTH: Final = Decimal(730)
HOURS_PER_DAY: Final = Decimal(24)

# Read with the machines' prices, on instance_types.PRICES_READ_ON. Amazon VPC pricing: NAT gateway, public IPv4.
NAT_PER_HOUR: Final = Decimal("0.045")
NAT_PER_GB: Final = Decimal("0.045")
PUBLIC_IPV4_PER_HOUR: Final = Decimal("0.005")
# Amazon EBS pricing, gp3 and snapshots. Speed is charged beyond what every volume has.
GP3_PER_GB_MONTH: Final = Decimal("0.08")
GP3_PER_IOPS_MONTH: Final = Decimal("0.005")
GP3_PER_MBPS_MONTH: Final = Decimal("0.04")
SNAPSHOT_PER_GB_MONTH: Final = Decimal("0.05")

# The date of the following prices, from copies of AWS's price pages and articles that quote them. They are charged by
# usage, so totals include them only for a given amount. The exception is detailed monitoring, which no stack uses.
LOOKED_UP_IN: Final = "2026-11"
# https://aws.amazon.com/efs/pricing/; One Zone: its effective price of 0.043 is 20 % of this and 80 % of 0.0133.
EFS_ONE_ZONE_PER_GB_MONTH: Final = Decimal("0.16")
EFS_REGIONAL_PER_GB_MONTH: Final = Decimal("0.30")
# https://aws.amazon.com/backup/pricing/, warm storage of EFS; and how long the backups of EFS's own plan are kept:
# https://docs.aws.amazon.com/efs/latest/ug/awsbackup.html
EFS_BACKUP_PER_GB_MONTH: Final = Decimal("0.05")
EFS_BACKUP_DAYS: Final = 35
EFS_ELASTIC_READ_PER_GB: Final = Decimal("0.03")
EFS_ELASTIC_WRITE_PER_GB: Final = Decimal("0.06")
# https://aws.amazon.com/cloudwatch/pricing/: log data in, log data kept, and each of the first 10,000 metrics.
LOGS_PER_GB_IN: Final = Decimal("0.50")
LOGS_PER_GB_MONTH: Final = Decimal("0.03")
METRIC_MONTH: Final = Decimal("0.30")
# What EC2's detailed monitoring makes of an instance: the seven that change from five minutes to one.
DETAILED_MONITORING_METRICS: Final = 7


class Charge(NamedTuple):
    """Describe a part of a cost. per_month: US dollars; None if it is unknown for the reason in `note`."""

    part: str
    detail: str
    per_month: Decimal | None
    note: str = ""


def per_hour(per_month: Decimal) -> Decimal:
    """Return dollars an hour."""
    return per_month / HOURS_PER_MONTH


def per_day(per_month: Decimal) -> Decimal:
    """Return dollars a day."""
    return per_hour(per_month) * HOURS_PER_DAY


def total(amounts: Sequence[Decimal | None]) -> Decimal | None:
    """Return the sum; None if one of the amounts is unknown."""
    known = [amount for amount in amounts if amount is not None]
    return sum(known, Decimal(0)) if len(known) == len(amounts) else None


def dollars(amount: Decimal, places: int = 2) -> str:
    """Format the amount: "1,234.50", "<0.01". An amount above zero is never shown as zero."""
    step = Decimal(1).scaleb(-places)
    if 0 < amount < step / 2:
        return f"<{step}"
    return f"{amount.quantize(step, ROUND_HALF_UP):,}"


def usd(amount: Decimal, places: int = 2) -> str:
    """Format the amount with its currency sign: "$1,234.50", "<$0.01"."""
    text = dollars(amount, places)
    return f"<${text[1:]}" if text.startswith("<") else f"${text}"


def other_region(region: str) -> str | None:
    """Return the reason why the prices of a region are unknown; None for the region of the table."""
    return None if region == REGION else f"the price table is of {REGION}, not of {region}"


def machine_per_hour(instance_type: str, region: str) -> tuple[Decimal | None, str]:
    """Return dollars an hour, on demand, Linux; or None and the reason why it is unknown."""
    if reason := other_region(region):
        return None, reason
    row = instance_types.INSTANCE_TYPES.get(instance_type)
    return (row.usd_per_hour, "") if row else (None, f"{instance_type} is not in the price table")


def volume(
    name: str,
    *,
    kind: str | None,
    size_gb: int | None,
    iops: int | None,
    throughput_mbps: int | None,
    region: str,
    size_note: str = "its size is not known here",
) -> list[Charge]:
    """Return an EBS volume's charges: its size, then the IOPS and MiB/s that gp3 does not include.

    iops and throughput_mbps: None means the included values.
    """
    size = " ".join(filter(None, [f"{size_gb} GiB" if size_gb is not None else None, kind]))
    if reason := other_region(region):
        return [Charge(name, size, None, reason)]
    if kind != "gp3":
        what = f"EBS volumes of type {kind}" if kind else "an EBS volume whose type is not given"
        return [Charge(name, size, None, f"the price table has none for {what}")]
    if size_gb is None:
        found = [Charge(name, kind, None, f"{size_note}; ${GP3_PER_GB_MONTH} a GiB-month")]
    else:
        found = [Charge(name, size, size_gb * GP3_PER_GB_MONTH)]
    for part, included, given, rate in (
        ("IOPS", gp3.IOPS[0], iops, GP3_PER_IOPS_MONTH),
        ("MiB/s", gp3.THROUGHPUT_MBPS[0], throughput_mbps, GP3_PER_MBPS_MONTH),
    ):
        if given is not None and given > included:
            more = given - included
            found.append(Charge(f"{name} {part}", f"{more:,} over {included:,}", more * rate))
    return found
