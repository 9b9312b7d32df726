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
    FORWARD_RANK = "FORWARD_RANK"
    PORTFOLIO_RETURN = "PORTFOLIO_RETURN"
    VARIANCE_REGIME = "VARIANCE_REGIME"
    TAIL_EVENT = "TAIL_EVENT"


# A move is extreme beyond so many standard deviations of as many past bars.
_EXTREME = 2.0
_USUAL_BARS = 66


def compute_labels(bars: pl.DataFrame, kind: TargetKind, horizon_bars: int) -> pl.DataFrame:
    """Computes the label of every bar whose next bars are present, sorted by event time and symbol.

    LOG_REALIZED_VARIANCE is ln(max(sum of squared log returns, 1e-8)); EXCESS_RETURN is the log return minus
    the mean over the symbols whose label is complete at that event time; DIRECTION is 1 where the log return
    is positive, else 0. FORWARD_RANK is the place of the log return among those of that event time,
    (average rank - 1/2) / count; PORTFOLIO_RETURN is the simple return; VARIANCE_REGIME has the label of
    LOG_REALIZED_VARIANCE; TAIL_EVENT is 1 where the log return exceeds, up or down, two standard deviations
    as the mean squared return of the last 66 bars has them, else 0; earlier bars have no such label.
    `label_end_time` is the event time of the last bar that the label reads, over all symbols for
    EXCESS_RETURN and FORWARD_RANK.

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
        .with_columns(
            squares=_sum_ahead("square", horizon_bars),
            past_square=pl.col("square").shift(1).over("symbol"),
        )
        .with_columns(usual_square=pl.col("past_square").rolling_mean(_USUAL_BARS).over("symbol"))
        .filter(pl.col("label_end_time").is_not_null())
    )
    labelled = ahead.with_columns(**_label(kind, horizon_bars)).filter(pl.col("label").is_not_null())
    return labelled.select(*LABEL_SCHEMA).sort("event_time", "symbol")


def _sum_ahead(column: str, count: int) -> pl.Expr:
    return pl.sum_horizontal(pl.col(column).shift(-lead).over("symbol") for lead in range(count))


def _label(kind: TargetKind, horizon_bars: int) -> dict[str, pl.Expr]:
    match kind:
        case TargetKind.LOG_REALIZED_VARIANCE | TargetKind.VARIANCE_REGIME:
            return {"label": pl.max_horizontal(pl.col("squares"), pl.lit(VARIANCE_FLOOR)).log()}
        case TargetKind.EXCESS_RETURN:
            market = pl.col("ahead_return").mean().over("event_time")
            return {"label": pl.col("ahead_return") - market, "label_end_time": _last_end()}
        case TargetKind.DIRECTION:
            return {"label": (pl.col("ahead_return") > 0).cast(pl.Float64)}
        case TargetKind.FORWARD_RANK:
            place = pl.col("ahead_return").rank("average").over("event_time")
            return {
                "label": (place - 0.5) / pl.len().over("event_time"),
                "label_end_time": _last_end(),
            }
        case TargetKind.PORTFOLIO_RETURN:
            return {"label": pl.col("ahead_return").exp() - 1}
        case TargetKind.TAIL_EVENT:
            usual = (pl.col("usual_square") * horizon_bars).sqrt()
            return {"label": (pl.col("ahead_return").abs() > _EXTREME * usual).cast(pl.Float64)}


def _last_end() -> pl.Expr:
    return pl.col("label_end_time").max().over("event_time")
