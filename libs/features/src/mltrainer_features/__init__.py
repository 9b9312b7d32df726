"""Feature and label formulas for daily bars, the same for stream and backfill.

Every formula reads a fixed window of bars that ends at its own bar. So the stream path, which sees a bounded
look-back, and the backfill path, which sees everything, give the same values.
"""

from mltrainer_features.bars import (
    BAR_SCHEMA,
    BarProblem,
    BarProblemReason,
    BarSchemaError,
    FeatureError,
    InvalidBarsError,
    find_bar_problems,
    first_problem,
    split_bars,
)
from mltrainer_features.calendars import (
    ALWAYS_OPEN,
    SessionProblem,
    TradingCalendar,
    UnknownExchangeError,
    trading_calendar,
)
from mltrainer_features.compute import (
    MAX_LOOK_BACK_BARS,
    Readiness,
    bounded_history,
    compute_features,
    compute_latest,
    cross_section_readiness,
)
from mltrainer_features.definitions import (
    EVENT_TIMES,
    UNIT_MEANINGS,
    VIEWS,
    FeatureDefinition,
    FeatureView,
    UnknownViewError,
    feature_names,
    full_description,
    resolve_views,
    view_digest,
)
from mltrainer_features.expressions import InvalidExpressionError, parse_expression
from mltrainer_features.labels import LABEL_SCHEMA, TargetKind, compute_labels
from mltrainer_features.on_demand import (
    ON_DEMAND_VIEWS,
    STORED_REFERENCES,
    OnDemandFeature,
    OnDemandView,
    evaluate_on_demand,
    on_demand_digest,
    on_demand_features,
    with_computed,
    with_on_demand,
)

__all__ = [
    "ALWAYS_OPEN",
    "BAR_SCHEMA",
    "EVENT_TIMES",
    "LABEL_SCHEMA",
    "MAX_LOOK_BACK_BARS",
    "ON_DEMAND_VIEWS",
    "STORED_REFERENCES",
    "UNIT_MEANINGS",
    "VIEWS",
    "BarProblem",
    "BarProblemReason",
    "BarSchemaError",
    "FeatureDefinition",
    "FeatureError",
    "FeatureView",
    "InvalidBarsError",
    "InvalidExpressionError",
    "OnDemandFeature",
    "OnDemandView",
    "Readiness",
    "SessionProblem",
    "TargetKind",
    "TradingCalendar",
    "UnknownExchangeError",
    "UnknownViewError",
    "bounded_history",
    "compute_features",
    "compute_labels",
    "compute_latest",
    "cross_section_readiness",
    "evaluate_on_demand",
    "feature_names",
    "find_bar_problems",
    "first_problem",
    "full_description",
    "on_demand_digest",
    "on_demand_features",
    "parse_expression",
    "resolve_views",
    "split_bars",
    "trading_calendar",
    "view_digest",
    "with_computed",
    "with_on_demand",
]
