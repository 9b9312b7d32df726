"""Reads models without labels on a panel: what follows each state or score is averaged over training rows.

A state is worth what it tells apart, so the forecast of a row is the mean of the labels that followed its
state before. States are of the market, one per date; scores are of rows.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from mltrainer_models import ModelDescription

from mltrainer_trainer.domain.catalogue import CatalogueEntry
from mltrainer_trainer.domain.learners import Fit, FitRequest, FittedModel, Learner
from mltrainer_trainer.domain.panel_fits import Settings, own_columns
from mltrainer_trainer.domain.training_data import Floats, Integers, Rows, TrainingData

# Models that need a series to name a state are shown so many dates up to every so many-th date, in training
# over the last dates only: each look costs a pass of their library. Shorter series have no state.
_LOOK_BACK = 250
_LOOK_EVERY = 5
_LOOKED_AT = 1_250
_SHORTEST_LOOK = 60
_NO_STATE = -1
_SCORE_GROUPS = 10
# As many rows of the mean are added to those of a state or group, so that a rare one says little.
_PRIOR_ROWS = 25.0

Name = Callable[[Floats, Floats, Floats], int]


def last_state(_seen: Floats, said: Floats, _edges: Floats) -> int:
    """Names the state of the last row; the probability of a state names it from a half on.

    Where a filter breaks down over unlikely values, and says no number, there is no state.
    """
    return round(float(said[-1])) if np.isfinite(said[-1]) else _NO_STATE


def level_of_segment(seen: Floats, said: Floats, edges: Floats) -> int:
    """Names the fifth of the past that the mean of the current segment lies in: none comes again."""
    return int(np.searchsorted(edges, seen[said == said[-1], 0].mean()))


_NAMES: Mapping[str, Name] = {"ruptures": level_of_segment}


@dataclass(frozen=True, eq=False, slots=True)
class FollowingMeans:
    """Means of what followed each state or group, as deviations from the mean of the symbol."""

    by_state: Mapping[int, float]
    by_symbol: Floats

    @classmethod
    def of(cls, states: Integers, data: TrainingData, rows: Rows) -> "FollowingMeans":
        """Averages labels of training rows; a symbol without any has the mean of all."""
        labels, symbol = data.labels[rows], data.symbol[rows]
        count = np.bincount(symbol, minlength=len(data.symbols))
        total = np.bincount(symbol, weights=labels, minlength=len(data.symbols))
        overall = float(labels.mean())
        by_symbol = (total + _PRIOR_ROWS * overall) / (count + _PRIOR_ROWS)
        deviations = labels - by_symbol[symbol]
        known, number = np.unique(states, return_inverse=True)
        sums, sizes = np.bincount(number, weights=deviations), np.bincount(number)
        by_state = {
            int(state): float(value) for state, value in zip(known, sums / (sizes + _PRIOR_ROWS), strict=True)
        }
        return cls(by_state, by_symbol)

    def expect(self, states: Integers, symbol: Integers) -> Floats:
        """Expects what followed before; a state never seen says nothing."""
        deviations = np.array([self.by_state.get(int(it), 0.0) for it in np.unique(states)])
        number = np.unique(states, return_inverse=True)[1]
        return np.asarray(self.by_symbol[symbol] + deviations[number])


@dataclass(frozen=True, eq=False, slots=True)
class StatesFit:
    """A model of market states with what followed each of them; `state_of` names those of dates."""

    entry: CatalogueEntry
    fit: Fit
    state_of: Callable[[TrainingData, Integers], Integers]
    following: FollowingMeans

    def predict(self, data: TrainingData, rows: Rows) -> Floats:
        """Expects what followed the state of each row's date."""
        return self.following.expect(self.state_of(data, data.date[rows]), data.symbol[rows])

    def to_model(self, description: ModelDescription) -> FittedModel:
        """Writes the model of the states down."""
        return self.fit.to_model(description)

    def inputs(self, data: TrainingData) -> tuple[tuple[str, ...], Floats]:
        """Names the features; of each date there is one row."""
        return self.entry.columns(data.feature_names), market_rows(self.entry, data)


def market_rows(entry: CatalogueEntry, data: TrainingData) -> Floats:
    """Gives one row per date: features of the market are the same for all symbols."""
    first = np.flatnonzero(np.diff(data.date, prepend=-1))
    return own_columns(entry, data, first)


def read_states(
    entry: CatalogueEntry, learner: Learner, data: TrainingData, rows: Rows, settings: Settings
) -> StatesFit:
    """Fits one row per date, and averages what followed its states."""
    dates = np.unique(data.date[rows])
    matrix = np.ascontiguousarray(market_rows(entry, data)[dates])
    request = FitRequest(matrix, matrix[:, 0], settings.parameters, data.horizon_bars, settings.seed)
    fit = learner(request)
    edges = np.asarray(np.quantile(matrix[:, 0], (0.2, 0.4, 0.6, 0.8)))
    name = _NAMES.get(entry.adapter, last_state)

    def state_of(asked: TrainingData, of_dates: Integers) -> Integers:
        if entry.serves_row_by_row:
            found = fit.predict(np.ascontiguousarray(market_rows(entry, asked)[of_dates]))
            return np.asarray(np.rint(found), dtype=np.int64)
        looks = of_dates - of_dates % _LOOK_EVERY
        known, number = np.unique(looks, return_inverse=True)
        market = market_rows(entry, asked)
        states = [_look(fit, name, edges, market, int(date)) for date in known]
        return np.asarray(states, dtype=np.int64)[number]

    learned = rows if entry.serves_row_by_row else rows[data.date[rows] > dates[-1] - _LOOKED_AT]
    following = FollowingMeans.of(state_of(data, data.date[learned]), data, learned)
    return StatesFit(entry, fit, state_of, following)


def _look(fit: Fit, name: Name, edges: Floats, market: Floats, date: int) -> int:
    seen = np.ascontiguousarray(market[max(0, date + 1 - _LOOK_BACK) : date + 1])
    if len(seen) < _SHORTEST_LOOK:
        return _NO_STATE
    return name(seen, fit.predict(seen), edges)


@dataclass(frozen=True, eq=False, slots=True)
class ScoresFit:
    """A model of unusual rows with what followed each tenth of its scores."""

    entry: CatalogueEntry
    fit: Fit
    edges: Floats
    following: FollowingMeans

    def predict(self, data: TrainingData, rows: Rows) -> Floats:
        """Expects what followed scores as high; probabilities stay within 0 and 1."""
        groups = np.searchsorted(self.edges, self.fit.predict(own_columns(self.entry, data, rows)))
        return np.clip(self.following.expect(groups.astype(np.int64), data.symbol[rows]), 0.0, 1.0)

    def to_model(self, description: ModelDescription) -> FittedModel:
        """Writes the model of the scores down."""
        return self.fit.to_model(description)

    def inputs(self, data: TrainingData) -> tuple[tuple[str, ...], Floats]:
        """Names the features."""
        return self.entry.columns(data.feature_names), own_columns(self.entry, data, np.arange(len(data)))


def read_scores(
    entry: CatalogueEntry, learner: Learner, data: TrainingData, rows: Rows, settings: Settings
) -> ScoresFit:
    """Fits rows without labels, and averages what followed each tenth of their scores."""
    matrix = own_columns(entry, data, rows)
    request = FitRequest(matrix, data.labels[rows], settings.parameters, data.horizon_bars, settings.seed)
    fit = learner(request)
    scores = fit.predict(matrix)
    edges = np.unique(np.quantile(scores, np.linspace(0, 1, _SCORE_GROUPS + 1)[1:-1]))
    groups = np.searchsorted(edges, scores).astype(np.int64)
    return ScoresFit(entry, fit, edges, FollowingMeans.of(groups, data, rows))
