"""Classifiers of scikit-learn: they predict the probability of label 1, or a score between 0 and 1."""

from collections.abc import Mapping

from mltrainer_features import TargetKind

from mltrainer_trainer.domain.catalogue.entry import (
    ArtifactFormat,
    CatalogueEntry,
    Choice,
    CostClass,
    Parameters,
    Scaling,
    Task,
    UniformRange,
)

Space = Mapping[str, UniformRange | Choice]

_C = UniformRange(1e-4, 10.0, log_scale=True)
_PENALTY = UniformRange(1e-5, 1e-1, log_scale=True)
_LEAF = UniformRange(5, 200, log_scale=True, whole=True)
_ADAPTERS = {
    ArtifactFormat.LINEAR: "sklearn-linear",
    ArtifactFormat.TREES: "sklearn-trees",
    ArtifactFormat.LAYERS: "sklearn-layers",
}


def _classifier(
    name: str,
    path: str,
    artifact: ArtifactFormat,
    *,
    family: str = "",
    fixed: Parameters | None = None,
    defaults: Parameters | None = None,
    space: Space | None = None,
    seeded: bool = False,
    max_rows: int = 0,
    link: str = "identity",
) -> CatalogueEntry:
    is_trees = artifact is ArtifactFormat.TREES
    return CatalogueEntry(
        id=name,
        family=family,
        target_kinds=(TargetKind.DIRECTION,),
        import_path=f"sklearn.{path}",
        fixed=fixed or {},
        defaults=defaults or {},
        search_space=space or {},
        min_rows=1_000 if is_trees else 250,
        cost_class=CostClass.CHEAP if artifact is ArtifactFormat.LINEAR else CostClass.MODERATE,
        is_seeded=seeded or is_trees,
        task=Task.CLASSIFICATION,
        artifact=artifact,
        adapter=_ADAPTERS[artifact],
        link=link,
        max_rows=max_rows,
        scaling=Scaling.NONE if is_trees else Scaling.STANDARDISE,
    )


def _linear(
    name: str,
    path: str,
    *,
    fixed: Parameters | None = None,
    defaults: Parameters | None = None,
    space: Space | None = None,
    seeded: bool = False,
) -> CatalogueEntry:
    return _classifier(
        name,
        path,
        ArtifactFormat.LINEAR,
        family="linear-classifiers",
        fixed=fixed,
        defaults=defaults,
        space=space,
        seeded=seeded,
        link="logistic",
    )


_BOOSTING: Parameters = {"n_estimators": 100, "learning_rate": 0.05, "max_depth": 3, "min_samples_leaf": 50}
_LINEAR, _TREES, _LAYERS = ArtifactFormat.LINEAR, ArtifactFormat.TREES, ArtifactFormat.LAYERS

CLASSIFIERS: tuple[CatalogueEntry, ...] = (
    _linear(
        "logistic",
        "linear_model:LogisticRegression",
        fixed={"max_iter": 500},
        defaults={"C": 0.01},
        space={"C": _C},
    ),
    _linear(
        "logistic-lasso",
        "linear_model:LogisticRegression",
        fixed={"l1_ratio": 1.0, "solver": "liblinear", "max_iter": 200},
        defaults={"C": 0.05},
        space={"C": _C},
        seeded=True,
    ),
    _linear(
        "sgd-logistic",
        "linear_model:SGDClassifier",
        fixed={"loss": "log_loss", "max_iter": 50, "average": True},
        defaults={"alpha": 1e-2},
        space={"alpha": _PENALTY},
        seeded=True,
    ),
    _linear(
        "sgd-hinge",
        "linear_model:SGDClassifier",
        fixed={"loss": "hinge", "max_iter": 50, "average": True},
        defaults={"alpha": 1e-2},
        space={"alpha": _PENALTY},
        seeded=True,
    ),
    _linear(
        "perceptron",
        "linear_model:Perceptron",
        fixed={"max_iter": 50, "penalty": "l2"},
        defaults={"alpha": 1e-3},
        space={"alpha": _PENALTY},
        seeded=True,
    ),
    _linear(
        "ridge-classification",
        "linear_model:RidgeClassifier",
        defaults={"alpha": 100.0},
        space={"alpha": UniformRange(1.0, 1e5, log_scale=True)},
    ),
    _linear("linear-svc", "svm:LinearSVC", fixed={"dual": False}, defaults={"C": 0.01}, space={"C": _C}),
    _linear(
        "linear-discriminant",
        "discriminant_analysis:LinearDiscriminantAnalysis",
        fixed={"solver": "lsqr", "shrinkage": "auto"},
    ),
    _classifier(
        "quadratic-discriminant",
        "discriminant_analysis:QuadraticDiscriminantAnalysis",
        _LAYERS,
        family="generative-classifiers",
        fixed={"solver": "svd"},
        defaults={"reg_param": 0.1},
        space={"reg_param": UniformRange(0.01, 0.9)},
    ),
    _classifier(
        "gaussian-naive-bayes",
        "naive_bayes:GaussianNB",
        _LAYERS,
        family="generative-classifiers",
        defaults={"var_smoothing": 1e-9},
        space={"var_smoothing": UniformRange(1e-9, 1e-1, log_scale=True)},
    ),
    _classifier(
        "bernoulli-naive-bayes",
        "naive_bayes:BernoulliNB",
        _LAYERS,
        family="generative-classifiers",
        defaults={"alpha": 1.0},
        space={"alpha": UniformRange(0.01, 100.0, log_scale=True)},
    ),
    _classifier("nearest-centroid", "neighbors:NearestCentroid", _LAYERS, family="neighbour-classifiers"),
    _classifier(
        "k-neighbours-classification",
        "neighbors:KNeighborsClassifier",
        _LAYERS,
        family="neighbour-classifiers",
        fixed={"algorithm": "brute", "weights": "uniform"},
        defaults={"n_neighbors": 100},
        space={"n_neighbors": UniformRange(10, 300, log_scale=True, whole=True)},
        max_rows=5_000,
    ),
    _classifier(
        "svc",
        "svm:SVC",
        _LAYERS,
        family="kernel-classifiers",
        fixed={"kernel": "rbf", "cache_size": 100},
        defaults={"C": 0.5, "gamma": 0.02},
        space={
            "C": UniformRange(0.01, 10.0, log_scale=True),
            "gamma": UniformRange(1e-3, 0.1, log_scale=True),
        },
        max_rows=2_500,
    ),
    _classifier(
        "nu-svc",
        "svm:NuSVC",
        _LAYERS,
        family="kernel-classifiers",
        fixed={"kernel": "rbf", "cache_size": 100},
        defaults={"nu": 0.6, "gamma": 0.02},
        space={"nu": UniformRange(0.3, 0.7)},
        max_rows=2_500,
    ),
    _classifier(
        "neural-network-classification",
        "neural_network:MLPClassifier",
        _LAYERS,
        family="neural-networks",
        fixed={"max_iter": 20, "early_stopping": False, "batch_size": 256},
        defaults={"hidden_layer_sizes": 16, "alpha": 1e-1, "activation": "relu"},
        space={
            "hidden_layer_sizes": UniformRange(4, 64, log_scale=True, whole=True),
            "alpha": UniformRange(1e-3, 10.0, log_scale=True),
        },
        seeded=True,
        max_rows=50_000,
    ),
    _classifier(
        "decision-tree-classification",
        "tree:DecisionTreeClassifier",
        _TREES,
        family="tree-classifiers",
        defaults={"max_depth": 5, "min_samples_leaf": 50},
        space={"max_depth": UniformRange(2, 12, whole=True), "min_samples_leaf": _LEAF},
    ),
    _classifier(
        "extra-tree-classification",
        "tree:ExtraTreeClassifier",
        _TREES,
        family="tree-classifiers",
        defaults={"max_depth": 6, "min_samples_leaf": 50},
        space={"max_depth": UniformRange(2, 12, whole=True), "min_samples_leaf": _LEAF},
    ),
    _classifier(
        "random-forest-classification",
        "ensemble:RandomForestClassifier",
        _TREES,
        family="forest-classifiers",
        fixed={"n_jobs": 1, "n_estimators": 50, "max_samples": 0.1},
        defaults={"max_features": 0.33, "min_samples_leaf": 20},
        space={"max_features": UniformRange(0.1, 0.6), "min_samples_leaf": _LEAF},
    ),
    _classifier(
        "extra-trees-classification",
        "ensemble:ExtraTreesClassifier",
        _TREES,
        family="forest-classifiers",
        fixed={"n_jobs": 1, "n_estimators": 50},
        defaults={"max_features": 0.33, "min_samples_leaf": 50},
        space={"max_features": UniformRange(0.1, 0.6), "min_samples_leaf": _LEAF},
    ),
    _classifier(
        "bagged-trees-classification",
        "ensemble:BaggingClassifier",
        _TREES,
        family="forest-classifiers",
        fixed={"n_jobs": 1, "n_estimators": 20, "max_samples": 0.1},
        defaults={"max_features": 0.5},
        space={"max_features": UniformRange(0.2, 1.0)},
    ),
    _classifier(
        "adaboost-classification",
        "ensemble:AdaBoostClassifier",
        _TREES,
        family="boosted-classifiers",
        fixed={"n_estimators": 50},
        defaults={"learning_rate": 0.3},
        space={"learning_rate": UniformRange(0.05, 1.0, log_scale=True)},
        link="logistic",
    ),
    _classifier(
        "gradient-boosting-classification",
        "ensemble:GradientBoostingClassifier",
        _TREES,
        family="boosted-classifiers",
        fixed={"subsample": 0.3},
        defaults=_BOOSTING,
        space={
            "learning_rate": UniformRange(0.02, 0.2, log_scale=True),
            "max_depth": UniformRange(2, 6, whole=True),
            "min_samples_leaf": _LEAF,
        },
        link="logistic",
    ),
    _classifier(
        "hist-gradient-boosting-classification",
        "ensemble:HistGradientBoostingClassifier",
        _TREES,
        family="boosted-classifiers",
        fixed={"early_stopping": False, "max_depth": 10},
        defaults={"max_iter": 50, "learning_rate": 0.05, "max_leaf_nodes": 15, "min_samples_leaf": 200},
        space={
            "learning_rate": UniformRange(0.02, 0.2, log_scale=True),
            "max_leaf_nodes": UniformRange(7, 63, log_scale=True, whole=True),
        },
        link="logistic",
    ),
)
