"""Synthesizes the stacks as cdktf would, for tests that look at the JSON."""

import json
from functools import cache
from typing import Any

from cdktf import Testing

from constructs_lib.base_stack import BaseStack
from modules_equiv.app import add_stacks
from modules_equiv.settings import load_settings

# What a person must say; everything else is a default.
MINIMAL = {
    "ML_INFRA_ACCESS__DEPLOYER_CIDRS": "198.51.100.7/32",
    "ML_INFRA_ACCESS__SSH_KEYPAIR_NAME": "my-key",
    "ML_INFRA_STATE__BUCKET": "my-state-bucket",
    "ML_INFRA_SETTINGS": "/dev/null",
}

Json = dict[str, Any]


@cache
def _synthesized(overrides: tuple[tuple[str, str], ...]) -> dict[str, str]:
    return {name: Testing.synth(stack) for name, stack in stacks(**dict(overrides)).items()}


def stacks(**overrides: str) -> dict[str, BaseStack]:
    """The stacks by name, under MINIMAL and e.g. TRAIN_MODEL__INSTANCE_TYPE="dl1.24xlarge"."""
    settings = load_settings(environ={**MINIMAL, **{f"ML_INFRA_{key}": value for key, value in overrides.items()}})
    return add_stacks(Testing.app(), settings)


def synthesize(**overrides: str) -> dict[str, Json]:
    """Stack name -> Terraform JSON; `overrides` as for `stacks`."""
    return {name: json.loads(text) for name, text in _synthesized(tuple(sorted(overrides.items()))).items()}


def only(block: Json) -> Any:
    """The one value of an object that must have exactly one."""
    (value,) = block.values()
    return value


def statements(policy: str) -> list[Json]:
    """The statements of a policy document."""
    found: list[Json] = json.loads(policy)["Statement"]
    return found
