"""Finds the code behind a catalogue entry.

The libraries are imported when a learner is first asked for, so that listing the catalogue costs nothing.
"""

from collections.abc import Callable, Mapping
from typing import Any, cast

from mltrainer_models import LibraryModel, ModelArtifact, read_library_model

from mltrainer_trainer.adapters.estimators import boosters, forecasting, sequences
from mltrainer_trainer.adapters.estimators.batch import BatchLibrary, CheckedBatchLearner, restore_checked
from mltrainer_trainer.adapters.estimators.conventions import CheckedLearner, import_quietly
from mltrainer_trainer.adapters.estimators.core_trees import LightGbmLearner, SklearnLearner
from mltrainer_trainer.adapters.estimators.detectors import DetectorLibrary
from mltrainer_trainer.adapters.estimators.lightgbm_linear import LinearTreesLibrary
from mltrainer_trainer.adapters.estimators.online import OnlineLearner
from mltrainer_trainer.adapters.estimators.portfolios import PortfolioLearner
from mltrainer_trainer.adapters.estimators.sklearn_layers import LayersLearner
from mltrainer_trainer.adapters.estimators.sklearn_linear import LinearLearner
from mltrainer_trainer.adapters.estimators.sklearn_trees import TreesLearner
from mltrainer_trainer.adapters.estimators.statsmodels_linear import StatsmodelsLearner
from mltrainer_trainer.adapters.estimators.volatility import ArchLibrary
from mltrainer_trainer.domain import linear_learners
from mltrainer_trainer.domain.catalogue import CatalogueEntry, installing
from mltrainer_trainer.domain.learners import BatchLearner, BatchPredictor, Learner, LearnerUnavailableError

__all__ = [
    "BatchRestorer",
    "batch_restorer",
    "load_any_learner",
    "load_batch_learner",
    "load_batch_predictor",
    "load_learner",
    "unavailable_reason",
]

BatchRestorer = Callable[[LibraryModel], BatchPredictor]

_ADAPTERS: Mapping[str, Callable[[CatalogueEntry, Any], Learner]] = {
    "sklearn-linear": LinearLearner,
    "sklearn-trees": TreesLearner,
    "sklearn-layers": LayersLearner,
    "lightgbm": boosters.LightGbmVariant,
    "xgboost": boosters.XgboostLearner,
    "catboost": boosters.CatboostLearner,
    "ngboost": boosters.NgboostLearner,
    "river": OnlineLearner,
    "statsmodels-linear": StatsmodelsLearner,
    "skfolio": PortfolioLearner,
}


_BATCH_ADAPTERS: Mapping[str, Callable[[CatalogueEntry], BatchLibrary]] = {
    "lightgbm-linear": LinearTreesLibrary,
    "arch": ArchLibrary,
    "statsmodels-state-space": forecasting.StateSpaceLibrary,
    "statsmodels-autoregression": forecasting.AutoregressionLibrary,
    "statsmodels-smoothing": forecasting.SmoothingLibrary,
    "statsmodels-switching": sequences.SwitchingLibrary,
    "statsforecast": forecasting.StatsforecastLibrary,
    "hmmlearn": sequences.HiddenMarkovLibrary,
    "ruptures": sequences.ChangePointLibrary,
    "pyod": DetectorLibrary,
}


def load_learner(entry: CatalogueEntry) -> Learner:
    """Finds the code of an entry that serves row by row.

    Raises:
        LearnerUnavailableError: a library is missing or does not load, for want of a system library for
        instance; where an extra holds it, the reason says how to install it.
    """
    if not entry.serves_row_by_row:
        raise LearnerUnavailableError(entry.id, "it predicts in batch only")
    return CheckedLearner(entry, _learner(entry))


def _learner(entry: CatalogueEntry) -> Learner:
    module, _, name = entry.import_path.partition(":")
    if module == linear_learners.__name__:
        return cast("Learner", getattr(linear_learners, name))
    code = _code(entry)
    if entry.adapter:
        return _ADAPTERS[entry.adapter](entry, code)
    if module == "lightgbm":
        return LightGbmLearner(code, import_quietly(module).Dataset)
    return SklearnLearner(code)


def load_batch_learner(entry: CatalogueEntry) -> BatchLearner:
    """Finds the code of an entry that predicts in batch only.

    Raises:
        LearnerUnavailableError: a library is missing or does not load, or the entry serves row by row.
    """
    if entry.serves_row_by_row:
        raise LearnerUnavailableError(entry.id, "it serves row by row")
    _code(entry)
    return CheckedBatchLearner(entry, _BATCH_ADAPTERS[entry.adapter](entry))


def load_any_learner(entry: CatalogueEntry) -> Learner:
    """Finds the code of an entry, however it is served.

    Raises:
        LearnerUnavailableError: a library is missing or does not load.
    """
    return load_learner(entry) if entry.serves_row_by_row else load_batch_learner(entry)


def load_batch_predictor(
    artifact: ModelArtifact | Mapping[str, bytes], entry: CatalogueEntry
) -> BatchPredictor:
    """Loads a model that predicts in batch.

    Raises:
        ArtifactError: the files are not a model of the entry; no library has seen them yet.
        LearnerUnavailableError: its library is missing or does not load.
    """
    model = read_library_model(artifact, entry.id, frozenset(entry.state_types))
    return batch_restorer(entry)(model)


def batch_restorer(entry: CatalogueEntry) -> BatchRestorer:
    """Finds what turns a state of an entry into what predicts.

    Raises:
        LearnerUnavailableError: its library is missing or does not load.
    """
    _code(entry)
    library = _BATCH_ADAPTERS[entry.adapter](entry)
    return lambda model: restore_checked(entry, library, model)


def _code(entry: CatalogueEntry) -> Any:
    module, _, name = entry.import_path.partition(":")
    try:
        return getattr(import_quietly(module), name)
    except (ImportError, OSError, AttributeError) as error:
        raise LearnerUnavailableError(entry.id, f"{module}: {error}{installing(entry)}") from error


def unavailable_reason(entry: CatalogueEntry) -> str:
    """Says why an entry does not load here; empty where it does."""
    try:
        _code(entry)
    except LearnerUnavailableError as error:
        return error.reason
    return ""
