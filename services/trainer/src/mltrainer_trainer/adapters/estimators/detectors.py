"""Outlier detectors of pyod, taken apart to arrays and a short list of types."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from mltrainer_models.library_state import Plain

from mltrainer_trainer.adapters.estimators.batch import FittedState, Predict
from mltrainer_trainer.adapters.estimators.conventions import Standardiser, build, import_quietly
from mltrainer_trainer.adapters.estimators.object_state import put_together, take_apart
from mltrainer_trainer.domain.catalogue import CatalogueEntry
from mltrainer_trainer.domain.learners import FitRequest


@dataclass(frozen=True, slots=True)
class DetectorLibrary:
    """Scores how unlike the training rows each row is; the higher, the stranger."""

    entry: CatalogueEntry

    def fit(self, request: FitRequest) -> FittedState:
        """Fits standardised rows, the last ones that the entry allows."""
        rows = request.matrix[-self.entry.max_rows :] if self.entry.max_rows else request.matrix
        standardiser = Standardiser.of(rows)
        module, _, name = self.entry.import_path.partition(":")
        kind = getattr(import_quietly(module), name)
        detector = build(kind, request.parameters, request.seed, self.entry)
        detector.fit(standardiser.apply(rows))
        state = {
            "mean": standardiser.mean,
            "scale": standardiser.scale,
            "detector": take_apart(detector, self.entry.state_types),
        }
        return FittedState(state, _scores(detector, standardiser))

    def restore(self, state: Plain) -> Predict:
        """Puts the detector together."""
        return _scores(put_together(state["detector"]), Standardiser(state["mean"], state["scale"]))


def _scores(detector: Any, standardiser: Standardiser) -> Predict:
    return lambda matrix: np.asarray(detector.decision_function(standardiser.apply(matrix)), np.float64)
