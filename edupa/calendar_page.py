"""The delivery calendar on a terminal: a matrix of feeds and periods, or the deliveries of one of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from rich.console import Console
from rich.table import Table

from ingest.calendar import STATES, Delivery, DeliveryState, summarize

#: periods with a column of their own; what came before them shares one
SHOWN_PERIODS = 6
#: deliveries that want attention and are listed below the matrix
SHOWN_PROBLEMS = 10
_LETTERS: dict[DeliveryState, str] = {"missing": "m", "partial": "p", "late": "l", "due": "d"}
_COLORS: dict[DeliveryState, str] = {
    "missing": "red",
    "partial": "yellow",
    "late": "yellow",
    "due": "cyan",
    "arrived": "green",
}


def _cell(deliveries: Sequence[Delivery]) -> str:
    """What has arrived of what is expected, and how many deliveries want attention: ``20/22 1m 2l``."""
    if not deliveries:
        return ""
    count = {state: sum(item.state == state for item in deliveries) for state in STATES}
    text = f"{count['arrived'] + count['late']}/{len(deliveries)}"
    marks = " ".join(f"{count[state]}{letter}" for state, letter in _LETTERS.items() if count[state])
    worst = next(state for state in STATES if count[state])
    return f"[{_COLORS[worst]}]{text}{' ' + marks if marks else ''}[/]"


def _place(item: Delivery) -> str:
    return item.unit_name if item.unit == "*" else f"{item.unit} {item.unit_name}"


def print_calendar(deliveries: Sequence[Delivery], as_of: date, console: Console) -> None:
    """Print the matrix, and below it the first deliveries that want attention."""
    console.print(f"[bold]deliveries[/] as of {as_of}", highlight=False)
    if not deliveries:
        console.print("  no contract expects any")
        return
    periods = sorted({item.period for item in deliveries})
    shown, earlier = periods[-SHOWN_PERIODS:], periods[:-SHOWN_PERIODS]
    table = Table(box=None, pad_edge=False)
    table.add_column("feed", no_wrap=True)
    if earlier:
        table.add_column(f"{earlier[0]}–{earlier[-1]}" if len(earlier) > 1 else str(earlier[0]), no_wrap=True)
    for period in shown:
        table.add_column(str(period), no_wrap=True)
    for feed in sorted({feed for feed, _ in summarize(deliveries)}):
        own = [item for item in deliveries if item.feed == feed]
        cells = [_cell([item for item in own if item.period in earlier])] if earlier else []
        table.add_row(feed, *cells, *(_cell([item for item in own if item.period == period]) for period in shown))
    console.print(table)
    console.print("arrived/expected; m missing, p partial, l late, d due but not yet over", style="dim")
    wanting = sorted(
        (item for item in deliveries if item.state in ("missing", "partial", "late")),
        key=lambda item: (STATES.index(item.state), item.feed, -item.period, item.unit),
    )
    for item in wanting[:SHOWN_PROBLEMS]:
        due = f", was due {item.due}" if item.state == "missing" else ""
        remark = f": {item.remark}" if item.remark else ""
        color = _COLORS[item.state]
        console.print(
            f"  [{color}]{item.state}[/] {item.feed} {item.period} {_place(item)}{due}{remark}",
            highlight=False,
            soft_wrap=True,
        )
    if len(wanting) > SHOWN_PROBLEMS:
        first = wanting[SHOWN_PROBLEMS]
        console.print(
            f"  … and {len(wanting) - SHOWN_PROBLEMS} more:"
            f" `edupa status --feed {first.feed} --period {first.period}` lists them",
            highlight=False,
            soft_wrap=True,
        )


def print_deliveries(deliveries: Sequence[Delivery], as_of: date, console: Console) -> None:
    """Print deliveries one by one, those that want attention first."""
    feeds = sorted({item.feed for item in deliveries})
    periods = sorted({item.period for item in deliveries})
    console.print(
        f"[bold]deliveries[/] of {', '.join(feeds)}, {', '.join(map(str, periods))}, as of {as_of}", highlight=False
    )
    table = Table(box=None, pad_edge=False)
    for heading in ("feed", "period", "from", "state", "due", "extract of", "loaded at"):
        table.add_column(heading, no_wrap=True)
    for heading in ("rows", "quarantined"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("remark")
    for item in sorted(deliveries, key=lambda item: (STATES.index(item.state), item.feed, item.period, item.unit)):
        table.add_row(
            item.feed,
            str(item.period),
            _place(item),
            f"[{_COLORS[item.state]}]{item.state}[/]",
            str(item.due or "–"),
            str(item.arrived_on or "–"),
            item.loaded_at or "–",
            f"{item.rows:,}" if item.files else "–",
            f"{item.quarantined:,}" if item.files else "–",
            item.remark,
        )
    console.print(table)
    counts = {state: sum(item.state == state for item in deliveries) for state in STATES}
    console.print(", ".join(f"{amount} {state}" for state, amount in counts.items() if amount), highlight=False)
