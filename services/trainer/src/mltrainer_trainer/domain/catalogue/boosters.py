"""Gradient boosting of LightGBM beside the core's, of XGBoost, CatBoost and NGBoost."""

from collections.abc import Mapping

from mltrainer_features import TargetKind

from mltrainer_trainer.domain.catalogue.entry import (
    ALL_TARGETS,
    CATALOGUE_EXTRA,
    ArtifactFormat,
    CatalogueEntry,
    CostClass,
    Parameters,
    Scaling,
    Task,
    UniformRange,
)

Space = Mapping[str, UniformRange]

_TARGETS: Mapping[Task, tuple[TargetKind, ...]] = {
    Task.REGRESSION: ALL_TARGETS,
    Task.CLASSIFICATION: (TargetKind.DIRECTION,),
    Task.RANKING: (TargetKind.FORWARD_RANK,),
}
_RATE = UniformRange(0.02, 0.2, log_scale=True)
_PENALTY = UniformRange(1e-3, 100.0, log_scale=True)
_SHARE = UniformRange(0.2, 0.8)


def _booster(
    name: str,
    path: str,
    *,
    family: str,
    adapter: str,
    extra: str,
    fixed: Parameters,
    defaults: Parameters,
    space: Space,
    task: Task = Task.REGRESSION,
    artifact: ArtifactFormat = ArtifactFormat.TREES,
) -> CatalogueEntry:
    return CatalogueEntry(
        id=name,
        family=family,
        target_kinds=() if artifact is ArtifactFormat.LIBRARY else _TARGETS[task],
        import_path=path,
        fixed=fixed,
        defaults=defaults,
        search_space=space,
        min_rows=2_000,
        cost_class=CostClass.MODERATE,
        is_seeded=True,
        extra=extra,
        task=task,
        artifact=artifact,
        adapter=adapter,
        link="logistic" if task is Task.CLASSIFICATION else "identity",
        scaling=Scaling.STANDARDISE if artifact is ArtifactFormat.LINEAR else Scaling.NONE,
    )


def _lightgbm(
    name: str, fixed: Parameters, *, task: Task = Task.REGRESSION, bagged: bool = True
) -> CatalogueEntry:
    bagging: Parameters = {"bagging_fraction": 0.5} if bagged else {}
    return _booster(
        name,
        "lightgbm:train",
        family="lightgbm-variants",
        adapter="lightgbm",
        extra="lightgbm",
        fixed={
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
            "max_depth": 10,
            **({"bagging_freq": 1} if bagged else {}),
            **fixed,
        },
        defaults={
            "num_iterations": 60,
            "learning_rate": 0.07,
            "num_leaves": 15,
            "min_data_in_leaf": 100,
            "feature_fraction": 0.5,
            **bagging,
        },
        space={
            "learning_rate": _RATE,
            "num_leaves": UniformRange(7, 63, log_scale=True, whole=True),
            "min_data_in_leaf": UniformRange(20, 1000, log_scale=True, whole=True),
            "feature_fraction": _SHARE,
        },
        task=task,
    )


def _xgboost(name: str, fixed: Parameters, *, task: Task = Task.REGRESSION) -> CatalogueEntry:
    return _booster(
        name,
        "xgboost:train",
        family="xgboost-models",
        adapter="xgboost",
        extra=CATALOGUE_EXTRA,
        fixed={"tree_method": "hist", "num_boost_round": 60, **fixed},
        defaults={
            "eta": 0.07,
            "max_depth": 5,
            "min_child_weight": 20.0,
            "subsample": 0.5,
            "colsample_bytree": 0.5,
            "lambda": 1.0,
        },
        space={
            "eta": _RATE,
            "max_depth": UniformRange(2, 8, whole=True),
            "min_child_weight": UniformRange(1.0, 300.0, log_scale=True),
            "subsample": _SHARE,
            "colsample_bytree": _SHARE,
            "lambda": _PENALTY,
        },
        task=task,
    )


def _catboost(
    name: str, class_name: str, fixed: Parameters, *, task: Task = Task.REGRESSION
) -> CatalogueEntry:
    return _booster(
        name,
        f"catboost:{class_name}",
        family="catboost-models",
        adapter="catboost",
        extra=CATALOGUE_EXTRA,
        fixed={"iterations": 60, "bootstrap_type": "Bernoulli", "border_count": 64, **fixed},
        defaults={"learning_rate": 0.07, "depth": 5, "subsample": 0.5, "l2_leaf_reg": 3.0},
        space={
            "learning_rate": _RATE,
            "depth": UniformRange(2, 8, whole=True),
            "subsample": _SHARE,
            "l2_leaf_reg": _PENALTY,
        },
        task=task,
    )


def _ngboost(
    name: str, class_name: str, distribution: str, *, task: Task = Task.REGRESSION
) -> CatalogueEntry:
    return _booster(
        name,
        f"ngboost:{class_name}",
        family="ngboost-models",
        adapter="ngboost",
        extra=CATALOGUE_EXTRA,
        fixed={"distribution": distribution, "n_estimators": 40, "minibatch_frac": 0.5},
        defaults={"learning_rate": 0.05, "col_sample": 0.5},
        space={"learning_rate": _RATE, "col_sample": _SHARE},
        task=task,
    )


_RANK, _CLASS = Task.RANKING, Task.CLASSIFICATION

BOOSTERS: tuple[CatalogueEntry, ...] = (
    _lightgbm("lightgbm-dart", {"objective": "regression", "boosting": "dart"}),
    _lightgbm("lightgbm-goss", {"objective": "regression", "data_sample_strategy": "goss"}, bagged=False),
    _lightgbm("lightgbm-forest", {"objective": "regression", "boosting": "rf"}),
    _lightgbm("lightgbm-median", {"objective": "quantile", "alpha": 0.5}),
    _lightgbm("lightgbm-huber", {"objective": "huber"}),
    _lightgbm("lightgbm-extra", {"objective": "regression", "extra_trees": True}),
    _lightgbm("lightgbm-classification", {"objective": "binary"}, task=_CLASS),
    _lightgbm("lightgbm-lambdarank", {"objective": "lambdarank"}, task=_RANK),
    _lightgbm("lightgbm-xendcg", {"objective": "rank_xendcg"}, task=_RANK),
    _booster(
        "lightgbm-linear-leaves",
        "lightgbm:train",
        family="lightgbm-variants",
        adapter="lightgbm-linear",
        extra="lightgbm",
        fixed={
            "objective": "regression",
            "linear_tree": True,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
            "max_depth": 6,
            "linear_lambda": 10.0,
        },
        defaults={"num_iterations": 30, "learning_rate": 0.07, "num_leaves": 7, "min_data_in_leaf": 200},
        space={"learning_rate": _RATE, "num_leaves": UniformRange(3, 15, whole=True)},
        artifact=ArtifactFormat.LIBRARY,
    ),
    _xgboost("xgboost", {"objective": "reg:squarederror"}),
    _xgboost("xgboost-dart", {"objective": "reg:squarederror", "booster": "dart", "rate_drop": 0.1}),
    _xgboost(
        "xgboost-lossguide", {"objective": "reg:squarederror", "grow_policy": "lossguide", "max_leaves": 12}
    ),
    _xgboost("xgboost-median", {"objective": "reg:quantileerror", "quantile_alpha": 0.5}),
    _xgboost("xgboost-quantile-60", {"objective": "reg:quantileerror", "quantile_alpha": 0.6}),
    _xgboost(
        "xgboost-forest", {"objective": "reg:squarederror", "num_parallel_tree": 10, "num_boost_round": 5}
    ),
    _booster(
        "xgboost-linear",
        "xgboost:train",
        family="xgboost-models",
        adapter="xgboost",
        extra=CATALOGUE_EXTRA,
        fixed={
            "booster": "gblinear",
            "updater": "coord_descent",
            "objective": "reg:squarederror",
            "num_boost_round": 50,
        },
        defaults={"eta": 0.5, "lambda": 0.01},
        space={"eta": UniformRange(0.1, 1.0), "lambda": UniformRange(1e-4, 1.0, log_scale=True)},
        artifact=ArtifactFormat.LINEAR,
    ),
    _xgboost("xgboost-classification", {"objective": "binary:logistic"}, task=_CLASS),
    _xgboost("xgboost-ranking", {"objective": "rank:ndcg"}, task=_RANK),
    _xgboost("xgboost-pairwise", {"objective": "rank:pairwise"}, task=_RANK),
    _catboost("catboost", "CatBoostRegressor", {"loss_function": "RMSE"}),
    _catboost("catboost-median", "CatBoostRegressor", {"loss_function": "Quantile:alpha=0.5"}),
    _catboost("catboost-quantile-60", "CatBoostRegressor", {"loss_function": "Quantile:alpha=0.6"}),
    _catboost("catboost-expectile", "CatBoostRegressor", {"loss_function": "Expectile:alpha=0.5"}),
    _catboost("catboost-classification", "CatBoostClassifier", {"loss_function": "Logloss"}, task=_CLASS),
    _catboost("catboost-ranking", "CatBoostRanker", {"loss_function": "YetiRank"}, task=_RANK),
    _catboost("catboost-pairwise", "CatBoostRanker", {"loss_function": "QueryRMSE"}, task=_RANK),
    _ngboost("ngboost-normal", "NGBRegressor", "Normal"),
    _ngboost("ngboost-laplace", "NGBRegressor", "Laplace"),
    _ngboost("ngboost-classification", "NGBClassifier", "Bernoulli", task=_CLASS),
)
