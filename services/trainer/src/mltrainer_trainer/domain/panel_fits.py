"""What a model fitted on a panel is to a study: something that answers for rows, and what is written down."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from mltrainer_models import ModelDescription

from mltrainer_trainer.domain.catalogue import CatalogueEntry, Parameters
from mltrainer_trainer.domain.learners import FittedModel, Learner
from mltrainer_trainer.domain.training_data import Floats, Rows, TrainingData


@dataclass(frozen=True, slots=True)
class Settings:
    """What a model is fitted with."""

    parameters: Parameters
    seed: int


class PanelFit(Protocol):
    """A fit that answers for rows of a panel, each from what was known at its time."""

    def predict(self, data: TrainingData, rows: Rows) -> Floats:
        """Predicts the label of some rows."""
        ...

    def to_model(self, description: ModelDescription) -> FittedModel:
        """Writes down what was fitted."""
        ...

    def inputs(self, data: TrainingData) -> tuple[tuple[str, ...], Floats]:
        """Names the columns that the written model reads, and gives their values."""
        ...


class Reading(Protocol):
    """Fits a model on some rows of a panel."""

    def __call__(
        self, entry: CatalogueEntry, learner: Learner, data: TrainingData, rows: Rows, settings: Settings
    ) -> PanelFit:
        """Fits."""
        ...


def own_columns(entry: CatalogueEntry, data: TrainingData, rows: Rows) -> Floats:
    """Gives the columns that a model reads."""
    columns = data.columns(entry.columns(data.feature_names))
    matrix = data.matrix[rows]
    return matrix if len(columns) == matrix.shape[1] else np.ascontiguousarray(matrix[:, columns])
