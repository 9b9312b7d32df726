"""Linear models of scikit-learn, and of libraries that name their coefficients as it does."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from mltrainer_models import LinearModel, Link

from mltrainer_trainer.adapters.estimators.conventions import (
    UNDESCRIBED,
    ConvertedFit,
    build,
    foreign_code,
    prepare,
)
from mltrainer_trainer.domain.catalogue import CatalogueEntry, LabelSign, Task
from mltrainer_trainer.domain.learners import FitRequest
from mltrainer_trainer.domain.training_data import Floats


@dataclass(frozen=True, slots=True)
class LinearLearner:
    """Fits and takes the coefficients out."""

    entry: CatalogueEntry
    estimator_class: Any

    def __call__(self, request: FitRequest) -> ConvertedFit:
        """Fits."""
        rows = prepare(self.entry, request)
        estimator = build(self.estimator_class, _within(request), request.seed, self.entry)
        estimator.fit(rows.matrix, rows.labels)
        holder = getattr(estimator, "estimator_", estimator)
        coefficients = np.ravel(np.asarray(holder.coef_, np.float64))
        intercept = float(np.ravel(holder.intercept_)[0])
        # Partial least squares keep the mean of their training rows apart.
        shift = getattr(holder, "_x_mean", None)
        if shift is not None:
            intercept -= float(coefficients @ shift)
        model = LinearModel(
            UNDESCRIBED,
            rows.standardiser.mean,
            rows.standardiser.scale,
            coefficients,
            intercept,
            Link(self.entry.link),
        )

        def by_library(matrix: Floats) -> Floats:
            with foreign_code():
                return _predict(self.entry, estimator, rows.standardiser.apply(matrix))

        return ConvertedFit(model, by_library)


def _within(request: FitRequest) -> dict[str, Any]:
    """Asks for no more coefficients or components than there are columns."""
    width = request.matrix.shape[1]
    return {
        name: min(int(str(value)), width) if name in {"n_nonzero_coefs", "n_components"} else value
        for name, value in request.parameters.items()
    }


def _predict(entry: CatalogueEntry, estimator: Any, matrix: Floats) -> Floats:
    if entry.task is Task.CLASSIFICATION:
        scores = np.ravel(estimator.decision_function(matrix))
        return np.asarray(1.0 / (1.0 + np.exp(-scores)))
    predictions = np.ravel(np.asarray(estimator.predict(matrix), np.float64))
    return np.log(predictions) if entry.label_sign is LabelSign.POSITIVE else predictions
