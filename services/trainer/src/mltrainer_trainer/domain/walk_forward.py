"""Cuts time into folds that never look ahead."""

from dataclasses import dataclass

import numpy as np

from mltrainer_trainer.domain.training_data import Integers, Rows


@dataclass(frozen=True, slots=True)
class EvaluationPlan:
    """When testing starts, how often the model is refitted and how many dates are left out before each test.

    Times are microseconds since 1970. A label that ends at or after the first test time of a fold is never
    trained on; the embargo drops `embargo_bars` further dates.
    """

    first_test_time: int
    refit_interval_bars: int = 252
    embargo_bars: int = 0


@dataclass(frozen=True, eq=False, slots=True)
class Fold:
    """Rows to train on, all known before the first row to test on."""

    train: Rows
    test: Rows


def walk_forward_folds(
    event_time: Integers, label_end_time: Integers, plan: EvaluationPlan
) -> tuple[Fold, ...]:
    """Cuts rows sorted by event time into folds of whole dates; each trains on all that is known before it.

    A date is in one fold for all its symbols. No folds where no row lies at or after the first test time.
    """
    dates = np.unique(event_time)
    test_dates = dates[dates >= plan.first_test_time]
    starts = test_dates[:: plan.refit_interval_bars]
    ends = [*starts, np.iinfo(np.int64).max][1:]
    return tuple(
        Fold(
            train=np.flatnonzero(_is_known(event_time, label_end_time, dates, int(start), plan.embargo_bars)),
            test=np.flatnonzero((event_time >= start) & (event_time < end)),
        )
        for start, end in zip(starts, ends, strict=True)
    )


def validation_folds(
    event_time: Integers,
    label_end_time: Integers,
    plan: EvaluationPlan,
    validation_bars: int,
    fold_count: int = 1,
) -> tuple[Fold, ...]:
    """Cuts off the last `validation_bars` dates before the first test, to choose models with.

    They are cut into `fold_count` successive folds, each trained on what was known before it. Their labels,
    too, are known before the first test time, so no choice has seen what the test asks. At most a third of
    the dates validate.
    """
    dates = np.unique(event_time)
    known = _is_known(event_time, label_end_time, dates, plan.first_test_time, plan.embargo_bars)
    known_dates = np.unique(event_time[known])
    count = min(validation_bars, len(known_dates) // 3)
    if not count:
        return ()
    parts = np.array_split(known_dates[-count:], min(fold_count, count))
    return tuple(
        Fold(
            np.flatnonzero(_is_known(event_time, label_end_time, dates, int(part[0]), plan.embargo_bars)),
            np.flatnonzero(known & (event_time >= part[0]) & (event_time <= part[-1])),
        )
        for part in parts
    )


def _is_known(
    event_time: Integers, label_end_time: Integers, dates: Integers, start: int, embargo_bars: int
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    last = max(int(np.searchsorted(dates, start)) - embargo_bars, 0)
    limit = dates[last] if last < len(dates) else start
    return np.asarray((label_end_time < min(limit, start)) & (event_time < start))
