"""The settings of a deployment: settings.toml, overridden by ML_INFRA_<SECTION>__<KEY> in the environment.

Everything that can be wrong is refused here, all at once, before anything is synthesized.
"""

import json
import os
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final, Self, get_args, get_origin

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from constructs_lib import checks, cidr_checks, regions, toml_text
from constructs_lib.deployment import Deployment
from constructs_lib.refused import RefusedError, nearest, printable
from constructs_lib.settings_model import SettingsModel, Unset
from modules_equiv.mlcore.config import MlCoreConfig
from modules_equiv.stats_monitor.config import StatsMonitorConfig
from modules_equiv.train_model.config import TrainModelConfig
from modules_equiv.train_model_dev.config import TrainModelDevConfig

DEFAULT_PATH: Final = Path(__file__).resolve().parent.parent / "settings.toml"
PREFIX: Final = "ML_INFRA_"
PATH_VARIABLE: Final = "ML_INFRA_SETTINGS"
# Variables of this project that are no settings: the file's name, and what the boot tests, lazy_provider.py and
# ops/core/terraform.py read.
OTHER_VARIABLES: Final = frozenset(
    {PATH_VARIABLE, "ML_INFRA_BOOT_BASE", "ML_INFRA_PLAIN_IMPORT", "ML_INFRA_PROVIDER_MIRROR"}
)

_WIDTH: Final = 80
_LARGEST_FILE: Final = 1_000_000  # bytes; settings.toml, which explains every key, has 8,000


class DeploymentConfig(SettingsModel):
    """Whose machines these are, where, and at what price. `name` begins the AWS name of everything, `project` is a tag.

    max_hourly_usd: the most that any one stack may cost an hour, in US dollars; None for no limit.
    """

    name: Annotated[str, AfterValidator(checks.deployment_name)] = "ml-core"
    project: Annotated[str, AfterValidator(checks.tag_value)] = "msls-dcgan"
    region: Annotated[str, AfterValidator(regions.deployment_region)] = "us-east-1"
    max_hourly_usd: Annotated[Annotated[Decimal, BeforeValidator(checks.hourly_limit)] | None, Unset] = None


class AccessConfig(SettingsModel):
    """Who gets in: the IPv4 blocks that may reach the jump host, and the EC2 key pair of every machine."""

    # Not strict, since TOML has lists and a frozen model wants a tuple; the items stay strict.
    deployer_cidrs: Annotated[
        tuple[Annotated[str, AfterValidator(cidr_checks.deployer_cidr)], ...],
        Field(strict=False),
        AfterValidator(cidr_checks.deployer_cidrs),
    ]
    ssh_keypair_name: Annotated[str, AfterValidator(checks.key_pair_name)]


class StateConfig(SettingsModel):
    """Where Terraform's state is: an S3 bucket that exists. use_path_style: for S3-like servers only.

    kms_key_arn: for buckets that take only what names its key; None for the bucket's own encryption.
    """

    bucket: Annotated[str, AfterValidator(checks.bucket_name)]
    prefix: Annotated[str, AfterValidator(checks.state_prefix)] = "ml-core"
    region: Annotated[str, AfterValidator(regions.state_region)]
    use_path_style: bool = False
    kms_key_arn: Annotated[Annotated[str, AfterValidator(checks.kms_key_arn)] | None, Unset] = None


class Settings(SettingsModel):
    """All settings, checked. `load_settings` makes them and fills in what follows from the region."""

    deployment: DeploymentConfig
    access: AccessConfig
    state: StateConfig
    mlcore: MlCoreConfig
    stats_monitor: StatsMonitorConfig
    train_model: TrainModelConfig
    train_model_dev: TrainModelDevConfig

    def stack_deployment(self) -> Deployment:
        """The part that every stack shares."""
        return Deployment(
            name=self.deployment.name,
            project=self.deployment.project,
            region=self.deployment.region,
            state_bucket=self.state.bucket,
            state_prefix=self.state.prefix,
            state_region=self.state.region,
            state_use_path_style=self.state.use_path_style,
            state_kms_key_arn=self.state.kms_key_arn,
        )


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One refused value, every part of it safe to print.

    source: the file or environment variable; key: dotted, None when the source itself is bad.
    """

    source: str
    key: str | None
    value: str | None
    reason: str
    way_out: str

    def __post_init__(self) -> None:
        # Whatever a file, its name or a variable holds: a terminal must not obey it.
        for name, text in vars(self).items():
            if text is not None:
                object.__setattr__(self, name, printable(text))

    def __str__(self) -> str:
        rows = [
            ("from", self.source if self.key else None),
            ("value", self.value),
            ("problem", self.reason),
            ("way out", self.way_out),
        ]
        body = [_wrapped(f"{label:<9}", text) for label, text in rows if text is not None]
        return "\n".join([self.key or self.source, *body])


_NOT_SET: Final = "It is required and not set."
_FIRST_STEP: Final = (
    "`ops init` asks for what is required and writes it; `ops bootstrap` and `ops doctor` come next. `make shell` "
    "opens a shell that has them."
)


class SettingsError(Exception):
    """The settings cannot be used. str() is the whole message, 80 columns wide; `problems` has its parts."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        parts = [f"{n}. {problem}" for n, problem in enumerate(self.problems, 1)]
        if all(problem.reason == _NOT_SET for problem in self.problems):
            parts.append(textwrap.fill(_FIRST_STEP, _WIDTH))
        super().__init__("\n\n".join([f"The settings have {count}. Nothing was synthesized or changed.", *parts]))


def load_settings(path: Path | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings from `path`, else the file that ML_INFRA_SETTINGS names, else settings.toml if it is there.

    Environment variables override the file. Raises SettingsError with every problem found.
    """
    source = _Source.find(path, environ)
    overrides, problems = _overrides(environ)
    try:
        given = source.read()
    except _UnreadableError as unreadable:
        raise SettingsError([unreadable.problem, *problems]) from None
    for override in overrides:
        override.apply(given)
    region = _region(given)
    try:
        settings = Settings.model_validate(_completed(given, region), context={"region": region})
    except ValidationError as error:
        variables = {override.keys: override.variable for override in overrides}
        found = [_problem(detail, given, source, variables) for detail in error.errors(include_url=False)]
        raise SettingsError([*found, *problems]) from None
    problems += _beside_states(settings, source, {override.keys: override.variable for override in overrides})
    if problems:
        raise SettingsError(problems)
    return settings


# What a machine with a role of its own may read, or write, and what it could do to the states in their bucket. A prefix
# of its own does not help: which prefixes hold the states of other deployments is not known here.
_BUCKETS: Final = {
    "data_s3_uri": ("read", "read Terraform's states", "Read from another bucket, like s3://{bucket}-data/imgs."),
    "output_s3_uri": (
        "write to",
        "overwrite Terraform's states",
        "Write to another bucket, like s3://{bucket}-out/runs.",
    ),
}


def _beside_states(settings: Settings, source: "_Source", variables: Mapping["Keys", str]) -> list["Problem"]:
    """The machines' own buckets are not the states', which are the way to everything there is."""
    problems = []
    for section in ("train_model", "train_model_dev"):
        for key, (may, could, way_out) in _BUCKETS.items():
            uri, bucket = getattr(getattr(settings, section), key), settings.state.bucket
            if uri is None or uri.split("/")[2] != bucket:
                continue
            variable = variables.get((section, key))
            problems.append(
                Problem(
                    source=f"the environment variable {variable}" if variable else source.label,
                    key=f"{section}.{key}",
                    value=_shown(uri),
                    reason=f"The machine may {may} it, and {bucket} is state.bucket: it could {could}.",
                    way_out=way_out.format(bucket=bucket),
                )
            )
    return problems


_DEFAULT_REGION: Final[str] = DeploymentConfig.model_fields["region"].default


def _region(given: dict[str, Any]) -> regions.Region | None:
    """The deployment's region, or None when that is refused."""
    deployment = given.get("deployment", {})
    name = deployment.get("region", _DEFAULT_REGION) if isinstance(deployment, dict) else None
    return regions.REGIONS.get(name) if isinstance(name, str) else None


def _completed(given: dict[str, Any], region: regions.Region | None) -> dict[str, Any]:
    """`given` with every section, and what follows from the region where it is not set: state.region and the zones."""
    data = {**{section: {} for section in Settings.model_fields}, **given}
    # With a region that is refused, these are only there so that nothing else is refused in its place.
    region = region or regions.REGIONS[_DEFAULT_REGION]
    state, mlcore = data["state"], data["mlcore"]
    if isinstance(state, dict) and state.get("region", "") == "":
        data["state"] = {**state, "region": region.name}
    if isinstance(mlcore, dict):
        # az does not follow from az_2: another az is another file system.
        az = _given(mlcore, "az", region.zones[0])
        az_2 = _given(mlcore, "az_2", next(zone for zone in region.zones if zone != az))
        data["mlcore"] = {**mlcore, "az": az, "az_2": az_2}
    return data


def _given(table: dict[str, Any], key: str, default: str) -> object:
    return default if table.get(key, "") == "" else table[key]


# --- the file


def named_path(environ: Mapping[str, str]) -> Path | None:
    """The file that ML_INFRA_SETTINGS names, if it names one. Raises SettingsError for a ~ that leads nowhere."""
    if not (named := environ.get(PATH_VARIABLE)):
        return None
    try:
        return Path(named).expanduser()
    except RuntimeError:
        user = named.split("/")[0]
        raise SettingsError(
            [
                Problem(
                    source=f"the environment variable {PATH_VARIABLE}",
                    key=None,
                    value=_shown(named),
                    reason=f"{user} is nobody's home folder here.",
                    way_out="Write the path of the file as it is, like /home/me/settings.toml.",
                )
            ]
        ) from None


class _UnreadableError(Exception):
    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


@dataclass(frozen=True)
class _Source:
    """The settings file, which need not exist when nobody named it."""

    path: Path
    named_by: str | None
    optional: bool

    @classmethod
    def find(cls, path: Path | None, environ: Mapping[str, str]) -> Self:
        if path is not None:
            return cls(path, None, optional=False)
        if (named := named_path(environ)) is not None:
            return cls(named, PATH_VARIABLE, optional=False)
        return cls(DEFAULT_PATH, None, optional=True)

    @property
    def label(self) -> str:
        """The path as a person in the current folder would type it."""
        try:
            current = Path.cwd()
        except OSError:  # it was deleted
            return str(self.path)
        return str(self.path.relative_to(current)) if self.path.is_relative_to(current) else str(self.path)

    def read(self) -> dict[str, Any]:
        try:
            with self.path.open("rb") as file:
                raw = file.read(_LARGEST_FILE + 1)
        except FileNotFoundError:
            if self.optional:
                return {}
            raise self._unreadable("There is no such file.", "Create it, or name another one.") from None
        except (OSError, ValueError) as error:
            reason = f"The file cannot be read: {getattr(error, 'strerror', None) or error}."
            raise self._unreadable(reason, "Make it a file that you may read.") from None
        if len(raw) > _LARGEST_FILE:
            reason = f"The file is larger than {_LARGEST_FILE:,} bytes, which no settings are."
            raise self._unreadable(reason, "Name the file with the settings.")
        try:
            # Some editors begin a file with a byte order mark, which TOML does not know.
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            reason = f"The file is not UTF-8: line {line} has a byte that is not text."
            raise self._unreadable(reason, "Save the file as UTF-8.") from None
        try:
            return toml_text.parsed(text)
        except toml_text.TomlError as error:
            lines, line = text.split("\n"), error.line or 0
            raise self._unreadable(
                str(error),
                'Strings stand in quotes (name = "x"), lists in brackets (["a", "b"]), and each key occurs once.',
                value=_cut(_masked(f"line {line}: {lines[line - 1].strip()}")) if 0 < line <= len(lines) else None,
            ) from None

    def _unreadable(self, reason: str, way_out: str, value: str | None = None) -> _UnreadableError:
        source = f"{self.label}, named by {self.named_by}" if self.named_by else self.label
        return _UnreadableError(Problem(source=source, key=None, value=value, reason=reason, way_out=way_out))


# --- the environment

Keys = tuple[str, ...]


def _leaves(model: type[SettingsModel] = Settings, above: Keys = ()) -> Iterator[tuple[Keys, FieldInfo]]:
    """Every key that is a value, with its keys from the top."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, SettingsModel):
            yield from _leaves(field.annotation, (*above, name))
        else:
            yield (*above, name), field


def _variable(keys: Keys) -> str:
    return PREFIX + "__".join(keys).upper()


@dataclass(frozen=True)
class _Override:
    """One environment variable that sets one key."""

    variable: str
    keys: Keys
    value: object

    def apply(self, given: dict[str, Any]) -> None:
        table: Any = given
        for key in self.keys[:-1]:
            table = table.setdefault(key, {})
            if not isinstance(table, dict):
                # The file has a value where a table belongs, and that is refused there.
                return
        table[self.keys[-1]] = self.value


def _overrides(environ: Mapping[str, str]) -> tuple[list[_Override], list[Problem]]:
    known = {_variable(keys): (keys, field) for keys, field in _leaves()}
    overrides: list[_Override] = []
    problems: list[Problem] = []
    for variable, text in sorted(environ.items()):
        if not variable.startswith(PREFIX) or variable in OTHER_VARIABLES:
            continue
        if variable in known:
            keys, field = known[variable]
            overrides.append(_Override(variable, keys, _parsed(text, field)))
            continue
        # Without the prefix, which would make every name look near.
        names = [name.removeprefix(PREFIX).lower() for name in (*known, *OTHER_VARIABLES)]
        match = nearest(variable.removeprefix(PREFIX), names)
        example = f"{PREFIX}STATE__BUCKET, with two underscores between the section and the key"
        problems.append(
            Problem(
                source=f"the environment variable {variable}",
                key=None,
                value=_shown(text),
                reason=f"No setting belongs to this name, and {PREFIX} is for settings.",
                way_out=f"Did you mean {PREFIX}{match.upper()}?" if match else f"Unset it, or write it like {example}.",
            )
        )
    return overrides, problems


def _parsed(text: str, field: FieldInfo) -> object:
    """The value of an environment variable: TOML, else the text itself; items of a list may be separated by commas."""
    try:
        table = toml_text.parsed(f"value = {text}")
    except toml_text.TomlError:
        table = {}
    value = table["value"] if table.keys() == {"value"} else text
    if get_origin(field.annotation) is tuple:
        return [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value
    if field.annotation is str or str in get_args(field.annotation):
        # A bucket may be called 2024: what needs no quotes in the shell is a string all the same.
        return value if isinstance(value, str) else text
    return value


# --- the message


def _wrapped(label: str, text: str) -> str:
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent=f"   {label}",
        subsequent_indent=" " * (3 + len(label)),
        break_on_hyphens=False,
        break_long_words=False,
    )


def _shown(value: object) -> str:
    """A value as TOML would have it, shortened, without credentials."""
    return _cut(_masked(json.dumps(value, ensure_ascii=False, default=str)))


def _cut(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:197]}..."


def _masked(text: str) -> str:
    """The text without the credentials of a URL."""
    return re.sub(r"//[^/@\s]*@", "//***@", text)


def _lookup(table: object, keys: Iterable[str | int]) -> object:
    for key in keys:
        if not isinstance(table, dict) or key not in table:
            return None
        table = table[key]
    return table


def _problem(detail: ErrorDetails, given: dict[str, Any], source: _Source, variables: Mapping[Keys, str]) -> Problem:
    keys = tuple(str(part) for part in detail["loc"] if not isinstance(part, int))
    variable = variables.get(keys)
    reason, way_out = _explained(detail, keys)
    value: str | None = _shown(detail["input"])
    if detail["type"] == "missing":
        value = None
    elif len(keys) == len(detail["loc"]) and _lookup(given, keys) != detail["input"]:
        value = f"{value} (the default)"
    return Problem(
        source=f"the environment variable {variable}" if variable else source.label,
        key=".".join(keys),
        value=value,
        reason=reason,
        way_out=way_out,
    )


_EXAMPLES: Final[Mapping[Keys, str]] = {
    ("access", "deployer_cidrs"): 'deployer_cidrs = ["203.0.113.7/32"], with your public address '
    "(curl https://checkip.amazonaws.com)",
    ("access", "ssh_keypair_name"): 'ssh_keypair_name = "my-key", a key pair of the deployment\'s region '
    "(aws ec2 describe-key-pairs)",
    ("state", "bucket"): 'bucket = "my-terraform-state", an S3 bucket of yours with versioning on',
}
_TYPES: Final = {
    "string_type": ("a string in quotes", '"..."'),
    "int_type": ("a whole number without quotes", "10"),
    "bool_type": ("true or false without quotes", "true"),
    "tuple_type": ("a list in brackets", '["...", "..."]'),
}


def _explained(detail: ErrorDetails, keys: Keys) -> tuple[str, str]:
    """The reason and the way out."""
    refused = detail.get("ctx", {}).get("error")
    if isinstance(refused, RefusedError):
        return refused.reason, refused.way_out
    kind, name = detail["type"], keys[-1]
    if kind == "extra_forbidden":
        return _unknown_key(keys)
    if kind == "missing":
        return _NOT_SET, f"Under [{keys[0]}] write {_EXAMPLES[keys]}; or set {_variable(keys)}."
    if kind in _TYPES:
        what, how = _TYPES[kind]
        return f"This must be {what}.", f"Write {name} = {how}"
    if kind in ("model_type", "model_attributes_type"):
        return "This is a section, not a value.", f"Write [{'.'.join(keys)}] on a line of its own, and its keys below."
    return f"{detail['msg']}.", "See the comment at this key in settings.toml."


def _unknown_key(keys: Keys) -> tuple[str, str]:
    model: type[SettingsModel] = Settings
    for key in keys[:-1]:
        section = model.model_fields[key].annotation
        assert isinstance(section, type)
        assert issubclass(section, SettingsModel)
        model = section
    names = list(model.model_fields)
    above = f"[{'.'.join(keys[:-1])}]" if keys[:-1] else "the top of the file"
    reason = f"There is no such {'key in' if keys[:-1] else 'section at'} {above}."
    if match := nearest(keys[-1], names):
        return reason, f"Did you mean {match}?"
    elsewhere = [".".join(leaf) for leaf, _ in _leaves() if leaf[-1] == keys[-1]]
    if elsewhere:
        return reason, f"Did you mean {' or '.join(elsewhere)}?"
    return reason, f"Remove it. Known here: {', '.join(names)}."
