"""Detectors of unusual rows: scikit-learn and pyod."""

from collections.abc import Mapping

from mltrainer_features import TargetKind

from mltrainer_trainer.domain.catalogue.entry import (
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
_FEATURES = (
    "return_5",
    "log_variance_1",
    "log_variance_5",
    "log_variance_22",
    "log_variance_66",
    "drawdown_66",
)


def _anomaly(
    name: str,
    path: str,
    adapter: str,
    artifact: ArtifactFormat,
    *,
    family: str,
    fixed: Parameters | None = None,
    defaults: Parameters | None = None,
    space: Space | None = None,
    seeded: bool = False,
    max_rows: int = 5_000,
    link: str = "identity",
    types: tuple[str, ...] = (),
) -> CatalogueEntry:
    return CatalogueEntry(
        id=name,
        family=family,
        target_kinds=(TargetKind.TAIL_EVENT,),
        features=_FEATURES,
        import_path=path,
        fixed=fixed or {},
        defaults=defaults or {},
        search_space=space or {},
        cost_class=CostClass.MODERATE,
        is_seeded=seeded,
        extra="" if path.startswith("sklearn") else CATALOGUE_EXTRA,
        task=Task.ANOMALY,
        artifact=artifact,
        adapter=adapter,
        link=link,
        max_rows=max_rows,
        scaling=Scaling.NONE if artifact is ArtifactFormat.TREES else Scaling.STANDARDISE,
        state_types=types,
    )


def _detector(
    module: str,
    class_name: str,
    *types: str,
    name: str = "",
    fixed: Parameters | None = None,
    defaults: Parameters | None = None,
    space: Space | None = None,
    seeded: bool = False,
    max_rows: int = 5_000,
) -> CatalogueEntry:
    return _anomaly(
        name or f"{module.replace('_', '-')}-detector",
        f"pyod.models.{module}:{class_name}",
        "pyod",
        ArtifactFormat.LIBRARY,
        family="pyod-detectors",
        fixed=fixed,
        defaults=defaults,
        space=space,
        seeded=seeded,
        max_rows=max_rows,
        types=(f"pyod.models.{module}:{class_name}", *types),
    )


_NEIGHBOURS: Parameters = {"n_neighbors": 20}
_NEIGHBOUR_SPACE: Space = {"n_neighbors": UniformRange(5, 60, log_scale=True, whole=True)}
_SEARCH_TREE = "sklearn.neighbors._kd_tree:KDTree"
_NEAREST = "sklearn.neighbors._unsupervised:NearestNeighbors"
_SCALER = "sklearn.preprocessing._data:StandardScaler"
_SHARE: Space = {"contamination": UniformRange(0.01, 0.2)}

ANOMALIES: tuple[CatalogueEntry, ...] = (
    _anomaly(
        "isolation-forest",
        "sklearn.ensemble:IsolationForest",
        "sklearn-trees",
        ArtifactFormat.TREES,
        family="outliers",
        fixed={"n_estimators": 50, "n_jobs": 1},
        seeded=True,
        link="exponential",
    ),
    _anomaly(
        "one-class-svm",
        "sklearn.svm:OneClassSVM",
        "sklearn-layers",
        ArtifactFormat.LAYERS,
        family="outliers",
        fixed={"kernel": "rbf", "gamma": 0.1},
        defaults={"nu": 0.05},
        space={"nu": UniformRange(0.01, 0.3)},
        max_rows=3_000,
    ),
    _anomaly(
        "elliptic-envelope",
        "sklearn.covariance:EllipticEnvelope",
        "sklearn-layers",
        ArtifactFormat.LAYERS,
        family="outliers",
        defaults={"contamination": 0.05},
        space=_SHARE,
        seeded=True,
    ),
    _detector("abod", "ABOD", _SEARCH_TREE, _NEAREST),
    _detector("cblof", "CBLOF", "sklearn.cluster._kmeans:KMeans", seeded=True),
    _detector("cd", "CD", "sklearn.linear_model._base:LinearRegression"),
    _detector("cof", "COF", max_rows=500),
    _detector("copod", "COPOD"),
    _detector("ecod", "ECOD"),
    _detector("gmm", "GMM", "sklearn.mixture._gaussian_mixture:GaussianMixture", seeded=True),
    _detector("hbos", "HBOS"),
    _detector(
        "iforest",
        "IForest",
        "sklearn.ensemble._iforest:IsolationForest",
        "sklearn.tree._classes:ExtraTreeRegressor",
        "sklearn.tree._tree:Tree",
        seeded=True,
    ),
    _detector("inne", "INNE", seeded=True),
    _detector("kde", "KDE", _SEARCH_TREE, "sklearn.neighbors._kde:KernelDensity"),
    _detector("knn", "KNN", _SEARCH_TREE, _NEAREST, defaults=_NEIGHBOURS, space=_NEIGHBOUR_SPACE),
    _detector("loci", "LOCI", max_rows=80),
    _detector("loda", "LODA", seeded=True),
    _detector(
        "lof",
        "LOF",
        _SEARCH_TREE,
        "sklearn.neighbors._lof:LocalOutlierFactor",
        defaults=_NEIGHBOURS,
        space=_NEIGHBOUR_SPACE,
    ),
    _detector("mcd", "MCD", "sklearn.covariance._robust_covariance:MinCovDet", seeded=True),
    _detector("ocsvm", "OCSVM", "sklearn.svm._classes:OneClassSVM"),
    _detector("pca", "PCA", "sklearn.decomposition._pca:PCA", _SCALER, seeded=True),
    _detector("qmcd", "QMCD", "sklearn.preprocessing._data:MinMaxScaler"),
    _detector("rod", "ROD", "sklearn.preprocessing._data:MinMaxScaler", max_rows=500),
    _detector("sos", "SOS", max_rows=500),
)
