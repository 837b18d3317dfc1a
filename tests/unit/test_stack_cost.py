"""Prices of single resources, computed by hand, and that nothing unknown ever reads as free."""

from decimal import Decimal
from typing import Any

import pytest

from constructs_lib import prices
from constructs_lib.prices import HOURS_PER_MONTH, dollars, usd
from constructs_lib.stack_cost import Item, StackCost, is_classified, price
from tests.unit.synthesis import synthesize

Json = dict[str, Any]


def bill(kind: str, body: Json, *, region: str = "us-east-1", efs_gb: int | None = None) -> StackCost:
    section, _, name = kind.rpartition(".")
    document = {section or "resource": {name: {"it": body}}, "provider": {"aws": [{"region": region}]}}
    return price("stack", document, efs_gb=efs_gb)


def amounts(cost: StackCost) -> dict[str, tuple[Decimal | None, Decimal | None]]:
    return {item.part: (item.running, item.stopped) for item in cost.items}


def only(cost: StackCost) -> Item:
    (item,) = cost.items
    return item


ROOT = {"volume_type": "gp3", "volume_size": 100}
UNKNOWN = (None, None)
NOTHING = Decimal(0)


class TestClassification:
    @pytest.mark.parametrize("kind", ["g6.12xlarge", "t3.large", "dl1.24xlarge", "trn1.2xlarge"])
    def test_every_type_in_our_stacks_is_classified(self, kind: str) -> None:
        found = {
            f"{prefix}{resource}"
            for stack in synthesize(TRAIN_MODEL__INSTANCE_TYPE=kind).values()
            for section, prefix in (("resource", ""), ("data", "data."), ("ephemeral", "ephemeral."))
            for resource in stack.get(section, {})
        }

        assert len(found) > 30
        assert {resource for resource in found if not is_classified(resource)} == set()

    def test_a_type_that_nobody_classified_is_unknown(self) -> None:
        item = only(bill("aws_db_instance", {"instance_class": "db.t3.micro"}))

        assert not is_classified("aws_db_instance")
        assert (item.address, item.part, item.running, item.stopped) == (
            "aws_db_instance.it",
            "db instance",
            None,
            None,
        )
        assert "nothing is known" in item.note

    def test_so_is_a_data_source_and_an_ephemeral_one(self) -> None:
        assert only(bill("data.aws_bill", {})).address == "data.aws_bill.it"
        assert only(bill("ephemeral.aws_bill", {})).address == "ephemeral.aws_bill.it"

    def test_what_is_free_is_not_on_the_bill(self) -> None:
        cost = bill("aws_subnet", {})

        assert cost.items == ()
        assert (cost.running, cost.unknown, cost.nothing_known) == (NOTHING, (), False)


class TestMachine:
    def test_running_and_stopped(self) -> None:
        body = {"instance_type": "g5.xlarge", "associate_public_ip_address": False, "root_block_device": ROOT}

        # 1.006 x 730 = 734.38; 100 x 0.08 = 8.00, which a stopped machine pays too.
        assert amounts(bill("aws_instance", body)) == {
            "machine": (Decimal("734.38"), NOTHING),
            "root disk": (Decimal("8.00"), Decimal("8.00")),
        }

    def test_a_public_address_costs_while_it_runs(self) -> None:
        body = {"instance_type": "t3.nano", "associate_public_ip_address": True, "root_block_device": ROOT}

        # 0.005 x 730 = 3.65; EC2 takes the address back when the machine stops.
        assert amounts(bill("aws_instance", body))["public IPv4 address"] == (Decimal("3.65"), NOTHING)

    def test_whether_there_is_an_address_may_be_unknown(self) -> None:
        cost = bill("aws_instance", {"instance_type": "t3.nano", "root_block_device": ROOT})

        assert amounts(cost)["public IPv4 address"] == UNKNOWN

    def test_detailed_monitoring(self) -> None:
        body = {"instance_type": "t3.nano", "associate_public_ip_address": False, "monitoring": True}

        # Seven metrics at 0.30.
        assert amounts(bill("aws_instance", body))["detailed monitoring"] == (Decimal("2.10"), NOTHING)

    @pytest.mark.parametrize(
        ("change", "why"),
        [
            ({"instance_type": "m7i.metal-48xl"}, "m7i.metal-48xl is not in the price table"),
            ({"instance_type": "${var.kind}"}, "is not in the price table"),
            ({"instance_market_options": {"market_type": "spot"}}, "the spot price changes"),
            ({"tenancy": "dedicated"}, "shared hardware"),
        ],
    )
    def test_a_machine_whose_price_is_unknown(self, change: Json, why: str) -> None:
        body = {"instance_type": "t3.nano", "associate_public_ip_address": False, "root_block_device": ROOT, **change}
        cost = bill("aws_instance", body)

        assert amounts(cost)["machine"] == UNKNOWN
        assert why in cost.items[0].note
        assert cost.running == Decimal("8.00")

    def test_a_root_disk_as_large_as_the_image_is_unknown(self) -> None:
        body = {"instance_type": "t3.nano", "associate_public_ip_address": False}
        cost = bill("aws_instance", {**body, "root_block_device": {"volume_type": "gp3"}})
        assert amounts(cost)["root disk"] == UNKNOWN
        assert cost.unknown[0].note == "as large as the image says; $0.08 a GiB-month"
        assert amounts(bill("aws_instance", body))["root disk"] == UNKNOWN

    def test_further_disks(self) -> None:
        body = {
            "instance_type": "t3.nano",
            "associate_public_ip_address": False,
            "root_block_device": [ROOT],
            "ebs_block_device": [{"volume_type": "gp3", "volume_size": 10}, {"volume_type": "io2", "volume_size": 10}],
        }
        found = amounts(bill("aws_instance", body))

        assert found["disk 1"] == (Decimal("0.80"), Decimal("0.80"))
        assert found["disk 2"] == UNKNOWN


class TestVolume:
    @pytest.mark.parametrize(
        ("size", "iops", "throughput", "expected"),
        [
            # size x 0.08; IOPS over 3000 x 0.005; MiB/s over 125 x 0.04
            (1, None, None, {"data disk": "0.08"}),
            (500, 3000, 125, {"data disk": "40.00"}),
            (50, 8000, 1000, {"data disk": "4.00", "data disk IOPS": "25", "data disk MiB/s": "35"}),
            (200, 16_000, 125, {"data disk": "16.00", "data disk IOPS": "65"}),
            (2000, 3001, 126, {"data disk": "160.00", "data disk IOPS": "0.005", "data disk MiB/s": "0.04"}),
        ],
    )
    def test_gp3(self, size: int, iops: int | None, throughput: int | None, expected: dict[str, str]) -> None:
        body = {"type": "gp3", "size": size, "iops": iops, "throughput": throughput}

        assert amounts(bill("aws_ebs_volume", body)) == {
            part: (Decimal(month), Decimal(month)) for part, month in expected.items()
        }

    @pytest.mark.parametrize(
        "body",
        [
            {"type": "io2", "size": 10},
            {"size": 10},
            {"type": "gp3"},
            {"type": "gp3", "size": "${var.size}"},
            {"type": "gp3", "size": 10, "iops": "${var.iops}"},
        ],
    )
    def test_what_is_not_known_is_unknown(self, body: Json) -> None:
        item = only(bill("aws_ebs_volume", body))

        assert (item.running, item.stopped) == UNKNOWN
        assert item.note

    def test_speed_is_priced_though_the_size_is_unknown(self) -> None:
        assert amounts(bill("aws_ebs_volume", {"type": "gp3", "iops": 4000})) == {
            "data disk": UNKNOWN,
            "data disk IOPS": (Decimal(5), Decimal(5)),
        }

    def test_the_snapshot_of_a_destroy_is_remarked(self) -> None:
        item = only(bill("aws_ebs_volume", {"type": "gp3", "size": 10, "final_snapshot": True}))

        assert item.note == "a destroy keeps a snapshot: $0.05 a month for each GB of data"


class TestOthers:
    def test_nat_gateway_and_elastic_ip_cost_around_the_clock(self) -> None:
        # 0.045 x 730 = 32.85; 0.005 x 730 = 3.65.
        nat = only(bill("aws_nat_gateway", {}))
        assert (nat.running, nat.stopped) == (Decimal("32.85"), Decimal("32.85"))
        assert nat.note == "and $0.045 for each GB that goes through it"
        assert amounts(bill("aws_eip", {})) == {"public IPv4 address": (Decimal("3.65"), Decimal("3.65"))}

    def test_a_file_system_is_charged_by_use(self) -> None:
        item = only(bill("aws_efs_file_system", {"availability_zone_name": "us-east-1a", "throughput_mode": "elastic"}))

        assert (item.running, item.stopped) == UNKNOWN
        assert item.note == "$0.16 per GB-month stored; and $0.03 a GB read, $0.06 a GB written"

    @pytest.mark.parametrize(
        ("body", "gb", "month"),
        [({"availability_zone_name": "us-east-1a"}, 250, "40.00"), ({}, 250, "75.00"), ({}, 0, "0")],
    )
    def test_a_file_system_with_a_known_amount(self, body: Json, gb: int, month: str) -> None:
        assert amounts(bill("aws_efs_file_system", body, efs_gb=gb)) == {
            "file system": (Decimal(month), Decimal(month))
        }

    def test_provisioned_throughput_is_said_to_cost_extra(self) -> None:
        item = only(bill("aws_efs_file_system", {"throughput_mode": "provisioned"}, efs_gb=1))

        assert "provisioned throughput costs extra" in item.note

    @pytest.mark.parametrize(
        ("kind", "body"),
        [
            ("aws_efs_backup_policy", {"backup_policy": {"status": "ENABLED"}}),
            ("aws_cloudwatch_log_group", {"retention_in_days": 90}),
            ("aws_cloudwatch_log_group", {"log_group_class": "INFREQUENT_ACCESS"}),
            ("aws_ssm_parameter", {"name": "AmazonCloudWatch-x", "tier": "Standard"}),
            ("aws_ssm_parameter", {"name": "/x", "tier": "Advanced"}),
            ("aws_ssm_parameter", {"name": "/x", "type": "SecureString", "key_id": "alias/own"}),
            ("aws_vpc_endpoint", {"vpc_endpoint_type": "Interface"}),
        ],
    )
    def test_by_use_or_without_a_price(self, kind: str, body: Json) -> None:
        item = only(bill(kind, body))

        assert (item.running, item.stopped) == UNKNOWN
        assert item.note

    @pytest.mark.parametrize(
        ("kind", "body"),
        [
            ("aws_efs_backup_policy", {"backup_policy": {"status": "DISABLED"}}),
            ("aws_ssm_parameter", {"name": "/x", "type": "SecureString"}),
            ("aws_vpc_endpoint", {"vpc_endpoint_type": "Gateway"}),
        ],
    )
    def test_free_forms_of_what_can_cost(self, kind: str, body: Json) -> None:
        assert bill(kind, body).items == ()

    def test_notebook(self) -> None:
        cost = bill("aws_sagemaker_notebook_instance", {"instance_type": "ml.t3.medium", "volume_size": 20})

        assert amounts(cost) == {"notebook": UNKNOWN, "notebook volume": UNKNOWN}
        assert cost.nothing_known

    @pytest.mark.parametrize("many", [{"count": 3}, {"for_each": "${var.all}"}])
    def test_how_many_there_are_may_be_unknown(self, many: Json) -> None:
        assert amounts(bill("aws_nat_gateway", many)) == {"NAT gateway": UNKNOWN}


class TestRegion:
    @pytest.mark.parametrize(
        ("kind", "body"),
        [
            ("aws_instance", {"instance_type": "t3.nano", "root_block_device": ROOT}),
            ("aws_ebs_volume", {"type": "gp3", "size": 10, "iops": 9000}),
            ("aws_nat_gateway", {}),
            ("aws_eip", {}),
            ("aws_efs_file_system", {}),
        ],
    )
    def test_elsewhere_everything_that_costs_is_unknown(self, kind: str, body: Json) -> None:
        cost = bill(kind, body, region="eu-central-1", efs_gb=100)

        assert cost.items
        assert {(item.running, item.stopped) for item in cost.items} == {UNKNOWN}
        assert {item.note for item in cost.items} == {"the price table is of us-east-1, not of eu-central-1"}

    def test_without_a_provider_the_region_is_unknown_too(self) -> None:
        assert price("stack", {"resource": {"aws_eip": {"it": {}}}}).nothing_known


class TestAmounts:
    @pytest.mark.parametrize(
        ("amount", "places", "text"),
        [
            ("0", 2, "0.00"),
            ("0.004", 2, "<0.01"),
            ("0.005", 2, "0.01"),
            ("1234.565", 2, "1,234.57"),
            ("4.70351", 4, "4.7035"),
            ("0.00001", 4, "<0.0001"),
        ],
    )
    def test_text(self, amount: str, places: int, text: str) -> None:
        assert dollars(Decimal(amount), places) == text

    def test_sign(self) -> None:
        assert (usd(Decimal("0.001")), usd(Decimal("12.5"))) == ("<$0.01", "$12.50")

    def test_hours_and_days_of_a_month(self) -> None:
        assert HOURS_PER_MONTH == 730
        assert prices.per_hour(Decimal(730)) == 1
        assert prices.per_day(Decimal(730)) == 24
