"""Loads what a study wrote of models of one series: a state per symbol, and the line to the label."""

from collections.abc import Mapping
from dataclasses import dataclass

from mltrainer_models import ArtifactError, LibraryModel, ModelArtifact, read_library_model
from mltrainer_models.library_state import STATE_FILE

from mltrainer_trainer.adapters.estimators import BatchRestorer, batch_restorer
from mltrainer_trainer.domain.catalogue import CatalogueEntry
from mltrainer_trainer.domain.learners import BatchPredictor


@dataclass(frozen=True, eq=False, slots=True)
class SeriesPredictors:
    """Models by symbol; the label of a row is expected at intercept + slope * what its model says.

    `end_times` are microseconds since 1970 of the last value that a forecast goes on from, empty for models
    of volatility, which are shown returns instead.
    """

    by_symbol: Mapping[str, BatchPredictor]
    end_times: Mapping[str, int]
    intercept: float
    slope: float


def load_series_predictors(
    artifact: ModelArtifact | Mapping[str, bytes], entry: CatalogueEntry
) -> SeriesPredictors:
    """Loads the models of all symbols.

    Raises:
        ArtifactError: the files are not such models of the entry.
        LearnerUnavailableError: the library is missing or does not load.
    """
    model = read_library_model(artifact, entry.id, frozenset(entry.state_types))
    restore: BatchRestorer = batch_restorer(entry)
    try:
        states = dict(model.state["series"])
        line = float(model.state["intercept"]), float(model.state["slope"])
        ends = {str(name): int(time) for name, time in model.state["end_times"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(STATE_FILE, f"no models by symbol of {entry.id!r}: {error}") from error
    loaded = {name: restore(LibraryModel(model.description, state)) for name, state in states.items()}
    return SeriesPredictors(loaded, ends, *line)
