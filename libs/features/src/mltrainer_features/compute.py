"""Computes features from bars: the one path of stream and backfill."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl

from mltrainer_features.bars import require_valid_bars
from mltrainer_features.definitions import VIEWS, FeatureDefinition, resolve_views
from mltrainer_features.kernels import KERNELS, RANK_KERNEL, RANKED
from mltrainer_features.panel import Integers, Panel
from mltrainer_features.windows import Floats

MAX_LOOK_BACK_BARS = max(view.max_look_back_bars for view in VIEWS.values())
_ALL = [feature for view in VIEWS.values() for feature in view.features]


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether the cross-section of one event time is whole."""

    event_time: datetime
    missing_symbols: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """True when every expected symbol has its bar."""
        return not self.missing_symbols


def compute_features(
    bars: pl.DataFrame, views: Sequence[str] | None = None, since_event_time: datetime | None = None
) -> pl.DataFrame:
    """Computes the features of some views, one row per bar, sorted by event time and symbol.

    A feature whose window reaches back before the first bar is null. Market and cross-section features are
    computed over the symbols that have a bar at that event time; a bar that arrives later changes them, see
    `cross_section_readiness`. Rows before `since_event_time` serve as look-back only; `bounded_history` says
    which are needed.

    Raises:
        UnknownViewError: no view of that name exists.
        BarSchemaError: a column is missing or of another type.
        InvalidBarsError: a bar is unusable; `split_bars` removes such bars.
    """
    definitions = [feature for view in resolve_views(views) for feature in view.features]
    require_valid_bars(bars)
    coded = _coded(bars)
    first_date = 0
    if since_event_time is not None:
        first_date = coded.filter(pl.col("event_time") < since_event_time)["event_time"].n_unique()
    symbols, dates, closes = (coded[name].to_numpy() for name in ("symbol_code", "date_code", "close"))
    panel = Panel(symbols, dates, closes, first_date)
    names = {feature.name: pl.Float64 for feature in definitions}
    values = pl.from_numpy(_matrix(panel, definitions), schema=names, orient="row").fill_nan(None)
    return coded[["symbol", "event_time"]][panel.rows].hstack(values)


def compute_latest(closes: Floats, first_date: int) -> tuple[Integers, Integers, Floats]:
    """Computes all features of the newest dates of valid closes: dates by symbols, NaN where absent.

    Returns the places of dates and symbols, by date and symbol, and a line of values for each. Equal to
    `compute_features` of the same bars, bit for bit: formulas and order of summation are the same code. Every
    symbol needs a bar, and every date.
    """
    symbols, dates = np.nonzero(~np.isnan(closes.T))
    panel = Panel(symbols, dates, closes[dates, symbols], first_date)
    return dates[panel.rows], symbols[panel.rows], _matrix(panel, _ALL)


def bounded_history(
    bars: pl.DataFrame, since_event_time: datetime, look_back_bars: int = MAX_LOOK_BACK_BARS
) -> pl.DataFrame:
    """Keeps the bars that decide the features from `since_event_time` on.

    It starts where every symbol that traded within the last `look_back_bars` dates has that many bars before
    the given time.
    """
    before = bars.filter(pl.col("event_time") < since_event_time)
    recent_dates = before["event_time"].unique().sort(descending=True).head(look_back_bars)
    if recent_dates.is_empty():
        return bars
    present = bars.filter(pl.col("event_time") >= recent_dates[-1])["symbol"].unique()
    starts = (
        before.filter(pl.col("symbol").is_in(present.implode()))
        .group_by("symbol")
        .agg(pl.col("event_time").top_k(look_back_bars).min())
    )
    return bars.filter(pl.col("event_time") >= starts["event_time"].min()) if starts.height else bars


def cross_section_readiness(
    bars: pl.DataFrame, expected_symbols: Collection[str], event_time: datetime
) -> Readiness:
    """Says which expected symbols have no bar at an event time."""
    present = set(bars.filter(pl.col("event_time") == event_time)["symbol"].to_list())
    return Readiness(event_time, tuple(sorted(set(expected_symbols) - present)))


def _coded(bars: pl.DataFrame) -> pl.DataFrame:
    places = {
        f"{name}_code": (pl.col(column).rank("dense") - 1).cast(pl.Int64)
        for name, column in (("symbol", "symbol"), ("date", "event_time"))
    }
    ordered = bars.lazy().sort("symbol", "event_time")
    return ordered.select("symbol", "event_time", "close", **places).collect()


def _matrix(panel: Panel, definitions: Sequence[FeatureDefinition]) -> Floats:
    values = np.empty((panel.rows.size, len(definitions)))
    for column, feature in enumerate(definitions):
        values[:, column] = _values(panel, feature)
    return values


def _values(panel: Panel, feature: FeatureDefinition) -> Floats:
    if feature.kernel != RANK_KERNEL:
        return KERNELS[feature.kernel](panel, feature.span)
    kernel, span = RANKED[feature.name]
    return panel.ranks(KERNELS[kernel](panel, span))
