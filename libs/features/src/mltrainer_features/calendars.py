"""Sessions of exchanges, and what is wrong with the time of a bar.

The days and hours come from `exchange_calendars`, which is imported when the first calendar is loaded: it
costs about a second of one core.
"""

import importlib
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from mltrainer_features.bars import FeatureError

ALWAYS_OPEN = "24/7"
_FIRST_DAY, _LAST_DAY = date(1970, 1, 1), date(2045, 12, 31)
_SATURDAY = 5
_MAX_SEEN = 100_000
# Daily bars are often stamped at one hour of the day: 21:00 UTC is four hours after an early close in July.
_AFTER_CLOSE = timedelta(hours=4)


class SessionProblem(StrEnum):
    """Why a bar cannot be of the time it claims."""

    MARKET_CLOSED = "MARKET_CLOSED"
    OUTSIDE_SESSION = "OUTSIDE_SESSION"
    WRONG_TIME_ZONE = "WRONG_TIME_ZONE"


class UnknownExchangeError(FeatureError):
    """No calendar of that name is known."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"no calendar of exchange {name!r} is known; use a market identifier such as XNYS, or 24/7"
        )


@dataclass(frozen=True, slots=True)
class TradingCalendar:
    """The sessions of one exchange, by day and by moment.

    Outside the span that the calendar covers every weekday counts, and no time of a bar is doubted.
    """

    name: str
    zone: ZoneInfo
    days: frozenset[date]
    opens: Sequence[datetime]
    closes: Sequence[datetime]
    first_day: date
    last_day: date
    _seen: dict[tuple[datetime, bool], SessionProblem | None] = field(default_factory=dict, compare=False)

    def trades(self, day: date) -> bool:
        """Tells whether there is a session on a day."""
        if not self.first_day <= day <= self.last_day:
            return day.weekday() < _SATURDAY
        return day in self.days

    def problem(self, close_time: datetime, *, is_daily: bool) -> SessionProblem | None:
        """Says what is wrong with a bar that closed at a time; a daily one closes at or after the session."""
        key = (close_time, is_daily)
        if key not in self._seen:
            if len(self._seen) >= _MAX_SEEN:
                self._seen.clear()
            self._seen[key] = self._judge(close_time, is_daily=is_daily)
        return self._seen[key]

    def _judge(self, close_time: datetime, *, is_daily: bool) -> SessionProblem | None:
        local = close_time.astimezone(self.zone)
        if not self.first_day < local.date() < self.last_day:
            return None
        is_date_only = close_time.astimezone(UTC).time() == datetime.min.time()
        if self._fits(close_time, is_daily=is_daily, may_follow=not is_date_only):
            return None
        read_as_local = close_time.astimezone(UTC).replace(tzinfo=self.zone)
        read_as_utc = local.replace(tzinfo=UTC)
        shifted = (
            self._fits(one, is_daily=is_daily, may_follow=is_daily) for one in (read_as_local, read_as_utc)
        )
        if is_date_only or any(shifted):
            return SessionProblem.WRONG_TIME_ZONE
        return SessionProblem.OUTSIDE_SESSION if local.date() in self.days else SessionProblem.MARKET_CLOSED

    def _fits(self, moment: datetime, *, is_daily: bool, may_follow: bool) -> bool:
        place = bisect_left(self.closes, moment)
        if place < len(self.closes):
            earliest = self.closes[place] if is_daily else self.opens[place]
            if moment == self.closes[place] or earliest < moment:
                return True
        return may_follow and place > 0 and moment <= self.closes[place - 1] + _AFTER_CLOSE


def trading_calendar(name: str) -> TradingCalendar | None:
    """Loads the calendar of an exchange, once; None for a market that never closes.

    Raises:
        UnknownExchangeError: No exchange has that name.
    """
    return None if name == ALWAYS_OPEN else _load(name)


@cache
def _load(name: str) -> TradingCalendar:
    library = importlib.import_module("exchange_calendars")
    try:
        factory = type(library.get_calendar(name))
    except library.errors.InvalidCalendarName as error:
        raise UnknownExchangeError(name) from error
    first, last = (_bound(limit) for limit in (factory.bound_min(), factory.bound_max()))
    first_day, last_day = max(first or _FIRST_DAY, _FIRST_DAY), min(last or _LAST_DAY, _LAST_DAY)
    found = factory(start=first_day.isoformat(), end=last_day.isoformat())
    return TradingCalendar(
        name,
        ZoneInfo(str(found.tz)),
        frozenset(found.sessions.date),
        _moments(found.opens),
        _moments(found.closes),
        first_day,
        last_day,
    )


def _bound(limit: Any) -> date | None:
    return None if limit is None else limit.date()


def _moments(column: Any) -> list[datetime]:
    return [moment.to_pydatetime().astimezone(UTC) for moment in column]
