"""Regressors of scikit-learn beside those of the core."""

from collections.abc import Mapping

from mltrainer_features import TargetKind

from mltrainer_trainer.domain.catalogue.entry import (
    ALL_TARGETS,
    VOLATILITY_TARGETS,
    ArtifactFormat,
    CatalogueEntry,
    Choice,
    CostClass,
    LabelSign,
    Parameters,
    Scaling,
    UniformRange,
)

Space = Mapping[str, UniformRange | Choice]

_PENALTY = UniformRange(1e-5, 1e-1, log_scale=True)
_LEAF = UniformRange(5, 200, log_scale=True, whole=True)


def _linear(
    name: str,
    class_name: str,
    module: str = "linear_model",
    *,
    targets: tuple[TargetKind, ...] = ALL_TARGETS,
    fixed: Parameters | None = None,
    defaults: Parameters | None = None,
    space: Space | None = None,
    cost: CostClass = CostClass.CHEAP,
    seeded: bool = False,
    sign: LabelSign = LabelSign.ANY,
    max_rows: int = 0,
) -> CatalogueEntry:
    return CatalogueEntry(
        id=name,
        family="linear-models",
        target_kinds=targets,
        import_path=f"sklearn.{module}:{class_name}",
        fixed=fixed or {},
        defaults=defaults or {},
        search_space=space or {},
        cost_class=cost,
        is_seeded=seeded,
        adapter="sklearn-linear",
        scaling=Scaling.STANDARDISE,
        label_sign=sign,
        max_rows=max_rows,
    )


def _positive(name: str, class_name: str, fixed: Parameters | None = None) -> CatalogueEntry:
    return _linear(
        name,
        class_name,
        targets=VOLATILITY_TARGETS,
        fixed={"max_iter": 300, **(fixed or {})},
        defaults={"alpha": 1e-3},
        space={"alpha": UniformRange(1e-5, 10.0, log_scale=True)},
        sign=LabelSign.POSITIVE,
    )


def _layers(
    name: str,
    path: str,
    family: str,
    *,
    fixed: Parameters | None = None,
    defaults: Parameters | None = None,
    space: Space | None = None,
    features: tuple[str, ...] = (),
    targets: tuple[TargetKind, ...] = ALL_TARGETS,
    max_rows: int = 3_000,
    seeded: bool = False,
) -> CatalogueEntry:
    return CatalogueEntry(
        id=name,
        family=family,
        target_kinds=targets,
        import_path=f"sklearn.{path}",
        fixed=fixed or {},
        defaults=defaults or {},
        search_space=space or {},
        features=features,
        cost_class=CostClass.MODERATE,
        is_seeded=seeded,
        artifact=ArtifactFormat.LAYERS,
        adapter="sklearn-layers",
        scaling=Scaling.STANDARDISE,
        max_rows=max_rows,
    )


def _trees(
    name: str,
    path: str,
    family: str,
    *,
    fixed: Parameters | None = None,
    defaults: Parameters | None = None,
    space: Space | None = None,
    sign: LabelSign = LabelSign.ANY,
) -> CatalogueEntry:
    return CatalogueEntry(
        id=name,
        family=family,
        target_kinds=VOLATILITY_TARGETS if sign is LabelSign.POSITIVE else ALL_TARGETS,
        import_path=f"sklearn.{path}",
        fixed=fixed or {},
        defaults=defaults or {},
        search_space=space or {},
        min_rows=1_000,
        cost_class=CostClass.MODERATE,
        is_seeded=True,
        artifact=ArtifactFormat.TREES,
        adapter="sklearn-trees",
        label_sign=sign,
    )


_BOOSTING_SPACE: Space = {
    "learning_rate": UniformRange(0.02, 0.2, log_scale=True),
    "max_depth": UniformRange(2, 6, whole=True),
    "min_samples_leaf": _LEAF,
}
_BOOSTING: Parameters = {"n_estimators": 100, "learning_rate": 0.05, "max_depth": 3, "min_samples_leaf": 50}
_HISTOGRAM: Parameters = {
    "max_iter": 100,
    "learning_rate": 0.07,
    "max_leaf_nodes": 31,
    "min_samples_leaf": 100,
}
_HISTOGRAM_SPACE: Space = {
    "learning_rate": UniformRange(0.03, 0.2, log_scale=True),
    "max_leaf_nodes": UniformRange(7, 63, log_scale=True, whole=True),
    "min_samples_leaf": UniformRange(20, 1000, log_scale=True, whole=True),
}
_HISTOGRAM_FIXED: Parameters = {"early_stopping": False, "max_depth": 10}
_DEEP_TREE_SPACE: Space = {"max_depth": UniformRange(2, 12, whole=True), "min_samples_leaf": _LEAF}

REGRESSORS: tuple[CatalogueEntry, ...] = (
    _linear("ols", "LinearRegression"),
    _linear(
        "ridge-svd",
        "Ridge",
        fixed={"solver": "svd"},
        defaults={"alpha": 100.0},
        space={"alpha": UniformRange(1.0, 1e5, log_scale=True)},
    ),
    _linear("lasso", "Lasso", defaults={"alpha": 1e-3}, space={"alpha": _PENALTY}),
    _linear(
        "elastic-net-cd",
        "ElasticNet",
        defaults={"alpha": 1e-3, "l1_ratio": 0.5},
        space={"alpha": _PENALTY, "l1_ratio": UniformRange(0.05, 0.95)},
    ),
    _linear(
        "lars",
        "Lars",
        defaults={"n_nonzero_coefs": 10},
        space={"n_nonzero_coefs": UniformRange(2, 40, whole=True)},
    ),
    _linear("lasso-lars", "LassoLars", defaults={"alpha": 1e-3}, space={"alpha": _PENALTY}),
    _linear("lasso-lars-aic", "LassoLarsIC", fixed={"criterion": "aic"}),
    _linear("lasso-lars-bic", "LassoLarsIC", fixed={"criterion": "bic"}),
    _linear(
        "orthogonal-matching-pursuit",
        "OrthogonalMatchingPursuit",
        defaults={"n_nonzero_coefs": 5},
        space={"n_nonzero_coefs": UniformRange(1, 30, whole=True)},
    ),
    _linear("bayesian-ridge", "BayesianRidge"),
    _linear("ard-regression", "ARDRegression", fixed={"max_iter": 50}, max_rows=20_000),
    _linear(
        "huber",
        "HuberRegressor",
        fixed={"max_iter": 300},
        defaults={"epsilon": 1.35, "alpha": 1e-4},
        space={"epsilon": UniformRange(1.05, 2.5), "alpha": _PENALTY},
    ),
    _linear(
        "theil-sen",
        "TheilSenRegressor",
        fixed={"max_subpopulation": 300, "max_iter": 100},
        cost=CostClass.EXPENSIVE,
        seeded=True,
        max_rows=3_000,
    ),
    _linear("ransac", "RANSACRegressor", fixed={"max_trials": 50}, cost=CostClass.MODERATE, seeded=True),
    _linear(
        "sgd-regression",
        "SGDRegressor",
        fixed={"max_iter": 50, "average": True},
        defaults={"alpha": 1e-4, "eta0": 1e-3},
        space={"alpha": _PENALTY, "eta0": UniformRange(1e-4, 1e-2, log_scale=True)},
        seeded=True,
    ),
    _linear(
        "sgd-huber",
        "SGDRegressor",
        fixed={"max_iter": 50, "average": True, "loss": "huber"},
        defaults={"alpha": 1e-4, "eta0": 1e-2, "epsilon": 0.5},
        space={"alpha": _PENALTY, "epsilon": UniformRange(0.05, 2.0, log_scale=True)},
        seeded=True,
    ),
    _linear(
        "linear-svr",
        "LinearSVR",
        "svm",
        fixed={"loss": "squared_epsilon_insensitive", "dual": False, "max_iter": 2_000},
        defaults={"C": 0.1, "epsilon": 0.0},
        space={"C": UniformRange(1e-4, 10.0, log_scale=True), "epsilon": UniformRange(0.0, 0.5)},
    ),
    _linear(
        "quantile-median",
        "QuantileRegressor",
        fixed={"quantile": 0.5, "solver": "highs"},
        defaults={"alpha": 1e-3},
        space={"alpha": _PENALTY},
        cost=CostClass.EXPENSIVE,
        max_rows=2_000,
    ),
    _positive("gamma-glm", "GammaRegressor"),
    _positive("poisson-glm", "PoissonRegressor"),
    _positive("tweedie-glm", "TweedieRegressor", {"power": 1.5, "link": "log"}),
    _positive("inverse-gaussian-glm", "TweedieRegressor", {"power": 3.0, "link": "log"}),
    _linear(
        "pls-regression",
        "PLSRegression",
        "cross_decomposition",
        fixed={"scale": False},
        defaults={"n_components": 2},
        space={"n_components": UniformRange(1, 8, whole=True)},
    ),
    _linear(
        "pls-canonical", "PLSCanonical", "cross_decomposition", fixed={"n_components": 1, "scale": False}
    ),
    _linear("cca", "CCA", "cross_decomposition", fixed={"n_components": 1, "scale": False}),
    _layers(
        "svr",
        "svm:SVR",
        "kernels",
        fixed={"kernel": "rbf", "cache_size": 100},
        defaults={"C": 1.0, "epsilon": 0.1, "gamma": 0.02},
        space={
            "C": UniformRange(0.01, 10.0, log_scale=True),
            "gamma": UniformRange(1e-3, 0.1, log_scale=True),
        },
    ),
    _layers(
        "svr-polynomial",
        "svm:SVR",
        "kernels",
        fixed={"kernel": "poly", "degree": 2, "coef0": 1.0, "cache_size": 100, "max_iter": 20_000},
        defaults={"C": 0.1, "epsilon": 0.2, "gamma": 0.01},
        space={"C": UniformRange(0.01, 1.0, log_scale=True)},
    ),
    _layers(
        "nu-svr",
        "svm:NuSVR",
        "kernels",
        fixed={"kernel": "rbf", "cache_size": 100},
        defaults={"C": 1.0, "nu": 0.5, "gamma": 0.02},
        space={"C": UniformRange(0.01, 10.0, log_scale=True), "nu": UniformRange(0.1, 0.9)},
    ),
    _layers(
        "kernel-ridge",
        "kernel_ridge:KernelRidge",
        "kernels",
        fixed={"kernel": "rbf"},
        defaults={"alpha": 1.0, "gamma": 0.02},
        space={
            "alpha": UniformRange(0.01, 100.0, log_scale=True),
            "gamma": UniformRange(1e-3, 0.1, log_scale=True),
        },
        max_rows=2_000,
    ),
    _layers(
        "kernel-ridge-laplacian",
        "kernel_ridge:KernelRidge",
        "kernels",
        fixed={"kernel": "laplacian"},
        defaults={"alpha": 1.0, "gamma": 0.02},
        space={"alpha": UniformRange(0.01, 100.0, log_scale=True)},
        max_rows=2_000,
    ),
    _layers(
        "gaussian-process",
        "gaussian_process:GaussianProcessRegressor",
        "kernels",
        fixed={"kernel": "rbf"},
        defaults={"length_scale": 8.0, "alpha": 1.0},
        space={"length_scale": UniformRange(2.0, 30.0, log_scale=True), "alpha": UniformRange(0.1, 10.0)},
        max_rows=1_000,
    ),
    _layers(
        "gaussian-process-matern",
        "gaussian_process:GaussianProcessRegressor",
        "kernels",
        fixed={"kernel": "matern-3/2"},
        defaults={"length_scale": 8.0, "alpha": 1.0},
        space={"length_scale": UniformRange(2.0, 30.0, log_scale=True), "alpha": UniformRange(0.1, 10.0)},
        max_rows=1_000,
    ),
    _layers(
        "k-neighbours",
        "neighbors:KNeighborsRegressor",
        "neighbours",
        fixed={"weights": "uniform", "algorithm": "brute"},
        defaults={"n_neighbors": 50},
        space={"n_neighbors": UniformRange(5, 200, log_scale=True, whole=True)},
        max_rows=5_000,
    ),
    _layers(
        "k-neighbours-weighted",
        "neighbors:KNeighborsRegressor",
        "neighbours",
        fixed={"weights": "distance", "algorithm": "brute"},
        defaults={"n_neighbors": 50},
        space={"n_neighbors": UniformRange(5, 200, log_scale=True, whole=True)},
        max_rows=5_000,
    ),
    _layers(
        "neural-network",
        "neural_network:MLPRegressor",
        "neural-networks",
        fixed={"max_iter": 20, "early_stopping": False, "batch_size": 256},
        defaults={"hidden_layer_sizes": 16, "alpha": 1e-2, "learning_rate_init": 1e-3, "activation": "relu"},
        space={
            "hidden_layer_sizes": UniformRange(4, 64, log_scale=True, whole=True),
            "alpha": UniformRange(1e-4, 1.0, log_scale=True),
            "activation": Choice(("relu", "tanh")),
        },
        max_rows=50_000,
        seeded=True,
    ),
    _layers(
        "isotonic",
        "isotonic:IsotonicRegression",
        "monotone-models",
        fixed={"out_of_bounds": "clip", "increasing": "auto"},
        targets=VOLATILITY_TARGETS,
        features=("log_variance_22",),
        max_rows=0,
    ),
    _trees(
        "decision-tree",
        "tree:DecisionTreeRegressor",
        "single-trees",
        defaults={"max_depth": 6, "min_samples_leaf": 50},
        space=_DEEP_TREE_SPACE,
    ),
    _trees(
        "extra-tree",
        "tree:ExtraTreeRegressor",
        "single-trees",
        defaults={"max_depth": 8, "min_samples_leaf": 20},
        space=_DEEP_TREE_SPACE,
    ),
    _trees(
        "extra-trees",
        "ensemble:ExtraTreesRegressor",
        "forests",
        fixed={"n_jobs": 1, "n_estimators": 50},
        defaults={"max_features": 0.33, "min_samples_leaf": 20},
        space={"max_features": UniformRange(0.15, 1.0), "min_samples_leaf": _LEAF},
    ),
    _trees(
        "bagged-trees",
        "ensemble:BaggingRegressor",
        "forests",
        fixed={"n_jobs": 1, "n_estimators": 20, "max_samples": 0.1},
        defaults={"max_features": 0.5},
        space={"max_features": UniformRange(0.2, 1.0)},
    ),
    _trees(
        "gradient-boosting",
        "ensemble:GradientBoostingRegressor",
        "boosted-trees",
        fixed={"subsample": 0.3},
        defaults=_BOOSTING,
        space=_BOOSTING_SPACE,
    ),
    _trees(
        "gradient-boosting-huber",
        "ensemble:GradientBoostingRegressor",
        "boosted-trees",
        fixed={"subsample": 0.3, "loss": "huber"},
        defaults=_BOOSTING,
        space=_BOOSTING_SPACE,
    ),
    _trees(
        "gradient-boosting-median",
        "ensemble:GradientBoostingRegressor",
        "boosted-trees",
        fixed={"subsample": 0.3, "loss": "quantile", "alpha": 0.5},
        defaults=_BOOSTING,
        space=_BOOSTING_SPACE,
    ),
    _trees(
        "hist-gradient-boosting-absolute",
        "ensemble:HistGradientBoostingRegressor",
        "boosted-trees",
        fixed={**_HISTOGRAM_FIXED, "loss": "absolute_error"},
        defaults=_HISTOGRAM,
        space=_HISTOGRAM_SPACE,
    ),
    _trees(
        "hist-gradient-boosting-gamma",
        "ensemble:HistGradientBoostingRegressor",
        "boosted-trees",
        fixed={**_HISTOGRAM_FIXED, "loss": "gamma"},
        sign=LabelSign.POSITIVE,
        defaults=_HISTOGRAM,
        space=_HISTOGRAM_SPACE,
    ),
)
