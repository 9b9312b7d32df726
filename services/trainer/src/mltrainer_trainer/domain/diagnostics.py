"""Works out what a report draws: gains, how predictions age, calibration, importance of features."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from mltrainer_models import ArtifactError, ModelArtifact, load_predictor
from mltrainer_models.artifact import DIAGNOSTICS_FILE
from mltrainer_models.diagnostics import (
    CalibrationBin,
    FeatureImportance,
    Gain,
    GainKind,
    LaggedCorrelation,
    ModelDiagnostics,
)

from mltrainer_trainer.domain.inference import hac_mean
from mltrainer_trainer.domain.metrics import OutOfSample, mean_by_date
from mltrainer_trainer.domain.objectives import OBJECTIVES
from mltrainer_trainer.domain.training import TrainingOutcome
from mltrainer_trainer.domain.training_data import Floats, Integers, TrainingData

_DAY_MICROSECONDS = 86_400_000_000
_LAGS = (0, 1, 2, 3, 4, 5, 7, 10, 15, 21, 42, 63)
_FEWEST_DATES = 20
_BINS = 10
# Of the last fit: enough to rank features, few enough to cost next to nothing.
_IMPORTANCE_ROWS = 1_000
_SHUFFLES = 3


def with_diagnostics(outcome: TrainingOutcome, data: TrainingData, seed: int) -> TrainingOutcome:
    """Has the figures of a report travel with the model; they are no part of its identity."""
    tested = outcome.out_of_sample[outcome.chosen.catalogue_id]
    name = outcome.verdict.baseline if outcome.verdict.baseline != outcome.chosen.catalogue_id else ""
    figures = diagnose(data, tested, outcome.artifact, seed)
    if name in outcome.out_of_sample:
        figures = _beside(figures, data, tested, name, outcome.out_of_sample[name])
    files = {**outcome.artifact.files, DIAGNOSTICS_FILE: figures.to_bytes()}
    return replace(outcome, artifact=ModelArtifact(files))


def diagnose(data: TrainingData, tested: OutOfSample, artifact: ModelArtifact, seed: int) -> ModelDiagnostics:
    """Works out the figures of a model from what it predicted out of sample, and from its last fit."""
    objective = OBJECTIVES[data.target]
    kind, gains = _gains(data, tested, replace(tested, predictions=tested.training_mean))
    net = objective.net_gains(tested, data.horizon_bars) if objective.net_gains else ()
    return ModelDiagnostics(
        kind,
        gains,
        () if objective.holds_apart else _correlations(data, tested),
        _calibration(tested, data.horizon_bars) if objective.forecasts else (),
        _importance(data, artifact, seed) if objective.writes_forecasts else (),
        tuple(map(float, net)),
    )


def _beside(
    figures: ModelDiagnostics, data: TrainingData, tested: OutOfSample, name: str, baseline: OutOfSample
) -> ModelDiagnostics:
    """Holds the figures against the baseline of the verdict: the same rows, and the same loss or costs."""
    objective = OBJECTIVES[data.target]
    if objective.net_gains is None:
        return replace(figures, baseline=name, gains=_gains(data, tested, baseline)[1])
    net = objective.net_gains(baseline, data.horizon_bars)
    return replace(figures, baseline=name, baseline_gains=tuple(map(float, net)))


def _gains(
    data: TrainingData, tested: OutOfSample, baseline: OutOfSample
) -> tuple[GainKind, tuple[Gain, ...]]:
    dates = np.unique(tested.date)
    days = np.unique(data.event_time)[dates] // _DAY_MICROSECONDS
    objective = OBJECTIVES[data.target]
    if objective.gains is not None:
        values = objective.gains(tested, data.horizon_bars)
        return GainKind.STRATEGY_RETURN, _by_day(days[:: objective.overlap_bars(data.horizon_bars)], values)
    difference = baseline.losses - tested.losses
    return GainKind.LOSS_DIFFERENCE, _by_day(days, mean_by_date(tested.date, difference))


def _by_day(days: Integers, values: Floats) -> tuple[Gain, ...]:
    return tuple(Gain(int(day), float(value)) for day, value in zip(days, values, strict=True))


def _correlations(data: TrainingData, tested: OutOfSample) -> tuple[LaggedCorrelation, ...]:
    rows = np.flatnonzero(np.isin(data.date, np.unique(tested.date)))
    if len(rows) != len(tested):
        return ()
    dates = np.unique(tested.date, return_inverse=True)[1]
    shape = (int(dates.max()) + 1, len(data.symbols))
    predictions, labels = np.full(shape, np.nan), np.full(shape, np.nan)
    predictions[dates, data.symbol[rows]] = tested.predictions
    labels[dates, data.symbol[rows]] = tested.labels
    found = []
    for lag in _LAGS:
        if shape[0] - lag < _FEWEST_DATES:
            break
        values = _correlation_by_row(predictions[: shape[0] - lag], labels[lag:])
        estimate = hac_mean(values, data.horizon_bars - 1)
        found.append(LaggedCorrelation(lag, estimate.mean, estimate.standard_error))
    return tuple(found)


def _correlation_by_row(left: Floats, right: Floats) -> Floats:
    """Correlates what both have in each row; rows without spread count as zero."""
    missing = np.isnan(left) | np.isnan(right)
    count = np.maximum((~missing).sum(axis=1, keepdims=True), 1)
    sides = []
    for side in (left, right):
        known = np.where(missing, 0.0, side)
        mean = known.sum(axis=1, keepdims=True) / count
        centred = np.where(missing, 0.0, known - mean)
        # Equal values leave rounding noise behind, which means nothing.
        sides.append(np.where(np.abs(centred) <= 1e-12 * np.abs(mean), 0.0, centred))
    products = (sides[0] * sides[1]).sum(axis=1)
    scale = np.sqrt((sides[0] ** 2).sum(axis=1) * (sides[1] ** 2).sum(axis=1))
    return np.asarray(np.divide(products, scale, out=np.zeros_like(products), where=scale > 0))


def _calibration(tested: OutOfSample, horizon_bars: int) -> tuple[CalibrationBin, ...]:
    edges = np.unique(np.quantile(tested.predictions, np.linspace(0, 1, _BINS + 1)[1:-1]))
    bins = np.searchsorted(edges, tested.predictions, side="right")
    found = []
    for number in np.unique(bins):
        rows = bins == number
        observed = mean_by_date(tested.date[rows], tested.labels[rows])
        error = hac_mean(observed, horizon_bars - 1).standard_error if len(observed) > 1 else 0.0
        predicted, label = tested.predictions[rows].mean(), tested.labels[rows].mean()
        found.append(CalibrationBin(int(rows.sum()), float(predicted), float(label), float(error)))
    return tuple(found)


def _importance(data: TrainingData, artifact: ModelArtifact, seed: int) -> tuple[FeatureImportance, ...]:
    try:
        predictor = load_predictor(artifact)
    except ArtifactError:
        return ()
    names = predictor.feature_names
    matrix = data.matrix[-_IMPORTANCE_ROWS:, data.columns(names)]
    labels = data.labels[-_IMPORTANCE_ROWS:]
    random = np.random.default_rng(seed % 2**63)
    order = np.array([random.permutation(len(labels)) for _ in range(_SHUFFLES)])
    before = _error(predictor.predict, matrix, labels)
    if not before > 0:
        return ()
    importance = []
    for column, name in enumerate(names):
        increases = []
        for rows in order:
            shuffled = matrix.copy()
            shuffled[:, column] = shuffled[rows, column]
            increases.append(_error(predictor.predict, shuffled, labels) / before - 1.0)
        importance.append(FeatureImportance(name, float(np.mean(increases)), float(np.std(increases))))
    finite = [one for one in importance if np.isfinite([one.increase, one.spread]).all()]
    return tuple(sorted(finite, key=lambda one: (-one.increase, one.feature)))


def _error(predict: Callable[[Floats], Floats], matrix: Floats, labels: Floats) -> float:
    return float(((predict(np.ascontiguousarray(matrix)) - labels) ** 2).mean())
