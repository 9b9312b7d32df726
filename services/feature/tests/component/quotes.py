"""The same small market as in the unit tests."""

from ..unit.quotes import START, Quote, day, market, to_bars, to_event  # noqa: TID252 - tests are not installed

__all__ = ["START", "Quote", "day", "market", "to_bars", "to_event"]
