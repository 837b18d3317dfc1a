"""The limit on what a stack may cost an hour: refuses to synthesize what is known to cost more."""

import os
import textwrap
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final

from cdktf import Annotations

from constructs_lib import prices, stack_cost
from constructs_lib.base_stack import BaseStack
from constructs_lib.cli_run import CliRun
from constructs_lib.stack_cost import Item, StackCost

# The commands that build something, or show what would be built. Every other one works whatever anything costs.
_LIMITED: Final = frozenset({"deploy", "diff", "synth", "watch"})
# The CLI sets it for the app (cdktf-cli 0.21.0, cdktn-cli 0.24.0).
_SET_BY_CLI: Final = "CDKTF_CONTEXT_JSON"
_WIDTH: Final = 80


class LimitError(Exception):
    """A stack is known to cost more than the limit. str() is the whole message, 80 columns wide."""


def check_limit(
    stacks: Mapping[str, BaseStack],
    limit: Decimal | None,
    run: CliRun | None,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Raises LimitError when a stack's known cost is over `limit` (dollars an hour); warns of what is unknown.

    All stacks count, whichever the run is about: a later `cdktf deploy --skip-synth` takes what is written now.
    A run of the CLI whose command cannot be told may be a destroy, so there it only warns.
    """
    if limit is None or (run is not None and run.command not in _LIMITED):
        return
    costs = {name: stack_cost.price(name, stack.to_terraform()) for name, stack in stacks.items()}
    over = [cost for cost in costs.values() if prices.per_hour(cost.running) > limit]
    if over and (run is not None or _SET_BY_CLI not in environ):
        raise LimitError(_refusal(over, limit))
    for name, cost in costs.items():
        known = f"at least {_hour(cost.running)} an hour" if not cost.nothing_known else "an unknown amount"
        if cost in over:
            Annotations.of(stacks[name]).add_warning(
                f"{name} costs {known}, over the limit of {_as_written(limit)} (deployment.max_hourly_usd). It is not "
                "refused only because this command cannot be told from a destroy."
            )
        if cost.unknown:
            Annotations.of(stacks[name]).add_warning(
                f"deployment.max_hourly_usd: {name} costs {known}; not known and not counted: {_names(cost.unknown)}."
            )


def _refusal(over: Sequence[StackCost], limit: Decimal) -> str:
    parts = ["Over the limit of what a stack may cost. Nothing was synthesized or changed."]
    for cost in over:
        parts.append(
            "\n".join(
                [
                    textwrap.fill(
                        f"{cost.name} costs at least {_hour(cost.running)} an hour while it runs; the limit is "
                        f"{_as_written(limit)} (deployment.max_hourly_usd).",
                        _WIDTH,
                    ),
                    *(_line(item) for item in sorted(cost.items, key=_dearest_first)),
                ]
            )
        )
    parts.append(
        textwrap.fill(
            "way out: choose a smaller machine or slower disks (settings.toml), or raise deployment.max_hourly_usd "
            "(ML_INFRA_DEPLOYMENT__MAX_HOURLY_USD=… for one command). `python -m ops cost` shows what everything "
            "costs. `cdktf destroy` is never refused for its price.",
            _WIDTH,
            break_on_hyphens=False,
        )
    )
    return "\n\n".join(parts)


def _line(item: Item) -> str:
    amount = "unknown" if item.running is None else f"{_hour(item.running)}"
    head = f"   {amount:>10}  "
    text = f"{item.part}, {item.detail} ({item.address})" if item.detail else f"{item.part} ({item.address})"
    if item.running is None:
        text = f"{text}: {item.note}"
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_on_hyphens=False,
        break_long_words=False,
    )


def _dearest_first(item: Item) -> tuple[bool, Decimal]:
    return item.running is None, -(item.running or Decimal(0))


def _names(items: Sequence[Item]) -> str:
    return ", ".join(f"{item.part} ({item.address})" for item in items)


def _hour(per_month: Decimal) -> str:
    return prices.usd(prices.per_hour(per_month), 4)


def _as_written(limit: Decimal) -> str:
    exponent = limit.as_tuple().exponent
    return prices.usd(limit, max(2, -exponent if isinstance(exponent, int) else 2))
