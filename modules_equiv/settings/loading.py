"""Load the settings from the file and the environment, and check them."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from constructs_lib import regions
from modules_equiv.settings.environment import Keys, overrides_in
from modules_equiv.settings.explanations import explained_problem
from modules_equiv.settings.file import SettingsFile, UnreadableError
from modules_equiv.settings.models import DeploymentConfig, Settings
from modules_equiv.settings.problems import Problem, SettingsError, shown


def load_settings(path: Path | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Load the settings from `path`, else the file that ML_INFRA_SETTINGS names, else settings.toml if it exists.

    Environment variables override the file. Raises SettingsError with every problem found.
    """
    source = SettingsFile.find(path, environ)
    overrides, problems = overrides_in(environ)
    try:
        given = source.read()
    except UnreadableError as unreadable:
        raise SettingsError([unreadable.problem, *problems]) from None
    for override in overrides:
        override.apply(given)
    region = _region(given)
    try:
        settings = Settings.model_validate(_completed(given, region), context={"region": region})
    except ValidationError as error:
        variables = {override.keys: override.variable for override in overrides}
        found = [explained_problem(detail, given, source, variables) for detail in error.errors(include_url=False)]
        raise SettingsError([*found, *problems]) from None
    problems += _beside_states(settings, source, {override.keys: override.variable for override in overrides})
    if problems:
        raise SettingsError(problems)
    return settings


# What the machine could do to the states if its data were in their bucket, and the fix. Another prefix is not enough:
# the prefixes of other deployments' states are unknown here.
_BUCKETS: Final = {
    "data_s3_uri": ("read Terraform's states", "Read from another bucket, like s3://{bucket}-data/imgs."),
    "output_s3_uri": ("overwrite Terraform's states", "Write to another bucket, like s3://{bucket}-out/runs."),
}


def _beside_states(settings: Settings, source: SettingsFile, variables: Mapping[Keys, str]) -> list[Problem]:
    """Return a problem for each S3 location of a machine that is in the bucket of the states."""
    problems = []
    for section in ("train_model", "train_model_dev"):
        for key, (could, fix) in _BUCKETS.items():
            uri, bucket = getattr(getattr(settings, section), key), settings.state.bucket
            if uri is None or uri.split("/")[2] != bucket:
                continue
            variable = variables.get((section, key))
            problems.append(
                Problem(
                    source=f"the environment variable {variable}" if variable else source.label,
                    key=f"{section}.{key}",
                    value=shown(uri),
                    reason=f"{bucket} is also state.bucket, so the machine could {could}.",
                    fix=fix.format(bucket=bucket),
                )
            )
    return problems


_DEFAULT_REGION: Final[str] = DeploymentConfig.model_fields["region"].default


def _region(given: dict[str, Any]) -> regions.Region | None:
    """Return the deployment's region, or None if it is refused."""
    deployment = given.get("deployment", {})
    name = deployment.get("region", _DEFAULT_REGION) if isinstance(deployment, dict) else None
    return regions.REGIONS.get(name) if isinstance(name, str) else None


def _completed(given: dict[str, Any], region: regions.Region | None) -> dict[str, Any]:
    """Return `given` with every section, and with defaults for state.region and the zones that depend on the region."""
    data = {**{section: {} for section in Settings.model_fields}, **given}
    # If the region is refused, use the default's values, so that only the region is reported.
    region = region or regions.REGIONS[_DEFAULT_REGION]
    state, mlcore = data["state"], data["mlcore"]
    if isinstance(state, dict) and state.get("region", "") == "":
        data["state"] = {**state, "region": region.name}
    if isinstance(mlcore, dict):
        # az does not depend on az_2, because another az means another file system.
        az = _given(mlcore, "az", region.zones[0])
        az_2 = _given(mlcore, "az_2", next(zone for zone in region.zones if zone != az))
        data["mlcore"] = {**mlcore, "az": az, "az_2": az_2}
    return data


def _given(table: dict[str, Any], key: str, default: str) -> object:
    return default if table.get(key, "") == "" else table[key]
