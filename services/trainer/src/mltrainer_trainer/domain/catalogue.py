"""The models a training may try, as data."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum

import numpy as np
from mltrainer_features import TargetKind
from mltrainer_models import canonical_digest

from mltrainer_trainer.domain.errors import TrainerError

Parameter = str | int | float | bool | None
Parameters = Mapping[str, Parameter]

_VOLATILITY = (TargetKind.LOG_REALIZED_VARIANCE,)
_RETURNS = (TargetKind.EXCESS_RETURN, TargetKind.DIRECTION)
_ALL = (*_VOLATILITY, *_RETURNS)


class UnknownModelError(TrainerError):
    """The catalogue has no model or family of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class CostClass(StrEnum):
    """CPU time of one fit on 100,000 rows of 40 features: below 0.1 s, 1 s, 10 s, or more."""

    TRIVIAL = "TRIVIAL"
    CHEAP = "CHEAP"
    MODERATE = "MODERATE"
    EXPENSIVE = "EXPENSIVE"


@dataclass(frozen=True, slots=True)
class UniformRange:
    """A number between two bounds, evenly or evenly on the log scale, whole where asked."""

    low: float
    high: float
    log_scale: bool = False
    whole: bool = False

    def draw(self, random: np.random.Generator) -> Parameter:
        """Draws one value."""
        if self.log_scale:
            value = float(np.exp(random.uniform(np.log(self.low), np.log(self.high))))
        else:
            value = float(random.uniform(self.low, self.high))
        return round(value) if self.whole else value


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some values."""

    values: tuple[Parameter, ...]

    def draw(self, random: np.random.Generator) -> Parameter:
        """Draws one value."""
        return self.values[int(random.integers(len(self.values)))]


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """One model: what it predicts, where its code is, what is fixed, searched and demanded.

    `features` names the only columns it reads; all where empty. `extra` names what must be installed.
    Every model is deterministic given its data, parameters and, where `is_seeded`, the seed.
    """

    id: str
    family: str
    target_kinds: tuple[TargetKind, ...]
    import_path: str
    fixed: Parameters = field(default_factory=dict)
    defaults: Parameters = field(default_factory=dict)
    search_space: Mapping[str, UniformRange | Choice] = field(default_factory=dict)
    features: tuple[str, ...] = ()
    min_rows: int = 250
    cost_class: CostClass = CostClass.TRIVIAL
    is_seeded: bool = False
    is_baseline: bool = False
    extra: str = ""

    @property
    def digest(self) -> str:
        """Identifies the entry; any change of it changes the digest."""
        return canonical_digest(asdict(self))

    def draw_parameters(self, random: np.random.Generator) -> dict[str, Parameter]:
        """Draws one configuration from the search space."""
        return {**self.defaults, **{name: space.draw(random) for name, space in self.search_space.items()}}

    def columns(self, feature_names: Sequence[str]) -> tuple[str, ...]:
        """Names the columns it reads of those there are, in their order."""
        return tuple(name for name in feature_names if not self.features or name in self.features)

    def missing_features(self, feature_names: Sequence[str]) -> tuple[str, ...]:
        """Names the columns it needs that are not there."""
        return tuple(name for name in self.features if name not in feature_names)


_LINEAR = "mltrainer_trainer.domain.linear_learners"

CATALOGUE: tuple[CatalogueEntry, ...] = (
    CatalogueEntry("zero", "baseline", (TargetKind.EXCESS_RETURN,), f"{_LINEAR}:fit_zero", is_baseline=True),
    CatalogueEntry("mean", "baseline", _RETURNS, f"{_LINEAR}:fit_mean", is_baseline=True),
    CatalogueEntry(
        "persistence",
        "baseline",
        _VOLATILITY,
        f"{_LINEAR}:fit_persistence",
        features=("log_variance_22",),
        is_baseline=True,
    ),
    CatalogueEntry(
        "har",
        "baseline",
        _VOLATILITY,
        f"{_LINEAR}:fit_ridge",
        fixed={"alpha": 0.0},
        features=("log_variance_1", "log_variance_5", "log_variance_22"),
        is_baseline=True,
    ),
    CatalogueEntry(
        "ridge",
        "linear",
        _ALL,
        f"{_LINEAR}:fit_ridge",
        defaults={"alpha": 1e-3},
        search_space={"alpha": UniformRange(1e-5, 10.0, log_scale=True)},
        cost_class=CostClass.CHEAP,
    ),
    CatalogueEntry(
        "elastic-net",
        "linear",
        _ALL,
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
        _ALL,
        "sklearn.ensemble:RandomForestRegressor",
        fixed={"n_jobs": 1},
        defaults={"n_estimators": 50, "max_samples": 0.05, "max_features": 0.33, "min_samples_leaf": 10},
        search_space={
            "max_samples": UniformRange(0.02, 0.1, log_scale=True),
            "max_features": UniformRange(0.15, 0.6),
            "min_samples_leaf": UniformRange(5, 100, log_scale=True, whole=True),
        },
        min_rows=2_000,
        cost_class=CostClass.MODERATE,
        is_seeded=True,
    ),
    CatalogueEntry(
        "hist-gradient-boosting",
        "trees",
        _ALL,
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
        min_rows=2_000,
        cost_class=CostClass.MODERATE,
        is_seeded=True,
    ),
    CatalogueEntry(
        "lightgbm",
        "trees",
        _ALL,
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
        min_rows=2_000,
        cost_class=CostClass.MODERATE,
        is_seeded=True,
        extra="lightgbm",
    ),
)


def catalogue_digest() -> str:
    """Identifies the whole catalogue."""
    return canonical_digest({entry.id: entry.digest for entry in CATALOGUE})


def select_entries(names: Sequence[str], target: TargetKind) -> tuple[CatalogueEntry, ...]:
    """Selects by id or family what can predict a target, with the baselines of the target always among them.

    Raises:
        UnknownModelError: the catalogue has no model or family of that name.
    """
    known = {name for entry in CATALOGUE for name in (entry.id, entry.family)}
    for name in names:
        if name not in known:
            raise UnknownModelError(name)
    return tuple(
        entry
        for entry in CATALOGUE
        if target in entry.target_kinds and (entry.is_baseline or entry.id in names or entry.family in names)
    )
