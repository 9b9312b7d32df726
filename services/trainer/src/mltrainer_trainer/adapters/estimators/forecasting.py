"""Forecasts of one series by statsmodels and statsforecast: row i of an answer is step i + 1 from the fit."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from mltrainer_models.library_state import Plain

from mltrainer_trainer.adapters.estimators.batch import FittedState, Predict
from mltrainer_trainer.adapters.estimators.conventions import import_quietly
from mltrainer_trainer.adapters.estimators.object_state import put_together, take_apart
from mltrainer_trainer.domain.catalogue import CatalogueEntry, Parameters
from mltrainer_trainer.domain.learners import FitRequest
from mltrainer_trainer.domain.training_data import Floats


def _code(entry: CatalogueEntry) -> Any:
    module, _, name = entry.import_path.partition(":")
    return getattr(import_quietly(module), name)


def _with_orders(parameters: Parameters) -> dict[str, Any]:
    """Spells what libraries want as tuples and the catalogue has as plain numbers."""
    settings: dict[str, Any] = dict(parameters)
    if "p" in settings:
        settings["order"] = tuple(int(settings.pop(name)) for name in ("p", "d", "q"))
    if "seasonal_p" in settings:
        seasonal = tuple(int(settings.pop(f"seasonal_{name}")) for name in ("p", "d", "q", "bars"))
        settings["seasonal_order"] = seasonal
    return settings


@dataclass(frozen=True, slots=True)
class StateSpaceLibrary:
    """Models of statsmodels that a filter evaluates: estimates and history are the model."""

    entry: CatalogueEntry

    def fit(self, request: FitRequest) -> FittedState:
        """Fits one series."""
        history = request.matrix[:, 0].copy()
        model = _code(self.entry)(history, **_with_orders(request.parameters))
        silent = {} if "arima.model" in self.entry.import_path else {"disp": False}
        fitted = model.fit(**silent)
        state = {"parameters": dict(request.parameters), "estimates": fitted.params, "history": history}
        return FittedState(state, lambda matrix: np.asarray(fitted.forecast(len(matrix))))

    def restore(self, state: Plain) -> Predict:
        """Filters the history again with the estimates."""
        model = _code(self.entry)(state["history"], **_with_orders(state["parameters"]))
        filtered = model.smooth(state["estimates"])
        return lambda matrix: np.asarray(filtered.forecast(len(matrix)))


@dataclass(frozen=True, slots=True)
class AutoregressionLibrary:
    """Autoregressions of statsmodels by least squares."""

    entry: CatalogueEntry

    def fit(self, request: FitRequest) -> FittedState:
        """Fits one series."""
        history = request.matrix[:, 0].copy()
        fitted = _code(self.entry)(history, **request.parameters).fit()
        state = {"parameters": dict(request.parameters), "estimates": fitted.params, "history": history}
        return FittedState(state, lambda matrix: np.asarray(fitted.forecast(len(matrix))))

    def restore(self, state: Plain) -> Predict:
        """Goes on from the history with the estimates."""
        history, estimates = state["history"], state["estimates"]
        model = _code(self.entry)(history, **state["parameters"])

        def predict(matrix: Floats) -> Floats:
            end = len(history) + len(matrix) - 1
            return np.asarray(model.predict(estimates, start=len(history), end=end))

        return predict


@dataclass(frozen=True, slots=True)
class SmoothingLibrary:
    """Exponential smoothing of statsmodels: smoothing factors, first level and trend, and the history."""

    entry: CatalogueEntry

    def fit(self, request: FitRequest) -> FittedState:
        """Fits one series."""
        history = request.matrix[:, 0].copy()
        model = _code(self.entry)(history, initialization_method="estimated", **request.parameters)
        fitted = model.fit()
        kept = {
            name: float(value)
            for name, value in fitted.params.items()
            if np.ndim(value) == 0 and isinstance(value, float | np.floating) and np.isfinite(value)
        }
        state = {"parameters": dict(request.parameters), "estimates": kept, "history": history}
        return FittedState(state, lambda matrix: np.asarray(fitted.forecast(len(matrix))))

    def restore(self, state: Plain) -> Predict:
        """Smooths the history again with the same factors."""
        found: Mapping[str, float] = state["estimates"]
        first = {name: value for name, value in found.items() if name.startswith("initial_")}
        factors = {
            name: value
            for name, value in found.items()
            if name.startswith(("smoothing_", "damping_")) and name != "smoothing_seasonal"
        }
        model = _code(self.entry)(
            state["history"], initialization_method="known", **first, **state["parameters"]
        )
        fitted = model.fit(optimized=False, **factors)
        return lambda matrix: np.asarray(fitted.forecast(len(matrix)))


@dataclass(frozen=True, slots=True)
class StatsforecastLibrary:
    """Models of statsforecast, which keep what they learned in one attribute."""

    entry: CatalogueEntry

    def fit(self, request: FitRequest) -> FittedState:
        """Fits one series."""
        model = _code(self.entry)(**_with_orders(request.parameters))
        model.fit(y=request.matrix[:, 0].copy())
        state = {
            "parameters": dict(request.parameters),
            "learned": take_apart(model.model_, self.entry.state_types),
        }
        return FittedState(state, lambda matrix: _mean(model, matrix))

    def restore(self, state: Plain) -> Predict:
        """Makes the model again and gives it what it learned."""
        model = _code(self.entry)(**_with_orders(state["parameters"]))
        model.model_ = put_together(state["learned"])
        return lambda matrix: _mean(model, matrix)


def _mean(model: Any, matrix: Floats) -> Floats:
    return np.asarray(model.predict(h=len(matrix))["mean"], np.float64)
