"""Scores of probabilities: log-loss, Brier score and how far they are from what happens."""

import numpy as np

from mltrainer_trainer.domain.training_data import Floats

_LEAST = 1e-6
_BINS = 10


def log_losses(labels: Floats, probabilities: Floats) -> Floats:
    """Gives the negative log-likelihood of each label; probabilities are kept within 1e-6 of 0 and 1."""
    kept = np.clip(probabilities, _LEAST, 1 - _LEAST)
    return np.asarray(-(labels * np.log(kept) + (1 - labels) * np.log1p(-kept)))


def brier_losses(labels: Floats, probabilities: Floats) -> Floats:
    """Gives the squared distance of each label from its probability, kept within 0 and 1."""
    return np.asarray((np.clip(probabilities, 0.0, 1.0) - labels) ** 2)


def calibration_error(labels: Floats, probabilities: Floats) -> float:
    """Averages |mean label - mean probability| over ten groups of equal size by rising probability."""
    order = np.argsort(np.clip(probabilities, 0.0, 1.0), kind="stable")
    groups = [rows for rows in np.array_split(order, _BINS) if len(rows)]
    gaps = [len(rows) * abs(float(labels[rows].mean() - probabilities[rows].mean())) for rows in groups]
    return sum(gaps) / len(labels)


def area_under_curve(labels: Floats, scores: Floats) -> float:
    """Gives the chance that a row with label 1 has a higher score than one with label 0; ties count half."""
    positive = labels > 0.5
    count, others = int(positive.sum()), int((~positive).sum())
    if not count or not others:
        return 0.5
    _, group, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[group]
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * others))
