"""The rows a training learns from: features known at an event time, and a label known later."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from mltrainer_features import TargetKind
from numpy.typing import NDArray

from mltrainer_trainer.domain.errors import TrainerError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Rows = NDArray[np.intp]


class DataProblemError(TrainerError):
    """The dataset lacks what a training needs; `reason` is what the attempt ends with."""

    def __init__(self, problem: str, reason: str = "NOT_ENOUGH_ROWS") -> None:
        super().__init__(problem)
        self.problem = problem
        self.reason = reason


@dataclass(frozen=True, eq=False, slots=True)
class TrainingData:
    """Complete rows sorted by event time and symbol.

    Times are microseconds since 1970; `date` numbers the event times from 0.
    """

    target: TargetKind
    horizon_bars: int
    feature_names: tuple[str, ...]
    symbols: tuple[str, ...]
    symbol: Integers
    event_time: Integers
    label_end_time: Integers
    date: Integers
    matrix: Floats
    labels: Floats
    dropped_rows: int

    def __len__(self) -> int:
        """Counts the rows."""
        return len(self.labels)

    def columns(self, names: Sequence[str]) -> list[int]:
        """Finds the columns of some features."""
        return [self.feature_names.index(name) for name in names]

    def keep(self, rows: NDArray[np.bool_]) -> "TrainingData":
        """Keeps some of the rows."""
        return TrainingData(
            self.target,
            self.horizon_bars,
            self.feature_names,
            self.symbols,
            self.symbol[rows],
            self.event_time[rows],
            self.label_end_time[rows],
            _number(self.event_time[rows]),
            self.matrix[rows],
            self.labels[rows],
            self.dropped_rows,
        )


def to_microseconds(time: datetime) -> int:
    """Converts an aware time exactly."""
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def load_training_data(
    frame: pl.DataFrame, feature_names: Sequence[str], target: TargetKind, horizon_bars: int
) -> TrainingData:
    """Reads a dataset with the columns symbol, event_time, label, label_end_time and the features.

    Rows with a missing or infinite number are dropped and counted: windows that reach before the first bar
    have no value.

    Raises:
        DataProblemError: a column is missing, a label ends before its row, or no row is complete.
    """
    needed = ["symbol", "event_time", "label", "label_end_time", *feature_names]
    missing = [name for name in needed if name not in frame.columns]
    if missing:
        raise DataProblemError(f"columns are missing: {', '.join(missing)}")
    numbers = [*feature_names, "label"]
    _require_values(frame, numbers)
    complete = (
        frame.select(needed)
        .filter(pl.all_horizontal(pl.col(numbers).is_finite()), pl.col("label_end_time").is_not_null())
        .sort("event_time", "symbol")
    )
    if complete.is_empty():
        raise DataProblemError("no row has all features and a label")
    event_time = complete["event_time"].dt.epoch("us").to_numpy()
    label_end_time = complete["label_end_time"].dt.epoch("us").to_numpy()
    if (label_end_time <= event_time).any():
        raise DataProblemError("a label ends before its row begins")
    symbols = sorted(complete["symbol"].unique().to_list())
    codes = {name: code for code, name in enumerate(symbols)}
    return TrainingData(
        target=target,
        horizon_bars=horizon_bars,
        feature_names=tuple(feature_names),
        symbols=tuple(symbols),
        symbol=complete["symbol"].replace_strict(codes, return_dtype=pl.Int64).to_numpy(),
        event_time=event_time,
        label_end_time=label_end_time,
        date=_number(event_time),
        matrix=np.ascontiguousarray(complete.select(feature_names).to_numpy()),
        labels=complete["label"].to_numpy(),
        dropped_rows=len(frame) - len(complete),
    )


def _require_values(frame: pl.DataFrame, columns: Sequence[str]) -> None:
    finite = frame.select(pl.col(columns).is_finite().any()).row(0) if len(frame) else ()
    empty = [name for name, present in zip(columns, finite, strict=False) if not present]
    if empty:
        raise DataProblemError(f"no row has a value of {', '.join(empty)}", "COLUMN_WITHOUT_VALUES")


def _number(event_time: Integers) -> Integers:
    return np.asarray(np.unique(event_time, return_inverse=True)[1], dtype=np.int64)
