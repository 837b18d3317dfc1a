"""Settings from environment variables: ML_INFRA_<SECTION>__<KEY>."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, get_args, get_origin

from pydantic.fields import FieldInfo

from constructs_lib import toml_text
from constructs_lib.refused import nearest
from constructs_lib.settings_model import SettingsModel
from modules_equiv.settings.file import PATH_VARIABLE
from modules_equiv.settings.models import Settings
from modules_equiv.settings.problems import Problem, shown

PREFIX: Final = "ML_INFRA_"
# Variables of this project that are not settings: the settings file's path, and those that the boot tests,
# lazy_provider.py and ops/core/terraform.py read.
OTHER_VARIABLES: Final = frozenset(
    {PATH_VARIABLE, "ML_INFRA_BOOT_BASE", "ML_INFRA_PLAIN_IMPORT", "ML_INFRA_PROVIDER_MIRROR"}
)

Keys = tuple[str, ...]


def leaves(model: type[SettingsModel] = Settings, above: Keys = ()) -> Iterator[tuple[Keys, FieldInfo]]:
    """Yield the path of keys to every value, with its field."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, SettingsModel):
            yield from leaves(field.annotation, (*above, name))
        else:
            yield (*above, name), field


def variable_of(keys: Keys) -> str:
    """Return the name of the environment variable that sets this key."""
    return PREFIX + "__".join(keys).upper()


@dataclass(frozen=True)
class Override:
    """Set one key from one environment variable."""

    variable: str
    keys: Keys
    value: object

    def apply(self, given: dict[str, Any]) -> None:
        """Write the value into the table of the settings file."""
        table: Any = given
        for key in self.keys[:-1]:
            table = table.setdefault(key, {})
            if not isinstance(table, dict):
                # The file has a value in the place of a section; its own check refuses that.
                return
        table[self.keys[-1]] = self.value


def overrides_in(environ: Mapping[str, str]) -> tuple[list[Override], list[Problem]]:
    """Return the settings in the environment, and a problem for each variable that matches no setting."""
    known = {variable_of(keys): (keys, field) for keys, field in leaves()}
    overrides: list[Override] = []
    problems: list[Problem] = []
    for variable, text in sorted(environ.items()):
        if not variable.startswith(PREFIX) or variable in OTHER_VARIABLES:
            continue
        if variable in known:
            keys, field = known[variable]
            overrides.append(Override(variable, keys, _parsed(text, field)))
            continue
        # Without the prefix, which makes every name look similar.
        names = [name.removeprefix(PREFIX).lower() for name in (*known, *OTHER_VARIABLES)]
        match = nearest(variable.removeprefix(PREFIX), names)
        example = f"{PREFIX}STATE__BUCKET, with two underscores between the section and the key"
        problems.append(
            Problem(
                source=f"the environment variable {variable}",
                key=None,
                value=shown(text),
                reason=f"No setting has this name. {PREFIX} is reserved for settings.",
                fix=f"Did you mean {PREFIX}{match.upper()}?" if match else f"Unset it, or write it like {example}.",
            )
        )
    return overrides, problems


def _parsed(text: str, field: FieldInfo) -> object:
    """Parse the value of an environment variable as TOML, or take the text itself. Commas may separate list items."""
    try:
        table = toml_text.parsed(f"value = {text}")
    except toml_text.TomlError:
        table = {}
    value = table["value"] if table.keys() == {"value"} else text
    if get_origin(field.annotation) is tuple:
        return [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value
    if field.annotation is str or str in get_args(field.annotation):
        # A bucket may be called 2024: for a string, the shell needs no quotes.
        return value if isinstance(value, str) else text
    return value
