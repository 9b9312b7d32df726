"""Combinatorial purged cross-validation: every choice of some groups of time is tested on the others.

López de Prado, Advances in Financial Machine Learning (2018), chapter 12. Test groups may lie before training
rows, so this is for judging how results vary over paths; verdicts are reached by walk-forward.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

from mltrainer_trainer.domain.training_data import Integers
from mltrainer_trainer.domain.walk_forward import Fold

Marks = NDArray[np.bool_]


@dataclass(frozen=True, eq=False, slots=True)
class CombinatorialFold:
    """A fold whose test rows are those of several groups of successive dates; `groups` numbers them."""

    fold: Fold
    groups: tuple[int, ...]


def combinatorial_folds(
    event_time: Integers,
    label_end_time: Integers,
    group_count: int,
    test_group_count: int,
    embargo_bars: int = 0,
) -> tuple[CombinatorialFold, ...]:
    """Cuts rows sorted by event time; training rows whose label window meets a test window are dropped.

    A test window reaches from the first event of a group to the last end of its labels; further
    `embargo_bars` dates after it are not trained on either.

    Raises:
        ValueError: fewer dates than groups, or not between one and all but one groups to test.
    """
    dates = len(np.unique(event_time))
    if not 1 <= test_group_count < group_count <= dates:
        raise ValueError(f"{test_group_count} of {group_count} groups of {dates} dates")
    group = group_numbers(event_time, group_count)
    near = [_near(event_time, label_end_time, group == one, embargo_bars) for one in range(group_count)]
    return tuple(
        CombinatorialFold(
            Fold(
                np.flatnonzero(~np.any([near[one] for one in chosen], axis=0)),
                np.flatnonzero(np.isin(group, chosen)),
            ),
            chosen,
        )
        for chosen in combinations(range(group_count), test_group_count)
    )


def group_numbers(event_time: Integers, group_count: int) -> Integers:
    """Numbers the group of each row: successive dates, as many in each as can be."""
    dates, number = np.unique(event_time, return_inverse=True)
    sizes = [len(part) for part in np.array_split(dates, group_count)]
    return np.asarray(np.repeat(np.arange(group_count), sizes)[number])


def fold_of_each_group(folds: Sequence[CombinatorialFold], group_count: int) -> tuple[tuple[int, ...], ...]:
    """Says for each path, group by group, which fold tests it; every fold is used once for each group."""
    testing = [[n for n, one in enumerate(folds) if group in one.groups] for group in range(group_count)]
    return tuple(zip(*testing, strict=True))


def path_count(group_count: int, test_group_count: int) -> int:
    """Counts the ways through all groups that the test rows make up."""
    return comb(group_count, test_group_count) * test_group_count // group_count


def _near(event_time: Integers, label_end_time: Integers, rows: Marks, embargo_bars: int) -> Marks:
    """Marks the rows of a group and those that may not be trained on when it is tested."""
    begin, end = event_time[rows].min(), label_end_time[rows].max()
    after = np.unique(event_time[event_time > end])[:embargo_bars]
    last = after[-1] if len(after) else end
    return np.asarray(rows | ((label_end_time >= begin) & (event_time <= last)))
