"""What a learner is to the search: something that fits, and a fit that can be served."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from mltrainer_models import LayersModel, LibraryModel, LinearModel, ModelDescription, TreesModel

from mltrainer_trainer.domain.catalogue import CatalogueEntry, Parameters
from mltrainer_trainer.domain.errors import TrainerError
from mltrainer_trainer.domain.training_data import Floats, Integers

FittedModel = LinearModel | TreesModel | LayersModel | LibraryModel


class LearnerUnavailableError(TrainerError):
    """The code of a model does not load here."""

    def __init__(self, catalogue_id: str, reason: str) -> None:
        super().__init__(catalogue_id)
        self.catalogue_id = catalogue_id
        self.reason = reason


class BadTrainingInputError(TrainerError):
    """A model cannot learn from what it was given; the reason says what is wrong with it."""

    def __init__(self, catalogue_id: str, reason: str) -> None:
        super().__init__(f"{catalogue_id} cannot learn from this: {reason}")
        self.catalogue_id = catalogue_id
        self.reason = reason


class FitFailedError(TrainerError):
    """The library of a model gave up on a fit."""

    def __init__(self, catalogue_id: str, reason: str) -> None:
        super().__init__(f"{catalogue_id} failed: {reason}")
        self.catalogue_id = catalogue_id
        self.reason = reason


@dataclass(frozen=True, eq=False, slots=True)
class FitRequest:
    """Rows and settings of one fit; `parameters` include the fixed ones.

    `groups` numbers the rows that are ranked against each other, by rising date. Libraries that divide a fit
    evenly may take `threads`; linear algebra keeps one, as its rounding depends on their number.
    """

    matrix: Floats
    labels: Floats
    parameters: Parameters
    horizon_bars: int
    seed: int
    groups: Integers | None = None
    threads: int = 1


class Fit(Protocol):
    """A fitted model."""

    def predict(self, matrix: Floats) -> Floats:
        """Predicts one number per row."""
        ...

    def to_model(self, description: ModelDescription) -> FittedModel:
        """Turns the fit into what serving loads; it predicts the same bits."""
        ...


class Learner(Protocol):
    """Fits one kind of model."""

    def __call__(self, request: FitRequest) -> Fit:
        """Fits."""
        ...


class LearnerFactory(Protocol):
    """Finds the code behind a catalogue entry."""

    def __call__(self, entry: CatalogueEntry) -> Learner:
        """Loads it.

        Raises:
            LearnerUnavailableError: it does not load here.
        """
        ...


class BatchPredictor(Protocol):
    """A model that predicts over whole tables or series, what of its catalogue entry's task says."""

    def predict(self, matrix: Floats) -> Floats:
        """Predicts one number per row."""
        ...


class BatchFit(BatchPredictor, Protocol):
    """A fitted model that only its library can evaluate."""

    def to_model(self, description: ModelDescription) -> LibraryModel:
        """Writes its state down."""
        ...


class BatchLearner(Protocol):
    """Fits one kind of model that predicts in batch."""

    def __call__(self, request: FitRequest) -> BatchFit:
        """Fits."""
        ...


def require_learnable(catalogue_id: str, request: FitRequest, fewest_rows: int) -> None:
    """Checks what every model needs.

    Raises:
        BadTrainingInputError: rows are too few or do not belong together, or a number is not finite.
    """
    matrix, labels = request.matrix, request.labels
    if matrix.ndim != 2 or not matrix.shape[1] or len(matrix) != len(labels):
        reason = f"a table of shape {matrix.shape} has {len(labels)} labels"
    elif len(matrix) < fewest_rows:
        reason = f"{len(matrix)} rows are fewer than {fewest_rows}"
    elif not np.isfinite(matrix).all():
        row, column = np.argwhere(~np.isfinite(matrix))[0]
        reason = f"the number in row {row}, column {column} is not finite"
    elif not np.isfinite(labels).all():
        reason = f"the label of row {int(np.argmin(np.isfinite(labels)))} is not finite"
    else:
        return
    raise BadTrainingInputError(catalogue_id, reason)
