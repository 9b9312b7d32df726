"""The panels that studies are measured on: 20 real stocks, halves of them, two real indices, made-up ones."""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from importlib import resources
from pathlib import Path

import numpy as np
import polars as pl
from mltrainer_features import TargetKind, compute_features, compute_labels, feature_names
from mltrainer_trainer.domain.training_data import TrainingData, load_training_data, to_microseconds

HORIZON = 5
CATALOGUE_PYTHON = Path(__file__).parents[2] / ".venv-catalogue" / "bin" / "python"
_INDICES = """
import arch.data.nasdaq, arch.data.sp500, sys
import pandas as pd
parts = {"NASDAQ": arch.data.nasdaq.load(), "SP500": arch.data.sp500.load()}
pd.DataFrame({name: part["Adj Close"] for name, part in parts.items()}).dropna().to_csv(sys.argv[1])
"""


@dataclass(frozen=True, slots=True)
class Case:
    """A panel of closes, the years that are tested, and the CPU seconds that each tool may use."""

    name: str
    closes: Callable[[], pl.DataFrame]
    first_year: int
    end_year: int
    budget_s: float


def stocks(part: slice = slice(None)) -> pl.DataFrame:
    """Reads the bundled prices of 20 stocks, or of some of them."""
    path = resources.files("mltrainer_cli") / "data" / "sp500_prices.csv.gz"
    wide = pl.read_csv(path.read_bytes(), try_parse_dates=True)
    return wide.select("Date", *wide.columns[1:][part])


def indices() -> pl.DataFrame:
    """Reads two indices from `arch`, which the environment of `make test-catalogue` has."""
    target = Path("/tmp") / "mltrainer-indices.csv"
    subprocess.run([CATALOGUE_PYTHON, "-c", _INDICES, target], check=True)
    return pl.read_csv(target, try_parse_dates=True)


def made_up() -> pl.DataFrame:
    """Simulates 12 stocks with a common and an own volatility, both in waves, and fat-tailed returns."""
    random = np.random.default_rng(11)
    days, symbols = 4_500, 12
    common, own, logs = 0.0, np.zeros(symbols), np.full(symbols, 4.0)
    rows = []
    for _ in range(days):
        common = 0.985 * common + 0.12 * random.normal()
        own = 0.95 * own + 0.2 * random.normal(size=symbols)
        logs = logs + np.exp((-8.6 + 2 * common + own) / 2) * random.standard_t(5, size=symbols) / np.sqrt(
            5 / 3
        )
        rows.append(np.exp(logs))
    calendar = [date(2003, 1, 1) + timedelta(days=day) for day in range(days)]
    return pl.DataFrame({"Date": calendar} | {f"M{n}": [row[n] for row in rows] for n in range(symbols)})


CASES = (
    Case("20 stocks, 2019-2022", stocks, 2019, 2023, 60.0),
    Case("first ten stocks, 2019-2022", lambda: stocks(slice(0, 10)), 2019, 2023, 30.0),
    Case("last ten stocks, 2019-2022", lambda: stocks(slice(10, 20)), 2019, 2023, 30.0),
    Case("20 stocks, 1999-2002", stocks, 1999, 2003, 30.0),
    Case("two indices, 2013-2018", indices, 2013, 2019, 15.0),
    Case("made-up panel", made_up, 2012, 2016, 30.0),
)


def load(case: Case, target: TargetKind) -> TrainingData:
    """Computes features and labels of a case, up to the end of its test years."""
    closes = case.closes()
    bars = (
        closes.unpivot(index=closes.columns[0], variable_name="symbol", value_name="close")
        .drop_nulls()
        .with_columns(
            event_time=pl.col(closes.columns[0]).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
            + pl.duration(hours=21),
            close=pl.col("close").cast(pl.Float64),
        )
        .select("symbol", "event_time", "close")
    )
    labels = compute_labels(bars, target, HORIZON)
    frame = compute_features(bars).join(labels, on=["symbol", "event_time"])
    data = load_training_data(frame, feature_names(), target, HORIZON)
    return data.keep(data.event_time < start_of(case.end_year))


def start_of(year: int) -> int:
    """Returns the first microsecond of a year."""
    return to_microseconds(datetime(year, 1, 1, tzinfo=UTC))
