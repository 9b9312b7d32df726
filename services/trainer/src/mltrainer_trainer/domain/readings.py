"""How a model of each task is fitted on a panel and asked for its rows: one reading per task.

Models of features answer row by row. The others know one series, states without labels, or weights; what they
say is turned into a forecast of the label by a rule that training rows alone decide.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from mltrainer_models import ModelDescription

from mltrainer_trainer.domain.catalogue import CatalogueEntry, Task
from mltrainer_trainer.domain.learners import Fit, FitRequest, FittedModel, Learner
from mltrainer_trainer.domain.panel_fits import Reading, Settings, own_columns
from mltrainer_trainer.domain.series_readings import read_series, read_volatility
from mltrainer_trainer.domain.state_readings import read_scores, read_states
from mltrainer_trainer.domain.training_data import Floats, Rows, TrainingData
from mltrainer_trainer.domain.weight_readings import read_weights


@dataclass(frozen=True, eq=False, slots=True)
class RowFit:
    """A model of features."""

    entry: CatalogueEntry
    fit: Fit

    def predict(self, data: TrainingData, rows: Rows) -> Floats:
        """Predicts row by row."""
        return self.fit.predict(own_columns(self.entry, data, rows))

    def to_model(self, description: ModelDescription) -> FittedModel:
        """Turns the fit into what serving loads."""
        return self.fit.to_model(description)

    def inputs(self, data: TrainingData) -> tuple[tuple[str, ...], Floats]:
        """Names the features."""
        return self.entry.columns(data.feature_names), own_columns(self.entry, data, np.arange(len(data)))


def read_rows(
    entry: CatalogueEntry, learner: Learner, data: TrainingData, rows: Rows, settings: Settings
) -> RowFit:
    """Fits features to labels."""
    groups = data.date[rows] if entry.task is Task.RANKING else None
    matrix = own_columns(entry, data, rows)
    request = FitRequest(
        matrix, data.labels[rows], settings.parameters, data.horizon_bars, settings.seed, groups
    )
    return RowFit(entry, learner(request))


READINGS: Mapping[Task, Reading] = {
    Task.REGRESSION: read_rows,
    Task.CLASSIFICATION: read_rows,
    Task.RANKING: read_rows,
    Task.VOLATILITY: read_volatility,
    Task.FORECASTING: read_series,
    Task.REGIME: read_states,
    Task.ANOMALY: read_scores,
    Task.PORTFOLIO: read_weights,
}
