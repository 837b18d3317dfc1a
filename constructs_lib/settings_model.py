"""What every part of the settings is: typed, frozen, without room for a misspelt key."""

from pydantic import BaseModel, BeforeValidator, ConfigDict


class SettingsModel(BaseModel):
    """A part of the settings.

    Strict: "10" is no number, 1 no boolean. Defaults are checked too: one can be wrong beside a value that was given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)


def _none_when_empty(value: object) -> object:
    return None if value == "" else value


# TOML has no null: an empty string says "not set".
Unset = BeforeValidator(_none_when_empty)
