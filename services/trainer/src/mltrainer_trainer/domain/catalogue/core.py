"""The models that every installation has and that the examples use."""

from mltrainer_features import TargetKind

from mltrainer_trainer.domain.catalogue.entry import (
    ALL_TARGETS,
    MARKET_STATE,
    RETURN_TARGETS,
    VOLATILITY_TARGETS,
    ArtifactFormat,
    CatalogueEntry,
    CostClass,
    Task,
    UniformRange,
)

_LINEAR = "mltrainer_trainer.domain.linear_learners"


def _order_by(name: str, feature: str, sign: float) -> CatalogueEntry:
    return CatalogueEntry(
        name,
        "baseline",
        (TargetKind.FORWARD_RANK,),
        f"{_LINEAR}:fit_column",
        fixed={"sign": sign},
        features=(feature,),
        is_baseline=True,
    )


def _untaught(name: str, task: Task, target: TargetKind, code: str, *features: str) -> CatalogueEntry:
    return CatalogueEntry(
        name, "baseline", (target,), f"{_LINEAR}:{code}", features=features, is_baseline=True, task=task
    )


CORE: tuple[CatalogueEntry, ...] = (
    CatalogueEntry("zero", "baseline", (TargetKind.EXCESS_RETURN,), f"{_LINEAR}:fit_zero", is_baseline=True),
    CatalogueEntry("mean", "baseline", RETURN_TARGETS, f"{_LINEAR}:fit_mean", is_baseline=True),
    CatalogueEntry(
        "no-order", "baseline", (TargetKind.FORWARD_RANK,), f"{_LINEAR}:fit_mean", is_baseline=True
    ),
    _order_by("reversal", "return_5", -1.0),
    _order_by("momentum", "momentum_252_22", 1.0),
    _untaught("one-over-n", Task.PORTFOLIO, TargetKind.PORTFOLIO_RETURN, "fit_equal_weights", "return_1"),
    _untaught("one-state", Task.REGIME, TargetKind.VARIANCE_REGIME, "fit_zero", *MARKET_STATE[:1]),
    _untaught("variance-level", Task.REGIME, TargetKind.VARIANCE_REGIME, "fit_standard", *MARKET_STATE[1:]),
    CatalogueEntry(
        "event-rate", "baseline", (TargetKind.TAIL_EVENT,), f"{_LINEAR}:fit_mean", is_baseline=True
    ),
    _untaught("last-move", Task.ANOMALY, TargetKind.TAIL_EVENT, "fit_standard", "log_variance_1"),
    CatalogueEntry(
        "persistence",
        "baseline",
        VOLATILITY_TARGETS,
        f"{_LINEAR}:fit_persistence",
        features=("log_variance_22",),
        is_baseline=True,
    ),
    CatalogueEntry(
        "har",
        "baseline",
        VOLATILITY_TARGETS,
        f"{_LINEAR}:fit_ridge",
        fixed={"alpha": 0.0},
        features=("log_variance_1", "log_variance_5", "log_variance_22"),
        is_baseline=True,
    ),
    CatalogueEntry(
        "rank-ridge",
        "linear-rankers",
        (TargetKind.FORWARD_RANK,),
        f"{_LINEAR}:fit_ridge",
        defaults={"alpha": 1e-2},
        search_space={"alpha": UniformRange(1e-4, 10.0, log_scale=True)},
        cost_class=CostClass.CHEAP,
        task=Task.RANKING,
    ),
    CatalogueEntry(
        "ridge",
        "linear",
        ALL_TARGETS,
        f"{_LINEAR}:fit_ridge",
        defaults={"alpha": 1e-3},
        search_space={"alpha": UniformRange(1e-5, 10.0, log_scale=True)},
        cost_class=CostClass.CHEAP,
    ),
    CatalogueEntry(
        "elastic-net",
        "linear",
        ALL_TARGETS,
        f"{_LINEAR}:fit_elastic_net",
        defaults={"strength": 1e-2, "l1_share": 0.5},
        search_space={
            "strength": UniformRange(1e-4, 0.3, log_scale=True),
            "l1_share": UniformRange(0.05, 0.95),
        },
        cost_class=CostClass.CHEAP,
    ),
    CatalogueEntry(
        "random-forest",
        "trees",
        ALL_TARGETS,
        "sklearn.ensemble:RandomForestRegressor",
        fixed={"n_jobs": 1},
        defaults={"n_estimators": 50, "max_samples": 0.05, "max_features": 0.33, "min_samples_leaf": 10},
        search_space={
            "max_samples": UniformRange(0.02, 0.1, log_scale=True),
            "max_features": UniformRange(0.15, 0.6),
            "min_samples_leaf": UniformRange(5, 100, log_scale=True, whole=True),
        },
        artifact=ArtifactFormat.TREES,
        min_rows=2_000,
        cost_class=CostClass.MODERATE,
        is_seeded=True,
    ),
    CatalogueEntry(
        "hist-gradient-boosting",
        "trees",
        ALL_TARGETS,
        "sklearn.ensemble:HistGradientBoostingRegressor",
        fixed={"early_stopping": False, "max_depth": 10},
        defaults={
            "max_iter": 100,
            "learning_rate": 0.07,
            "max_leaf_nodes": 31,
            "min_samples_leaf": 500,
            "max_features": 0.3,
        },
        search_space={
            "learning_rate": UniformRange(0.03, 0.2, log_scale=True),
            "max_leaf_nodes": UniformRange(7, 63, log_scale=True, whole=True),
            "min_samples_leaf": UniformRange(20, 1000, log_scale=True, whole=True),
            "max_features": UniformRange(0.2, 0.8),
            "l2_regularization": UniformRange(1e-3, 100.0, log_scale=True),
        },
        artifact=ArtifactFormat.TREES,
        min_rows=2_000,
        cost_class=CostClass.MODERATE,
        is_seeded=True,
    ),
    CatalogueEntry(
        "lightgbm",
        "trees",
        ALL_TARGETS,
        "lightgbm:train",
        fixed={
            "objective": "regression",
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": 1,
            "verbosity": -1,
            "max_depth": 10,
            "bagging_freq": 1,
        },
        defaults={
            "num_iterations": 100,
            "learning_rate": 0.07,
            "num_leaves": 31,
            "min_data_in_leaf": 500,
            "feature_fraction": 0.3,
            "bagging_fraction": 0.3,
            "lambda_l2": 0.0,
        },
        search_space={
            "learning_rate": UniformRange(0.03, 0.2, log_scale=True),
            "num_leaves": UniformRange(7, 63, log_scale=True, whole=True),
            "min_data_in_leaf": UniformRange(20, 1000, log_scale=True, whole=True),
            "feature_fraction": UniformRange(0.2, 0.8),
            "bagging_fraction": UniformRange(0.2, 0.8),
            "lambda_l2": UniformRange(1e-3, 100.0, log_scale=True),
        },
        artifact=ArtifactFormat.TREES,
        min_rows=2_000,
        cost_class=CostClass.MODERATE,
        is_seeded=True,
        extra="lightgbm",
    ),
)
