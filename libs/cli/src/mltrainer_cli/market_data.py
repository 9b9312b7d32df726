"""Reads the bundled closing prices of 20 S&P 500 stocks, 1990 to 2022 (origin and licence: `data/NOTICE`)."""

import csv
import gzip
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from importlib.resources import files

_FILE = "sp500_prices.csv.gz"


@dataclass(frozen=True, slots=True)
class ClosingPrice:
    """What one share cost at the close of one trading day, adjusted for splits and dividends."""

    symbol: str
    day: date
    price_usd: float


def bundled_symbols() -> tuple[str, ...]:
    """Returns the symbols of the bundled data, in the order of its columns."""
    header, _ = _read()
    return header


def bundled_prices() -> Iterator[ClosingPrice]:
    """Yields every bundled price, day by day and within a day in the order of the symbols."""
    symbols, rows = _read()
    for text, *prices in rows:
        day = date.fromisoformat(text)
        for symbol, price in zip(symbols, prices, strict=True):
            yield ClosingPrice(symbol, day, float(price))


def _read() -> tuple[tuple[str, ...], Iterator[list[str]]]:
    content = gzip.decompress((files("mltrainer_cli") / "data" / _FILE).read_bytes())
    rows = csv.reader(io.StringIO(content.decode()))
    return tuple(next(rows)[1:]), rows
