"""Slices of the bundled market data that every model of the catalogue can be fitted on within seconds."""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

import numpy as np
import polars as pl
from mltrainer_cli.market_data import bundled_prices
from mltrainer_features import TargetKind, compute_features, compute_labels, feature_names
from mltrainer_trainer.domain.catalogue import CatalogueEntry, Task
from mltrainer_trainer.domain.learners import FitRequest
from mltrainer_trainer.domain.training_data import Floats, Integers, TrainingData, load_training_data

HORIZON_BARS = 5
_SYMBOLS = ("AAPL", "GE", "JNJ", "JPM", "PG", "XOM")
_FROM = datetime(2017, 6, 1, tzinfo=UTC)
_UNTIL = datetime(2021, 1, 1, tzinfo=UTC)
_CHECK_ROWS = 120
_STATE_FEATURES = ("log_variance_1", "log_variance_5", "log_variance_22")
_LABELS = {
    Task.CLASSIFICATION: TargetKind.DIRECTION,
    Task.RANKING: TargetKind.EXCESS_RETURN,
}


@dataclass(frozen=True, eq=False, slots=True)
class Slice:
    """Rows to learn from and the rows that follow them, in the order of the columns of `feature_names`."""

    feature_names: tuple[str, ...]
    matrix: Floats
    labels: Floats
    groups: Integers
    check_matrix: Floats

    def request(self, entry: CatalogueEntry, *, seed: int = 7, threads: int = 1) -> FitRequest:
        """Asks for a fit of the entry's defaults."""
        return FitRequest(
            matrix=self.matrix.copy(),
            labels=self.labels.copy(),
            parameters={**entry.fixed, **entry.defaults},
            horizon_bars=HORIZON_BARS,
            seed=seed,
            groups=self.groups if entry.task is Task.RANKING else None,
            threads=threads,
        )


def slice_for(entry: CatalogueEntry) -> Slice:
    """Cuts what the entry's task learns from."""
    match entry.task:
        case Task.VOLATILITY:
            return _series(_returns()[:, 0] * 100.0, "return")
        case Task.FORECASTING:
            return _series(_weekly_variance(), "log_variance_5", check_rows=20)
        case Task.PORTFOLIO:
            returns = _returns()
            return _cut(_SYMBOLS, returns, returns[:, 0], np.arange(len(returns)))
        case Task.REGIME | Task.ANOMALY:
            data = _panel(TargetKind.LOG_REALIZED_VARIANCE)
            rows = data.symbol == 0
            matrix = data.matrix[rows][:, data.columns(_STATE_FEATURES)]
            return _cut(_STATE_FEATURES, matrix, data.labels[rows], data.date[rows])
        case _:
            kinds = entry.target_kinds or (_LABELS.get(entry.task, TargetKind.EXCESS_RETURN),)
            data = _panel(kinds[0])
            names = entry.columns(data.feature_names)
            return _cut(names, data.matrix[:, data.columns(names)], data.labels, data.date)


def _cut(
    names: tuple[str, ...],
    matrix: Floats,
    labels: Floats,
    groups: Integers,
    check_rows: int = _CHECK_ROWS,
) -> Slice:
    end = len(matrix) - check_rows
    return Slice(
        names,
        np.ascontiguousarray(matrix[:end]),
        np.ascontiguousarray(labels[:end]),
        groups[:end].astype(np.int64),
        np.ascontiguousarray(matrix[end:]),
    )


def _series(values: Floats, name: str, check_rows: int = _CHECK_ROWS) -> Slice:
    return _cut((name,), values[:, np.newaxis], values, np.arange(len(values)), check_rows)


@cache
def _bars() -> pl.DataFrame:
    rows = [
        (
            price.symbol,
            datetime(price.day.year, price.day.month, price.day.day, 21, tzinfo=UTC),
            price.price_usd,
        )
        for price in bundled_prices()
        if price.symbol in _SYMBOLS
    ]
    schema: dict[str, pl.DataType | type[pl.DataType]] = {
        "symbol": pl.String,
        "event_time": pl.Datetime("us", "UTC"),
        "close": pl.Float64,
    }
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    return frame.filter(pl.col("event_time").is_between(_FROM, _UNTIL)).sort("symbol", "event_time")


@cache
def _panel(target: TargetKind) -> TrainingData:
    labels = compute_labels(_bars(), target, HORIZON_BARS)
    dataset = compute_features(_bars()).join(labels, on=["symbol", "event_time"])
    return load_training_data(dataset, feature_names(), target, HORIZON_BARS)


@cache
def _returns() -> Floats:
    closes = _bars().pivot(on="symbol", index="event_time", values="close").sort("event_time")
    return np.ascontiguousarray(np.diff(np.log(closes.select(_SYMBOLS).to_numpy()), axis=0))


@cache
def _weekly_variance() -> Floats:
    weeks = len(_returns()) // HORIZON_BARS
    squares = (_returns()[: weeks * HORIZON_BARS] ** 2).sum(axis=1)
    return np.asarray(np.log(squares.reshape(weeks, HORIZON_BARS).sum(axis=1) + 1e-8))
