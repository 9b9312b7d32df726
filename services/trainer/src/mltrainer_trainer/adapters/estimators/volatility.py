"""Volatility models of arch: the parameters are the model, whatever series it is given."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from mltrainer_models.library_state import Plain

from mltrainer_trainer.adapters.estimators.batch import FittedState, Predict
from mltrainer_trainer.adapters.estimators.conventions import import_quietly
from mltrainer_trainer.domain.catalogue import CatalogueEntry, Parameters
from mltrainer_trainer.domain.learners import FitRequest
from mltrainer_trainer.domain.training_data import Floats

_LAGS = {"HARX": [1, 5, 22], "ARX": [1]}


@dataclass(frozen=True, slots=True)
class ArchLibrary:
    """Fits by maximum likelihood; predicts the variance of each row from the rows before it."""

    entry: CatalogueEntry

    def fit(self, request: FitRequest) -> FittedState:
        """Fits one series of returns."""
        parameters = {**request.parameters}
        fitted = _model(parameters, request.matrix[:, 0]).fit(disp="off", show_warning=False)
        estimates = np.asarray(fitted.params, np.float64)
        if not np.isfinite(estimates).all() or fitted.convergence_flag not in {0, 9}:
            raise ValueError(f"the likelihood did not converge (flag {fitted.convergence_flag})")
        state = {"parameters": parameters, "estimates": estimates}
        return FittedState(
            state, lambda matrix: _variance(_model(parameters, matrix[:, 0]).fix(fitted.params))
        )

    def restore(self, state: Plain) -> Predict:
        """Uses the estimates for another series."""
        parameters, estimates = state["parameters"], state["estimates"]
        return lambda matrix: _variance(_model(parameters, matrix[:, 0]).fix(estimates))


def _model(parameters: Parameters, returns: Floats) -> Any:
    settings: dict[str, Any] = dict(parameters)
    process, law, mean = settings.pop("volatility"), settings.pop("law"), settings.pop("mean")
    univariate = import_quietly("arch.univariate")
    lags = {"lags": _LAGS[str(mean)]} if mean in _LAGS else {}
    return getattr(univariate, str(mean))(
        np.asarray(returns, np.float64),
        **lags,
        volatility=getattr(univariate, str(process))(**settings),
        distribution=getattr(univariate, str(law))(),
        rescale=False,
    )


def _variance(fixed: Any) -> Floats:
    """Gives one variance per row; the first rows, which have too few before them, repeat the first."""
    variance = np.asarray(fixed.conditional_volatility, np.float64) ** 2
    known = np.flatnonzero(np.isfinite(variance))
    if not len(known):
        raise ValueError("no row has a variance")
    variance[: known[0]] = variance[known[0]]
    return variance
