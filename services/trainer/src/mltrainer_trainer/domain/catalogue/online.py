"""Models of river, which learn from one row after the other, and regressions of statsmodels."""

from collections.abc import Mapping

from mltrainer_features import TargetKind

from mltrainer_trainer.domain.catalogue.entry import (
    ALL_TARGETS,
    CATALOGUE_EXTRA,
    VOLATILITY_TARGETS,
    ArtifactFormat,
    CatalogueEntry,
    CostClass,
    LabelSign,
    Parameters,
    Scaling,
    Task,
    UniformRange,
)

Space = Mapping[str, UniformRange]


def _online(
    name: str,
    path: str,
    *,
    fixed: Parameters | None = None,
    defaults: Parameters | None = None,
    space: Space | None = None,
    task: Task = Task.REGRESSION,
    artifact: ArtifactFormat = ArtifactFormat.LINEAR,
) -> CatalogueEntry:
    is_classifier, is_tree = task is Task.CLASSIFICATION, artifact is ArtifactFormat.TREES
    return CatalogueEntry(
        id=name,
        family="online-classifiers" if is_classifier else "online-regressors",
        target_kinds=(TargetKind.DIRECTION,) if is_classifier else ALL_TARGETS,
        import_path=f"river.{path}",
        fixed=fixed or {},
        defaults=defaults or {},
        search_space=space or {},
        min_rows=500,
        cost_class=CostClass.EXPENSIVE,
        extra=CATALOGUE_EXTRA,
        task=task,
        artifact=artifact,
        adapter="river",
        link="logistic" if is_classifier and not is_tree else "identity",
        max_rows=20_000,
        scaling=Scaling.NONE if is_tree else Scaling.STANDARDISE,
    )


def _statsmodels(
    name: str,
    path: str,
    fixed: Parameters,
    *,
    sign: LabelSign = LabelSign.ANY,
    max_rows: int = 0,
    space: Space | None = None,
) -> CatalogueEntry:
    return CatalogueEntry(
        id=name,
        family="statsmodels-regressions",
        target_kinds=VOLATILITY_TARGETS if sign is LabelSign.POSITIVE else ALL_TARGETS,
        import_path=f"statsmodels.api:{path}",
        fixed=fixed,
        search_space=space or {},
        cost_class=CostClass.MODERATE,
        extra=CATALOGUE_EXTRA,
        adapter="statsmodels-linear",
        label_sign=sign,
        max_rows=max_rows,
        scaling=Scaling.STANDARDISE,
    )


_CLASS, _TREES = Task.CLASSIFICATION, ArtifactFormat.TREES
_TREE: Parameters = {"grace_period": 100, "max_depth": 6}
_L2: Space = {"l2": UniformRange(1e-5, 1e-1, log_scale=True)}

ONLINE: tuple[CatalogueEntry, ...] = (
    _online(
        "online-linear",
        "linear_model:LinearRegression",
        fixed={"clip_gradient": 1.0},
        defaults={"l2": 1e-3, "intercept_lr": 0.01},
        space=_L2,
    ),
    _online(
        "online-passive-aggressive",
        "linear_model:PARegressor",
        fixed={"mode": 1},
        defaults={"C": 0.001, "eps": 0.1},
        space={"C": UniformRange(1e-4, 1.0, log_scale=True)},
    ),
    _online(
        "online-bayesian",
        "linear_model:BayesianLinearRegression",
        defaults={"alpha": 1.0, "beta": 1.0},
        space={"alpha": UniformRange(0.1, 100.0, log_scale=True)},
    ),
    _online(
        "online-tree",
        "tree:HoeffdingTreeRegressor",
        fixed={"leaf_prediction": "mean", **_TREE},
        artifact=_TREES,
    ),
    _online(
        "online-logistic", "linear_model:LogisticRegression", defaults={"l2": 1e-3}, space=_L2, task=_CLASS
    ),
    _online(
        "online-softmax", "linear_model:SoftmaxRegression", defaults={"l2": 1e-3}, space=_L2, task=_CLASS
    ),
    _online(
        "online-passive-aggressive-classification",
        "linear_model:PAClassifier",
        fixed={"mode": 1},
        defaults={"C": 0.001},
        space={"C": UniformRange(1e-4, 1.0, log_scale=True)},
        task=_CLASS,
    ),
    _online(
        "online-tree-classification",
        "tree:HoeffdingTreeClassifier",
        fixed={"leaf_prediction": "mc", **_TREE},
        task=_CLASS,
        artifact=_TREES,
    ),
    _online(
        "online-fast-tree-classification",
        "tree:ExtremelyFastDecisionTreeClassifier",
        fixed={"leaf_prediction": "mc", **_TREE},
        task=_CLASS,
        artifact=_TREES,
    ),
    _statsmodels("robust-huber", "RLM", {"norm": "HuberT"}),
    _statsmodels("robust-tukey", "RLM", {"norm": "TukeyBiweight"}),
    _statsmodels("robust-hampel", "RLM", {"norm": "Hampel"}),
    _statsmodels("quantile-regression", "QuantReg", {"q": 0.5}, max_rows=1_500),
    _statsmodels("gamma-regression", "GLM", {"law": "Gamma"}, sign=LabelSign.POSITIVE),
)
