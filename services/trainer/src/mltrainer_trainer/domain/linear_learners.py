"""Learners of linear models: baselines, ridge and elastic net. HAR is a ridge without penalty."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from mltrainer_models import LinearModel, ModelDescription, ModelTarget

from mltrainer_trainer.domain.learners import FitRequest
from mltrainer_trainer.domain.training_data import Floats

_MAXIMUM_SWEEPS = 1_000
_TOLERANCE = 1e-8
_UNDESCRIBED = ModelDescription("", ModelTarget("", 0), ())


@dataclass(frozen=True, eq=False, slots=True)
class LinearFit:
    """A fitted linear model; it predicts through the very code that serving uses."""

    model: LinearModel

    def predict(self, matrix: Floats) -> Floats:
        """Predicts one number per row."""
        return self.model.evaluate(np.ascontiguousarray(matrix))

    def to_model(self, description: ModelDescription) -> LinearModel:
        """Adds the description."""
        return replace(self.model, description=description)


def fit_zero(request: FitRequest) -> LinearFit:
    """Predicts zero."""
    return _constant(request.matrix.shape[1], 0.0)


def fit_mean(request: FitRequest) -> LinearFit:
    """Predicts the mean label of the training rows."""
    return _constant(request.matrix.shape[1], float(request.labels.mean()))


def fit_column(request: FitRequest) -> LinearFit:
    """Says what its only column says, or the opposite."""
    nothing, one = np.zeros(1), np.ones(1)
    return LinearFit(LinearModel(_UNDESCRIBED, nothing, one, one * _number(request, "sign"), 0.0))


def fit_standard(request: FitRequest) -> LinearFit:
    """Says by how many standard deviations its columns lie above their means, on average."""
    mean, scale = request.matrix.mean(axis=0), request.matrix.std(axis=0)
    shares = np.full(len(mean), 1 / len(mean))
    return LinearFit(LinearModel(_UNDESCRIBED, mean, np.where(scale > 0, scale, 1.0), shares, 0.0))


def fit_equal_weights(request: FitRequest) -> LinearFit:
    """Weighs every asset alike."""
    width = request.matrix.shape[1]
    weights = np.full(width, 1 / width)
    return LinearFit(LinearModel(_UNDESCRIBED, np.zeros(width), np.ones(width), weights, 0.0))


def fit_persistence(request: FitRequest) -> LinearFit:
    """Predicts that the mean daily variance of the last month goes on for the horizon."""
    one = np.ones(1)
    return LinearFit(LinearModel(_UNDESCRIBED, np.zeros(1), one, one, float(np.log(request.horizon_bars))))


def fit_ridge(request: FitRequest) -> LinearFit:
    """Minimises the mean squared error + alpha * squared weights of standardised features."""
    alpha = _number(request, "alpha")
    return _fit_standardised(
        request,
        lambda gram, moment: np.asarray(
            np.linalg.solve(gram + alpha * np.eye(len(gram)), moment), np.float64
        ),
    )


def fit_elastic_net(request: FitRequest) -> LinearFit:
    """Minimises half the mean squared error + strength * (share * |w| + (1 - share) / 2 * w^2)."""
    strength, share = _number(request, "strength"), _number(request, "l1_share")
    return _fit_standardised(
        request, lambda gram, moment: _descend(gram, moment, strength * share, strength * (1 - share))
    )


def _number(request: FitRequest, name: str) -> float:
    value = request.parameters[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"parameter {name} must be a number, not {value!r}")
    return float(value)


def _constant(width: int, value: float) -> LinearFit:
    nothing = np.zeros(width)
    return LinearFit(LinearModel(_UNDESCRIBED, nothing, np.ones(width), nothing, value))


def _fit_standardised(request: FitRequest, solve: Callable[[Floats, Floats], Floats]) -> LinearFit:
    mean, scale = request.matrix.mean(axis=0), request.matrix.std(axis=0)
    # A constant column carries nothing; any scale but zero leaves its weight at zero.
    varies = scale > 1e-12 * np.maximum(np.abs(mean), 1.0)
    scale = np.where(varies, scale, 1.0)
    standard = (request.matrix - mean) / scale
    standard[:, ~varies] = 0.0
    centre = float(request.labels.mean())
    gram = standard.T @ standard / len(standard) + np.diag((~varies).astype(np.float64))
    moment = standard.T @ (request.labels - centre) / len(standard)
    weights = np.where(varies, solve(gram, moment), 0.0)
    return LinearFit(LinearModel(_UNDESCRIBED, mean, scale, weights, centre))


def _descend(gram: Floats, moment: Floats, l1: float, l2: float) -> Floats:
    weights = np.zeros(len(moment))
    for _ in range(_MAXIMUM_SWEEPS):
        largest_step = 0.0
        for column in range(len(moment)):
            pull = moment[column] - gram[column] @ weights + gram[column, column] * weights[column]
            weight = np.sign(pull) * max(abs(pull) - l1, 0.0) / (gram[column, column] + l2)
            largest_step = max(largest_step, abs(weight - weights[column]))
            weights[column] = weight
        if largest_step < _TOLERANCE:
            break
    return weights
