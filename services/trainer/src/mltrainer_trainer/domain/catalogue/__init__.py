"""The models a training may try, as data."""

from collections.abc import Sequence

from mltrainer_features import TargetKind
from mltrainer_models import canonical_digest

from mltrainer_trainer.domain.catalogue.anomalies import ANOMALIES
from mltrainer_trainer.domain.catalogue.boosters import BOOSTERS
from mltrainer_trainer.domain.catalogue.core import CORE
from mltrainer_trainer.domain.catalogue.entry import (
    CATALOGUE_EXTRA,
    ArtifactFormat,
    CatalogueEntry,
    Choice,
    CostClass,
    LabelSign,
    Parameter,
    Parameters,
    Scaling,
    Task,
    UniformRange,
)
from mltrainer_trainer.domain.catalogue.forecasting import FORECASTERS
from mltrainer_trainer.domain.catalogue.online import ONLINE
from mltrainer_trainer.domain.catalogue.portfolios import PORTFOLIOS
from mltrainer_trainer.domain.catalogue.regimes import REGIMES
from mltrainer_trainer.domain.catalogue.sklearn_classifiers import CLASSIFIERS
from mltrainer_trainer.domain.catalogue.sklearn_regressors import REGRESSORS
from mltrainer_trainer.domain.catalogue.volatility import VOLATILITY_MODELS
from mltrainer_trainer.domain.errors import TrainerError

__all__ = [
    "CATALOGUE",
    "CATALOGUE_EXTRA",
    "ArtifactFormat",
    "CatalogueEntry",
    "Choice",
    "CostClass",
    "LabelSign",
    "Parameter",
    "Parameters",
    "Scaling",
    "Task",
    "UniformRange",
    "UnknownModelError",
    "catalogue_digest",
    "find_entry",
    "installing",
    "select_entries",
]

CATALOGUE: tuple[CatalogueEntry, ...] = (
    *CORE,
    *REGRESSORS,
    *CLASSIFIERS,
    *BOOSTERS,
    *ONLINE,
    *VOLATILITY_MODELS,
    *FORECASTERS,
    *REGIMES,
    *ANOMALIES,
    *PORTFOLIOS,
)


class UnknownModelError(TrainerError):
    """The catalogue has no model or family of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def catalogue_digest() -> str:
    """Identifies the whole catalogue."""
    return canonical_digest({entry.id: entry.digest for entry in CATALOGUE})


def find_entry(name: str) -> CatalogueEntry:
    """Finds a model by its id.

    Raises:
        UnknownModelError: the catalogue has no model of that name.
    """
    for entry in CATALOGUE:
        if entry.id == name:
            return entry
    raise UnknownModelError(name)


def installing(entry: CatalogueEntry) -> str:
    """Says how to install what an entry needs, as the end of a sentence; empty for what is always there."""
    if entry.extra != CATALOGUE_EXTRA:
        return ""
    return f"; install it with: pip install 'mltrainer-trainer[{CATALOGUE_EXTRA}]'"


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
