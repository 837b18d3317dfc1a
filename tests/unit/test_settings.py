"""Settings: what may be written, what follows from it, and what a person reads when it is wrong."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import ValidationError

from constructs_lib.instance_types import INSTANCE_TYPES
from constructs_lib.settings_model import SettingsModel
from modules_equiv.settings import OTHER_VARIABLES, Problem, Settings, SettingsError, load_settings

ROOT = Path(__file__).resolve().parents[2]
REQUIRED = """
[access]
deployer_cidrs = ["203.0.113.7/32"]
ssh_keypair_name = "my-key"
[state]
bucket = "my-terraform-state"
"""
REQUIRED_ENVIRON = {
    "ML_INFRA_ACCESS__DEPLOYER_CIDRS": "203.0.113.7/32",
    "ML_INFRA_ACCESS__SSH_KEYPAIR_NAME": "my-key",
    "ML_INFRA_STATE__BUCKET": "my-terraform-state",
}
DCGAN = "https://github.com/DMW2151/msls-pytorch-dcgan"
# Every key with its default; the required three with what REQUIRED gives.
DEFAULTS = {
    "deployment": {"name": "ml-core", "project": "msls-dcgan", "region": "us-east-1", "max_hourly_usd": None},
    "access": {"deployer_cidrs": ("203.0.113.7/32",), "ssh_keypair_name": "my-key"},
    "state": {
        "bucket": "my-terraform-state",
        "prefix": "ml-core",
        "region": "us-east-1",
        "use_path_style": False,
        "kms_key_arn": None,
    },
    "mlcore": {
        "az": "us-east-1a",
        "az_2": "us-east-1b",
        "vpc_cidr": "10.20.0.0/20",
        "jump_instance_type": "t3.nano",
        "jump_ami": None,
        "allow_efs_destroy": False,
        "restored_folder": None,
    },
    "stats_monitor": {
        "instance_type": "t3.medium",
        "ami": None,
        "grafana_image": "grafana/grafana:13.2.3",
        "tensorboard_version": "2.20.0",
        "snapshot_on_destroy": True,
        "root_volume": {"size_gb": 10, "iops": 3000, "throughput_mbps": 125},
        "data_volume": {"size_gb": 4, "iops": 3000, "throughput_mbps": 125},
    },
    "train_model": {
        "instance_type": "g6.12xlarge",
        "ami": None,
        "training_repository": DCGAN,
        "training_revision": "0ca5ec37e61831a4dff3b3aea1b42a4415340f76",
        "data_s3_uri": None,
        "output_s3_uri": None,
        "data_s3_kms_key_arn": None,
        "output_s3_kms_key_arn": None,
        "root_volume": {"size_gb": 130, "iops": 3000, "throughput_mbps": 125},
        "data_volume": {
            "size_gb": 50,
            "iops": 8000,
            "throughput_mbps": 1000,
            "restore": "latest",
            "snapshot_on_destroy": True,
        },
    },
    "train_model_dev": {
        "instance_type": "ml.t3.medium",
        "volume_size_gb": 20,
        "code_repository": DCGAN,
        "data_s3_uri": None,
        "output_s3_uri": None,
        "data_s3_kms_key_arn": None,
        "output_s3_kms_key_arn": None,
    },
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "settings.toml"


def load(file: Path, text: str, environ: Mapping[str, str] | None = None) -> Settings:
    file.write_text(text, encoding="utf-8")
    return load_settings(file, environ or {})


def problems(file: Path, text: str, environ: Mapping[str, str] | None = None) -> tuple[Problem, ...]:
    with pytest.raises(SettingsError) as error:
        load(file, text, environ)
    return error.value.problems


def problem(file: Path, text: str, environ: Mapping[str, str] | None = None) -> Problem:
    (only,) = problems(file, text, environ)
    return only


def setting(key: str, value: str) -> str:
    """A file in which one key has this value, written as TOML, and all else is in order."""
    *section, name = key.split(".")
    tables = tomllib.loads(REQUIRED)
    if section[0] in tables:
        tables[section[0]].pop(name, None)
    lines = [f"{name} = {value}"]
    text = ""
    for table, content in tables.items():
        rest = [f"{k} = {v!r}".replace("'", '"') for k, v in content.items()]
        text += "\n".join([f"[{table}]", *rest, *(lines if [table] == section else [])]) + "\n"
    return text if section[0] in tables else text + "\n".join([f"[{'.'.join(section)}]", *lines])


# --- defaults and what follows from the region


def test_defaults(file: Path) -> None:
    assert load(file, REQUIRED).model_dump() == DEFAULTS


def test_settings_are_frozen(file: Path) -> None:
    settings = load(file, REQUIRED)
    with pytest.raises(ValidationError, match="frozen"):
        settings.deployment.name = "other"


@pytest.mark.parametrize(
    ("region", "az", "az_2"),
    [
        ("eu-central-1", "eu-central-1a", "eu-central-1b"),
        ("ap-northeast-1", "ap-northeast-1a", "ap-northeast-1c"),
        ("ca-central-1", "ca-central-1a", "ca-central-1b"),
    ],
)
def test_zones_and_state_follow_the_region(file: Path, region: str, az: str, az_2: str) -> None:
    settings = load(file, f'{REQUIRED}\n[deployment]\nregion = "{region}"')
    assert (settings.mlcore.az, settings.mlcore.az_2, settings.state.region) == (az, az_2, region)


@pytest.mark.parametrize(
    ("given", "az", "az_2"),
    [
        ('az = "us-east-1b"', "us-east-1b", "us-east-1a"),
        ('az = "us-east-1f"', "us-east-1f", "us-east-1a"),
        ('az_2 = "us-east-1f"', "us-east-1a", "us-east-1f"),
        ('az = ""\naz_2 = ""', "us-east-1a", "us-east-1b"),
    ],
)
def test_a_zone_that_is_not_given_is_another_one(file: Path, given: str, az: str, az_2: str) -> None:
    settings = load(file, f"{REQUIRED}\n[mlcore]\n{given}")
    assert (settings.mlcore.az, settings.mlcore.az_2) == (az, az_2)


def test_state_can_be_elsewhere(file: Path) -> None:
    assert load(file, setting("state.region", '"eu-west-1"')).state.region == "eu-west-1"


def test_a_volume_keeps_its_own_defaults_beside_a_given_key(file: Path) -> None:
    settings = load(
        file, f"{REQUIRED}\n[train_model.data_volume]\nsize_gb = 200\n[stats_monitor.root_volume]\niops = 3500"
    )
    assert settings.train_model.data_volume.model_dump() == {
        "size_gb": 200,
        "iops": 8000,
        "throughput_mbps": 1000,
        "restore": "latest",
        "snapshot_on_destroy": True,
    }
    assert settings.stats_monitor.root_volume.model_dump() == {"size_gb": 10, "iops": 3500, "throughput_mbps": 125}


def test_the_part_that_every_stack_shares(file: Path) -> None:
    text = f'{REQUIRED}prefix = "a/b"\nuse_path_style = true\nregion = "eu-west-1"\n[deployment]\nname = "mine"'
    shared = load(file, text).stack_deployment()
    assert (shared.name, shared.project, shared.region) == ("mine", "msls-dcgan", "us-east-1")
    assert (shared.state_bucket, shared.state_region, shared.state_use_path_style) == (
        "my-terraform-state",
        "eu-west-1",
        True,
    )
    assert shared.state_key("mlcore") == "a/b/mine/us-east-1/mlcore.tfstate"


@pytest.mark.parametrize(
    ("written", "meant"), [("6.1", Decimal("6.1")), ("6", Decimal(6)), ("0.05", Decimal("0.05")), ('""', None)]
)
def test_the_hourly_limit_is_exactly_what_is_written(file: Path, written: str, meant: Decimal | None) -> None:
    assert load(file, setting("deployment.max_hourly_usd", written)).deployment.max_hourly_usd == meant


@pytest.mark.parametrize(("written", "meant"), [("6.1", Decimal("6.1")), ("12", Decimal(12)), ("", None)])
def test_the_hourly_limit_from_the_environment(file: Path, written: str, meant: Decimal | None) -> None:
    text = setting("deployment.max_hourly_usd", "99")
    environ = {"ML_INFRA_DEPLOYMENT__MAX_HOURLY_USD": written}
    assert load(file, text, environ).deployment.max_hourly_usd == meant


# --- settings.toml is the documentation


def keys_of(model: type[SettingsModel], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, SettingsModel):
            yield from keys_of(field.annotation, (*above, name))
        else:
            yield (*above, name)


COMMENTED_KEY = re.compile(r"^#(?=[a-z0-9_]+ = )", re.MULTILINE)


def shipped() -> str:
    return (ROOT / "settings.toml").read_text(encoding="utf-8")


def test_every_key_is_documented_right_above() -> None:
    documented: set[tuple[str, ...]] = set()
    section: tuple[str, ...] = ()
    above = ""
    for line in shipped().splitlines():
        if line.startswith("["):
            section = tuple(line.strip("[]").split("."))
        elif COMMENTED_KEY.match(line):
            assert re.match(r"# \S", above), f"{line} has no comment above"
            documented.add((*section, line[1:].split(" = ")[0]))
        above = line
    assert documented == set(keys_of(Settings))


def test_nothing_is_set_as_shipped() -> None:
    assert tomllib.loads(shipped()) == {
        "deployment": {},
        "access": {},
        "state": {},
        "mlcore": {},
        "stats_monitor": {"root_volume": {}, "data_volume": {}},
        "train_model": {"root_volume": {}, "data_volume": {}},
        "train_model_dev": {},
    }


def test_the_defaults_shown_are_the_defaults(file: Path) -> None:
    # The examples of the required keys are what REQUIRED gives.
    assert load(file, COMMENTED_KEY.sub("", shipped())).model_dump() == DEFAULTS


def test_every_instance_type_that_can_be_chosen_is_named() -> None:
    words = set(re.split(r"[\s,.:()]*\s[\s,.:()]*", shipped()))
    assert set(INSTANCE_TYPES) <= words


def test_required_keys_are_marked() -> None:
    marked = re.findall(r"^# REQUIRED\..*\n(?:# .*\n)*#([a-z_]+) = ", shipped(), re.MULTILINE)
    assert marked == ["deployer_cidrs", "ssh_keypair_name", "bucket"]


def test_as_shipped_the_three_required_keys_are_asked_for(file: Path) -> None:
    found = problems(file, shipped())
    assert [p.key for p in found] == ["access.deployer_cidrs", "access.ssh_keypair_name", "state.bucket"]
    assert all(p.reason == "This setting is required but not set." and p.value is None for p in found)
    assert 'deployer_cidrs = ["203.0.113.7/32"]' in found[0].fix
    assert "ML_INFRA_ACCESS__DEPLOYER_CIDRS" in found[0].fix
    assert "ML_INFRA_ACCESS__SSH_KEYPAIR_NAME" in found[1].fix
    assert "ML_INFRA_STATE__BUCKET" in found[2].fix


def test_a_newcomer_is_told_of_the_command_that_writes_them(file: Path) -> None:
    with pytest.raises(SettingsError) as error:
        load(file, shipped())
    last = str(error.value).rpartition("\n\n")[2]
    assert " ".join(last.split()) == (
        "Run `make shell`, then `ops init`: it asks for the required settings and writes them. Continue with "
        "`ops bootstrap` and `ops doctor`."
    )
    assert max(len(line) for line in last.splitlines()) <= 80


def test_who_has_other_mistakes_hears_of_those_alone(file: Path) -> None:
    with pytest.raises(SettingsError) as error:
        load(file, '[deployment]\nregoin = "us-east-1"\n')
    assert "ops init" not in str(error.value)


# --- values


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("deployment.name", '"a1"'),
        ("deployment.name", '"abcdefghij-klmnopqrs"'),
        ("deployment.project", '"team/dcgan.v2"'),
        ("access.deployer_cidrs", '["198.51.100.0/24", "203.0.113.7/32"]'),
        ("access.deployer_cidrs", '["203.0.0.0/16"]'),
        ("access.deployer_cidrs", '["203.0.0.0/16", "203.0.113.7/32"]'),
        ("access.deployer_cidrs", '["11.0.0.1/32", "100.63.255.255/32", "100.128.0.0/32", "172.32.0.0/32"]'),
        ("access.deployer_cidrs", '["192.0.1.0/32", "192.167.0.0/32", "192.169.0.0/32", "223.255.255.255/32"]'),
        ("access.deployer_cidrs", "[" + ", ".join(f'"203.0.113.{n}/32"' for n in range(60)) + "]"),
        ("access.ssh_keypair_name", '"me @ laptop"'),
        ("state.bucket", '"abc"'),
        ("state.bucket", '"my.state-2026"'),
        ("state.prefix", '"teams/ml-core"'),
        ("mlcore.vpc_cidr", '"10.0.0.0/16"'),
        ("mlcore.vpc_cidr", '"172.31.255.0/24"'),
        ("mlcore.vpc_cidr", '"192.168.0.0/20"'),
        ("mlcore.jump_ami", '"ami-0123456789abcdef0"'),
        ("mlcore.jump_ami", '"ami-01234567"'),
        ("mlcore.allow_efs_destroy", "true"),
        ("stats_monitor.grafana_image", '"registry.example.com:5000/team/grafana:13.2.3"'),
        ("stats_monitor.grafana_image", f'"grafana/grafana@sha256:{"0a" * 32}"'),
        ("stats_monitor.grafana_image", f'"grafana/grafana:latest@sha256:{"0a" * 32}"'),
        ("stats_monitor.data_volume.size_gb", "2"),
        ("train_model.instance_type", '"dl1.24xlarge"'),
        ("train_model.instance_type", '"p3.8xlarge"'),
        ("train_model.instance_type", '"t3.large"'),
        ("train_model.instance_type", '"g5.4xlarge"'),
        ("train_model.instance_type", '"p5en.48xlarge"'),
        ("train_model.training_revision", '"v1.2.3"'),
        ("train_model.training_revision", '"feature/faster-loader"'),
        ("train_model.training_revision", '"20261130"'),
        ("train_model.training_revision", '"refs/tags/deadbeef"'),
        ("train_model.training_revision", f'"{"a1" * 32}"'),
        ("train_model.data_volume.restore", '"none"'),
        ("train_model.data_volume.restore", '"snap-0123456789abcdef0"'),
        ("train_model.data_volume.size_gb", "65536"),
        ("train_model.root_volume.throughput_mbps", "750"),
        ("train_model_dev.volume_size_gb", "16384"),
    ],
)
def test_accepted(file: Path, key: str, value: str) -> None:
    section, *rest = key.split(".")
    got: object = getattr(load(file, setting(key, value)), section)
    for name in rest:
        got = getattr(got, name)
    expected = tomllib.loads(f"v = {value}")["v"]
    assert got == (tuple(expected) if isinstance(expected, list) else expected)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("s3://my-data/imgs/", "s3://my-data/imgs"),
        ("s3://my-data/", "s3://my-data"),
        ("s3://my-data", "s3://my-data"),
        ("s3://my-data/year=2026/imgs", "s3://my-data/year=2026/imgs"),
        ("", None),
    ],
)
def test_an_s3_uri_has_no_slash_at_its_end(file: Path, written: str, meant: str | None) -> None:
    assert load(file, setting("train_model.data_s3_uri", f'"{written}"')).train_model.data_s3_uri == meant


REFUSED = [
    # key, value, part of the reason, part of the fix
    ("deployment.name", '"ML"', "2 to 20 lower-case", "like ml-core"),
    ("deployment.name", '"a"', "2 to 20 lower-case", "like ml-core"),
    ("deployment.name", '"abcdefghijklmnopqrstu"', "2 to 20 lower-case", "like ml-core"),
    ("deployment.name", '"a--b"', "single hyphens", "like ml-core"),
    ("deployment.name", '"sg"', "reserves names that start with sg-", "like ml-core"),
    ("deployment.name", '"sg-team"', "reserves names that start with sg-", "like ml-core"),
    ("deployment.name", '"ab-"', "not end with a hyphen", "like ml-core"),
    ("deployment.project", '"a b"', "A tag must have", "msls-dcgan"),
    ("deployment.project", '"aws:x"', "start with aws:", "msls-dcgan"),
    ("deployment.project", '"AWS:cost"', "start with aws:", "msls-dcgan"),
    ("deployment.region", '"us-east1"', 'no region "us-east1"', "Did you mean us-east-1?"),
    ("deployment.region", '"us-gov-west-1"', "other partitions", "Choose a region"),
    ("deployment.max_hourly_usd", "0", "greater than 0, not 0.", "Write it like 6.50"),
    ("deployment.max_hourly_usd", "-1.5", "greater than 0, not -1.5.", "Write it like 6.50"),
    ("deployment.max_hourly_usd", "inf", "greater than 0, not inf.", "for no limit"),
    ("deployment.max_hourly_usd", "nan", "greater than 0, not nan.", "for no limit"),
    ("deployment.max_hourly_usd", "1e308", "1e+308 is outside 0.0001 to 1,000,000", "Write it like 6.50"),
    ("deployment.max_hourly_usd", "1e-300", "1e-300 is outside 0.0001 to 1,000,000", "Write it like 6.50"),
    ("deployment.max_hourly_usd", '"6.50"', "a number without quotes", "Write it like 6.50"),
    ("deployment.max_hourly_usd", "true", "a number without quotes", "Write it like 6.50"),
    ("access.deployer_cidrs", "[]", "The list is empty", "add /32"),
    ("access.deployer_cidrs", '["0.0.0.0/0"]', "the whole internet", "curl"),
    ("access.deployer_cidrs", '["198.50.0.0/15"]', "131,072 addresses", "Write your own address"),
    ("access.deployer_cidrs", '["198.0.0.0/8"]', "16,777,216 addresses", "Write your own address"),
    ("access.deployer_cidrs", '["0.0.0.0/16"]', "0.0.0.0/8 is reserved for hosts without", "that the internet sees"),
    ("access.deployer_cidrs", '["10.1.2.3/32"]', "10.0.0.0/8 is private", "that the internet sees"),
    ("access.deployer_cidrs", '["100.64.0.1/32"]', "100.64.0.0/10 is shared by", "that the internet sees"),
    ("access.deployer_cidrs", '["100.127.255.255/32"]', "CGNAT", "that the internet sees"),
    ("access.deployer_cidrs", '["127.0.0.1/32"]', "127.0.0.0/8 is loopback", "that the internet sees"),
    ("access.deployer_cidrs", '["169.254.169.254/32"]', "169.254.0.0/16 is link-local", "that the internet sees"),
    ("access.deployer_cidrs", '["172.31.0.0/16"]', "172.16.0.0/12 is private", "that the internet sees"),
    ("access.deployer_cidrs", '["192.0.0.8/32"]', "192.0.0.0/24 is reserved", "that the internet sees"),
    ("access.deployer_cidrs", '["192.88.99.1/32"]', "192.88.99.0/24 is reserved", "that the internet sees"),
    ("access.deployer_cidrs", '["192.168.1.0/24"]', "192.168.0.0/16 is private", "that the internet sees"),
    ("access.deployer_cidrs", '["192.168.0.0/16"]', "192.168.0.0/16 is private", "that the internet sees"),
    ("access.deployer_cidrs", '["198.19.0.0/24"]', "198.18.0.0/15 is reserved", "that the internet sees"),
    ("access.deployer_cidrs", '["224.0.0.1/32"]', "224.0.0.0/4 is multicast", "that the internet sees"),
    ("access.deployer_cidrs", '["239.255.255.255/32"]', "224.0.0.0/4 is multicast", "that the internet sees"),
    ("access.deployer_cidrs", '["240.0.0.0/16"]', "240.0.0.0/4 is reserved", "that the internet sees"),
    ("access.deployer_cidrs", '["255.255.255.255/32"]', "240.0.0.0/4 is reserved", "that the internet sees"),
    ("access.deployer_cidrs", '["198.50.0.0/16", "203.0.113.7/32"]', "65,537 addresses in total", "people work from"),
    (
        "access.deployer_cidrs",
        "[" + ", ".join(f'"203.0.113.{n}/32"' for n in range(61)) + "]",
        "has 61 blocks; EC2 allows 60 rules in a security group",
        "into wider ones",
    ),
    ("access.deployer_cidrs", '["203.0.113.7"]', "not a CIDR block", "Did you mean 203.0.113.7/32?"),
    ("access.deployer_cidrs", '["203.0.113.7/24"]', "not the start", "Did you mean 203.0.113.0/24?"),
    ("access.deployer_cidrs", '["::/0"]', "IPv4 only", "203.0.113.7/32"),
    ("access.deployer_cidrs", '["2001:db8::1"]', "IPv4 only", "203.0.113.7/32"),
    ("access.deployer_cidrs", '["my-house"]', '"my-house" is not a CIDR block', "203.0.113.7/32"),
    ("access.deployer_cidrs", '["203.0.113.7/32", "203.0.113.7/32"]', "in the list twice", "Remove one"),
    ("access.deployer_cidrs", '"203.0.113.7/32"', "a list in brackets", 'deployer_cidrs = ["..."'),
    ("access.deployer_cidrs", "[7]", "a string in quotes", "deployer_cidrs"),
    ("access.ssh_keypair_name", '""', "1 to 255 printable", "describe-key-pairs"),
    ("access.ssh_keypair_name", '" key"', "no space at either end", "describe-key-pairs"),
    ("access.ssh_keypair_name", '"key.pem"', "looks like a file name", "describe-key-pairs"),
    ("state.bucket", '""', "3 to 63 characters; this one has 0", "Choose another"),
    ("state.bucket", '"ab"', "3 to 63 characters; this one has 2", "Choose another"),
    ("state.bucket", f'"{"a" * 64}"', "3 to 63 characters; this one has 64", "Choose another"),
    ("state.bucket", '"My_State"', "lower-case letters", "Did you mean my-state?"),
    ("state.bucket", '"-state"', "start and end with a letter or digit", "like my-terraform-state"),
    ("state.bucket", '"my..state"', "not contain two dots", "Did you mean my.state?"),
    ("state.bucket", '"192.168.5.4"', "IP address", "like my-terraform-state"),
    ("state.bucket", '"xn--state"', '"xn--"', "Choose another"),
    ("state.bucket", '"sthree-state"', '"sthree-"', "Choose another"),
    ("state.bucket", '"amzn-s3-demo-state"', '"amzn-s3-demo-"', "Choose another"),
    ("state.bucket", '"state-s3alias"', '"-s3alias"', "Choose another"),
    ("state.bucket", '"state--ol-s3"', '"--ol-s3"', "Choose another"),
    ("state.bucket", '"state.mrap"', '".mrap"', "Choose another"),
    ("state.bucket", '"state--use1-az4--x-s3"', '"--x-s3"', "Choose another"),
    ("state.bucket", '"state--table-s3"', '"--table-s3"', "Choose another"),
    ("state.bucket", '"s3://my-state/x"', "a URI or an ARN", '"my-state"'),
    ("state.bucket", '"arn:aws:s3:::my-state"', "a URI or an ARN", '"my-state"'),
    ("state.prefix", '"/ml"', "starts or ends with a slash", 'Did you mean "ml"?'),
    ("state.prefix", '"ml/"', "starts or ends with a slash", 'Did you mean "ml"?'),
    ("state.prefix", '""', "The prefix is empty", "ml-core"),
    ("state.prefix", f'"{"p" * 1100}"', "1,100 characters", "Shorten it"),
    ("state.prefix", f'"{"p" * 958}"', "S3 allows 957", "a shorter prefix"),
    ("state.prefix", '"a//b"', "two slashes", "single slashes"),
    ("state.prefix", '"a b"', 'must not contain "a b"', "letters, digits"),
    ("state.region", '"ap-east-2"', "S3 backend of Terraform 1.11", "ap-east-1"),
    ("state.region", '"nowhere"', 'no region "nowhere"', "Choose one of"),
    ("state.use_path_style", '"true"', "true or false without quotes", "use_path_style = true"),
    ("mlcore.az", '"us-west-2a"', "a zone of us-west-2, but", "us-east-1a"),
    ("mlcore.az", '"us-east-1g"', 'us-east-1 has no Availability Zone "us-east-1g"', "us-east-1f"),
    ("mlcore.az", '"use1-az1"', "the id of an Availability Zone", "us-east-1a"),
    ("mlcore.vpc_cidr", '"172.0.0.0/20"', "not private address space", "10.20.0.0/20"),
    ("mlcore.vpc_cidr", '"100.64.0.0/20"', "not private address space", "10.20.0.0/20"),
    ("mlcore.vpc_cidr", '"10.0.0.0/15"', "the largest VPC is a /16", "Did you mean 10.0.0.0/16?"),
    ("mlcore.vpc_cidr", '"10.20.30.128/25"', "smaller than a /28", "10.20.30.0/24"),
    ("mlcore.vpc_cidr", '"10.20.0.1/20"', "not the start", "Did you mean 10.20.0.0/20?"),
    ("mlcore.vpc_cidr", '"10.0.0.0/255.255.0.0"', "not in the form ADDRESS/BITS", "Did you mean 10.0.0.0/16?"),
    ("mlcore.vpc_cidr", '"fd00::/56"', "IPv4 only", "10.20.0.0/20"),
    ("mlcore.vpc_cidr", '"ten"', "not a CIDR block", "10.20.0.0/20"),
    ("mlcore.vpc_cidr", '"172.17.0.0/20"', "Docker and SageMaker", "10.20.0.0/20"),
    ("mlcore.jump_instance_type", '"t3.micr"', "has no instance type", "t3."),
    ("mlcore.jump_instance_type", '"g5.xlarge"', "has accelerators", "t3.nano"),
    ("mlcore.jump_ami", '"ubuntu"', "not an AMI id", "ami-0123456789abcdef0"),
    ("mlcore.jump_ami", '"ami-0123456789ABCDEF0"', "not an AMI id", "ami-0123456789abcdef0"),
    ("mlcore.jump_ami", "3", "a string in quotes", "jump_ami"),
    ("mlcore.allow_efs_destroy", "1", "true or false", "allow_efs_destroy = true"),
    ("stats_monitor.instance_type", '"t3.nano"', "0.5 GiB of memory", "t3.small, t3.medium"),
    ("stats_monitor.instance_type", '"p3.2xlarge"', "1 x V100", "t3.medium"),
    ("stats_monitor.grafana_image", '"grafana/grafana"', "neither a tag nor a digest", "grafana/grafana:13.2.3"),
    ("stats_monitor.grafana_image", '"host:5000/grafana"', "neither a tag nor a digest", "host:5000/grafana:13.2.3"),
    ("stats_monitor.grafana_image", '"grafana/grafana:latest"', "can change at any time", "grafana/grafana:13.2.3"),
    ("stats_monitor.grafana_image", '"grafana grafana:1"', "not a container image", "grafana/grafana:13.2.3"),
    ("stats_monitor.tensorboard_version", '"2.20"', "in three numbers", "like 2.20.0"),
    ("stats_monitor.tensorboard_version", "2.20", "a string in quotes", "tensorboard_version"),
    ("stats_monitor.root_volume.size_gb", "0", "outside 1 to 65,536", "The nearest allowed value is 1."),
    ("stats_monitor.root_volume.size_gb", '"10"', "a whole number without quotes", "size_gb = 10"),
    ("stats_monitor.root_volume.size_gb", "10.0", "a whole number", "size_gb = 10"),
    ("stats_monitor.data_volume.size_gb", "1", "1 GiB fills up", "The minimum is 2."),
    ("stats_monitor.data_volume.size_gb", "0", "outside 1 to 65,536", "The nearest allowed value is 1."),
    ("stats_monitor.root_volume", "10", "a section, not a value", "[stats_monitor.root_volume]"),
    ("train_model.instance_type", '"dl.24xlarge"', 'has no instance type "dl.24xlarge"', "Did you mean dl1.24xlarge?"),
    ("train_model.instance_type", '"p5e.48xlarge"', "a real type that is not in the table", "p5.48xlarge ($55.04"),
    ("train_model.training_repository", '"http://github.com/a/b"', "not https", "https://github.com/a/b"),
    (
        "train_model.training_repository",
        '"git@github.com:a/b"',
        "not the https URL of a repository",
        "https://github.com/",
    ),
    (
        "train_model.training_repository",
        '"https://github.com/a b"',
        "not the https URL of a repository",
        "https://github.com/",
    ),
    (
        "train_model.training_repository",
        '"https://github.com"',
        "not the https URL of a repository",
        "https://github.com/",
    ),
    (
        "train_model.training_repository",
        '"https://github.com/a/b\'"',
        "not the https URL of a repository",
        "https://github.com/",
    ),
    ("train_model.training_revision", '"a b"', "not a commit id", "rev-parse"),
    ("train_model.training_revision", '"$(id)"', "not a commit id", "rev-parse"),
    ("train_model.training_revision", '"--upload-pack=x"', "not a commit id", "rev-parse"),
    ("train_model.training_revision", '"a..b"', "not a commit id", "rev-parse"),
    ("train_model.training_revision", '""', "not a commit id", "rev-parse"),
    ("train_model.training_revision", '"0ca5ec3"', "a part of a commit id (7 of 40", "git rev-parse 0ca5ec3"),
    ("train_model.training_revision", f'"{"a" * 39}"', "a part of a commit id (39 of 40", "refs/tags/aaaa"),
    ("train_model.training_revision", f'"{"A" * 41}"', "a part of a commit id (41 of 40", "refs/heads/AAAA"),
    ("train_model.data_s3_uri", '"my-data/imgs"', "not an S3 URI", "s3://my-bucket/imgs"),
    (
        "train_model.data_s3_uri",
        f'"s3://my-data/{"p" * 257}"',
        "has 257 characters; user data has room for 256",
        "shorter prefix",
    ),
    (
        "train_model.training_repository",
        f'"https://github.com/{"r" * 238}"',
        "has 257 characters; user data has room for 256",
        "a shorter URL",
    ),
    ("train_model.data_s3_uri", '"s3:///imgs"', "does not contain a bucket name", "s3://my-bucket/imgs"),
    ("train_model.data_s3_uri", '"s3://My/imgs"', "3 to 63 characters", "Choose another"),
    ("train_model.data_s3_uri", '"s3://my-data/a*"', 'must not contain "a*"', "letters, digits"),
    ("train_model.data_s3_uri", '"s3://my-data//imgs"', "two slashes", "single slashes"),
    (
        "mlcore.restored_folder",
        '"/aws-backup-restore_x/../ml"',
        "not the name of a folder that AWS Backup creates",
        "only the name",
    ),
    ("train_model.data_s3_kms_key_arn", '"alias/pics"', "an alias", "aws kms describe-key"),
    ("train_model_dev.output_s3_kms_key_arn", '"1234abcd-12ab-44cd-86ef-1234567890ab"', "not the ARN", "arn:aws:kms:"),
    ("train_model.output_s3_uri", '"s3://my-data/"', "the whole bucket", "s3://my-data/trained-model"),
    ("train_model.root_volume.iops", "2999", "outside 3,000 to 80,000", "The nearest allowed value is 3000."),
    ("train_model.root_volume.iops", "80001", "outside 3,000 to 80,000", "The nearest allowed value is 80000."),
    ("train_model.root_volume.iops", "65001", "500 IOPS per GiB", "iops = 65000, or size_gb = 131 or more"),
    ("train_model.root_volume.throughput_mbps", "124", "outside 125 to 1,000", "The nearest allowed value is 125."),
    ("train_model.root_volume.throughput_mbps", "1001", "hashicorp/aws 5.100.0", "The maximum is 1000."),
    ("train_model.root_volume.throughput_mbps", "751", "0.25 MiB/s per IOPS", "= 750, or iops = 3004 or more"),
    ("train_model.data_volume.size_gb", "65537", "outside 1 to 65,536", "The nearest allowed value is 65536."),
    (
        "train_model.data_volume.restore",
        '"newest"',
        'is not "latest", "none" or a snapshot id',
        "snap-0123456789abcdef0",
    ),
    (
        "train_model.data_volume.restore",
        '"snap-xyz"',
        'is not "latest", "none" or a snapshot id',
        "snap-0123456789abcdef0",
    ),
    (
        "train_model_dev.instance_type",
        '"ml.p3.2xlarge"',
        "Linux 2023 notebooks do not support ml.p3.2xlarge",
        "ml.g5.2xlarge",
    ),
    ("train_model_dev.instance_type", '"ml.t4.medium"', "does not know", "Did you mean ml.t3.medium?"),
    ("train_model_dev.volume_size_gb", "4", "outside 5 to 16,384", "The nearest allowed value is 5."),
    ("train_model_dev.output_s3_uri", '"s3://my-data"', "the whole bucket", "s3://my-data/trained-model"),
]


@pytest.mark.parametrize(("key", "value", "reason", "fix"), REFUSED)
def test_refused(file: Path, key: str, value: str, reason: str, fix: str) -> None:
    found = problem(file, setting(key, value))
    assert found.key == key
    assert found.source == str(file)
    assert reason in found.reason
    assert fix in found.fix
    assert found.value is not None


def test_the_same_zone_twice(file: Path) -> None:
    found = problem(file, f'{REQUIRED}\n[mlcore]\naz = "us-east-1c"\naz_2 = "us-east-1c"')
    assert (found.key, found.value) == ("mlcore.az_2", '"us-east-1c"')
    assert "both us-east-1c" in found.reason
    assert found.fix == (
        "Choose another zone for az_2: us-east-1a, us-east-1b, us-east-1d, us-east-1e, us-east-1f. Or set az too."
    )


def test_az_does_not_follow_from_az_2(file: Path) -> None:
    """Another az is another file system: it never moves because of another key."""
    found = problem(file, f'{REQUIRED}\n[mlcore]\naz_2 = "us-east-1a"')
    assert (found.key, found.value) == ("mlcore.az_2", '"us-east-1a"')
    assert found.reason.startswith("az and az_2 are both us-east-1a")
    assert found.fix.endswith("Or set az too.")


def test_a_default_that_is_wrong_beside_a_given_value_is_called_so(file: Path) -> None:
    found = problem(file, setting("train_model.data_volume.size_gb", "10"))
    assert (found.key, found.value) == ("train_model.data_volume.iops", "8000 (the default)")
    assert found.fix == "Set iops = 5000, or size_gb = 16 or more."


def test_a_region_that_follows_from_another_is_called_so(file: Path) -> None:
    found = problem(file, setting("deployment.region", '"ap-east-2"'))
    assert (found.key, found.value) == ("state.region", '"ap-east-2" (the default)')


def test_an_unknown_region_is_one_problem_not_four(file: Path) -> None:
    assert problem(file, setting("deployment.region", '"us-eest-1"')).key == "deployment.region"


def test_credentials_in_a_url_are_not_repeated(file: Path) -> None:
    with pytest.raises(SettingsError) as error:
        load(file, setting("train_model.training_repository", '"https://me:tok3n@github.com/a/b"'))
    assert "tok3n" not in str(error.value)
    assert error.value.problems[0].value == '"https://***@github.com/a/b"'
    assert "credentials" in error.value.problems[0].reason


def test_credentials_in_a_malformed_file_are_not_repeated(file: Path) -> None:
    with pytest.raises(SettingsError) as error:
        load(file, "[train_model]\ntraining_repository = https://me:tok3n@github.com/a/b")
    assert "tok3n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "key", "reason", "fix"),
    [
        ("[mlcor]\nx = 1", "mlcor", "no such section at the top of the file", "Did you mean mlcore?"),
        ('region = "x"', "region", "no such section", "Did you mean deployment.region or state.region?"),
        ("[zzz]", "zzz", "no such section", "Remove it. Known names: deployment, access, state"),
        ("[mlcore]\nvpc_cdir = 1", "mlcore.vpc_cdir", "no such key in [mlcore]", "Did you mean vpc_cidr?"),
        ("[train_model]\naz = 1", "train_model.az", "no such key in [train_model]", "Did you mean mlcore.az?"),
        (
            "[train_model.data_volume]\nsize = 1",
            "train_model.data_volume.size",
            "no such key in [train_model.data_volume]",
            "Did you mean size_gb?",
        ),
    ],
)
def test_unknown_keys_and_sections(file: Path, text: str, key: str, reason: str, fix: str) -> None:
    found = problem(file, f"{text}\n{REQUIRED}")
    assert found.key == key
    assert reason in found.reason
    assert found.fix.startswith(fix)


# --- the environment


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("mlcore.az", "us-east-1c", "us-east-1c"),
        ("mlcore.az", '"us-east-1c"', "us-east-1c"),
        ("mlcore.allow_efs_destroy", "true", True),
        ("access.deployer_cidrs", '["198.51.100.1/32"]', ("198.51.100.1/32",)),
        ("access.deployer_cidrs", "198.51.100.1/32, 198.51.100.2/32", ("198.51.100.1/32", "198.51.100.2/32")),
        ("access.ssh_keypair_name", "2026", "2026"),
        ("access.ssh_keypair_name", "true", "true"),
        ("stats_monitor.tensorboard_version", "2.20.1", "2.20.1"),
        ("train_model.data_volume.size_gb", "200", 200),
        ("train_model.ami", "", None),
        ("train_model_dev.volume_size_gb", "40", 40),
    ],
)
def test_the_environment_overrides_the_file(file: Path, key: str, text: str, expected: object) -> None:
    given = f'{REQUIRED}\n[mlcore]\naz = "us-east-1f"\n[train_model]\nami = "ami-01234567"'
    settings = load(file, given, {"ML_INFRA_" + key.replace(".", "__").upper(): text, "PATH": "/bin"})
    got: object = settings
    for name in key.split("."):
        got = getattr(got, name)
    assert got == expected


@pytest.mark.parametrize(
    ("variable", "text", "reason"),
    [
        ("ML_INFRA_TRAIN_MODEL__DATA_VOLUME__SIZE_GB", "big", "a whole number"),
        ("ML_INFRA_STATE__USE_PATH_STYLE", "yes", "true or false"),
        ("ML_INFRA_ACCESS__DEPLOYER_CIDRS", "", "The list is empty"),
        ("ML_INFRA_ACCESS__DEPLOYER_CIDRS", "0.0.0.0/0", "the whole internet"),
        ("ML_INFRA_STATE__BUCKET", "x\nkey = 1", "unprintable characters: \\n"),
    ],
)
def test_a_problem_in_the_environment_names_the_variable(file: Path, variable: str, text: str, reason: str) -> None:
    found = problem(file, REQUIRED, {variable: text})
    assert found.source == f"the environment variable {variable}"
    assert reason in found.reason


@pytest.mark.parametrize(
    ("variable", "fix"),
    [
        ("ML_INFRA_STATE_BUCKET", "Did you mean ML_INFRA_STATE__BUCKET?"),
        ("ML_INFRA_TRAIN_MODEL__INSTANCETYPE", "Did you mean ML_INFRA_TRAIN_MODEL__INSTANCE_TYPE?"),
        ("ML_INFRA_SETTING", "Did you mean ML_INFRA_SETTINGS?"),
        ("ML_INFRA_Q", "Unset it, or write it like ML_INFRA_STATE__BUCKET"),
    ],
)
def test_unknown_variables(file: Path, variable: str, fix: str) -> None:
    found = problem(file, REQUIRED, {variable: "x"})
    assert (found.source, found.value) == (f"the environment variable {variable}", '"x"')
    assert found.fix.startswith(fix)


def test_variables_of_the_project_that_are_no_settings_are_let_be(file: Path) -> None:
    environ = {"ML_INFRA_SETTINGS": "elsewhere.toml", "ML_INFRA_PLAIN_IMPORT": "1", "ML_INFRA_PROVIDER_MIRROR": "x"}
    assert load(file, REQUIRED, environ).deployment.name == "ml-core"


def test_every_other_variable_that_the_code_reads_is_let_be() -> None:
    read = {
        name
        for folder in ("constructs_lib", "embedded_aws", "modules_equiv", "ops", "tools")
        for source in (ROOT / folder).rglob("*.py")
        if "boot" not in source.parts  # those run on the machines, where nobody reads settings
        for name in re.findall(r"""["'](ML_INFRA_[A-Z_]+[A-Z])["']""", source.read_text(encoding="utf-8"))
    }
    settings = {"ML_INFRA_" + "__".join(keys).upper() for keys in keys_of(Settings)}
    assert "ML_INFRA_SETTINGS" in read
    assert read - settings <= OTHER_VARIABLES


def test_the_environment_alone_is_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("modules_equiv.settings.file.DEFAULT_PATH", tmp_path / "settings.toml")
    assert load_settings(environ=REQUIRED_ENVIRON).model_dump() == DEFAULTS


def test_without_file_and_environment_the_required_keys_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("modules_equiv.settings.file.DEFAULT_PATH", tmp_path / "settings.toml")
    with pytest.raises(SettingsError) as error:
        load_settings(environ={})
    assert [p.key for p in error.value.problems] == ["access.deployer_cidrs", "access.ssh_keypair_name", "state.bucket"]


# --- the file


def test_the_environment_can_name_the_file(tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text(f'{REQUIRED}\n[deployment]\nname = "other"', encoding="utf-8")
    assert load_settings(environ={"ML_INFRA_SETTINGS": str(other)}).deployment.name == "other"


def test_a_named_file_must_be_there(tmp_path: Path) -> None:
    missing = tmp_path / "missing.toml"
    with pytest.raises(SettingsError) as error:
        load_settings(environ={"ML_INFRA_SETTINGS": str(missing), **REQUIRED_ENVIRON})
    (found,) = error.value.problems
    assert found.source == f"{missing}, named by ML_INFRA_SETTINGS"
    assert found.reason == "The file does not exist."


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot be read: Is a directory"):
        load_settings(tmp_path, {})


def test_malformed_toml_says_where(file: Path) -> None:
    found = problem(file, '[deployment]\nname = "x"\nregion = us-east-1\n')
    assert (found.source, found.key) == (str(file), None)
    assert "line 3, column 10" in found.reason
    assert found.value == "line 3: region = us-east-1"
    assert "Write strings in quotes" in found.fix


def test_malformed_toml_at_the_end_of_the_file(file: Path) -> None:
    found = problem(file, "[access]\ndeployer_cidrs = [")
    assert "This is not TOML" in found.reason
    assert found.value == "line 2: deployer_cidrs = ["


def test_malformed_toml_does_not_hide_an_unknown_variable(file: Path) -> None:
    found = problems(file, "[", {"ML_INFRA_STATE_BUCKET": "x"})
    assert [p.source for p in found] == [str(file), "the environment variable ML_INFRA_STATE_BUCKET"]


def test_bytes_that_are_not_utf8_say_where(file: Path) -> None:
    file.write_bytes(b'[deployment]\n# caf\xe9\nname = "x"\n')
    with pytest.raises(SettingsError, match="not UTF-8: line 2"):
        load_settings(file, {})


def test_a_byte_order_mark_and_windows_line_ends_are_fine(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + REQUIRED.replace("\n", "\r\n").encode())
    assert load_settings(file, {}).state.bucket == "my-terraform-state"


# --- the message

SIX = """
[deployment]
regoin = "us-east-1"
[access]
deployer_cidrs = ["0.0.0.0/0"]
ssh_keypair_name = "my-key"
[mlcore]
az = "us-west-2a"
[train_model]
instance_type = "dl.24xlarge"
"""


def test_all_problems_at_once_as_a_person_reads_them(
    file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError) as error:
        load(file, SIX, {"ML_INFRA_TRAIN_MODEL_DEV__INSTANCE_TYPE": "ml.p3.2xlarge"})
    assert (
        str(error.value)
        == """\
The settings have 6 problems. Nothing was synthesized or changed.

1. deployment.regoin
   from     settings.toml
   value    "us-east-1"
   problem  There is no such key in [deployment].
   fix      Did you mean region?

2. access.deployer_cidrs
   from     settings.toml
   value    "0.0.0.0/0"
   problem  0.0.0.0/0 opens SSH to the whole internet.
   fix      Write your own address, like 203.0.113.7/32 (your public address:
            curl https://checkip.amazonaws.com).

3. state.bucket
   from     settings.toml
   problem  This setting is required but not set.
   fix      Under [state], write bucket = "my-terraform-state", your S3 bucket
            with versioning turned on. Or set ML_INFRA_STATE__BUCKET.

4. mlcore.az
   from     settings.toml
   value    "us-west-2a"
   problem  us-west-2a is a zone of us-west-2, but the region is us-east-1.
   fix      Choose one of us-east-1a, us-east-1b, us-east-1c, us-east-1d,
            us-east-1e, us-east-1f, or set deployment.region = "us-west-2".

5. train_model.instance_type
   from     settings.toml
   value    "dl.24xlarge"
   problem  The table in constructs_lib/instance_types.py has no instance type
            "dl.24xlarge".
   fix      Did you mean dl1.24xlarge? It costs $13.109 an hour.

6. train_model_dev.instance_type
   from     the environment variable ML_INFRA_TRAIN_MODEL_DEV__INSTANCE_TYPE
   value    "ml.p3.2xlarge"
   problem  Amazon Linux 2023 notebooks do not support ml.p3.2xlarge, and
            SageMaker creates no other notebooks.
   fix      Did you mean ml.g5.2xlarge?"""
    )


def test_the_message_fits_80_columns(file: Path) -> None:
    text = "\n".join(
        [
            "[deployment]\nregion = 'cn-north-1'\nname = '" + "long " * 60 + "'",
            "[mlcore]\nvpc_cidr = '172.0.0.0/20'\njump_instance_type = 'g5.xlarge'",
            "[train_model]\ninstance_type = '?'\noutput_s3_uri = 's3://my-data'",
            "[train_model.data_volume]\nsize_gb = 1\nrestore = 'x'",
        ]
    )
    with pytest.raises(SettingsError) as error:
        load(file, text, {"ML_INFRA_ACCESS__DEPLOYER_CIDRS": "::/0", "ML_INFRA_STATS_MONITOR__ROOT_VOLUME__IOPS": "1"})
    # The path of the test's file is as long as it is.
    lines = [line for line in str(error.value).splitlines() if str(file) not in line]
    assert len(error.value.problems) >= 9
    assert max(len(line) for line in lines) <= 80


# --- speed


def test_settings_need_no_cdktf() -> None:
    code = "import sys, modules_equiv.settings; print([m for m in ('cdktf', 'jsii', 'constructs') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("section", ["train_model", "train_model_dev"])
@pytest.mark.parametrize("prefix", ["team", "ml-core", "ml-core/ada", "elsewhere"])
@pytest.mark.parametrize(
    ("key", "could"), [("data_s3_uri", "read Terraform's"), ("output_s3_uri", "overwrite Terraform's")]
)
def test_no_machine_gets_at_the_bucket_of_the_states(
    file: Path, section: str, prefix: str, key: str, could: str
) -> None:
    uri = f"s3://my-terraform-state/{prefix}"
    found = problem(file, f"{REQUIRED}[{section}]\n{key} = '{uri}'\n")

    assert found.key == f"{section}.{key}"
    assert found.value == f'"{uri}"'
    assert f"my-terraform-state is also state.bucket, so the machine could {could} states" in found.reason


def test_the_whole_bucket_of_the_states_is_no_data(file: Path) -> None:
    found = problem(file, REQUIRED, {"ML_INFRA_TRAIN_MODEL__DATA_S3_URI": "s3://my-terraform-state"})

    assert found.source == "the environment variable ML_INFRA_TRAIN_MODEL__DATA_S3_URI"
    assert found.fix == "Read from another bucket, like s3://my-terraform-state-data/imgs."


@pytest.mark.parametrize("uri", ["s3://my-terraform-state-2/out", "s3://my-terraform-stat/out", "s3://other/ml-core"])
def test_another_bucket_is_fine(file: Path, uri: str) -> None:
    loaded = load(file, f"{REQUIRED}[train_model]\noutput_s3_uri = '{uri}'\ndata_s3_uri = '{uri}'\n")

    assert (loaded.train_model.output_s3_uri, loaded.train_model.data_s3_uri) == (uri, uri)


def test_the_longest_prefix_makes_the_longest_key(file: Path) -> None:
    """S3's own limit: 1024 bytes, with the lock of the stack with the longest name in a region with the longest."""
    longest = "/".join(["p" * 478] * 2)
    text = f'{REQUIRED}prefix = "{longest}"\n[deployment]\nname = "{"n" * 20}"\nregion = "ap-northeast-1"\n'
    key = load(file, text).stack_deployment().state_key("train-model-dev")

    assert len(f"{key}.tflock") == 1024
    assert "S3 allows 957" in problem(file, text.replace("pp/", "ppp/")).reason
