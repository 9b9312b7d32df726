"""Refuses a training whose data, folds or models know what they are tested on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import sqrt

import numpy as np

from mltrainer_trainer.domain.catalogue import CatalogueEntry, Task
from mltrainer_trainer.domain.errors import TrainerError
from mltrainer_trainer.domain.metrics import average_ranks
from mltrainer_trainer.domain.objectives import OBJECTIVES
from mltrainer_trainer.domain.search import Candidate
from mltrainer_trainer.domain.training_data import Floats, Integers, Rows, TrainingData
from mltrainer_trainer.domain.walk_forward import Fold

# Rows that the guards fit and test on: enough to see a leak, few enough to cost next to nothing.
_TRAINING_ROWS = 2_000
_TEST_ROWS = 500
_FEATURE_ROWS = 20_000
_FEWEST_ROWS = 200
# A feature is ahead of its row where it moves this much with a later bar, or this much and twice as much as
# with its own bar (returns that continue make features of the past move with the next bar, too).
_CERTAIN = 0.25
_SUGGESTIVE = 0.1
# In standard errors, over dates: some 500 correlations are looked at.
_FUTURE_T = 5.0
_SHUFFLED_T = 5.0


@dataclass(frozen=True, slots=True)
class _Sample:
    """The last so many dates of the first so many symbols; of all where that is 0."""

    dates: int
    symbols: int = 0


_SAMPLES: Mapping[Task, _Sample] = {
    Task.VOLATILITY: _Sample(dates=750, symbols=2),
    Task.FORECASTING: _Sample(dates=750, symbols=2),
    Task.REGIME: _Sample(dates=500),
    Task.PORTFOLIO: _Sample(dates=300),
}


class Leak(StrEnum):
    """What was found."""

    LABEL_CROSSES_SPLIT = "LABEL_CROSSES_SPLIT"
    SPLIT_WITHIN_DATE = "SPLIT_WITHIN_DATE"
    FUTURE_FEATURE = "FUTURE_FEATURE"
    TEST_ROWS_SEEN = "TEST_ROWS_SEEN"
    SHUFFLED_LABELS_PREDICTED = "SHUFFLED_LABELS_PREDICTED"


class LeakFoundError(TrainerError):
    """A training would be judged by what it already knows."""

    def __init__(self, leak: Leak, detail: str) -> None:
        super().__init__(f"{leak}: {detail}")
        self.leak = leak
        self.detail = detail


def guard_training(
    data: TrainingData, folds: Sequence[Fold], inner: Fold, candidates: Sequence[Candidate], seed: int
) -> None:
    """Runs every guard; `inner` is the fold that models are chosen on.

    Raises:
        LeakFoundError: One of them failed.
    """
    guard_data(data, (*folds, inner), inner)
    guard = CandidateGuard(data, inner, seed)
    for candidate in candidates:
        guard(candidate)


def guard_data(data: TrainingData, folds: Sequence[Fold], inner: Fold) -> None:
    """Runs the guards of folds and features; `inner` is the fold that models are chosen on.

    Raises:
        LeakFoundError: One of them failed.
    """
    for fold in folds:
        guard_fold(data, fold)
    guard_features(data, inner.train)


class CandidateGuard:
    """Runs the guards of models, each on a few rows of the fold that models are chosen on."""

    def __init__(self, data: TrainingData, inner: Fold, seed: int) -> None:
        self._data = data
        self._inner = inner
        self._seed = seed

    def __call__(self, candidate: Candidate) -> None:
        """Looks at a model.

        Raises:
            LeakFoundError: TEST_ROWS_SEEN or SHUFFLED_LABELS_PREDICTED.
            TrialFailedError: It cannot be fitted.
        """
        fold = self._fold(candidate.entry)
        rows = np.concatenate([fold.train, fold.test])
        guard_test_rows(candidate, self._data, fold, self._seed)
        shuffled = _with_shuffled_labels(self._data, rows, self._seed)
        guard_shuffled_labels(candidate, shuffled, fold, self._seed)

    def _fold(self, entry: CatalogueEntry) -> Fold:
        """Takes the last rows, or what a series or a table of dates takes to be learned."""
        train, test, data = self._inner.train, self._inner.test, self._data
        sample = _SAMPLES.get(entry.task)
        if sample is None:
            return Fold(train[-max(_TRAINING_ROWS, entry.min_rows) :], test[:_TEST_ROWS])
        if sample.symbols:
            codes = np.unique(data.symbol[train])[: sample.symbols]
            train, test = (it[np.isin(data.symbol[it], codes)] for it in (train, test))
        return Fold(train[data.date[train] > data.date[train[-1]] - sample.dates], test[:_TEST_ROWS])


def guard_fold(data: TrainingData, fold: Fold) -> None:
    """Requires that every training label was known before the first test row, and that no date is cut.

    Raises:
        LeakFoundError: LABEL_CROSSES_SPLIT or SPLIT_WITHIN_DATE.
    """
    if not len(fold.train) or not len(fold.test):
        return
    first_test = int(data.event_time[fold.test].min())
    if np.isin(data.event_time[fold.train], data.event_time[fold.test]).any():
        raise LeakFoundError(Leak.SPLIT_WITHIN_DATE, "rows of one date are trained on and tested on")
    crossing = int((data.label_end_time[fold.train] >= first_test).sum())
    if crossing:
        detail = f"{crossing} training labels end at or after the first test row"
        raise LeakFoundError(Leak.LABEL_CROSSES_SPLIT, detail)


def guard_features(data: TrainingData, rows: Rows) -> None:
    """Requires that no feature moves with bars that come after its row.

    Labels of h bars at t and t + 1 differ by bar t + 1, which enters, and bar t + h + 1, which leaves. A
    feature of bars up to t changed from t - 1 to t by bars that are in neither; one that is k bars ahead of
    its row changed by bar t + k, which enters the label of t + k - 1: the two changes, or those of the
    feature's magnitude, correlate by ranks whatever the feature's window is. Measured on daily prices of 20
    stocks: at most .07 for 41 features of the past, .12 to .5 where they are shifted and share the label's
    own bars. Features that say nothing of the label, shifted or not, pass.

    Raises:
        LeakFoundError: FUTURE_FEATURE, with the feature and by how many bars it is ahead.
    """
    rows = rows[-_FEATURE_ROWS:]
    order = rows[np.lexsort((data.event_time[rows], data.symbol[rows]))]
    if len(order) < _FEWEST_ROWS:
        return
    needed = max(_SUGGESTIVE, _FUTURE_T / sqrt(len(np.unique(data.date[order]))))
    sides = [side for column in data.matrix[order].T for side in (column, np.abs(column))]
    changes = np.stack([_ranks(np.diff(side)) for side in sides])
    present = _moves_together(data, order, changes, 0)
    for ahead in range(1, data.horizon_bars + 1):
        found = _moves_together(data, order, changes, ahead)
        is_ahead = (found >= _CERTAIN) | (found >= 2 * present)
        for column in np.flatnonzero(is_ahead & (found >= needed)):
            name = data.feature_names[column]
            detail = f"{name} moves with the bar {ahead} after its row (rank correlation {found[column]:.2f})"
            raise LeakFoundError(Leak.FUTURE_FEATURE, detail)


def _moves_together(data: TrainingData, order: Integers, changes: Floats, ahead: int) -> Floats:
    """Correlates changes from row t - 1 to t, two lines per feature, with the label's after t + ahead - 1."""
    symbol, labels = data.symbol[order], _additive(data, order)
    count = len(order) - 1 - ahead
    same = symbol[:count] == symbol[ahead + 1 :]
    entering = average_ranks((labels[:-1] - labels[1:])[ahead:][same])
    entering = entering - entering.mean()
    moves = changes[:, :count][:, same]
    moves -= moves.mean(axis=1, keepdims=True)
    scale = np.sqrt((moves**2).sum(axis=1) * float(entering @ entering))
    correlations = np.divide(moves @ entering, scale, out=np.zeros(len(moves)), where=scale > 0)
    return np.asarray(np.abs(correlations).reshape(-1, 2).max(axis=1))


def _ranks(values: Floats) -> Floats:
    # Ties keep their order: averaging costs as much again, and labels are ranked exactly.
    ranks = np.empty(len(values))
    ranks[np.argsort(values, kind="stable")] = np.arange(len(values))
    return ranks


def guard_test_rows(candidate: Candidate, data: TrainingData, fold: Fold, seed: int) -> None:
    """Requires that neither a fit nor the prediction of a row depends on (other) test rows.

    Raises:
        LeakFoundError: TEST_ROWS_SEEN, with the model.
    """
    if len(fold.test) < 2:
        return
    probe, others = fold.test[:1], fold.test[1:]
    before = _predict(candidate, data, fold, seed)
    after = _predict(candidate, _altered(data, others), fold, seed)
    if not np.allclose(before[: len(probe)], after[: len(probe)], rtol=1e-9, atol=1e-12):
        detail = f"{candidate.entry.id} predicts a row differently when other test rows change"
        raise LeakFoundError(Leak.TEST_ROWS_SEEN, detail)


def guard_shuffled_labels(candidate: Candidate, shuffled: TrainingData, fold: Fold, seed: int) -> None:
    """Requires that labels in random order cannot be predicted.

    Raises:
        LeakFoundError: SHUFFLED_LABELS_PREDICTED, with the model and its correlation.
    """
    result = candidate.test(shuffled, fold, candidate.entry.defaults, seed)
    correlation = _correlation(result.predictions, result.labels)
    if _t_statistic(correlation, len(result)) > _SHUFFLED_T:
        detail = f"{candidate.entry.id} predicts labels in random order (correlation {correlation:.2f})"
        raise LeakFoundError(Leak.SHUFFLED_LABELS_PREDICTED, detail)


def _predict(candidate: Candidate, data: TrainingData, fold: Fold, seed: int) -> Floats:
    return candidate.test(data, fold, candidate.entry.defaults, seed).predictions


def _altered(data: TrainingData, rows: Rows) -> TrainingData:
    matrix, labels = data.matrix.copy(), data.labels.copy()
    matrix[rows] = 7.0 - 3.0 * matrix[rows]
    labels[rows] = labels[rows] + 11.0
    return replace(data, matrix=matrix, labels=labels)


def _with_shuffled_labels(data: TrainingData, rows: Rows, seed: int) -> TrainingData:
    labels = data.labels.copy()
    labels[rows] = np.random.default_rng(seed).permutation(labels[rows])
    return replace(data, labels=labels)


def _additive(data: TrainingData, rows: Integers) -> Floats:
    """Turns labels into sums over bars."""
    labels = data.labels[rows]
    return np.exp(labels) if OBJECTIVES[data.target].is_log_variance else labels


def _correlation(left: Floats, right: Floats) -> float:
    left, right = left - left.mean(), right - right.mean()
    scale = sqrt(float(left @ left) * float(right @ right))
    return float(left @ right) / scale if scale > 0 else 0.0


def _t_statistic(correlation: float, count: int) -> float:
    spread = max(1 - correlation**2, 1e-12)
    return abs(correlation) * sqrt(max(count - 2, 0) / spread)
