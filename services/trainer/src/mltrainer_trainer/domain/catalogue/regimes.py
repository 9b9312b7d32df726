"""Models that tell which state a market is in."""

from collections.abc import Mapping

from mltrainer_features import TargetKind

from mltrainer_trainer.domain.catalogue.entry import (
    CATALOGUE_EXTRA,
    MARKET_STATE,
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
_STATES: Space = {"n_components": UniformRange(2, 5, whole=True)}


def _cluster(
    name: str,
    path: str,
    *,
    fixed: Parameters | None = None,
    defaults: Parameters | None = None,
    space: Space | None = None,
    seeded: bool = True,
    max_rows: int = 0,
) -> CatalogueEntry:
    return CatalogueEntry(
        id=name,
        family="clusters",
        target_kinds=(TargetKind.VARIANCE_REGIME,),
        features=MARKET_STATE,
        import_path=f"sklearn.{path}",
        fixed=fixed or {},
        defaults=defaults or {},
        search_space=space or {},
        cost_class=CostClass.CHEAP,
        is_seeded=seeded,
        task=Task.REGIME,
        artifact=ArtifactFormat.LAYERS,
        adapter="sklearn-layers",
        max_rows=max_rows,
        scaling=Scaling.STANDARDISE,
    )


def _sequence(
    name: str,
    path: str,
    adapter: str,
    *,
    family: str,
    fixed: Parameters | None = None,
    defaults: Parameters | None = None,
    space: Space | None = None,
    seeded: bool = False,
    scaling: Scaling = Scaling.STANDARDISE,
) -> CatalogueEntry:
    return CatalogueEntry(
        id=name,
        family=family,
        target_kinds=(TargetKind.VARIANCE_REGIME,),
        features=MARKET_STATE,
        import_path=path,
        fixed=fixed or {},
        defaults=defaults or {},
        search_space=space or {},
        cost_class=CostClass.MODERATE,
        is_seeded=seeded,
        extra=CATALOGUE_EXTRA,
        task=Task.REGIME,
        artifact=ArtifactFormat.LIBRARY,
        adapter=adapter,
        scaling=scaling,
    )


def _markov(name: str, class_name: str, fixed: Parameters) -> CatalogueEntry:
    return _sequence(
        name,
        f"hmmlearn.hmm:{class_name}",
        "hmmlearn",
        family="hidden-markov",
        fixed={"n_iter": 50, **fixed},
        defaults={"n_components": 3},
        space=_STATES,
        seeded=True,
    )


def _change_points(name: str, class_name: str, fixed: Parameters) -> CatalogueEntry:
    return _sequence(
        name,
        f"ruptures:{class_name}",
        "ruptures",
        family="change-points",
        fixed=fixed,
        defaults={"strictness": 1.0},
        space={"strictness": UniformRange(0.5, 10.0, log_scale=True)},
    )


def _switching(name: str, path: str, fixed: Parameters) -> CatalogueEntry:
    return _sequence(
        name,
        f"statsmodels.tsa.regime_switching.{path}",
        "statsmodels-switching",
        family="switching-models",
        fixed={"k_regimes": 2, **fixed},
        scaling=Scaling.NONE,
    )


_THREE: Parameters = {"n_clusters": 3}
_COUNT: Space = {"n_clusters": UniformRange(2, 6, whole=True)}
_SHAPES: Space = {**_STATES, "covariance_type": Choice(("full", "diag"))}

REGIMES: tuple[CatalogueEntry, ...] = (
    _cluster("k-means", "cluster:KMeans", fixed={"n_init": 5}, defaults=_THREE, space=_COUNT),
    _cluster(
        "k-means-batches", "cluster:MiniBatchKMeans", fixed={"n_init": 5}, defaults=_THREE, space=_COUNT
    ),
    _cluster(
        "mean-shift",
        "cluster:MeanShift",
        fixed={"bin_seeding": True},
        defaults={"bandwidth": 1.2},
        space={"bandwidth": UniformRange(0.5, 3.0)},
        seeded=False,
        max_rows=2_000,
    ),
    _cluster(
        "affinity-propagation",
        "cluster:AffinityPropagation",
        fixed={"damping": 0.9, "preference": -200.0, "max_iter": 500},
        max_rows=500,
    ),
    _cluster("birch", "cluster:Birch", fixed={"threshold": 0.5}, defaults=_THREE, space=_COUNT, seeded=False),
    _cluster(
        "gaussian-mixture",
        "mixture:GaussianMixture",
        defaults={"n_components": 3, "covariance_type": "full"},
        space=_STATES,
    ),
    _cluster(
        "bayesian-mixture",
        "mixture:BayesianGaussianMixture",
        fixed={"covariance_type": "full", "max_iter": 300},
        defaults={"n_components": 3},
        space=_STATES,
    ),
    _markov("hidden-markov-diagonal", "GaussianHMM", {"covariance_type": "diag"}),
    _markov("hidden-markov-full", "GaussianHMM", {"covariance_type": "full"}),
    _markov("hidden-markov-spherical", "GaussianHMM", {"covariance_type": "spherical"}),
    _markov("hidden-markov-tied", "GaussianHMM", {"covariance_type": "tied"}),
    _markov("hidden-markov-mixture", "GMMHMM", {"covariance_type": "diag", "n_mix": 2}),
    _markov("hidden-markov-categories", "CategoricalHMM", {}),
    _change_points("pelt", "Pelt", {"model": "l2", "min_size": 10, "jump": 5}),
    _change_points("binary-segmentation", "Binseg", {"model": "l2", "min_size": 10, "jump": 5}),
    _change_points("bottom-up", "BottomUp", {"model": "l2", "min_size": 10, "jump": 5}),
    _change_points("sliding-window", "Window", {"model": "l2", "width": 40, "jump": 5}),
    _change_points("kernel-change-points", "KernelCPD", {"kernel": "linear", "min_size": 10}),
    _switching("markov-switching", "markov_regression:MarkovRegression", {"switching_variance": True}),
    _switching(
        "markov-autoregression",
        "markov_autoregression:MarkovAutoregression",
        {"order": 1, "switching_ar": False, "switching_variance": True},
    ),
)
