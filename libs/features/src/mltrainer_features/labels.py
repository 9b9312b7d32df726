"""Labels: what a model is asked to predict, with the time at which each label is known."""

from enum import StrEnum

import numpy as np
import polars as pl

from mltrainer_features.bars import EVENT_TIME, require_valid_bars
from mltrainer_features.kernels import VARIANCE_FLOOR

LABEL_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "symbol": pl.String,
    "event_time": EVENT_TIME,
    "label": pl.Float64,
    "label_end_time": EVENT_TIME,
}


class TargetKind(StrEnum):
    """What is predicted about the next bars of a symbol."""

    LOG_REALIZED_VARIANCE = "LOG_REALIZED_VARIANCE"
    EXCESS_RETURN = "EXCESS_RETURN"
    DIRECTION = "DIRECTION"


def compute_labels(bars: pl.DataFrame, kind: TargetKind, horizon_bars: int) -> pl.DataFrame:
    """Computes the label of every bar whose next bars are present, sorted by event time and symbol.

    LOG_REALIZED_VARIANCE is ln(max(sum of squared log returns, 1e-8)); EXCESS_RETURN is the log return minus
    the mean over the symbols whose label is complete at that event time; DIRECTION is 1 where the log return
    is positive, else 0. `label_end_time` is the event time of the last bar that the label reads, over all
    symbols for EXCESS_RETURN.

    Raises:
        ValueError: the horizon is not positive.
        BarSchemaError: a column is missing or of another type.
        InvalidBarsError: a bar is unusable.
    """
    if horizon_bars < 1:
        raise ValueError(f"a horizon has at least one bar, not {horizon_bars}")
    require_valid_bars(bars)
    ahead = (
        bars.sort("symbol", "event_time")
        .with_columns(log_close=pl.Series(np.log(bars.sort("symbol", "event_time")["close"].to_numpy())))
        .with_columns(
            ahead_return=pl.col("log_close").shift(-horizon_bars).over("symbol") - pl.col("log_close"),
            label_end_time=pl.col("event_time").shift(-horizon_bars).over("symbol"),
            square=(pl.col("log_close").shift(-1).over("symbol") - pl.col("log_close")) ** 2,
        )
        .with_columns(squares=_sum_ahead("square", horizon_bars))
        .filter(pl.col("label_end_time").is_not_null())
    )
    return ahead.with_columns(**_label(kind)).select(*LABEL_SCHEMA).sort("event_time", "symbol")


def _sum_ahead(column: str, count: int) -> pl.Expr:
    return pl.sum_horizontal(pl.col(column).shift(-lead).over("symbol") for lead in range(count))


def _label(kind: TargetKind) -> dict[str, pl.Expr]:
    match kind:
        case TargetKind.LOG_REALIZED_VARIANCE:
            return {"label": pl.max_horizontal(pl.col("squares"), pl.lit(VARIANCE_FLOOR)).log()}
        case TargetKind.EXCESS_RETURN:
            market = pl.col("ahead_return").mean().over("event_time")
            return {
                "label": pl.col("ahead_return") - market,
                "label_end_time": pl.col("label_end_time").max().over("event_time"),
            }
        case TargetKind.DIRECTION:
            return {"label": (pl.col("ahead_return") > 0).cast(pl.Float64)}
