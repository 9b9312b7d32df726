"""What every feature is: definitions as data, grouped in versioned views."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from mltrainer_features.bars import FeatureError


class Unit(StrEnum):
    """What a feature's number measures."""

    LOG_RETURN = "LOG_RETURN"
    LOG_VARIANCE = "LOG_VARIANCE"
    LOG_ABSOLUTE_RETURN = "LOG_ABSOLUTE_RETURN"
    RATIO = "RATIO"
    RANK = "RANK"


UNIT_MEANINGS = {
    Unit.LOG_RETURN: "natural logarithm of a ratio of prices, not annualised",
    Unit.LOG_VARIANCE: "natural logarithm of a variance of log returns per bar, not annualised",
    Unit.LOG_ABSOLUTE_RETURN: "natural logarithm of an absolute log return per bar, not annualised",
    Unit.RATIO: "pure number",
    Unit.RANK: "place in a cross-section, between 0 and 1",
}
EVENT_TIMES = "Times are closes of bars, in UTC."
"""What the event time of every row is; the session of an exchange is told by its calendar."""


@dataclass(frozen=True, slots=True)
class FeatureDefinition:
    """One feature: `kernel` names its code, `span` its length, `window` all bars read, its own included."""

    name: str
    kernel: str
    span: int
    window: int
    formula: str
    unit: Unit
    description: str
    needs: tuple[str, ...] = ("close",)


@dataclass(frozen=True, slots=True)
class FeatureView:
    """A named, versioned group of features computed for one entity, a symbol."""

    name: str
    version: int
    description: str
    features: tuple[FeatureDefinition, ...]

    @property
    def max_look_back_bars(self) -> int:
        """How many bars, the last one included, the longest window reads."""
        return max(feature.window for feature in self.features)


class UnknownViewError(FeatureError):
    """No view of that name exists."""

    def __init__(self, view: str) -> None:
        self.view = view
        super().__init__(f"unknown feature view {view!r}; known: {', '.join(VIEWS)}")


def _log_return(span: int) -> FeatureDefinition:
    return FeatureDefinition(
        f"return_{span}",
        "log_return",
        span,
        span + 1,
        f"ln(close[t] / close[t-{span}])",
        Unit.LOG_RETURN,
        f"Log return of the last {span} bars.",
    )


def _market_return(span: int) -> FeatureDefinition:
    return FeatureDefinition(
        f"market_return_{span}",
        "market_return",
        span,
        span + 1,
        f"sum of m over {span} dates, m = mean over symbols present of r",
        Unit.LOG_RETURN,
        f"Return of the equally weighted market over the last {span} dates.",
    )


def _variance(kernel: str, span: int, argument: str, description: str) -> FeatureDefinition:
    return FeatureDefinition(
        f"{kernel}_{span}",
        kernel,
        span,
        span + 1,
        f"ln(max(mean of {argument} over {span}, 1e-8))",
        Unit.LOG_VARIANCE,
        f"{description} of the last {span} bars.",
    )


def _gap(kernel: str, span: int, formula: str, description: str) -> FeatureDefinition:
    return FeatureDefinition(f"{kernel}_{span}", kernel, span, span, formula, Unit.LOG_RETURN, description)


def _rank(of: str, span: int, window: int) -> FeatureDefinition:
    return FeatureDefinition(
        f"rank_{of}",
        "rank",
        span,
        window,
        f"(average rank of {of} among symbols present - 1/2) / count",
        Unit.RANK,
        f"Place of {of} in that day's cross-section, between 0 and 1.",
    )


_RETURNS = FeatureView(
    "market_returns",
    1,
    "Log returns of a symbol and of the equally weighted market.",
    (*map(_log_return, (1, 5, 22, 66)), *map(_market_return, (1, 5, 22))),
)

_VOLATILITY = FeatureView(
    "market_volatility",
    1,
    "Realised variance of a symbol and of the market, on the log scale.",
    (
        *(_variance("log_variance", span, "r^2", "Realised variance") for span in (1, 5, 22, 66)),
        *(
            FeatureDefinition(
                f"log_abs_return_{span}",
                "log_abs_return",
                span,
                span + 1,
                f"ln(max(mean of |r| over {span}, 1e-4))",
                Unit.LOG_ABSOLUTE_RETURN,
                f"Mean absolute return of the last {span} bars.",
            )
            for span in (5, 22)
        ),
        _variance("log_downside_variance", 22, "r^2 [r < 0]", "Downside semivariance"),
        _variance("log_upside_variance", 22, "r^2 [r > 0]", "Upside semivariance"),
        FeatureDefinition(
            "log_max_abs_return_22",
            "log_max_abs_return",
            22,
            23,
            "ln(max(max of |r| over 22, 1e-4))",
            Unit.LOG_ABSOLUTE_RETURN,
            "Largest absolute return of the last 22 bars.",
        ),
        FeatureDefinition(
            "log_ewma_variance_66",
            "log_ewma_variance",
            66,
            67,
            "ln(max(sum of 0.94^k r[t-k]^2 / sum of 0.94^k, k < 66, 1e-8))",
            Unit.LOG_VARIANCE,
            "Exponentially weighted variance, cut off after 66 bars.",
        ),
        FeatureDefinition(
            "variance_of_variance_22",
            "variance_of_variance",
            22,
            27,
            "standard deviation of log_variance_5 over 22",
            Unit.RATIO,
            "How much the weekly log variance moved in the last 22 bars.",
        ),
        *(
            _variance("market_log_variance", span, "m^2", "Variance of the market return")
            for span in (1, 5, 22, 66)
        ),
        *(
            _variance("average_log_variance", span, "(mean over symbols of r^2)", "Average variance")
            for span in (1, 5, 22)
        ),
    ),
)

_MOMENTUM = FeatureView(
    "market_momentum",
    1,
    "Trend and distance from past prices.",
    (
        FeatureDefinition(
            "momentum_252_22",
            "momentum_252_22",
            252,
            253,
            "ln(close[t-22] / close[t-252])",
            Unit.LOG_RETURN,
            "Return of the last year without its last month.",
        ),
        FeatureDefinition(
            "momentum_66_5",
            "momentum_66_5",
            66,
            67,
            "ln(close[t-5] / close[t-66])",
            Unit.LOG_RETURN,
            "Return of the last quarter without its last week.",
        ),
        _gap("drawdown", 66, "ln(close[t] / max of close over 66)", "Fall from the quarter's high."),
        _gap("drawdown", 252, "ln(close[t] / max of close over 252)", "Fall from the year's high."),
        _gap("mean_gap", 22, "ln close[t] - mean of ln close over 22", "Distance from the month's mean."),
        _gap("mean_gap", 66, "ln close[t] - mean of ln close over 66", "Distance from the quarter's mean."),
        FeatureDefinition(
            "trend_66",
            "trend",
            66,
            67,
            "sum of r over 66 / sqrt(max(sum of r^2 over 66, 1e-8))",
            Unit.RATIO,
            "Return per unit of realised volatility over a quarter.",
        ),
        FeatureDefinition(
            "up_share_22",
            "up_share",
            22,
            23,
            "share of r > 0 over 22",
            Unit.RATIO,
            "Share of rising bars in the last 22.",
        ),
    ),
)

_CROSS_SECTION = FeatureView(
    "market_cross_section",
    1,
    "A symbol against the other symbols of the same date.",
    (
        _rank("return_5", 5, 6),
        _rank("return_22", 22, 23),
        _rank("log_variance_22", 22, 23),
        _rank("momentum_252_22", 252, 253),
        FeatureDefinition(
            "correlation_market_66",
            "correlation_market",
            66,
            67,
            "correlation of r and m over 66",
            Unit.RATIO,
            "Correlation with the equally weighted market.",
        ),
        FeatureDefinition(
            "beta_market_66",
            "beta_market",
            66,
            67,
            "covariance of r and m over 66 / variance of m over 66",
            Unit.RATIO,
            "Beta against the equally weighted market.",
        ),
        FeatureDefinition(
            "relative_log_variance_22",
            "relative_log_variance",
            22,
            23,
            "log_variance_22 - average_log_variance_22",
            Unit.RATIO,
            "Own variance over the average variance.",
        ),
        FeatureDefinition(
            "log_dispersion_22",
            "log_dispersion",
            22,
            23,
            "ln(max(mean over 22 dates of (mean over symbols of r^2 - m^2), 1e-8))",
            Unit.LOG_VARIANCE,
            "How far the symbols' returns lie apart.",
        ),
    ),
)

VIEWS: dict[str, FeatureView] = {
    view.name: view for view in (_RETURNS, _VOLATILITY, _MOMENTUM, _CROSS_SECTION)
}


def resolve_views(names: Sequence[str] | None = None) -> tuple[FeatureView, ...]:
    """Looks up views by name, all of them when no names are given.

    Raises:
        UnknownViewError: no view of that name exists.
    """
    for name in names or ():
        if name not in VIEWS:
            raise UnknownViewError(name)
    return tuple(VIEWS[name] for name in (VIEWS if names is None else names))


def feature_names(names: Sequence[str] | None = None) -> tuple[str, ...]:
    """Names the features of some views, in the order of their columns."""
    return tuple(feature.name for view in resolve_views(names) for feature in view.features)


def full_description(feature: FeatureDefinition) -> str:
    """Says what a feature measures, from which formula, in which unit and of which time."""
    return f"{feature.description} {feature.formula}. Unit: {UNIT_MEANINGS[feature.unit]}. {EVENT_TIMES}"


def view_digest(view: FeatureView) -> str:
    """Identifies a view's definition; a changed formula, window or version changes it."""
    text = json.dumps(asdict(view), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
