"""The picture: what it reads from Terraform JSON, that it leaves nothing out, and that images/arch.png is current."""

import copy
from itertools import combinations
from pathlib import Path

import pytest
from matplotlib.transforms import Bbox
from PIL import Image

from tests.unit.synthesis import Json, synthesize
from tools import draw
from tools.draw_layout import HEIGHT, Arrow, Box, Shape, Text, layout
from tools.draw_model import Link, Model, ModelError, Ref, Subnet, read_model

STATE = "data.terraform_remote_state.network.outputs"


def stack(name: str, resource: Json, **more: Json) -> Json:
    return {
        "provider": {"aws": [{"region": "eu-west-1", "default_tags": [{"tags": {"deployment": "demo"}}]}]},
        "terraform": {"backend": {"s3": {"bucket": "a-bucket", "key": f"demo/{name}.tfstate"}}},
        "resource": resource,
        **more,
    }


def subnet(cidr: str, az: str) -> Json:
    return {"vpc_id": "${aws_vpc.v.id}", "cidr_block": cidr, "availability_zone": az}


def group(*rules: tuple[str, int, int, str]) -> Json:
    return {
        "ingress": [
            {"protocol": protocol, "from_port": first, "to_port": last, "cidr_blocks": [cidr]}
            for protocol, first, last, cidr in rules
        ]
    }


def small() -> dict[str, Json]:
    """A network with a door in one stack, a machine with a volume that lives in that network in another."""
    network: Json = {
        "aws_vpc": {"v": {"cidr_block": "10.1.0.0/16"}},
        "aws_subnet": {
            "front": subnet("10.1.1.0/24", "eu-west-1b"),
            "back": subnet("10.1.2.0/24", "eu-west-1b"),
            "spare": subnet("10.1.3.0/24", "eu-west-1a"),
        },
        "aws_internet_gateway": {"g": {"vpc_id": "${aws_vpc.v.id}"}},
        "aws_nat_gateway": {"n": {"subnet_id": "${aws_subnet.front.id}"}},
        "aws_route_table": {
            "out": {"route": [{"cidr_block": "0.0.0.0/0", "gateway_id": "${aws_internet_gateway.g.id}"}]},
            "in": {"route": [{"cidr_block": "0.0.0.0/0", "nat_gateway_id": "${aws_nat_gateway.n.id}"}]},
        },
        "aws_route_table_association": {
            "front": {"subnet_id": "${aws_subnet.front.id}", "route_table_id": "${aws_route_table.out.id}"},
            "back": {"subnet_id": "${aws_subnet.back.id}", "route_table_id": "${aws_route_table.in.id}"},
        },
        "aws_main_route_table_association": {
            "main": {"vpc_id": "${aws_vpc.v.id}", "route_table_id": "${aws_route_table.in.id}"}
        },
        "aws_security_group": {
            "door": group(("tcp", 22, 22, "192.0.2.1/32")),
            "within": group(("-1", 0, 0, "10.1.0.0/16")),
        },
        "aws_instance": {
            "door": {
                "instance_type": "t3.nano",
                "subnet_id": "${aws_subnet.front.id}",
                "vpc_security_group_ids": ["${aws_security_group.door.id}", "${aws_security_group.within.id}"],
            }
        },
        "aws_efs_file_system": {"files": {"availability_zone_name": "eu-west-1b"}},
        "aws_efs_mount_target": {
            "files": {"file_system_id": "${aws_efs_file_system.files.id}", "subnet_id": "${aws_subnet.back.id}"}
        },
    }
    outputs: Json = {
        "back": {"value": {"id": "${aws_subnet.back.id}", "arn": "${aws_subnet.back.arn}"}},
        "within": {"value": {"id": "${aws_security_group.within.id}"}},
        "files": {"value": "${aws_efs_file_system.files.id}"},
    }
    work: Json = {
        "aws_instance": {
            "box": {
                "instance_type": "t3.large",
                "subnet_id": f"${{{STATE}.back.id}}",
                "vpc_security_group_ids": [f"${{{STATE}.within.id}}"],
                "user_data": f"#!/bin/sh\nmount ${{{STATE}.files}} /mnt\ndocker run Grafana -p :3000\n",
                "tags": {"Name": "demo Things - Box"},
            }
        },
        "aws_ebs_volume": {"disk": {"size": 7, "type": "gp3"}},
        "aws_volume_attachment": {
            "disk": {"volume_id": "${aws_ebs_volume.disk.id}", "instance_id": "${aws_instance.box.id}"}
        },
        "aws_iam_role": {"r": {}, "s": {}},
    }
    remote: Json = {"terraform_remote_state": {"network": {"config": {"key": "demo/network.tfstate"}}}}
    return {"network": stack("network", network, output=outputs), "a-work": stack("a-work", work, data=remote)}


BACK = Ref("network", "aws_subnet.back")
FRONT = Ref("network", "aws_subnet.front")
BOX = Ref("a-work", "aws_instance.box")
DOOR = Ref("network", "aws_instance.door")
DISK = Ref("a-work", "aws_ebs_volume.disk")
FILES = Ref("network", "aws_efs_file_system.files")
MOUNT_TARGET = Ref("network", "aws_efs_mount_target.files")


class TestModel:
    def test_subnets_are_public_by_their_routes_or_else_by_the_main_table(self) -> None:
        assert set(read_model(small()).subnets) == {
            Subnet(FRONT, "10.1.1.0/24", "eu-west-1b", public=True),
            Subnet(BACK, "10.1.2.0/24", "eu-west-1b", public=False),
            Subnet(Ref("network", "aws_subnet.spare"), "10.1.3.0/24", "eu-west-1a", public=False),
        }

    def test_a_main_table_that_leads_to_the_internet_makes_the_rest_public(self) -> None:
        stacks = small()
        main = stacks["network"]["resource"]["aws_main_route_table_association"]["main"]
        main["route_table_id"] = "${aws_route_table.out.id}"

        public = {subnet.ref.address for subnet in read_model(stacks).subnets if subnet.public}
        assert public == {"aws_subnet.front", "aws_subnet.spare"}

    def test_parts_stand_in_the_subnets_of_the_json_through_remote_state_too(self) -> None:
        assert {part.ref: part.subnet for part in read_model(small()).parts} == {
            BOX: BACK,
            DOOR: FRONT,
            Ref("network", "aws_nat_gateway.n"): FRONT,
            MOUNT_TARGET: BACK,
            Ref("network", "aws_internet_gateway.g"): None,
            DISK: None,
            FILES: None,
        }

    def test_names_and_facts_come_from_the_json(self) -> None:
        parts = {part.ref: part for part in read_model(small()).parts}

        assert (parts[BOX].title, parts[BOX].lines) == ("Box", ("EC2 t3.large", "Grafana :3000"))
        assert parts[DOOR].title == "aws_instance.door"
        assert parts[DISK].lines == ("data volume, gp3 7 GiB",)
        assert parts[FILES].lines == ("One Zone, eu-west-1b",)

    def test_who_reaches_whom(self) -> None:
        assert set(read_model(small()).links) == {
            Link("in", "192.0.2.1/32", DOOR, "SSH :22"),
            Link("ssh", DOOR, BOX, "SSH"),
            Link("nfs", BOX, MOUNT_TARGET, "NFS"),
            Link("mounts", MOUNT_TARGET, FILES, ""),
            Link("volume", BOX, DISK, ""),
            Link("out", BACK, Ref("network", "aws_nat_gateway.n"), ""),
        }

    def test_tls_is_said_only_where_a_policy_asks_for_it(self) -> None:
        stacks = small()
        stacks["network"]["resource"]["aws_efs_file_system_policy"] = {
            "p": {
                "file_system_id": "${aws_efs_file_system.files.id}",
                "policy": '{"Condition": {"Bool": {"aws:SecureTransport": "false"}}}',
            }
        }

        assert Link("nfs", BOX, MOUNT_TARGET, "NFS over TLS") in read_model(stacks).links

    @pytest.mark.parametrize(
        "rule",
        [("tcp", 443, 443, "10.1.0.0/16"), ("udp", 22, 22, "10.1.0.0/16"), ("tcp", 22, 22, "10.1.2.0/24")],
    )
    def test_no_ssh_where_no_rule_lets_the_doors_subnet_in(self, rule: tuple[str, int, int, str]) -> None:
        stacks = small()
        stacks["network"]["resource"]["aws_security_group"]["within"] = group(rule)

        assert [link for link in read_model(stacks).links if link.kind == "ssh"] == []

    def test_a_machine_without_a_public_subnet_is_not_reached_from_outside(self) -> None:
        stacks = small()
        stacks["network"]["resource"]["aws_instance"]["door"]["subnet_id"] = "${aws_subnet.back.id}"

        assert [link.kind for link in read_model(stacks).links if link.kind in ("in", "ssh")] == []

    def test_what_is_not_drawn_is_counted_or_listed(self) -> None:
        stacks = small()
        resources = stacks["a-work"]["resource"]
        resources["aws_lb"] = {"front": {}}
        resources["aws_ebs_volume"]["loose"] = {"size": 1}
        resources["aws_instance"]["elsewhere"] = {"instance_type": "t3.nano", "subnet_id": "subnet-0123"}

        first, second = read_model(stacks).stacks

        assert (first.name, first.reads, second.name, second.reads) == ("network", (), "a-work", ("network",))
        assert second.drawn == (
            "aws_ebs_volume.disk",
            "aws_instance.box",
            "aws_volume_attachment.disk",
            "data.terraform_remote_state.network",
        )
        assert second.counted == (("IAM role", 2),)
        assert second.listed == ("aws_ebs_volume.loose", "aws_instance.elsewhere", "aws_lb.front")

    def test_no_vpc_no_picture(self) -> None:
        with pytest.raises(ModelError, match="no stack has an aws_vpc"):
            read_model({"lonely": stack("lonely", {"aws_iam_role": {"r": {}}})})


def texts(shapes: list[Shape]) -> list[str]:
    return [shape.text.replace("\N{NO-BREAK SPACE}", " ") for shape in shapes if isinstance(shape, Text)]


def holds(box: Box, text: Text) -> bool:
    return box.x <= text.x <= box.x + box.width and box.y <= text.y <= box.bottom


class TestOurStacks:
    @pytest.mark.parametrize("name", ["mlcore", "stats-monitor", "train-model", "train-model-dev"])
    def test_every_address_is_drawn_or_counted_once(self, name: str) -> None:
        synthesized = synthesize()[name]
        everything = sorted(
            f"{prefix}{kind}.{id}"
            for prefix, section in (("", "resource"), ("data.", "data"), ("ephemeral.", "ephemeral"))
            for kind, named in synthesized.get(section, {}).items()
            if kind != "terraform_data"
            for id in named
        )
        model = read_model(synthesize())
        (found,) = [share for share in model.stacks if share.name == name]

        assert found.listed == ()
        assert len(set(found.drawn)) + sum(number for _, number in found.counted) == len(everything)
        assert set(found.drawn) <= set(everything)

    def test_every_part_is_written_out_inside_its_subnet(self) -> None:
        model = read_model(synthesize())
        shapes = layout(model)
        written = {shape.text: shape for shape in shapes if isinstance(shape, Text)}
        frames = [shape for shape in shapes if isinstance(shape, Box) and not shape.accent]
        cidrs = {subnet.ref: subnet.cidr for subnet in model.subnets}

        assert len(model.parts) == 11
        for part in model.parts:
            assert {part.title, *part.lines} <= set(written)
            around = [frame for frame in frames if part.subnet and holds(frame, written[cidrs[part.subnet]])]
            assert all(holds(frame, written[part.title]) for frame in around)
            assert len(around) == (5 if part.subnet else 0)  # subnet, zone, VPC, region, paper

    def test_says_what_a_person_looks_for(self) -> None:
        words = texts(layout(read_model(synthesize(TRAIN_MODEL__INSTANCE_TYPE="trn1.2xlarge"))))

        for expected in (
            "AWS us-east-1",
            "VPC 10.20.0.0/20",
            "us-east-1a",
            "us-east-1b",
            "10.20.1.0/24",
            "10.20.2.0/24",
            "10.20.3.0/24",
            "198.51.100.7/32",
            "SSH :22",
            "EC2 trn1.2xlarge",
            "EC2 t3.medium",
            "EC2 t3.nano",
            "Grafana :3000",
            "TensorBoard :6006",
            "ml.t3.medium",
            "data volume, gp3 50 GiB",
            "One Zone, us-east-1a",
            "my-state-bucket/ml-core/ml-core/us-east-1/",
            "train-model-dev.tfstate",
        ):
            assert expected in words
        assert words.count("NFS over TLS") == 3
        assert words.count("reads") == 3

    def test_an_unknown_resource_is_named_in_its_stacks_card(self) -> None:
        stacks = copy.deepcopy(synthesize())
        stacks["train-model"]["resource"]["aws_lb"] = {"front": {}}

        assert any("aws_lb.front" in text for text in texts(layout(read_model(stacks))))

    @pytest.mark.parametrize("overrides", [{}, {"TRAIN_MODEL__INSTANCE_TYPE": "dl1.24xlarge"}])
    def test_no_text_touches_another_or_leaves_its_box(self, overrides: dict[str, str]) -> None:
        shapes = layout(read_model(synthesize(**overrides)))
        figure = draw.figure(shapes)
        figure.draw_without_rendering()
        (axes,) = figure.axes
        places: list[tuple[str, Bbox]] = [(text.get_text(), text.get_window_extent()) for text in axes.texts]

        # Lines of text may be set tight, so the letters' own height counts, not the room above and below.
        assert [
            (one, other)
            for (one, a), (other, b) in combinations(places, 2)
            if a.shrunk(1, 0.7).overlaps(b.shrunk(1, 0.7))
        ] == []
        boxes = [
            Bbox.from_bounds(box.x, HEIGHT - box.bottom, box.width, box.height)
            for box in shapes
            if isinstance(box, Box)
        ]
        for text, place in places:
            around = [box for box in boxes if box.contains(place.x0, (place.y0 + place.y1) / 2)]
            assert around, text
            assert place.x1 < min(box.x1 for box in around), text


class TestPicture:
    def test_in_images_is_what_the_command_draws_now(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # A person's own settings are not in the picture.
        monkeypatch.setenv("ML_INFRA_TRAIN_MODEL__INSTANCE_TYPE", "g5.xlarge")
        monkeypatch.setenv("ML_INFRA_STATE__BUCKET", "private-bucket")
        shapes = layout(read_model(draw.synthesize()))

        assert "EC2 g6.12xlarge" in texts(shapes)
        assert "my-terraform-state/ml-core/ml-core/us-east-1/" in texts(shapes)
        with Image.open(draw.PICTURE) as picture:
            assert picture.size == (1600, 1000)
            assert picture.info["Description"] == draw.digest(shapes), "images/arch.png is not current: make arch"

    def test_has_the_same_bytes_every_time(self, tmp_path: Path) -> None:
        shapes = layout(read_model(small()))
        for name in ("one.png", "two.png"):
            draw.render(shapes, tmp_path / name)

        assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
        with Image.open(tmp_path / "one.png") as picture:
            assert set(picture.info) - {"dpi"} == {"Description"}

    def test_the_digest_follows_texts_places_and_kinds_of_shapes(self) -> None:
        shapes: list[Shape] = [Text(1, 2, "a"), Arrow(((0, 0), (1, 1)), "#000000")]
        others: list[list[Shape]] = [
            [Text(1, 2, "b"), shapes[1]],
            [Text(1, 3, "a"), shapes[1]],
            [shapes[1], shapes[0]],
        ]

        assert draw.digest(list(shapes)) == draw.digest(shapes)
        assert len({draw.digest(shapes), *map(draw.digest, others)}) == 4

    def test_an_app_that_fails_is_told_and_nothing_is_written(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(draw, "SETTINGS", "[access]\n")

        assert draw.main(["--output", str(tmp_path / "arch.png")]) == 1
        said = capsys.readouterr().err
        assert "state.bucket" in said
        assert "make setup" in said
        assert not (tmp_path / "arch.png").exists()


def test_a_model_of_other_networks_can_be_laid_out_too() -> None:
    model: Model = read_model(small())

    words = texts(layout(model))

    assert {"Box", "eu-west-1a", "eu-west-1b", "192.0.2.1/32", "S3 state bucket"} <= set(words)
