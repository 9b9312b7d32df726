"""Where instruments trade, and which of their bars cannot be of the time they claim."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase

import polars as pl
from mltrainer_features import SessionProblem, TradingCalendar, UnknownExchangeError, trading_calendar

from mltrainer_feature.domain.bars import Bars, Refusal, to_refusals

_DAILY = "daily"


class InvalidExchangesError(ValueError):
    """A list of exchanges cannot be read."""


@dataclass(frozen=True, slots=True)
class Listing:
    """Symbols of a pattern trade in one calendar; without one they trade always."""

    pattern: str
    calendar: TradingCalendar | None
    is_daily: bool = False


@dataclass(frozen=True, slots=True)
class Exchanges:
    """Where every instrument trades: by the first listing whose pattern its symbol matches, else always."""

    listings: Sequence[Listing] = ()
    _by_symbol: dict[str, Listing | None] = field(default_factory=dict, compare=False)

    def split(self, bars: Bars) -> tuple[Bars, list[Refusal]]:
        """Separates the bars that closed while their exchange trades from the refused ones."""
        if not any(listing.calendar for listing in self.listings) or bars.is_empty():
            return bars, []
        moments = zip(bars["symbol"].to_list(), bars["event_time"].to_list(), strict=True)
        problems = pl.Series([self._problem(*moment) for moment in moments], dtype=pl.String)
        if problems.null_count() == problems.len():
            return bars, []
        refused = bars.with_columns(reason=problems, field=pl.lit("event_time"))
        return bars.filter(problems.is_null()), to_refusals(refused.filter(problems.is_not_null()))

    def _problem(self, symbol: str, event_time: datetime) -> SessionProblem | None:
        if symbol not in self._by_symbol:
            found = (one for one in self.listings if fnmatchcase(symbol, one.pattern))
            self._by_symbol[symbol] = next(found, None)
        listing = self._by_symbol[symbol]
        if listing is None or listing.calendar is None:
            return None
        return listing.calendar.problem(event_time, is_daily=listing.is_daily)


ALL_OPEN = Exchanges()


def parse_exchanges(text: str) -> Exchanges:
    """Reads `pattern=exchange[:daily]`, separated by commas, such as `BTC-*=24/7,*=XNYS:daily`.

    Raises:
        InvalidExchangesError: An entry is malformed, or no such exchange is known.
    """
    return Exchanges(tuple(_listing(entry.strip()) for entry in text.split(",") if entry.strip()))


def _listing(entry: str) -> Listing:
    pattern, _, place = entry.rpartition("=")
    name, _, bars = place.partition(":")
    if not pattern or bars not in {"", _DAILY}:
        raise InvalidExchangesError(f"{entry!r} is not `pattern=exchange` or `pattern=exchange:daily`")
    try:
        return Listing(pattern, trading_calendar(name), bars == _DAILY)
    except UnknownExchangeError as error:
        raise InvalidExchangesError(str(error)) from error
