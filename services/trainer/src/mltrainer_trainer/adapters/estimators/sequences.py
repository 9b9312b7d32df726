"""Regimes of hmmlearn, ruptures and statsmodels: the answer of a row depends on the rows around it."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np
from mltrainer_models.library_state import Plain

from mltrainer_trainer.adapters.estimators.batch import FittedState, Predict
from mltrainer_trainer.adapters.estimators.conventions import Standardiser, import_quietly
from mltrainer_trainer.domain.catalogue import CatalogueEntry
from mltrainer_trainer.domain.learners import FitRequest
from mltrainer_trainer.domain.training_data import Floats

_LEARNED = (
    "startprob_",
    "transmat_",
    "means_",
    "_covars_",
    "covars_",
    "weights_",
    "emissionprob_",
    "n_features",
)


def _code(entry: CatalogueEntry) -> Any:
    module, _, name = entry.import_path.partition(":")
    return getattr(import_quietly(module), name)


@dataclass(frozen=True, slots=True)
class HiddenMarkovLibrary:
    """Hidden Markov models of hmmlearn: the answer is the state of each row on the likeliest way."""

    entry: CatalogueEntry

    def fit(self, request: FitRequest) -> FittedState:
        """Fits standardised rows."""
        standardiser = Standardiser.of(request.matrix)
        rows = standardiser.apply(request.matrix)
        edges = np.quantile(rows[:, 0], (0.2, 0.4, 0.6, 0.8))
        parameters = dict(request.parameters)
        model = _code(self.entry)(**parameters, random_state=request.seed % 2**31)
        model.fit(self._seen(rows, edges))
        learned = {name: vars(model)[name] for name in _LEARNED if name in vars(model)}
        state = {
            "parameters": parameters,
            "mean": standardiser.mean,
            "scale": standardiser.scale,
            "edges": edges,
            "learned": learned,
        }

        def by_library(matrix: Floats) -> Floats:
            found = model.predict(self._seen(standardiser.apply(matrix), edges))
            return np.asarray(found, np.float64)

        return FittedState(state, by_library)

    def restore(self, state: Plain) -> Predict:
        """Makes the model again and gives it what it learned."""
        model = _code(self.entry)(**state["parameters"])
        for name, value in state["learned"].items():
            if name not in _LEARNED:
                raise ValueError(f"nothing is learned as {name!r}")
            vars(model)[name] = value
        standardiser = Standardiser(state["mean"], state["scale"])

        def predict(matrix: Floats) -> Floats:
            found = model.predict(self._seen(standardiser.apply(matrix), state["edges"]))
            return np.asarray(found, np.float64)

        return predict

    def _seen(self, rows: Floats, edges: Floats) -> Any:
        """Shows fifths of the first column to a model of categories, the rows to others."""
        if self.entry.import_path.endswith("CategoricalHMM"):
            return np.searchsorted(edges, rows[:, :1])
        return rows


@dataclass(frozen=True, slots=True)
class ChangePointLibrary:
    """Change points of ruptures: spreads and a penalty are learned, segments are numbered."""

    entry: CatalogueEntry

    def fit(self, request: FitRequest) -> FittedState:
        """Measures the columns and what a change point must explain."""
        standardiser = Standardiser.of(request.matrix)
        parameters = dict(request.parameters)
        strictness = float(str(parameters.pop("strictness")))
        penalty = strictness * log(len(request.matrix)) * request.matrix.shape[1]
        state = {
            "parameters": parameters,
            "mean": standardiser.mean,
            "scale": standardiser.scale,
            "penalty": penalty,
        }
        self.restore(state)(request.matrix)
        return FittedState(state, self.restore(state))

    def restore(self, state: Plain) -> Predict:
        """Cuts other rows with the same penalty."""
        standardiser = Standardiser(state["mean"], state["scale"])

        def predict(matrix: Floats) -> Floats:
            found = _code(self.entry)(**state["parameters"]).fit(standardiser.apply(matrix))
            ends = found.predict(pen=state["penalty"])
            return np.searchsorted(np.asarray(ends), np.arange(len(matrix)), side="right").astype(np.float64)

        return predict


@dataclass(frozen=True, slots=True)
class SwitchingLibrary:
    """Markov switching of statsmodels: the answer is how likely the last regime is, from the rows so far."""

    entry: CatalogueEntry

    def fit(self, request: FitRequest) -> FittedState:
        """Fits the first column, standardised."""
        standardiser = Standardiser.of(request.matrix[:, :1])
        parameters = dict(request.parameters)
        state = {"parameters": parameters, "mean": standardiser.mean, "scale": standardiser.scale}
        fitted = self._model(state, request.matrix).fit(disp=False, cov_type="none")
        state["estimates"] = np.asarray(fitted.params, np.float64)
        return FittedState(state, self.restore(state))

    def restore(self, state: Plain) -> Predict:
        """Filters other rows with the estimates."""

        def predict(matrix: Floats) -> Floats:
            filtered = self._model(state, matrix).filter(state["estimates"], cov_type="none")
            likely = np.asarray(filtered.filtered_marginal_probabilities, np.float64)[:, -1]
            return np.concatenate([np.full(len(matrix) - len(likely), likely[0]), likely])

        return predict

    def _model(self, state: Mapping[str, Any], matrix: Floats) -> Any:
        column = Standardiser(state["mean"], state["scale"]).apply(matrix[:, :1])
        return _code(self.entry)(column[:, 0], **state["parameters"])
