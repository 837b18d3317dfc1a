"""Enforce the limit on a stack's hourly cost: refuse stacks that cost more, or whose cost is unknown."""

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

# The commands that create resources, or show what would be created. The limit does not apply to other commands.
_LIMITED: Final = frozenset({"deploy", "diff", "synth", "watch"})
# The CLI sets it for the app (cdktf-cli 0.21.0, cdktn-cli 0.24.0).
_SET_BY_CLI: Final = "CDKTF_CONTEXT_JSON"
_WIDTH: Final = 80
# The items that cost by the hour and can be expensive: without their price, the sum is meaningless.
_MACHINES: Final = frozenset({"machine", "notebook"})


class LimitError(Exception):
    """Report a stack that costs more than the limit, or an unknown amount. str() is the message, 80 columns wide."""


def check_limit(
    stacks: Mapping[str, BaseStack],
    limit: Decimal | None,
    run: CliRun | None,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Raise LimitError if a stack's known cost is over `limit` (dollars an hour), or the limit cannot be checked.

    It cannot be checked without the prices of the region or of a machine. Charges by usage only cause a warning.
    All stacks are checked, not only those of the run: a later `cdktf deploy --skip-synth` uses the files written now.
    But a machine without a price is refused only if the command selects its stack: train-model-dev always has one.
    If the CLI's command is unknown, it may be a destroy, so there is only a warning.
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
                f"{name} costs {known}, and the limit is {_as_written(limit)} (deployment.max_hourly_usd). It was not "
                "refused because this command may be a destroy."
            )
        if cost.unknown:
            Annotations.of(stacks[name]).add_warning(
                f"deployment.max_hourly_usd: {name} costs {known}; unknown and not counted: {_names(cost.unknown)}."
            )


def _cannot_tell(cost: StackCost, *, named: bool) -> bool:
    """Return True if the stack's cost cannot be compared with the limit. named: the command selects the stack."""
    if prices.other_region(cost.region):
        return True
    return named and any(item.part in _MACHINES and item.running is None for item in cost.items)


def _refusal(over: Sequence[StackCost], blind: Sequence[StackCost], limit: Decimal) -> str:
    parts = [
        "The cost limit is exceeded. Nothing was synthesized or changed."
        if over
        else "The cost limit cannot be checked. Nothing was synthesized or changed."
    ]
    named = f"{_as_written(limit)} (deployment.max_hourly_usd)"
    for cost in over:
        head = f"{cost.name} costs at least {_hour(cost.running)} an hour while it runs; the limit is {named}."
        parts.append(_itemised(head, cost))
    for cost in blind:
        if cost in over:
            continue
        why = prices.other_region(cost.region) or "the price of a machine is unknown"
        parts.append(_itemised(f"The limit of {named} cannot be checked for {cost.name}: {why}.", cost))
    fixes = []
    if over:
        fixes.append("choose a smaller machine or slower disks (settings.toml), or raise deployment.max_hourly_usd")
    if blind:
        # In another region every stack is refused, whichever stacks the command selects.
        apart = "" if any(prices.other_region(cost.region) for cost in blind) else ", or omit the stack"
        fixes.append(f"unset deployment.max_hourly_usd if you know the price yourself{apart}")
    parts.append(
        textwrap.fill(
            f"fix: {'; '.join(fixes)} (ML_INFRA_DEPLOYMENT__MAX_HOURLY_USD=… for one command, empty for no limit). "
            "`python -m ops cost` shows all costs. The limit does not apply to `cdktf destroy`.",
            _WIDTH,
            break_on_hyphens=False,
        )
    )
    return "\n\n".join(parts)


def _itemised(head: str, cost: StackCost) -> str:
    return "\n".join(
        [
            textwrap.fill(head, _WIDTH, break_on_hyphens=False),
            *(_line(item, known=prices.other_region(cost.region)) for item in sorted(cost.items, key=_dearest_first)),
        ]
    )


def _line(item: Item, *, known: str | None) -> str:
    """Return one item as text. known: a note that applies to all items and is shown above."""
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
