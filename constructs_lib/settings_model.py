"""What every part of the settings is: typed, frozen, without room for a misspelt key, and literal."""

from typing import Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationInfo, field_validator

from constructs_lib.refused import RefusedError, printable

# What is read as code on the way into a stack. Terraform evaluates both kinds of template in JSON as in HCL:
# https://developer.hashicorp.com/terraform/language/syntax/json#expression-mapping
# cdktf replaces its tokens (packages/cdktf/lib/tokens/private/encoding.ts) and writes a backslash into HCL as it is,
# where it takes the quote that ends the string.
_CODE: Final = (
    ("${", "Terraform would run as code what follows it"),
    ("%{", "Terraform would run as code what follows it"),
    ("TfToken[", "cdktf keeps it for its own references"),
    ("\\", "Terraform would read it and the character after it as another one"),
)
# No key takes more: the longest is a path in S3, whose keys have 1024 bytes.
LONGEST: Final = 1024


class SettingsModel(BaseModel):
    """A part of the settings.

    Strict: "10" is no number, 1 no boolean. Defaults are checked too: one can be wrong beside a value that was given.
    Every text in it arrives in the stacks as it is written, or is refused here, whatever its own key checks.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)

    @field_validator("*", mode="before")
    @classmethod
    def _literal(cls, value: object, info: ValidationInfo) -> object:
        kind = cls.model_fields[info.field_name].annotation if info.field_name else None
        # A section looks after its own keys, and names the one that is wrong.
        if not (isinstance(kind, type) and issubclass(kind, SettingsModel)):
            check_literal(value)
        return value


def check_literal(value: object) -> None:
    """Raises RefusedError when a text in the value, or in lists and tables in it, would not arrive as it is written."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, str):
            _check_text(one)
        elif isinstance(one, dict):
            left += [*one, *one.values()]
        elif isinstance(one, list | tuple | set | frozenset):
            left += one


def _check_text(text: str) -> None:
    if len(text) > LONGEST:
        raise RefusedError(
            f"The text has {len(text):,} characters; no setting takes more than {LONGEST:,}.", "Shorten it."
        )
    for marker, what in _CODE:
        if marker in text:
            raise RefusedError(f"It holds {marker}, and {what}.", f"Write it without {marker}.")
    if unseen := sorted({char for char in text if not char.isprintable()}):
        shown = ", ".join(printable(char) for char in unseen)
        raise RefusedError(f"It holds what cannot be printed: {shown}.", "Type it anew, without copying.")


def _none_when_empty(value: object) -> object:
    return None if value == "" else value


# TOML has no null: an empty string says "not set".
Unset = BeforeValidator(_none_when_empty)
