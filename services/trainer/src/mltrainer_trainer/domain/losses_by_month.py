"""Losses by month: what configurations are compared by."""

from collections.abc import Sequence

import numpy as np

from mltrainer_trainer.domain.inference import hac_mean
from mltrainer_trainer.domain.metrics import OutOfSample
from mltrainer_trainer.domain.search import MonthlyLoss
from mltrainer_trainer.domain.training_data import Floats, Integers

# A configuration is better than another where its losses by month are lower by this many standard errors.
_BEATEN_T = 1.0
_FEWEST_MONTHS = 2


def monthly_losses(months: Integers, result: OutOfSample) -> tuple[MonthlyLoss, ...]:
    """Averages losses over the rows of each month; `months` are those of the dates."""
    present, numbers = np.unique(months[result.date], return_inverse=True)
    losses: Floats = np.bincount(numbers, weights=result.losses) / np.bincount(numbers)
    return tuple(MonthlyLoss(int(month), float(loss)) for month, loss in zip(present, losses, strict=True))


def is_beaten(losses: Sequence[MonthlyLoss], by: Sequence[MonthlyLoss]) -> bool:
    """Tells whether losses are higher by a standard error, over the months that both know."""
    others = {it.month: it.loss for it in by}
    excess = np.array([it.loss - others[it.month] for it in losses if it.month in others])
    return len(excess) > _FEWEST_MONTHS and hac_mean(excess).t_statistic > _BEATEN_T
