"""Reads schedules as cron writes them, and finds when one is due next."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from mltrainer_trainer.domain.errors import InvalidFieldError

TradingDays: TypeAlias = Callable[[date], bool]
"""Tells whether a market trades on a day."""

_RANGES = {"minute": (0, 59), "hour": (0, 23), "day": (1, 31), "month": (1, 12), "weekday": (0, 7)}
_SUNDAY = 7
# No day that matches within four years: a schedule for 30 February, or for holidays only.
_SEARCHED_DAYS = 4 * 366


@dataclass(frozen=True, slots=True)
class Schedule:
    """Times of day on some days, in a time zone.

    Days of month and week both have to match, which differs from cron where both are given.
    """

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    zone: ZoneInfo

    def next_after(self, moment: datetime, trades: TradingDays) -> datetime | None:
        """Returns the first time after a moment on a trading day, in UTC; None where there is none for years.

        Times that a change of the clock leaves out are skipped; one that it repeats counts once.
        """
        local = moment.astimezone(self.zone)
        for number in range(_SEARCHED_DAYS):
            day = local.date() + timedelta(days=number)
            matches = day.day in self.days and day.month in self.months and day.isoweekday() in self.weekdays
            if not matches or not trades(day):
                continue
            for hour in sorted(self.hours):
                for minute in sorted(self.minutes):
                    due = datetime.combine(day, time(hour, minute), self.zone).astimezone(UTC)
                    if due > moment and due.astimezone(self.zone).time() == time(hour, minute):
                        return due
        return None


def parse_schedule(text: str, zone: str) -> Schedule:
    """Reads minute, hour, day of month, month and day of week.

    Raises:
        InvalidFieldError: There are not five fields, one is malformed, or the zone is unknown.
    """
    parts = text.split()
    if len(parts) != len(_RANGES):
        raise InvalidFieldError("schedule", "use five fields: minute, hour, day, month, day of week")
    fields = [_field(name, part) for name, part in zip(_RANGES, parts, strict=True)]
    try:
        found = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidFieldError("time_zone", "use an IANA name such as America/New_York") from error
    weekdays = frozenset(_SUNDAY if day == 0 else day for day in fields[4])
    return Schedule(fields[0], fields[1], fields[2], fields[3], weekdays, found)


def _field(name: str, text: str) -> frozenset[int]:
    return frozenset(number for part in text.split(",") for number in _part(name, part))


def _part(name: str, text: str) -> range:
    low, high = _RANGES[name]
    span, _, step = text.partition("/")
    begin, dash, end = span.partition("-")
    try:
        first = low if span == "*" else int(begin)
        last = int(end) if dash else (high if span == "*" or step else first)
        width = int(step) if step else 1
    except ValueError as error:
        raise InvalidFieldError("schedule", f"{text!r} is no {name}") from error
    if not low <= first <= last <= high or width < 1:
        raise InvalidFieldError("schedule", f"{text!r} is no {name}: use {low} to {high}")
    return range(first, last + 1, width)
