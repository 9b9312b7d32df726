"""What the symbols of a dataset were in its span, and what follows for results on it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from mltrainer_feature.domain.bars import Bars

PAUSE = timedelta(days=10)
"""A market pauses for a week at most: whoever has no bar for longer was not there, or is no longer."""
_NAMED = 10


@dataclass(frozen=True, slots=True)
class SymbolEdge:
    """Where the bars of a symbol begin or end."""

    symbol: str
    event_time: datetime


@dataclass(frozen=True, slots=True)
class Universe:
    """The symbols that began or ended in a span, have no bar in it, or are not adjusted."""

    first_event_time: datetime | None
    last_event_time: datetime | None
    began: tuple[SymbolEdge, ...]
    ended: tuple[SymbolEdge, ...]
    without_bars: tuple[str, ...]
    unadjusted: tuple[str, ...]

    def statement(self) -> str:
        """Says what whoever believes a result has to know."""
        sentences = [self._about_ends(), self._about_prices()]
        if self.began:
            sentences.append(f"Began inside the span: {_edges(self.began)}.")
        if self.without_bars:
            sentences.append(f"No bar in the span: {_names(self.without_bars)}.")
        return " ".join(sentences)

    def _about_ends(self) -> str:
        if self.ended:
            return (
                f"Ended inside the span: {_edges(self.ended)}; what a holder lost or got after the last bar "
                "is in no label."
            )
        return (
            "No symbol ended inside the span: a universe chosen by who is traded at its end holds survivors "
            "only, and results on it are better than they could have been."
        )

    def _about_prices(self) -> str:
        if self.unadjusted:
            return (
                f"Prices are not adjusted: {_names(self.unadjusted)}; splits and dividends are in the "
                "returns as jumps."
            )
        return "Prices are adjusted for splits and dividends."


def describe_universe(
    symbols: Sequence[str],
    bars: Bars,
    span: tuple[datetime | None, datetime | None],
    unadjusted: Collection[str],
) -> Universe:
    """Compares the bars of each symbol with a span of event times; an open beginning is the first bar's."""
    start, end = span
    within = bars if start is None else bars.filter(pl.col("event_time") >= start)
    edges = within.group_by("symbol").agg(first=pl.col("event_time").min(), last=pl.col("event_time").max())
    known = {symbol: (first, last) for symbol, first, last in edges.iter_rows()}
    if not known or end is None:
        return Universe(None, None, (), (), tuple(sorted(symbols)), tuple(sorted(unadjusted)))
    begin = start or min(first for first, _ in known.values())
    return Universe(
        begin,
        end,
        tuple(SymbolEdge(name, known[name][0]) for name in sorted(known) if known[name][0] > begin + PAUSE),
        tuple(SymbolEdge(name, known[name][1]) for name in sorted(known) if known[name][1] < end - PAUSE),
        tuple(sorted(set(symbols).difference(known))),
        tuple(sorted(unadjusted)),
    )


def _edges(edges: Sequence[SymbolEdge]) -> str:
    return _names([f"{edge.symbol} ({edge.event_time:%Y-%m-%d})" for edge in edges])


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"
