"""Reads portfolios on a panel: weights of symbols by their past returns."""

from dataclasses import dataclass

import numpy as np
from mltrainer_models import ModelDescription

from mltrainer_trainer.domain.catalogue import CatalogueEntry
from mltrainer_trainer.domain.learners import (
    BadTrainingInputError,
    Fit,
    FitRequest,
    FittedModel,
    Learner,
)
from mltrainer_trainer.domain.panel_fits import Settings, own_columns
from mltrainer_trainer.domain.training_data import Floats, Rows, TrainingData

# Weights are optimised on the returns of five years at most.
_LONGEST_HISTORY = 1_260
_FEWEST_SYMBOLS = 2


@dataclass(frozen=True, eq=False, slots=True)
class WeightsFit:
    """Weights that stay until the next fit; `codes` are the symbols that have one, as in `returns`."""

    fit: Fit
    codes: tuple[int, ...]
    symbols: tuple[str, ...]
    returns: Floats

    def predict(self, data: TrainingData, rows: Rows) -> Floats:
        """Gives each row the weight of its symbol; one without a history has none."""
        weights = np.zeros(len(data.symbols))
        # The written model says the return of the portfolio: that of one asset alone is its weight.
        weights[list(self.codes)] = self.fit.predict(np.eye(len(self.codes)))
        found: Floats = weights[data.symbol[rows]]
        return found

    def to_model(self, description: ModelDescription) -> FittedModel:
        """Writes the weights down as the coefficients of a linear model."""
        return self.fit.to_model(description)

    def inputs(self, data: TrainingData) -> tuple[tuple[str, ...], Floats]:
        """Names the assets, whose returns the written model turns into that of the portfolio."""
        return tuple(data.symbols[code] for code in self.codes), self.returns


def read_weights(
    entry: CatalogueEntry, learner: Learner, data: TrainingData, rows: Rows, settings: Settings
) -> WeightsFit:
    """Fits weights on simple returns of the symbols that have one on every date of the last five years."""
    returns = np.expm1(own_columns(entry, data, rows)[:, 0])
    dates, numbers = np.unique(data.date[rows], return_inverse=True)
    table = np.full((len(dates), len(data.symbols)), np.nan)
    table[numbers, data.symbol[rows]] = returns
    table = table[-_LONGEST_HISTORY:]
    codes = np.flatnonzero(np.isfinite(table).all(axis=0))
    if len(codes) < _FEWEST_SYMBOLS:
        raise BadTrainingInputError(entry.id, f"{len(codes)} symbols have a return on all {len(table)} dates")
    complete = np.ascontiguousarray(table[:, codes])
    request = FitRequest(complete, complete[:, 0], settings.parameters, data.horizon_bars, settings.seed)
    return WeightsFit(learner(request), tuple(map(int, codes)), data.symbols, complete)
