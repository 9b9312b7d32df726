"""Prints the facts as tables for people."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from mltrainer_cli.demo.facts import Facts, ReturnsFacts, VersionFacts, VolatilityFacts

_SHOWN_ITEMS = 6


def print_report(facts: Facts, console: Console) -> None:
    """Prints every section that has facts."""
    if facts.volatility:
        _print_volatility(facts.volatility, console)
    if facts.returns:
        _print_returns(facts.returns, console)
    if facts.version:
        _print_version(facts.version, console)
    if facts.experiment:
        _print_mapping("A/B experiment so far", facts.experiment, console)
    if facts.predict:
        _print_mapping("Predictions of the champion, single rows over gRPC", asdict(facts.predict), console)
    if facts.drift:
        _print_mapping("Drift and delayed-label score", facts.drift, console)
    if facts.slos:
        _print_rows("Service level objectives", facts.slos, console)
    if facts.bill:
        lines = facts.bill.get("lines", [])
        _print_mapping("Bill", {key: value for key, value in facts.bill.items() if key != "lines"}, console)
        _print_rows("Bill by training", lines, console)
    if facts.chaos:
        _print_mapping("Chaos experiment", facts.chaos, console)
    spans = ", ".join(f"{service} {count}" for service, count in facts.trace.items())
    console.print(
        f"One trace, from the request on Kafka to the served version: {facts.trace_id}\n  spans: {spans}"
    )
    console.print(f"All of it took {facts.elapsed_s:.0f} s.")


def _print_volatility(facts: VolatilityFacts, console: Console) -> None:
    folds = max((len(row.fold_r2) for row in facts.leaderboard), default=0)
    title = "Five-day volatility, out of sample on the same purged folds (R² by fold)"
    table = Table("model", "R²", "QLIKE", *(f"fold {n + 1}" for n in range(folds)), title=title, box=SIMPLE)
    for row in facts.leaderboard:
        cells = [f"{row.r2:.3f}", f"{row.qlike:.3f}", *(f"{value:.3f}" for value in row.fold_r2)]
        table.add_row(row.model, *cells, style="bold green" if row.chosen else "")
    console.print(table)
    console.print(f"Verdict: [bold]{facts.verdict}[/]. {facts.reason}\n")


def _print_returns(facts: ReturnsFacts, console: Console) -> None:
    console.print(f"Five-day returns: [bold]{facts.verdict}[/]. {facts.reason}\n")


def _print_version(facts: VersionFacts, console: Console) -> None:
    _print_mapping(f"Registered: {facts.name}", {"manifest": facts.digest, **facts.lineage}, console)
    _print_rows("Promotion gate of champion", facts.gate, console)


def _print_mapping(title: str, content: Mapping[str, Any], console: Console) -> None:
    table = Table("", "", title=title, box=SIMPLE, show_header=False)
    for key, value in content.items():
        table.add_row(key.replace("_", " "), _text(value))
    console.print(table)


def _print_rows(title: str, rows: Sequence[Mapping[str, Any]], console: Console) -> None:
    if not rows:
        return
    table = Table(*(str(name).replace("_", " ") for name in rows[0]), title=title, box=SIMPLE)
    for row in rows:
        table.add_row(*(_text(value) for value in row.values()))
    console.print(table)


def _text(value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4g}"
        case str():
            return value
        case Mapping():
            return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
        case Sequence():
            shown = [_text(item) for item in value[:_SHOWN_ITEMS]]
            hidden = len(value) - len(shown)
            return "\n".join([*shown, f"and {hidden} more"] if hidden else shown)
        case _:
            return str(value)
