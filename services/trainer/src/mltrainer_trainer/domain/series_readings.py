"""Reads models of one series on a panel: each symbol has its own, and training rows tie it to the label."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from mltrainer_models import LibraryModel, ModelDescription
from mltrainer_models.library_state import Plain

from mltrainer_trainer.domain.catalogue import CatalogueEntry
from mltrainer_trainer.domain.learners import Fit, FitRequest, FittedModel, Learner
from mltrainer_trainer.domain.panel_fits import Settings, own_columns
from mltrainer_trainer.domain.training_data import Floats, Rows, TrainingData

# Series that are forecast: older values say little and cost much.
_LONGEST_SERIES = 260
_LEAST_VARIANCE = 1e-12


@dataclass(frozen=True, eq=False, slots=True)
class SeriesFits:
    """A model per symbol, and the line from what it says to the label.

    Without `ends` a model answers for each row of a series it is shown; otherwise it forecasts on from the
    end of what it learned, the date of its symbol in `ends`, whose time is in `end_times`.
    """

    entry: CatalogueEntry
    fits: Mapping[int, Fit]
    symbols: tuple[str, ...]
    intercept: float = 0.0
    slope: float = 1.0
    ends: Mapping[int, int] = field(default_factory=dict)
    end_times: Mapping[int, int] = field(default_factory=dict)

    def predict(self, data: TrainingData, rows: Rows) -> Floats:
        """Predicts each symbol by its own model; one that was not learned has no forecast."""
        predictions = np.full(len(rows), np.nan)
        for code in np.unique(data.symbol[rows]):
            if int(code) in self.fits:
                own = np.flatnonzero(data.symbol[rows] == code)
                predictions[own] = self._say(int(code), data, rows[own])
        return np.asarray(self.intercept + self.slope * predictions)

    def _say(self, code: int, data: TrainingData, rows: Rows) -> Floats:
        if not self.ends:
            return log_variances(self.entry, self.fits[code], data, rows)
        steps = -(-(data.date[rows] - self.ends[code]) // data.horizon_bars)
        ahead = self.fits[code].predict(np.zeros((max(int(steps.max()), 1), 1)))
        return np.asarray(ahead[np.maximum(steps, 1) - 1])

    def to_model(self, description: ModelDescription) -> FittedModel:
        """Writes the states of all symbols and the line down."""
        states = {self.symbols[code]: _state_of(fit, description) for code, fit in self.fits.items()}
        ends = {self.symbols[code]: time for code, time in self.end_times.items()}
        line = {"intercept": self.intercept, "slope": self.slope}
        return LibraryModel(description, {"series": states, "end_times": ends, **line})

    def inputs(self, data: TrainingData) -> tuple[tuple[str, ...], Floats]:
        """Names the series."""
        return self.entry.columns(data.feature_names), own_columns(self.entry, data, np.arange(len(data)))


def _state_of(fit: Fit, description: ModelDescription) -> Plain:
    model = fit.to_model(description)
    if not isinstance(model, LibraryModel):
        raise TypeError(f"{description.catalogue_id} keeps no state")
    return model.state


def log_variances(entry: CatalogueEntry, fit: Fit, data: TrainingData, rows: Rows) -> Floats:
    """Asks for the log variance of the bar after each row of one symbol, from its returns up to the row."""
    last = data.date[rows].max()
    series = np.flatnonzero((data.symbol == data.symbol[rows[0]]) & (data.date <= last))
    returns = 100.0 * own_columns(entry, data, series)
    # The answer of a row is from the rows before it: one more row, whatever its value, has the next bar's.
    variances = fit.predict(np.vstack([returns, returns[-1:]]))[1:]
    found: Floats = np.log(np.maximum(variances[np.searchsorted(series, rows)], _LEAST_VARIANCE))
    return found


def read_volatility(
    entry: CatalogueEntry, learner: Learner, data: TrainingData, rows: Rows, settings: Settings
) -> SeriesFits:
    """Fits the returns of each symbol, then one line from the log variance of the next bar to the label."""

    def request(own: Rows) -> FitRequest:
        returns = 100.0 * own_columns(entry, data, own)
        return FitRequest(returns, returns[:, 0], settings.parameters, data.horizon_bars, settings.seed)

    fits = _fit_each(learner, data, rows, request)
    plain = SeriesFits(entry, fits, data.symbols)
    said = plain.predict(data, rows)
    known = np.isfinite(said)
    slope, intercept = _line(said[known], data.labels[rows][known])
    return replace(plain, intercept=intercept, slope=slope)


def read_series(
    entry: CatalogueEntry, learner: Learner, data: TrainingData, rows: Rows, settings: Settings
) -> SeriesFits:
    """Fits the labels of each symbol, so far apart that they do not overlap, up to the last known one."""
    last = {int(code): rows[data.symbol[rows] == code][-1] for code in np.unique(data.symbol[rows])}

    def request(own: Rows) -> FitRequest:
        apart = own[(data.date[own[-1]] - data.date[own]) % data.horizon_bars == 0][-_LONGEST_SERIES:]
        series = data.labels[apart]
        return FitRequest(
            series[:, np.newaxis], series, settings.parameters, data.horizon_bars, settings.seed
        )

    return SeriesFits(
        entry,
        _fit_each(learner, data, rows, request),
        data.symbols,
        ends={code: int(data.date[row]) for code, row in last.items()},
        end_times={code: int(data.event_time[row]) for code, row in last.items()},
    )


def _fit_each(
    learner: Learner, data: TrainingData, rows: Rows, request: Callable[[Rows], FitRequest]
) -> dict[int, Fit]:
    return {
        int(code): learner(request(rows[data.symbol[rows] == code])) for code in np.unique(data.symbol[rows])
    }


def _line(said: Floats, labels: Floats) -> tuple[float, float]:
    """Fits slope and intercept by least squares; a flat line where nothing varies."""
    centred = said - said.mean()
    spread = float(centred @ centred)
    slope = float(centred @ labels) / spread if spread > 1e-12 * len(said) else 0.0
    return slope, float(labels.mean()) - slope * float(said.mean())
