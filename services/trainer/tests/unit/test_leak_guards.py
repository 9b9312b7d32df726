from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from mltrainer_features import TargetKind, compute_features, compute_labels, feature_names
from mltrainer_trainer.adapters.estimators import load_learner
from mltrainer_trainer.domain.catalogue import Parameters, select_entries
from mltrainer_trainer.domain.leak_guards import Leak, LeakFoundError, guard_features, guard_training
from mltrainer_trainer.domain.learners import Fit
from mltrainer_trainer.domain.metrics import OutOfSample
from mltrainer_trainer.domain.search import Candidate
from mltrainer_trainer.domain.training_data import Rows, TrainingData, load_training_data, to_microseconds
from mltrainer_trainer.domain.walk_forward import (
    EvaluationPlan,
    Fold,
    validation_folds,
    walk_forward_folds,
)

START = datetime(2015, 1, 1, 21, tzinfo=UTC)
DATES, SYMBOLS, HORIZON = 900, 5, 5
PLAN = EvaluationPlan(to_microseconds(START + timedelta(days=700)), refit_interval_bars=100)


def make_data(target: TargetKind, seed: int = 3, horizon: int = HORIZON) -> TrainingData:
    random = np.random.default_rng(seed)
    waves = np.exp(np.cumsum(random.normal(scale=0.15, size=(DATES, 1)), axis=0).clip(-2, 2))
    common = random.standard_normal((DATES, 1))
    returns = 0.01 * waves * (0.6 * common + 0.8 * random.standard_normal((DATES, SYMBOLS)))
    closes = np.exp(4 + returns.cumsum(axis=0))
    rows = [
        (f"S{column}", START + timedelta(days=day), float(closes[day, column]))
        for day in range(DATES)
        for column in range(SYMBOLS)
    ]
    schema = {"symbol": pl.String, "event_time": pl.Datetime("us", "UTC"), "close": pl.Float64}
    bars = pl.DataFrame(rows, schema=schema, orient="row")
    frame = compute_features(bars).join(compute_labels(bars, target, horizon), on=["symbol", "event_time"])
    return load_training_data(frame, feature_names(), target, horizon)


VOLATILITY = make_data(TargetKind.LOG_REALIZED_VARIANCE)


def folds_of(data: TrainingData) -> tuple[tuple[Fold, ...], Fold]:
    folds = walk_forward_folds(data.event_time, data.label_end_time, PLAN)
    return folds, validation_folds(data.event_time, data.label_end_time, PLAN, 200)[0]


def candidates_of(*models: str) -> list[Candidate]:
    entries = select_entries(models, TargetKind.LOG_REALIZED_VARIANCE)
    return [Candidate(entry, load_learner(entry)) for entry in entries]


def ahead(data: TrainingData, feature: str, bars: int) -> TrainingData:
    matrix = data.matrix.copy()
    (column,) = data.columns([feature])
    for symbol in range(len(data.symbols)):
        rows = np.flatnonzero(data.symbol == symbol)
        matrix[rows[:-bars], column] = matrix[rows[bars:], column]
    return replace(data, matrix=matrix)


def leak_of(
    data: TrainingData, folds: Sequence[Fold], inner: Fold, candidates: Sequence[Candidate]
) -> LeakFoundError:
    with pytest.raises(LeakFoundError) as found:
        guard_training(data, folds, inner, candidates, seed=1)
    return found.value


@pytest.mark.parametrize("target", TargetKind)
@pytest.mark.parametrize("seed", [3, 4])
def test_features_of_the_past_pass(target: TargetKind, seed: int) -> None:
    data = make_data(target, seed)

    guard_features(data, np.arange(len(data)))


def test_every_model_of_the_catalogue_passes() -> None:
    folds, inner = folds_of(VOLATILITY)
    entries = select_entries([], TargetKind.LOG_REALIZED_VARIANCE)

    guard_training(VOLATILITY, folds, inner, [Candidate(it, load_learner(it)) for it in entries], seed=1)


@pytest.mark.parametrize("bars", [1, 3, HORIZON])
@pytest.mark.parametrize(
    ("target", "feature"),
    [
        (TargetKind.LOG_REALIZED_VARIANCE, "return_1"),
        (TargetKind.LOG_REALIZED_VARIANCE, "log_variance_22"),
        (TargetKind.LOG_REALIZED_VARIANCE, "log_abs_return_5"),
        (TargetKind.EXCESS_RETURN, "return_1"),
        (TargetKind.EXCESS_RETURN, "mean_gap_22"),
        (TargetKind.DIRECTION, "mean_gap_22"),
    ],
)
def test_a_feature_from_the_future_is_named(target: TargetKind, feature: str, bars: int) -> None:
    data = make_data(target)

    leak = leak_of(ahead(data, feature, bars), *folds_of(data), [])

    assert leak.leak == Leak.FUTURE_FEATURE
    assert leak.detail.startswith(feature)


def test_a_label_among_the_features_is_named() -> None:
    data = replace(VOLATILITY, matrix=VOLATILITY.matrix.copy())
    data.matrix[:, 3] = np.exp(VOLATILITY.labels / 2)

    leak = leak_of(data, *folds_of(data), [])

    assert (leak.leak, leak.detail.split()[0]) == (Leak.FUTURE_FEATURE, data.feature_names[3])


def test_training_labels_that_reach_into_the_test_are_found() -> None:
    folds, inner = folds_of(VOLATILITY)
    first = VOLATILITY.event_time[inner.test].min()
    unpurged = Fold(np.flatnonzero(VOLATILITY.event_time < first), inner.test)

    leak = leak_of(VOLATILITY, folds, unpurged, [])

    assert leak.leak == Leak.LABEL_CROSSES_SPLIT
    assert leak.detail.startswith(f"{(HORIZON) * SYMBOLS} training labels")


def test_a_split_by_row_is_found() -> None:
    folds, _inner = folds_of(VOLATILITY)
    rows = np.random.default_rng(2).permutation(len(VOLATILITY))

    leak = leak_of(VOLATILITY, folds, Fold(np.sort(rows[200:]), np.sort(rows[:200])), [])

    assert leak.leak == Leak.SPLIT_WITHIN_DATE


@dataclass(frozen=True, slots=True)
class ScalesWithAllRows(Candidate):
    def fit(self, data: TrainingData, rows: Rows, parameters: Parameters, seed: int) -> Fit:
        scaled = (data.matrix - data.matrix.mean(axis=0)) / data.matrix.std(axis=0)
        return Candidate.fit(self, replace(data, matrix=scaled), rows, parameters, seed)


@dataclass(frozen=True, slots=True)
class ReadsItsOwnLabel(Candidate):
    def test(self, data: TrainingData, fold: Fold, parameters: Parameters, seed: int) -> OutOfSample:
        honest = Candidate.test(self, data, fold, parameters, seed)
        return replace(honest, predictions=honest.predictions + 0.5 * data.labels[fold.test])


def test_a_model_that_scales_with_test_rows_is_named() -> None:
    (ridge,) = [it for it in candidates_of("ridge") if it.entry.id == "ridge"]

    leak = leak_of(VOLATILITY, *folds_of(VOLATILITY), [ScalesWithAllRows(ridge.entry, ridge.learner)])

    assert (leak.leak, leak.detail.split()[0]) == (Leak.TEST_ROWS_SEEN, "ridge")


def test_a_model_that_predicts_shuffled_labels_is_named() -> None:
    (ridge,) = [it for it in candidates_of("ridge") if it.entry.id == "ridge"]

    leak = leak_of(VOLATILITY, *folds_of(VOLATILITY), [ReadsItsOwnLabel(ridge.entry, ridge.learner)])

    assert (leak.leak, leak.detail.split()[0]) == (Leak.SHUFFLED_LABELS_PREDICTED, "ridge")
