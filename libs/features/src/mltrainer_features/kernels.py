"""The code of every feature, by the kernel name of its definition."""

from collections.abc import Callable

import numpy as np

from mltrainer_features.panel import Panel
from mltrainer_features.windows import (
    Floats,
    lagged,
    newest,
    trailing_cross_product,
    trailing_maximum,
    trailing_sums,
    trailing_weighted_sum,
)

VARIANCE_FLOOR = 1e-8
ABSOLUTE_RETURN_FLOOR = 1e-4
EWMA_DECAY = 0.94
# A flat price leaves rounding noise of this size in a sum of squares; a ratio of two such sums means nothing.
CROSS_PRODUCT_FLOOR = 1e-16
SQUARE_SPANS = (1, 5, 22, 66)

Kernel = Callable[[Panel, int], Floats]


def floored_log(values: Floats, floor: float) -> Floats:
    """Takes logarithms of values not below a floor; NaN stays NaN."""
    return np.log(np.maximum(values, floor))


def _mean(panel: Panel, values: Floats, span: int) -> Floats:
    return trailing_sums(values, (span,), panel.last)[span] / span


def _log_mean(panel: Panel, values: Floats, span: int, floor: float = VARIANCE_FLOOR) -> Floats:
    return floored_log(_mean(panel, values, span), floor)


def _square_sums(panel: Panel, span: int) -> Floats:
    if span not in SQUARE_SPANS:
        return trailing_sums(panel.returns**2, (span,), panel.last)[span]

    def compute() -> Floats:
        return np.stack(list(trailing_sums(panel.returns**2, SQUARE_SPANS, panel.last).values()))

    sums: Floats = panel.share("square sums", compute)[SQUARE_SPANS.index(span)]
    return sums


def _log_return(panel: Panel, span: int) -> Floats:
    return panel.to_rows(panel.log_close - lagged(panel.log_close, span))


def _log_variance(panel: Panel, span: int) -> Floats:
    return panel.to_rows(floored_log(_square_sums(panel, span) / span, VARIANCE_FLOOR))


def _log_abs_return(panel: Panel, span: int) -> Floats:
    return panel.to_rows(_log_mean(panel, np.abs(panel.returns), span, ABSOLUTE_RETURN_FLOOR))


def _log_downside_variance(panel: Panel, span: int) -> Floats:
    return panel.to_rows(_log_mean(panel, np.minimum(panel.returns, 0.0) ** 2, span))


def _log_upside_variance(panel: Panel, span: int) -> Floats:
    return panel.to_rows(_log_mean(panel, np.maximum(panel.returns, 0.0) ** 2, span))


def _log_max_abs_return(panel: Panel, span: int) -> Floats:
    largest = trailing_maximum(np.abs(panel.returns), span, panel.last)
    return panel.to_rows(floored_log(largest, ABSOLUTE_RETURN_FLOOR))


def _log_ewma_variance(panel: Panel, span: int) -> Floats:
    weights = [EWMA_DECAY**lag for lag in range(span)]
    total = trailing_weighted_sum(panel.returns**2, weights, panel.last)
    return panel.to_rows(floored_log(total / sum(weights), VARIANCE_FLOOR))


def _variance_of_variance(panel: Panel, span: int) -> Floats:
    rows = None if panel.last is None else panel.last + span - 1
    squares = trailing_sums(panel.returns**2, (5,), rows)[5]
    weekly = floored_log(squares / 5, VARIANCE_FLOOR)
    return panel.to_rows(np.sqrt(trailing_cross_product(weekly, weekly, span, panel.last) / span))


def _market_return(panel: Panel, span: int) -> Floats:
    return panel.market_to_rows(trailing_sums(panel.market, (span,), panel.last)[span])


def _market_log_variance(panel: Panel, span: int) -> Floats:
    return panel.market_to_rows(_log_mean(panel, panel.market**2, span))


def _average_log_variance(panel: Panel, span: int) -> Floats:
    return panel.market_to_rows(_log_mean(panel, panel.market_square, span))


def _log_dispersion(panel: Panel, span: int) -> Floats:
    return panel.market_to_rows(_log_mean(panel, panel.market_square - panel.market**2, span))


def _relative_log_variance(panel: Panel, span: int) -> Floats:
    return _log_variance(panel, span) - _average_log_variance(panel, span)


def _log_return_between(newest: int, oldest: int) -> Kernel:
    def kernel(panel: Panel, _span: int) -> Floats:
        return panel.to_rows(lagged(panel.log_close, newest) - lagged(panel.log_close, oldest))

    return kernel


def _drawdown(panel: Panel, span: int) -> Floats:
    close = newest(panel.log_close, panel.last)
    return panel.to_rows(close - trailing_maximum(panel.log_close, span, panel.last))


def _mean_gap(panel: Panel, span: int) -> Floats:
    return panel.to_rows(newest(panel.log_close, panel.last) - _mean(panel, panel.log_close, span))


def _trend(panel: Panel, span: int) -> Floats:
    total = trailing_sums(panel.returns, (span,), panel.last)[span]
    return panel.to_rows(total / np.sqrt(np.maximum(_square_sums(panel, span), VARIANCE_FLOOR)))


def _up_share(panel: Panel, span: int) -> Floats:
    rises = np.where(np.isnan(panel.returns), np.nan, (panel.returns > 0).astype(np.float64))
    return panel.to_rows(_mean(panel, rises, span))


def _correlation_market(panel: Panel, span: int) -> Floats:
    own = trailing_cross_product(panel.returns, panel.returns, span, panel.last)
    scale = np.sqrt(
        np.maximum(own, CROSS_PRODUCT_FLOOR) * np.maximum(_market_squares(panel, span), CROSS_PRODUCT_FLOOR)
    )
    return panel.to_rows(_market_product(panel, span) / scale)


def _beta_market(panel: Panel, span: int) -> Floats:
    return panel.to_rows(_market_product(panel, span) / _market_squares(panel, span))


def _market_product(panel: Panel, span: int) -> Floats:
    def compute() -> Floats:
        return trailing_cross_product(panel.returns, panel.market_beside_own, span, panel.last)

    return panel.share(f"market product {span}", compute)


def _market_squares(panel: Panel, span: int) -> Floats:
    def compute() -> Floats:
        market = panel.market_beside_own
        return trailing_cross_product(market, market, span, panel.last)

    return np.maximum(panel.share(f"market squares {span}", compute), CROSS_PRODUCT_FLOOR)


KERNELS: dict[str, Kernel] = {
    "log_return": _log_return,
    "market_return": _market_return,
    "log_variance": _log_variance,
    "log_abs_return": _log_abs_return,
    "log_downside_variance": _log_downside_variance,
    "log_upside_variance": _log_upside_variance,
    "log_max_abs_return": _log_max_abs_return,
    "log_ewma_variance": _log_ewma_variance,
    "variance_of_variance": _variance_of_variance,
    "market_log_variance": _market_log_variance,
    "average_log_variance": _average_log_variance,
    "momentum_252_22": _log_return_between(22, 252),
    "momentum_66_5": _log_return_between(5, 66),
    "drawdown": _drawdown,
    "mean_gap": _mean_gap,
    "trend": _trend,
    "up_share": _up_share,
    "correlation_market": _correlation_market,
    "beta_market": _beta_market,
    "relative_log_variance": _relative_log_variance,
    "log_dispersion": _log_dispersion,
}
RANK_KERNEL = "rank"
RANKED: dict[str, tuple[str, int]] = {
    "rank_return_5": ("log_return", 5),
    "rank_return_22": ("log_return", 22),
    "rank_log_variance_22": ("log_variance", 22),
    "rank_momentum_252_22": ("momentum_252_22", 252),
}
