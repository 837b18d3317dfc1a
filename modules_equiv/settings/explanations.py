"""Explain pydantic's errors in the terms of settings.toml."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic_core import ErrorDetails

from constructs_lib.refused import RefusedError, nearest
from constructs_lib.settings_model import SettingsModel
from modules_equiv.settings.environment import Keys, leaves, variable_of
from modules_equiv.settings.file import SettingsFile
from modules_equiv.settings.models import Settings
from modules_equiv.settings.problems import NOT_SET, Problem, shown


def _lookup(table: object, keys: Iterable[str | int]) -> object:
    for key in keys:
        if not isinstance(table, dict) or key not in table:
            return None
        table = table[key]
    return table


def explained_problem(
    detail: ErrorDetails, given: dict[str, Any], source: SettingsFile, variables: Mapping[Keys, str]
) -> Problem:
    """Return pydantic's error as a problem. variables: the environment variable that set a key."""
    keys = tuple(str(part) for part in detail["loc"] if not isinstance(part, int))
    variable = variables.get(keys)
    reason, fix = _explained(detail, keys)
    value: str | None = shown(detail["input"])
    if detail["type"] == "missing":
        value = None
    elif len(keys) == len(detail["loc"]) and _lookup(given, keys) != detail["input"]:
        value = f"{value} (the default)"
    return Problem(
        source=f"the environment variable {variable}" if variable else source.label,
        key=".".join(keys),
        value=value,
        reason=reason,
        fix=fix,
    )


_EXAMPLES: Final[Mapping[Keys, str]] = {
    ("access", "deployer_cidrs"): 'deployer_cidrs = ["203.0.113.7/32"], with your public address '
    "(to find it: curl https://checkip.amazonaws.com)",
    ("access", "ssh_keypair_name"): 'ssh_keypair_name = "my-key", a key pair in the deployment\'s region '
    "(to list them: aws ec2 describe-key-pairs)",
    ("state", "bucket"): 'bucket = "my-terraform-state", your S3 bucket with versioning turned on',
}
_TYPES: Final = {
    "string_type": ("a string in quotes", '"..."'),
    "int_type": ("a whole number without quotes", "10"),
    "bool_type": ("true or false without quotes", "true"),
    "tuple_type": ("a list in brackets", '["...", "..."]'),
}


def _explained(detail: ErrorDetails, keys: Keys) -> tuple[str, str]:
    """Return the reason and the fix."""
    refused = detail.get("ctx", {}).get("error")
    if isinstance(refused, RefusedError):
        return refused.reason, refused.fix
    kind, name = detail["type"], keys[-1]
    if kind == "extra_forbidden":
        return _unknown_key(keys)
    if kind == "missing":
        return NOT_SET, f"Under [{keys[0]}], write {_EXAMPLES[keys]}. Or set {variable_of(keys)}."
    if kind in _TYPES:
        expected, example = _TYPES[kind]
        return f"This must be {expected}.", f"Write {name} = {example}"
    if kind in ("model_type", "model_attributes_type"):
        return "This is a section, not a value.", f"Write [{'.'.join(keys)}] on its own line, and its keys below."
    return f"{detail['msg']}.", "See the comment above this key in settings.toml."


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
    elsewhere = [".".join(leaf) for leaf, _ in leaves() if leaf[-1] == keys[-1]]
    if elsewhere:
        return reason, f"Did you mean {' or '.join(elsewhere)}?"
    return reason, f"Remove it. Known names: {', '.join(names)}."
