"""Scores of out-of-sample predictions."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mltrainer_trainer.domain.inference import MeanEstimate, hac_mean
from mltrainer_trainer.domain.training_data import Floats, Integers

_LARGEST_EXPONENT = 50.0


def squared_errors(result: "OutOfSample") -> Floats:
    """The loss of forecasts of a label."""
    return result.squared_errors


@dataclass(frozen=True, eq=False, slots=True)
class OutOfSample:
    """Predictions for test rows, with the mean label of the training rows behind each of them.

    Without `symbol` nothing is known of turnover and costs. `loss` gives a number per row; models are
    compared by its mean over the rows of each date.
    """

    date: Integers
    labels: Floats
    predictions: Floats
    training_mean: Floats
    symbol: Integers | None = None
    loss: Callable[["OutOfSample"], Floats] = squared_errors

    def __len__(self) -> int:
        """Counts the rows."""
        return len(self.labels)

    @property
    def squared_errors(self) -> Floats:
        """How far predictions are from labels."""
        return (self.labels - self.predictions) ** 2

    @property
    def losses(self) -> Floats:
        """What models are compared by."""
        return self.loss(self)


def joined(parts: list[OutOfSample]) -> OutOfSample:
    """Pools the rows of several folds."""
    symbols = [part.symbol for part in parts if part.symbol is not None]
    return OutOfSample(
        np.concatenate([part.date for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.predictions for part in parts]),
        np.concatenate([part.training_mean for part in parts]),
        None if not symbols or len(symbols) < len(parts) else np.concatenate(symbols),
        parts[0].loss,
    )


def r_squared(result: OutOfSample) -> float:
    """Compares squared errors with those of the training mean of each fold."""
    reference = float(((result.labels - result.training_mean) ** 2).sum())
    return 1 - float(result.squared_errors.sum()) / reference if reference > 0 else 0.0


def root_mean_squared_error(result: OutOfSample) -> float:
    """Root of the mean squared error."""
    return float(np.sqrt(result.squared_errors.mean()))


def qlike(result: OutOfSample) -> float:
    """Mean of exp(e) - e - 1, e = label - prediction capped at 50: the loss of log variances."""
    return float(qlike_losses(result).mean())


def qlike_losses(result: OutOfSample) -> Floats:
    """The same per row."""
    errors = np.minimum(result.labels - result.predictions, _LARGEST_EXPONENT)
    return np.asarray(np.exp(errors) - errors - 1)


def information_coefficient(result: OutOfSample, horizon_bars: int, *, of_ranks: bool) -> MeanEstimate:
    """Averages the correlation of prediction and label over dates; a date without spread counts as zero."""
    predictions, labels = result.predictions, result.labels
    if of_ranks:
        predictions, labels = (ranked_by_date(result.date, values) for values in (predictions, labels))
    return hac_mean(correlation_by_date(result.date, predictions, labels), horizon_bars - 1)


def mean_by_date(date: Integers, values: Floats) -> Floats:
    """Averages over the rows of each date, in time order."""
    numbers = np.unique(date, return_inverse=True)[1]
    return np.asarray(np.bincount(numbers, weights=values) / np.bincount(numbers))


def strategy_returns(result: OutOfSample, horizon_bars: int) -> Floats:
    """Returns of holding each date's predictions, less their mean, scaled to one unit, for one horizon.

    Only every `horizon_bars`-th date counts, so that no two holding periods overlap.
    """
    numbers = np.unique(result.date, return_inverse=True)[1]
    weights = centred_by_date(result.date, result.predictions)
    gross = np.bincount(numbers, weights=np.abs(weights))
    gains = np.bincount(numbers, weights=weights * result.labels)
    returns = np.divide(gains, gross, out=np.zeros_like(gains), where=gross > 0)
    return np.asarray(returns[::horizon_bars])


def sum_by_date(date: Integers, values: Floats) -> Floats:
    """Adds up the rows of each date, in time order."""
    return np.asarray(np.bincount(np.unique(date, return_inverse=True)[1], weights=values), dtype=np.float64)


def ranked_by_date(date: Integers, values: Floats) -> Floats:
    """Ranks as `average_ranks` within each date, all dates at once: one by one costs more than many a fit."""
    order = np.lexsort((values, date))
    place, dates, ordered = np.arange(len(order)), date[order], values[order]
    begins_date = np.append([True], dates[1:] != dates[:-1])
    begins_tie = begins_date | np.append([True], ordered[1:] != ordered[:-1])
    before = np.maximum.accumulate(np.where(begins_date, place, 0))
    tie = np.cumsum(begins_tie) - 1
    shared = (place - before)[begins_tie] + (np.bincount(tie) + 1) / 2
    ranks = np.empty(len(order))
    ranks[order] = shared[tie]
    return ranks


def average_ranks(values: Floats) -> Floats:
    """Ranks from 1, equal values sharing their mean rank; `scipy.stats` costs seconds to import."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[group])


def correlation_by_date(date: Integers, left: Floats, right: Floats) -> Floats:
    """Correlates within each date, in time order; a date without spread counts as zero."""
    numbers = np.unique(date, return_inverse=True)[1]
    left, right = centred_by_date(date, left), centred_by_date(date, right)
    products, lefts, rights = (
        np.bincount(numbers, weights=values) for values in (left * right, left**2, right**2)
    )
    scale = np.sqrt(lefts * rights)
    return np.asarray(np.divide(products, scale, out=np.zeros_like(products), where=scale > 0))


def centred_by_date(date: Integers, values: Floats) -> Floats:
    """Takes the mean of each date away."""
    numbers = np.unique(date, return_inverse=True)[1]
    centred = values - mean_by_date(date, values)[numbers]
    # Equal values leave rounding noise behind, which means nothing.
    return np.where(np.abs(centred) <= 1e-12 * np.abs(values), 0.0, centred)
