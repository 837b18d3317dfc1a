"""How bills are shown: in 80 columns, and as JSON."""

from decimal import Decimal
from typing import Any, Final

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from constructs_lib import prices
from constructs_lib.instance_types import OLDER_PRICES_READ_ON, PRICES_READ_ON
from constructs_lib.stack_cost import Item, StackCost
from ops.cost.estimate import Change, difference

_BASIS: Final = (
    f"US dollars in {prices.REGION}, on demand, before taxes and free tiers; prices read {PRICES_READ_ON:%Y-%m-%d}, "
    f"those of some types of machine {OLDER_PRICES_READ_ON:%Y-%m-%d}, "
    f"those of EFS and CloudWatch looked up {prices.LOOKED_UP_IN}; a month is {prices.HOURS_PER_MONTH} hours. In no "
    "total: data sent to the internet or between zones."
)

# What four columns of amounts leave of 80.
_ITEM_WIDTH: Final = 38


# --- a bill


def bill(costs: list[StackCost]) -> Group:
    """Show every item of every stack, the totals of the known amounts, and the unknown items."""
    table = Table(box=None, padding=(0, 1, 0, 0), collapse_padding=True)
    table.add_column("", overflow="fold")
    for title in ("hour", "day", "month", "stopped,\nmonth"):
        table.add_column(title, justify="right", no_wrap=True, vertical="bottom")
    for stack in costs:
        table.add_row(Text(stack.name, style="bold"))
        for item in stack.items:
            table.add_row(_name(item), *_amounts(item.running, item.stopped))
        running, stopped = (None, None) if stack.nothing_known else (stack.running, stack.stopped)
        table.add_row(Text("  " + _sum_name(stack), style="bold"), *_amounts(running, stopped, style="bold"))
        table.add_row()
    table.add_row(Text("all stacks, at least", style="bold"), *_amounts(*_sum_of(costs), style="bold"))
    notes = [
        _note(stack, item)
        for stack in costs
        for item in stack.items
        if item.note and not prices.other_region(stack.region)
    ]
    return Group(table, *_notes(notes), "", *_summary(costs), "", Text(_BASIS, style="dim"))


def _sum_of(costs: list[StackCost]) -> tuple[Decimal | None, Decimal | None]:
    """Return the known dollars a month, running and stopped; None when nothing is known."""
    if any(cost.items for cost in costs) and all(cost.nothing_known or not cost.items for cost in costs):
        return None, None
    return sum((c.running for c in costs), Decimal(0)), sum((c.stopped for c in costs), Decimal(0))


def _summary(costs: list[StackCost]) -> list[Text]:
    lines = []
    for stack in costs:
        if reason := prices.other_region(stack.region):
            lines.append(Text(f"{stack.name}: no amount is known, since {reason}.", style="yellow"))
            continue
        hour = prices.usd(prices.per_hour(stack.running), 4)
        lines.append(Text(f"{stack.name}: {_at_least(stack, hour)}."))
    return lines


def _at_least(stack: StackCost, hour: str) -> str:
    count = len(stack.unknown)
    if not count:
        return f"{hour} an hour"
    unknown = f"{count} {'item' if count == 1 else 'items'} unknown"
    return f"nothing known, {unknown}" if stack.nothing_known else f"at least {hour} an hour, and {unknown}"


def _sum_name(stack: StackCost) -> str:
    if stack.nothing_known:
        return f"all {len(stack.unknown)} unknown"
    return f"at least, {len(stack.unknown)} unknown" if stack.unknown else "total"


def _name(item: Item) -> Text:
    kind = item.address.partition(".")[0]
    name = item.address.removeprefix(f"{kind}.")
    text = Text(f"  {item.part} ", end="")
    text.append(f"{name}", style="dim")
    if item.detail:
        one_line = len(text.plain) + len(item.detail) <= _ITEM_WIDTH
        text.append(f", {item.detail}" if one_line else f"\n    {item.detail}", style="dim")
    return text


def _amounts(running: Decimal | None, stopped: Decimal | None, style: str = "") -> list[Text]:
    cells: list[str | None] = [None, None, None, None]
    if running is not None:
        cells[:3] = [
            prices.dollars(prices.per_hour(running), 4),
            prices.dollars(prices.per_day(running)),
            prices.dollars(running),
        ]
    if stopped is not None:
        cells[3] = prices.dollars(stopped)
    return [Text("unknown", style="yellow") if cell is None else Text(cell, style=style) for cell in cells]


def _note(stack: StackCost, item: Item) -> str:
    return f"{stack.name}, {item.part} ({item.address.partition('.')[2]}): {item.note}"


def _notes(notes: list[str]) -> list[Any]:
    if not notes:
        return []
    return ["", Text("Notes", style="bold"), *(Padding(Text(note), (0, 0, 0, 2)) for note in notes)]


def bill_document(costs: list[StackCost]) -> dict[str, Any]:
    """Return the bill as JSON."""
    running, stopped = _sum_of(costs)
    return {
        **_basis_document(),
        "stacks": [
            {
                "name": stack.name,
                "region": stack.region,
                "items": [_item_document(item) for item in stack.items],
                "known": _sums(None, None) if stack.nothing_known else _sums(stack.running, stack.stopped),
                "unknown": [f"{item.part} ({item.address})" for item in stack.unknown],
            }
            for stack in costs
        ],
        "known": _sums(running, stopped),
        "unknown": sum(len(stack.unknown) for stack in costs),
    }


def _basis_document() -> dict[str, Any]:
    return {
        "currency": "USD",
        "prices": {
            "region": prices.REGION,
            "read_on": f"{PRICES_READ_ON:%Y-%m-%d}",
            "efs_and_cloudwatch": prices.LOOKED_UP_IN,
        },
        "hours_per_month": int(prices.HOURS_PER_MONTH),
    }


def _sums(running: Decimal | None, stopped: Decimal | None) -> dict[str, str | None]:
    """Return amounts as text, so that no JSON reader rounds them; null is unknown."""
    return {
        "per_hour": None if running is None else _exact(prices.per_hour(running)),
        "per_day": None if running is None else _exact(prices.per_day(running)),
        "per_month": None if running is None else _exact(running),
        "per_month_stopped": None if stopped is None else _exact(stopped),
    }


def _exact(amount: Decimal) -> str:
    return f"{round(amount, 6):f}"


def _item_document(item: Item) -> dict[str, Any]:
    return {
        "address": item.address,
        "part": item.part,
        "detail": item.detail,
        **_sums(item.running, item.stopped),
        "note": item.note,
    }


# --- two bills


def comparison(names: tuple[str, str], costs: tuple[list[StackCost], list[StackCost]], changes: list[Change]) -> Group:
    """Show the items that differ, their cost in both bills, and the difference."""
    table = Table(box=None, padding=(0, 1, 0, 0), collapse_padding=True)
    table.add_column("a month, running", overflow="fold")
    for title in ("first", "second", "difference"):
        table.add_column(title, justify="right", no_wrap=True)
    stack = None
    for change in changes:
        if change.stack != stack:
            stack = change.stack
            table.add_row(Text(stack, style="bold"))
        table.add_row(_change_name(change), *(_cell(item) for item in change[1:]), _more(change.running))
    more, _ = difference(changes)
    table.add_row()
    table.add_row(
        Text("all stacks, at least", style="bold"), *(_month(_sum_of(each)[0]) for each in costs), _more(more)
    )
    unknown = [sum(len(stack.unknown) for stack in each) for each in costs]
    hours = _more(None if more is None else prices.per_hour(more), 4)
    return Group(
        Text(f"first:  {names[0]}\nsecond: {names[1]}\n"),
        table if changes else Text("No item differs.\n"),
        "",
        Text(
            f"Difference while everything runs, in dollars an hour: {hours}. "
            f"Unknown items: {unknown[0]} and {unknown[1]}."
        ),
        "",
        Text(_BASIS, style="dim"),
    )


def _change_name(change: Change) -> Text:
    item = change.second or change.first
    assert item is not None
    details = [each.detail if each else "none" for each in (change.first, change.second)]
    text = Text(f"  {item.part} ", end="")
    text.append(item.address.partition(".")[2], style="dim")
    text.append(
        f"\n    {details[0]} -> {details[1]}" if details[0] != details[1] else f"\n    {details[0]}", style="dim"
    )
    return text


def _cell(item: Item | None) -> Text:
    return Text("-") if item is None else _month(item.running)


def _month(amount: Decimal | None) -> Text:
    return Text("unknown", style="yellow") if amount is None else Text(prices.dollars(amount))


def _more(amount: Decimal | None, places: int = 2) -> Text:
    if amount is None:
        return Text("unknown", style="yellow")
    sign = "+" if amount > 0 else "-" if amount < 0 else ""
    return Text(f"{sign}{prices.dollars(abs(amount), places)}", style={"+": "red", "-": "green"}.get(sign, ""))


def comparison_document(
    names: tuple[str, str], costs: tuple[list[StackCost], list[StackCost]], changes: list[Change]
) -> dict[str, Any]:
    """Return the comparison as JSON."""
    return {
        **_basis_document(),
        "first": names[0],
        "second": names[1],
        "changes": [
            {
                "stack": change.stack,
                "first": None if change.first is None else _item_document(change.first),
                "second": None if change.second is None else _item_document(change.second),
                "per_month_difference": None if change.running is None else _exact(change.running),
            }
            for change in changes
        ],
        "known": {
            "first": _sums(*_sum_of(costs[0])),
            "second": _sums(*_sum_of(costs[1])),
        },
        "difference": _sums(*difference(changes)),
        "unknown": [sum(len(stack.unknown) for stack in each) for each in costs],
    }
