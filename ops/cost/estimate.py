"""What the stacks cost: synthesizes them aside, or reads a folder of synthesized ones, and compares two of them."""

import json
import os
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple

from constructs_lib import prices, stack_cost
from constructs_lib.stack_cost import Item, StackCost
from modules_equiv.settings import SettingsError, load_settings
from ops.core import synthesis
from ops.core.errors import OpsError
from ops.core.stack_names import STACKS

# No price depends on these: whoever only asks for prices need not have them yet.
_STAND_INS: Final = {
    "access.deployer_cidrs": ("ML_INFRA_ACCESS__DEPLOYER_CIDRS", "203.0.113.7/32"),
    "access.ssh_keypair_name": ("ML_INFRA_ACCESS__SSH_KEYPAIR_NAME", "my-key"),
    "state.bucket": ("ML_INFRA_STATE__BUCKET", "my-terraform-state"),
}
# The limit is about deploying, and here nobody does.
_NO_LIMIT: Final = {"ML_INFRA_DEPLOYMENT__MAX_HOURLY_USD": ""}


class Change(NamedTuple):
    """One item of two bills; None where one of them does not have it."""

    stack: str
    first: Item | None
    second: Item | None

    @property
    def running(self) -> Decimal | None:
        """Dollars a month that the second costs more while it runs; None when either is unknown."""
        first, second = (Decimal(0) if item is None else item.running for item in (self.first, self.second))
        return None if first is None or second is None else second - first

    @property
    def stopped(self) -> Decimal | None:
        """The same with the machines stopped."""
        first, second = (Decimal(0) if item is None else item.stopped for item in (self.first, self.second))
        return None if first is None or second is None else second - first


def difference(changes: list[Change]) -> tuple[Decimal | None, Decimal | None]:
    """Return the monthly difference in dollars, running and stopped; None as soon as one amount is unknown.

    What is known of two bills cannot be subtracted: an item that is known in one alone would count as money saved.
    """
    return prices.total([each.running for each in changes]), prices.total([each.stopped for each in changes])


def from_settings(path: Path | None, *, efs_gb: int | None = None) -> list[StackCost]:
    """Return the stacks under these settings (None: settings.toml, or what ML_INFRA_SETTINGS names).

    Raises SettingsError, and OpsError when the stacks cannot be synthesized.
    """
    # Relative paths are relative to where the person is, and the app runs elsewhere.
    path = path.absolute() if path else None
    more = dict(_NO_LIMIT)
    try:
        load_settings(path, {**os.environ, **more})
    except SettingsError as error:
        if any(problem.key not in _STAND_INS or problem.value is not None for problem in error.problems):
            raise
        more |= dict(_STAND_INS[str(problem.key)] for problem in error.problems)
        load_settings(path, {**os.environ, **more})
    if path:
        more["ML_INFRA_SETTINGS"] = str(path)
    with tempfile.TemporaryDirectory() as folder:
        try:
            synthesis.synthesize(Path(folder), {**os.environ, **more})
        except synthesis.SynthesisError as error:
            raise OpsError(error.problem, fix=error.fix) from None
        return from_folder(Path(folder), efs_gb=efs_gb)


def from_folder(folder: Path, *, efs_gb: int | None = None) -> list[StackCost]:
    """Return the stacks in a cdktf.out, in the order of deploying. Raises OpsError when there are none to read."""
    files = {file.parent.name: file for file in folder.glob("stacks/*/cdk.tf.json")}
    if not files:
        if any(folder.glob("stacks/*/cdk.tf")):
            raise OpsError(f"{folder} holds HCL, but ops cost reads JSON", fix="run cdktf synth (without --hcl)")
        raise OpsError(f"{folder} holds no synthesized stack", fix="name a cdktf.out folder, or run cdktf synth first")
    order = [*(name for name in STACKS if name in files), *sorted(set(files) - set(STACKS))]
    costs = []
    for name in order:
        try:
            document: dict[str, Any] = json.loads(files[name].read_text(encoding="utf-8"))
            costs.append(stack_cost.price(name, document, efs_gb=efs_gb))
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise OpsError(f"{files[name]} is not a readable stack ({error})", fix="run cdktf synth again") from None
    return costs


def compare(first: list[StackCost], second: list[StackCost]) -> list[Change]:
    """Return every item that differs in description or cost, in the order of the bills."""
    bills = [
        {(cost.name, item.address, item.part): item for cost in costs for item in cost.items}
        for costs in (first, second)
    ]
    keys = dict.fromkeys([*bills[0], *bills[1]])
    stacks = list(dict.fromkeys(key[0] for key in keys))
    ordered = sorted(keys, key=lambda key: stacks.index(key[0]))
    changes = [Change(key[0], bills[0].get(key), bills[1].get(key)) for key in ordered]
    return [change for change in changes if change.first != change.second]
