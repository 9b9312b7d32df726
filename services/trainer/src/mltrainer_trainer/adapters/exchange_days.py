"""Knows the trading days of exchanges from the calendars that bars are judged by."""

import asyncio

from mltrainer_features import ALWAYS_OPEN, UnknownExchangeError, trading_calendar

from mltrainer_trainer.domain.cron import TradingDays
from mltrainer_trainer.domain.errors import InvalidFieldError

_EVERY_DAY = "ALL"


class ExchangeDays:
    """Implements `Calendars`; the first calendar takes about a second, in a thread."""

    async def trading_days(self, calendar: str) -> TradingDays:
        """Returns the days on which an exchange trades.

        Raises:
            InvalidFieldError: There is no such calendar.
        """
        name = ALWAYS_OPEN if calendar == _EVERY_DAY else calendar
        try:
            found = await asyncio.to_thread(trading_calendar, name)
        except UnknownExchangeError as error:
            raise InvalidFieldError("calendar", str(error)) from error
        return found.trades if found else lambda _day: True
