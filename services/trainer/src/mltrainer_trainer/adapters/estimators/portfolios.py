"""Portfolios of skfolio: the weights are the model, and a row of returns gives the portfolio's return."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from mltrainer_models import LinearModel

from mltrainer_trainer.adapters.estimators.conventions import (
    UNDESCRIBED,
    ConvertedFit,
    foreign_code,
    import_quietly,
)
from mltrainer_trainer.domain.catalogue import CatalogueEntry
from mltrainer_trainer.domain.learners import FitRequest
from mltrainer_trainer.domain.training_data import Floats


@dataclass(frozen=True, slots=True)
class PortfolioLearner:
    """Optimises weights on the returns of assets."""

    entry: CatalogueEntry
    estimator_class: Any

    def __call__(self, request: FitRequest) -> ConvertedFit:
        """Fits."""
        estimator = self.estimator_class(**_resolved(request))
        estimator.fit(request.matrix[-self.entry.max_rows :])
        weights = np.asarray(estimator.weights_, np.float64)
        if not np.isfinite(weights).all():
            raise ValueError("a weight is not finite")
        nothing = np.zeros(len(weights))

        def by_library(matrix: Floats) -> Floats:
            with foreign_code():
                return np.asarray(estimator.predict(matrix).returns, np.float64)

        return ConvertedFit(
            LinearModel(UNDESCRIBED, nothing, np.ones(len(weights)), weights, 0.0), by_library
        )


def _resolved(request: FitRequest) -> dict[str, Any]:
    """Turns names of measures and objectives into the library's own."""
    settings: dict[str, Any] = dict(request.parameters)
    if "risk_measure" in settings:
        settings["risk_measure"] = import_quietly("skfolio").RiskMeasure[str(settings["risk_measure"])]
    if "objective_function" in settings:
        functions = import_quietly("skfolio.optimization").ObjectiveFunction
        settings["objective_function"] = functions[str(settings["objective_function"])]
    return settings
