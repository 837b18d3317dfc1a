"""The limit on what a stack may cost an hour: refuses what is known to cost more, and what nobody can tell."""

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
# The items that cost by the hour and can be dear: without their price a sum says nothing.
_MACHINES: Final = frozenset({"machine", "notebook"})


class LimitError(Exception):
    """A stack costs more than the limit, or nobody can tell. str() is the whole message, 80 columns wide."""


def check_limit(
    stacks: Mapping[str, BaseStack],
    limit: Decimal | None,
    run: CliRun | None,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Raises LimitError when a stack's known cost is over `limit` (dollars an hour), or the limit cannot be kept.

    It cannot where the region's prices, or a machine's own, are not known; what is charged by use is only warned of.
    All stacks count, whichever the run is about: a later `cdktf deploy --skip-synth` takes what is written now. But a
    machine without a price is refused only to the commands that name its stack: train-model-dev always has one.
    A run of the CLI whose command cannot be told may be a destroy, so there it only warns.
    """
    if limit is None or (run is not None and run.command not in _LIMITED):
        return
    costs = {name: stack_cost.price(name, stack.to_terraform()) for name, stack in stacks.items()}
    over = [cost for cost in costs.values() if prices.per_hour(cost.running) > limit]
    blind = [cost for name, cost in costs.items() if _cannot_tell(cost, named=run is not None and run.selects(name))]
    may_refuse = run is not None or _SET_BY_CLI not in environ
    if may_refuse and (over or blind):
        raise LimitError(_refusal(over, blind, limit))
    for name, cost in costs.items():
        known = f"at least {_hour(cost.running)} an hour" if not cost.nothing_known else "an unknown amount"
        if cost in over or cost in blind:
            Annotations.of(stacks[name]).add_warning(
                f"{name} costs {known}, and the limit is {_as_written(limit)} (deployment.max_hourly_usd). It is not "
                "refused only because this command cannot be told from a destroy."
            )
        if cost.unknown:
            Annotations.of(stacks[name]).add_warning(
                f"deployment.max_hourly_usd: {name} costs {known}; not known and not counted: {_names(cost.unknown)}."
            )


def _cannot_tell(cost: StackCost, *, named: bool) -> bool:
    """Whether what is known of the stack's cost says nothing about the limit. named: the command names the stack."""
    if prices.other_region(cost.region):
        return True
    return named and any(item.part in _MACHINES and item.running is None for item in cost.items)


def _refusal(over: Sequence[StackCost], blind: Sequence[StackCost], limit: Decimal) -> str:
    parts = [
        "Over the limit of what a stack may cost. Nothing was synthesized or changed."
        if over
        else "The limit of what a stack may cost cannot be kept. Nothing was synthesized or\nchanged."
    ]
    named = f"{_as_written(limit)} (deployment.max_hourly_usd)"
    for cost in over:
        said = f"{cost.name} costs at least {_hour(cost.running)} an hour while it runs; the limit is {named}."
        parts.append(_itemised(said, cost))
    for cost in blind:
        if cost in over:
            continue
        why = prices.other_region(cost.region) or "a machine's own price is not known"
        parts.append(_itemised(f"The limit of {named} cannot be kept for {cost.name}: {why}.", cost))
    ways = []
    if over:
        ways.append("choose a smaller machine or slower disks (settings.toml), or raise deployment.max_hourly_usd")
    if blind:
        # In another region every stack is refused, whatever the command names.
        apart = "" if any(prices.other_region(cost.region) for cost in blind) else ", or leave the stack out"
        ways.append(f"unset deployment.max_hourly_usd where you know the price yourself{apart}")
    parts.append(
        textwrap.fill(
            f"fix: {'; '.join(ways)} (ML_INFRA_DEPLOYMENT__MAX_HOURLY_USD=… for one command, empty for no limit). "
            "`python -m ops cost` shows what everything costs. `cdktf destroy` is never refused for its price.",
            _WIDTH,
            break_on_hyphens=False,
        )
    )
    return "\n\n".join(parts)


def _itemised(said: str, cost: StackCost) -> str:
    return "\n".join(
        [
            textwrap.fill(said, _WIDTH, break_on_hyphens=False),
            *(_line(item, known=prices.other_region(cost.region)) for item in sorted(cost.items, key=_dearest_first)),
        ]
    )


def _line(item: Item, *, known: str | None) -> str:
    """known: why nothing is known of all of them, where it is said already."""
    amount = "unknown" if item.running is None else f"{_hour(item.running)}"
    head = f"   {amount:>10}  "
    text = f"{item.part}, {item.detail} ({item.address})" if item.detail else f"{item.part} ({item.address})"
    if item.running is None and item.note != known:
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
