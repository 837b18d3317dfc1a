"""The base model of the settings: typed, frozen, strict about unknown keys, and free of template code."""

from typing import Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationInfo, field_validator

from constructs_lib.refused import RefusedError, printable

# Text that is interpreted on its way into a stack. Terraform evaluates both kinds of template in JSON as in HCL:
# https://developer.hashicorp.com/terraform/language/syntax/json#expression-mapping
# cdktf replaces its tokens (packages/cdktf/lib/tokens/private/encoding.ts). It writes a backslash into HCL unescaped,
# where it would escape the quote that ends the string.
_CODE: Final = (
    ("${", "which Terraform would evaluate as code"),
    ("%{", "which Terraform would evaluate as code"),
    ("TfToken[", "which cdktf reserves for its references"),
    ("\\", "which Terraform would read as an escape"),
)
# The longest value is a path in S3, whose keys have at most 1024 bytes.
LONGEST: Final = 1024


class SettingsModel(BaseModel):
    """Hold a part of the settings.

    Strict: "10" is not accepted as a number, nor 1 as a boolean. Defaults are checked too, since one can be wrong
    beside a given value. Every text reaches the stacks exactly as written, or is refused here.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)

    @field_validator("*", mode="before")
    @classmethod
    def _literal(cls, value: object, info: ValidationInfo) -> object:
        kind = cls.model_fields[info.field_name].annotation if info.field_name else None
        # A section checks its own keys, so that the message names the right one.
        if not (isinstance(kind, type) and issubclass(kind, SettingsModel)):
            check_literal(value)
        return value


def check_literal(value: object) -> None:
    """Raise RefusedError if a text in the value, at any depth, would not reach the stacks exactly as written."""
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
        raise RefusedError(f"The text has {len(text):,} characters; the maximum is {LONGEST:,}.", "Shorten it.")
    for marker, meaning in _CODE:
        if marker in text:
            raise RefusedError(f"It contains {marker}, {meaning}.", f"Write it without {marker}.")
    if unseen := sorted({char for char in text if not char.isprintable()}):
        shown = ", ".join(printable(char) for char in unseen)
        raise RefusedError(f"It contains unprintable characters: {shown}.", "Type it again instead of pasting it.")


def _none_when_empty(value: object) -> object:
    return None if value == "" else value


# TOML has no null: an empty string means "not set".
Unset = BeforeValidator(_none_when_empty)
