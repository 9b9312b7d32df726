"""Regressions of statsmodels: robust, quantile and generalised linear ones."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from mltrainer_models import LinearModel

from mltrainer_trainer.adapters.estimators.conventions import (
    UNDESCRIBED,
    ConvertedFit,
    foreign_code,
    import_quietly,
    prepare,
)
from mltrainer_trainer.domain.catalogue import CatalogueEntry
from mltrainer_trainer.domain.learners import FitRequest
from mltrainer_trainer.domain.training_data import Floats


@dataclass(frozen=True, slots=True)
class StatsmodelsLearner:
    """Fits scaled features and a constant."""

    entry: CatalogueEntry
    model_class: Any

    def __call__(self, request: FitRequest) -> ConvertedFit:
        """Fits."""
        rows = prepare(self.entry, request)
        parameters: dict[str, Any] = dict(request.parameters)
        at_fit = {name: parameters.pop(name) for name in ("q",) if name in parameters}
        if "norm" in parameters:
            norms = import_quietly("statsmodels.robust.norms")
            parameters["M"] = getattr(norms, str(parameters.pop("norm")))()
        if "law" in parameters:
            families = import_quietly("statsmodels.genmod.families")
            law = getattr(families, str(parameters.pop("law")))
            parameters["family"] = law(families.links.Log())
        design = np.column_stack([np.ones(len(rows.matrix)), rows.matrix])
        fitted = self.model_class(rows.labels, design, **parameters).fit(**at_fit)
        estimates = np.asarray(fitted.params, np.float64)

        def by_library(matrix: Floats) -> Floats:
            scaled = rows.standardiser.apply(matrix)
            with foreign_code():
                found = np.asarray(fitted.predict(np.column_stack([np.ones(len(scaled)), scaled])))
            return np.log(found) if "family" in parameters else found

        model = LinearModel(
            UNDESCRIBED, rows.standardiser.mean, rows.standardiser.scale, estimates[1:], float(estimates[0])
        )
        return ConvertedFit(model, by_library)
