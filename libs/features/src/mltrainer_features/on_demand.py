"""Features computed when they are read, from stored features and from what the request brings.

The same function serves online reads and point-in-time joins: give it the joined columns and those of the
requests.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import polars as pl

from mltrainer_features.bars import FeatureError
from mltrainer_features.definitions import VIEWS, Unit
from mltrainer_features.expressions import parse_expression
from mltrainer_features.windows import Floats


@dataclass(frozen=True, slots=True)
class RequestField:
    """A number that a request brings for each row."""

    name: str
    unit: Unit
    description: str


@dataclass(frozen=True, slots=True)
class OnDemandFeature:
    """A feature as a formula over stored features and request fields, by their names."""

    name: str
    expression: str
    unit: Unit
    description: str


@dataclass(frozen=True, slots=True)
class OnDemandView:
    """A named, versioned group of features that are computed when they are read."""

    name: str
    version: int
    description: str
    request_fields: tuple[RequestField, ...]
    features: tuple[OnDemandFeature, ...]


class UnknownColumnError(FeatureError):
    """A formula reads a column that is not given."""

    def __init__(self, feature: str, column: str) -> None:
        self.feature = feature
        self.column = column
        super().__init__(f"{feature} needs the column {column!r}")


_TRADE_CONTEXT = OnDemandView(
    "trade_context",
    1,
    "What a trade looks like against a symbol's own volatility.",
    (
        RequestField(
            "limit_distance",
            Unit.LOG_RETURN,
            "ln(limit price / last close); the caller computes it from prices in one currency.",
        ),
    ),
    (
        OnDemandFeature(
            "return_in_volatilities_1",
            "return_1 / exp(log_variance_22 / 2)",
            Unit.RATIO,
            "Last return in daily volatilities of the last 22 bars.",
        ),
        OnDemandFeature(
            "variance_slope",
            "log_variance_5 - log_variance_22",
            Unit.RATIO,
            "Log of recent variance over that of a month.",
        ),
        OnDemandFeature(
            "limit_in_volatilities",
            "limit_distance / exp(log_variance_22 / 2)",
            Unit.RATIO,
            "Distance of the limit in daily volatilities of the last 22 bars.",
        ),
    ),
)

ON_DEMAND_VIEWS: dict[str, OnDemandView] = {view.name: view for view in (_TRADE_CONTEXT,)}
STORED_REFERENCES: dict[str, str] = {
    feature.name: f"{view.name}:{feature.name}" for view in VIEWS.values() for feature in view.features
}


def on_demand_features(names: Sequence[str] | None = None) -> dict[str, OnDemandFeature]:
    """Returns the features of some views, of all where no names are given, by `view:feature`."""
    wanted = ON_DEMAND_VIEWS if names is None else names
    return {
        f"{name}:{feature.name}": feature for name in wanted for feature in ON_DEMAND_VIEWS[name].features
    }


def evaluate_on_demand(feature: OnDemandFeature, columns: Mapping[str, Floats]) -> Floats:
    """Computes a feature from its columns, by name.

    Raises:
        UnknownColumnError: A column it reads is not given.
    """
    expression = parse_expression(feature.expression)
    for name in expression.names:
        if name not in columns:
            raise UnknownColumnError(feature.name, name)
    return expression.evaluate(columns)


def with_on_demand(joined: pl.DataFrame, views: Sequence[str] | None = None) -> pl.DataFrame:
    """Adds on-demand features to rows that a point-in-time join has given, row by row as online.

    The frame has a column for each stored feature and request field that the views read; null is undefined.

    Raises:
        UnknownColumnError: A column is missing.
    """
    return with_computed(joined, list(on_demand_features(views).values()))


def with_computed(joined: pl.DataFrame, features: Sequence[OnDemandFeature]) -> pl.DataFrame:
    """Adds features computed from the columns of each row; null is undefined.

    Raises:
        UnknownColumnError: A column is missing.
    """
    columns: dict[str, Floats] = {
        name: joined[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        for feature in features
        for name in parse_expression(feature.expression).names
        if name in joined.columns
    }
    computed = [
        pl.Series(feature.name, evaluate_on_demand(feature, columns), nan_to_null=True)
        for feature in features
    ]
    return joined.with_columns(computed)


def on_demand_digest(view: OnDemandView) -> str:
    """Identifies a view's definition; a changed formula, request field or version changes it."""
    text = json.dumps(asdict(view), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def require_sound(view: OnDemandView) -> None:
    """Checks that every formula reads stored features and the view's own request fields only.

    Raises:
        InvalidExpressionError: A formula is none.
        UnknownColumnError: A formula reads anything else.
    """
    given = STORED_REFERENCES.keys() | {field.name for field in view.request_fields}
    for feature in view.features:
        for name in parse_expression(feature.expression).names:
            if name not in given:
                raise UnknownColumnError(feature.name, name)
