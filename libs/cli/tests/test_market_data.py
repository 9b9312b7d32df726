"""The bundled market data is what its NOTICE says."""

import hashlib
from datetime import date
from importlib.resources import files

from mltrainer_cli.market_data import ClosingPrice, bundled_prices, bundled_symbols


def test_the_bundled_prices_are_8313_days_of_20_stocks_in_order() -> None:
    prices = list(bundled_prices())

    days = [price.day for price in prices]
    assert len(bundled_symbols()) == 20
    assert len(prices) == 8313 * 20
    assert days == sorted(days)
    assert len(set(days)) == 8313
    assert all(price.price_usd > 0 for price in prices)
    assert prices[0] == ClosingPrice("AAPL", date(1990, 1, 2), 0.264)
    assert prices[-1] == ClosingPrice("XOM", date(2022, 12, 28), 106.627)


def test_the_notice_names_origin_licence_and_digest() -> None:
    data = files("mltrainer_cli") / "data"
    notice = (data / "NOTICE").read_text()

    assert "skfolio" in notice
    assert "BSD 3-Clause License" in notice
    assert hashlib.sha256((data / "sp500_prices.csv.gz").read_bytes()).hexdigest() in notice
