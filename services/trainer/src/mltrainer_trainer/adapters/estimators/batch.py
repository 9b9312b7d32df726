"""Models that only their library can evaluate: fitted, written as plain state, restored from it.

A fit predicts through what was restored from its own state, so that a loaded model predicts the same.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from mltrainer_models import ArtifactError, LibraryModel, ModelDescription
from mltrainer_models.library_state import STATE_FILE, Plain

from mltrainer_trainer.adapters.estimators.conventions import foreign_code, one_fit
from mltrainer_trainer.domain.catalogue import CatalogueEntry
from mltrainer_trainer.domain.learners import (
    BatchFit,
    BatchPredictor,
    FitRequest,
    require_learnable,
)
from mltrainer_trainer.domain.training_data import Floats

Predict = Callable[[Floats], Floats]
FEWEST_ROWS = 60


@dataclass(frozen=True, eq=False, slots=True)
class FittedState:
    """The plain state of a fit, and how its library predicts without it, for tests to compare."""

    state: Plain
    by_library: Predict


class BatchLibrary(Protocol):
    """What we know of one library."""

    def fit(self, request: FitRequest) -> FittedState:
        """Fits and takes the state out."""
        ...

    def restore(self, state: Plain) -> Predict:
        """Turns a state into what predicts."""
        ...


@dataclass(frozen=True, eq=False, slots=True)
class StateFit:
    """A fit that only its library can evaluate."""

    entry: CatalogueEntry
    fitted: FittedState
    restored: BatchPredictor

    def predict(self, matrix: Floats) -> Floats:
        """Predicts one number per row."""
        return self.restored.predict(matrix)

    def by_library(self, matrix: Floats) -> Floats:
        """Predicts with the fitted object itself."""
        with foreign_code():
            return np.asarray(self.fitted.by_library(matrix), np.float64)

    def to_model(self, description: ModelDescription) -> LibraryModel:
        """Writes its state down."""
        return LibraryModel(description, self.fitted.state)


@dataclass(frozen=True, eq=False, slots=True)
class RestoredModel:
    """A loaded model; every prediction starts from a fresh copy of its state."""

    restore: Callable[[Plain], Predict]
    state: Plain

    def predict(self, matrix: Floats) -> Floats:
        """Predicts one number per row."""
        with foreign_code():
            return np.asarray(self.restore(self.state)(np.ascontiguousarray(matrix)), np.float64)


@dataclass(frozen=True, slots=True)
class CheckedBatchLearner:
    """Fits after a look at the input, and turns whatever the library raises into one error."""

    entry: CatalogueEntry
    library: BatchLibrary

    def __call__(self, request: FitRequest) -> BatchFit:
        """Fits.

        Raises:
            BadTrainingInputError: the input cannot be learned from.
            FitFailedError: the library gave up, or holds what cannot be written.
        """
        require_learnable(self.entry.id, request, FEWEST_ROWS)
        with one_fit(self.entry.id):
            fitted = self.library.fit(request)
            return StateFit(self.entry, fitted, RestoredModel(self.library.restore, fitted.state))


def restore_checked(entry: CatalogueEntry, library: BatchLibrary, model: LibraryModel) -> BatchPredictor:
    """Restores a model whose types are those of its entry.

    Raises:
        ArtifactError: the state is not what the library needs.
    """
    try:
        with foreign_code():
            library.restore(model.state)
    except (ValueError, TypeError, AttributeError, LookupError, RuntimeError) as error:
        raise ArtifactError(STATE_FILE, f"not a state of {entry.id!r}: {error}") from error
    return RestoredModel(library.restore, model.state)
