"""Price a synthesized stack by item. Every resource is free, priced, or unknown; unknown is never counted as 0."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final

from constructs_lib import prices
from constructs_lib.prices import Charge

Json = Mapping[str, Any]

# AWS does not charge for these resources.
FREE: Final = frozenset(
    {
        "aws_default_security_group",
        "aws_efs_access_point",
        "aws_efs_file_system_policy",
        "aws_efs_mount_target",
        "aws_iam_instance_profile",
        "aws_iam_policy",
        "aws_iam_role",
        "aws_iam_role_policy_attachment",
        "aws_internet_gateway",
        "aws_main_route_table_association",
        "aws_route_table",
        "aws_route_table_association",
        "aws_sagemaker_code_repository",
        "aws_sagemaker_notebook_instance_lifecycle_configuration",
        "aws_security_group",
        "aws_subnet",
        "aws_volume_attachment",
        "aws_vpc",
        "data.aws_ebs_snapshot_ids",
        "data.aws_ssm_parameter",
        "data.terraform_remote_state",
        # A call, not a kept secret: 0.05 for 10,000 calls.
        "ephemeral.aws_secretsmanager_random_password",
        # Only in Terraform's state.
        "terraform_data",
    }
)


@dataclass(frozen=True, kw_only=True)
class Item:
    """Describe one cost item. address: Terraform's. part: its kind. detail: its size.

    running, stopped: US dollars a month, with the machines running or stopped; None if unknown, for the reason in
    `note`.
    """

    address: str
    part: str
    detail: str
    running: Decimal | None
    stopped: Decimal | None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class StackCost:
    """Hold a stack's items. The sums are minimums: they exclude the items in `unknown`."""

    name: str
    region: str
    items: tuple[Item, ...]

    @property
    def running(self) -> Decimal:
        """Return the minimum dollars a month."""
        return sum((item.running for item in self.items if item.running is not None), Decimal(0))

    @property
    def stopped(self) -> Decimal:
        """Return the minimum dollars a month with the machines stopped."""
        return sum((item.stopped for item in self.items if item.stopped is not None), Decimal(0))

    @property
    def unknown(self) -> tuple[Item, ...]:
        """Return the items that the sums exclude."""
        return tuple(item for item in self.items if item.running is None or item.stopped is None)

    @property
    def nothing_known(self) -> bool:
        """Return True if there are items and all are unknown."""
        return bool(self.items) and len(self.unknown) == len(self.items)


def is_classified(kind: str) -> bool:
    """Return True if a resource type is free or priced; data sources start with "data."."""
    return kind in FREE or kind in _PRICED


def price(name: str, document: Json, *, efs_gb: int | None = None) -> StackCost:
    """Return the cost of one stack's Terraform JSON. efs_gb: the GB stored on each file system, to price them."""
    region = _region(document)
    items = [item for kind, address, body in _resources(document) for item in _items(kind, address, body, region)]
    if efs_gb is not None:
        items = [_with_stored(item, document, efs_gb, region) for item in items]
    return StackCost(name=name, region=region, items=tuple(items))


def _region(document: Json) -> str:
    providers = document.get("provider", {}).get("aws", [])
    region = providers[0].get("region") if isinstance(providers, list) and providers else None
    return str(region or "a region that is not named")


def _resources(document: Json) -> Iterator[tuple[str, str, Json]]:
    for section, prefix in (("resource", ""), ("data", "data."), ("ephemeral", "ephemeral.")):
        for kind, named in sorted(document.get(section, {}).items()):
            for name, body in sorted(named.items()):
                yield f"{prefix}{kind}", f"{prefix}{kind}.{name}", body


def _items(kind: str, address: str, body: Json, region: str) -> list[Item]:
    if kind in FREE:
        return []
    if kind not in _PRICED:
        return [_unknown(address, kind.removeprefix("aws_").replace("_", " "), "", "nothing is known of this type")]
    found = _PRICED[kind](address, body, region)
    if elsewhere := prices.other_region(region):
        return [replace(item, running=None, stopped=None, note=elsewhere) for item in found]
    if "count" in body or "for_each" in body:
        why = "how many there are is known to Terraform alone"
        return [replace(item, running=None, stopped=None, note=why) for item in found]
    return found


def _unknown(address: str, part: str, detail: str, note: str) -> Item:
    return Item(address=address, part=part, detail=detail, running=None, stopped=None, note=note)


def _always(address: str, charge: Charge) -> Item:
    """Return an item that costs the same with the machine running or stopped."""
    part, detail, per_month, note = charge
    return Item(address=address, part=part, detail=detail, running=per_month, stopped=per_month, note=note)


def _hourly(address: str, part: str, detail: str, usd: Decimal, note: str = "", *, stopped: bool) -> Item:
    month = usd * prices.HOURS_PER_MONTH
    return Item(
        address=address, part=part, detail=detail, running=month, stopped=month if stopped else Decimal(0), note=note
    )


def _whole(value: Any) -> int | None:
    """Return the whole number; None if it is missing or computed by Terraform."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    return int(value) if isinstance(value, float) and value.is_integer() else None


def _blocks(value: Any) -> list[Json]:
    if isinstance(value, Mapping):
        return [value]
    return list(value) if isinstance(value, list) else []


def _disk(address: str, part: str, body: Json, size: str, kind: str, region: str, note: str) -> list[Item]:
    given = {key: body.get(key) for key in (size, "iops", "throughput")}
    computed = [key for key, value in given.items() if value is not None and _whole(value) is None]
    if computed:
        return [_unknown(address, part, "", f"Terraform computes its {', '.join(computed)}")]
    charges = prices.volume(
        part,
        kind=body.get(kind),
        size_gb=_whole(given[size]),
        iops=_whole(given["iops"]),
        throughput_mbps=_whole(given["throughput"]),
        region=region,
        size_note=note,
    )
    return [_always(address, charge) for charge in charges]


def _instance(address: str, body: Json, region: str) -> list[Item]:
    kind = str(body.get("instance_type"))
    usd, why = prices.machine_per_hour(kind, region)
    if "instance_market_options" in body:
        usd, why = None, "the spot price changes by the hour"
    elif body.get("tenancy", "default") != "default":
        usd, why = None, "the price table is of shared hardware"
    burst = "CPU use beyond a t3's credits costs extra" if kind.startswith("t3.") else ""
    found = [
        _unknown(address, "machine", kind, why)
        if usd is None
        else _hourly(address, "machine", kind, usd, burst, stopped=False)
    ]
    for root in _blocks(body.get("root_block_device")) or [{}]:
        note = "as large as the image says"
        found += _disk(address, "root disk", root, "volume_size", "volume_type", region, note)
    for number, disk in enumerate(_blocks(body.get("ebs_block_device")), 1):
        note = "its size comes from a snapshot"
        found += _disk(address, f"disk {number}", disk, "volume_size", "volume_type", region, note)
    public = body.get("associate_public_ip_address")
    if public is True:
        found.append(_hourly(address, "public IPv4 address", "", prices.PUBLIC_IPV4_PER_HOUR, stopped=False))
    elif public is not False:
        found.append(_unknown(address, "public IPv4 address", "", "the subnet decides whether there is one"))
    if body.get("monitoring") is True:
        month = prices.METRIC_MONTH * prices.DETAILED_MONITORING_METRICS
        detail = f"{prices.DETAILED_MONITORING_METRICS} metrics"
        found.append(
            Item(address=address, part="detailed monitoring", detail=detail, running=month, stopped=Decimal(0))
        )
    return found


def _ebs_volume(address: str, body: Json, region: str) -> list[Item]:
    items = _disk(address, "data disk", body, "size", "type", region, "its size comes from a snapshot")
    if body.get("final_snapshot") and items:
        kept = f"a destroy keeps a snapshot: ${prices.SNAPSHOT_PER_GB_MONTH} a month for each GB of data"
        items[0] = replace(items[0], note="; ".join(filter(None, [items[0].note, kept])))
    return items


def _nat_gateway(address: str, body: Json, region: str) -> list[Item]:
    note = f"and ${prices.NAT_PER_GB} for each GB that goes through it"
    return [_hourly(address, "NAT gateway", "", prices.NAT_PER_HOUR, note, stopped=True)]


def _address(address: str, body: Json, region: str) -> list[Item]:
    return [_hourly(address, "public IPv4 address", "Elastic IP", prices.PUBLIC_IPV4_PER_HOUR, stopped=True)]


def _efs_rate(body: Json) -> Decimal:
    zonal = "availability_zone_name" in body
    return prices.EFS_ONE_ZONE_PER_GB_MONTH if zonal else prices.EFS_REGIONAL_PER_GB_MONTH


def _efs_notes(body: Json) -> list[str]:
    notes = []
    if body.get("lifecycle_policy"):
        notes.append("less for files that nobody reads for weeks")
    mode = body.get("throughput_mode", "bursting")
    if mode == "elastic":
        read, write = prices.EFS_ELASTIC_READ_PER_GB, prices.EFS_ELASTIC_WRITE_PER_GB
        notes.append(f"and ${read} a GB read, ${write} a GB written")
    elif mode != "bursting":
        notes.append(f"{mode} throughput costs extra, how much is not known")
    return notes


def _file_system(address: str, body: Json, region: str) -> list[Item]:
    kind = "One Zone" if "availability_zone_name" in body else "Regional"
    note = "; ".join([f"${_efs_rate(body)} per GB-month stored", *_efs_notes(body)])
    return [_unknown(address, "file system", f"EFS {kind}", note)]


def _with_stored(item: Item, document: Json, stored_gb: int, region: str) -> Item:
    kind, _, name = item.address.partition(".")
    if kind != "aws_efs_file_system" or prices.other_region(region):
        return item
    body = document["resource"][kind][name]
    month = _efs_rate(body) * stored_gb
    return replace(
        item,
        detail=f"{item.detail}, {stored_gb:,} GB",
        running=month,
        stopped=month,
        note="; ".join([f"${_efs_rate(body)} per GB-month", *_efs_notes(body)]),
    )


def _backup(address: str, body: Json, region: str) -> list[Item]:
    policies = _blocks(body.get("backup_policy"))
    if policies and all(policy.get("status") == "DISABLED" for policy in policies):
        return []
    note = (
        f"${prices.EFS_BACKUP_PER_GB_MONTH} per GB-month; each is kept {prices.EFS_BACKUP_DAYS} days, "
        "also when the file system is gone"
    )
    return [_unknown(address, "backups", "AWS Backup", note)]


def _log_group(address: str, body: Json, region: str) -> list[Item]:
    if body.get("log_group_class", "STANDARD") != "STANDARD":
        return [_unknown(address, "log group", str(body["log_group_class"]), "the price table is of standard logs")]
    days = _whole(body.get("retention_in_days"))
    kept = f"kept {days} days" if days else "kept for ever"
    note = f"${prices.LOGS_PER_GB_IN} a GB written, ${prices.LOGS_PER_GB_MONTH} per GB-month kept"
    return [_unknown(address, "log group", kept, note)]


def _parameter(address: str, body: Json, region: str) -> list[Item]:
    if body.get("tier", "Standard") != "Standard":
        return [_unknown(address, "parameter", str(body["tier"]), "only standard parameters are free")]
    if body.get("key_id"):
        return [_unknown(address, "parameter", "own key", "calls to a KMS key of one's own cost extra")]
    # The name that AWS's policy lets agents read: what they send are custom metrics.
    if str(body.get("name")).startswith("AmazonCloudWatch-"):
        note = f"${prices.METRIC_MONTH} a month for each metric that a machine sends"
        return [_unknown(address, "agent metrics", "CloudWatch", note)]
    return []


def _endpoint(address: str, body: Json, region: str) -> list[Item]:
    # https://docs.aws.amazon.com/vpc/latest/privatelink/gateway-endpoints.html: no charge.
    if body.get("vpc_endpoint_type", "Gateway") == "Gateway":
        return []
    return [_unknown(address, "VPC endpoint", str(body["vpc_endpoint_type"]), "only gateway endpoints are free")]


def _notebook(address: str, body: Json, region: str) -> list[Item]:
    size = _whole(body.get("volume_size"))
    return [
        _unknown(address, "notebook", str(body.get("instance_type")), "SageMaker's ml.* prices are not verified"),
        _unknown(
            address,
            "notebook volume",
            f"{size} GiB" if size else "",
            "SageMaker's storage price is not verified; it is charged while stopped too",
        ),
    ]


_PRICED: Final[Mapping[str, Callable[[str, Json, str], list[Item]]]] = {
    "aws_cloudwatch_log_group": _log_group,
    "aws_ebs_volume": _ebs_volume,
    "aws_efs_backup_policy": _backup,
    "aws_efs_file_system": _file_system,
    "aws_eip": _address,
    "aws_instance": _instance,
    "aws_nat_gateway": _nat_gateway,
    "aws_sagemaker_notebook_instance": _notebook,
    "aws_ssm_parameter": _parameter,
    "aws_vpc_endpoint": _endpoint,
}
