"""LightGBM with a linear model in every leaf: its own text is the artifact."""

from dataclasses import dataclass

import numpy as np
from mltrainer_models.library_state import Plain

from mltrainer_trainer.adapters.estimators.batch import FittedState, Predict
from mltrainer_trainer.adapters.estimators.conventions import import_quietly
from mltrainer_trainer.domain.catalogue import CatalogueEntry
from mltrainer_trainer.domain.learners import FitRequest


@dataclass(frozen=True, slots=True)
class LinearTreesLibrary:
    """Fits and keeps the text that LightGBM writes."""

    entry: CatalogueEntry

    def fit(self, request: FitRequest) -> FittedState:
        """Fits."""
        library = import_quietly("lightgbm")
        parameters = {**request.parameters, "seed": request.seed % 2**31, "num_threads": 1}
        rounds = parameters.pop("num_iterations")
        dataset = library.Dataset(request.matrix, request.labels, params=parameters)
        booster = library.train(parameters, dataset, rounds)
        return FittedState(
            {"text": booster.model_to_string()},
            lambda matrix: np.asarray(booster.predict(matrix, num_threads=1)),
        )

    def restore(self, state: Plain) -> Predict:
        """Reads the text."""
        booster = import_quietly("lightgbm").Booster(model_str=state["text"])
        return lambda matrix: np.asarray(booster.predict(matrix, num_threads=1))
