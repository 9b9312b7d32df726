"""Knows the days on which a market trades, by the rules of its holidays."""

from datetime import date, timedelta
from enum import StrEnum
from functools import cache

_SATURDAY = 5
_MONDAY, _THURSDAY, _FRIDAY = 0, 3, 4
_FIRST_JUNETEENTH, _FIRST_KING_DAY = 2022, 1998


class MarketCalendar(StrEnum):
    """Which days count; `XNYS` leaves out special closures, such as days of mourning."""

    XNYS = "XNYS"
    ALL = "ALL"

    def trades(self, day: date) -> bool:
        """Tells whether a day counts."""
        if self is MarketCalendar.ALL:
            return True
        return day.weekday() < _SATURDAY and day not in _holidays(day.year)


@cache
def _holidays(year: int) -> frozenset[date]:
    """Lists the days of a year on which the New York Stock Exchange is closed by rule."""
    fixed = [date(year, 7, 4), date(year, 12, 25)]
    if year >= _FIRST_JUNETEENTH:
        fixed.append(date(year, 6, 19))
    moving = [
        _nth(year, 2, _MONDAY, 3),
        _easter(year) - timedelta(days=2),
        _last_monday_of_may(year),
        _nth(year, 9, _MONDAY, 1),
        _nth(year, 11, _THURSDAY, 4),
    ]
    if year >= _FIRST_KING_DAY:
        moving.append(_nth(year, 1, _MONDAY, 3))
    # A new year that falls on a Saturday is not made up for on the last day of the old one.
    first = date(year, 1, 1)
    new_year = [first + timedelta(days=1)] if first.weekday() == _SATURDAY + 1 else [first]
    return frozenset([*map(_observed, fixed), *moving, *new_year])


def _observed(day: date) -> date:
    if day.weekday() == _SATURDAY:
        return day - timedelta(days=1)
    return day + timedelta(days=1) if day.weekday() > _SATURDAY else day


def _nth(year: int, month: int, weekday: int, count: int) -> date:
    first = date(year, month, 1)
    return first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (count - 1))


def _last_monday_of_may(year: int) -> date:
    last = date(year, 5, 31)
    return last - timedelta(days=last.weekday())


def _easter(year: int) -> date:
    """Computes Easter Sunday of the Gregorian calendar (Meeus, Jones, Butcher)."""
    a, (b, c) = year % 19, divmod(year, 100)
    d, e = divmod(b, 4)
    g = (8 * b + 13) // 25
    h = (19 * a + b - d - g + 15) % 30
    i, k = divmod(c, 4)
    j = (32 + 2 * e + 2 * i - h - k) % 7
    m = (a + 11 * h + 22 * j) // 451
    month, day = divmod(h + j - 7 * m + 114, 31)
    return date(year, month, day + 1)
