from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mltrainer_trainer.domain.combinatorial import combinatorial_folds, path_count


def panel(dates: int, symbols: int, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    event = np.repeat(np.arange(dates), symbols).astype(np.int64)
    return event, event + horizon


@given(
    dates=st.integers(12, 60),
    symbols=st.integers(1, 3),
    horizon=st.integers(1, 6),
    groups=st.integers(3, 6),
    tested=st.integers(1, 2),
    embargo=st.integers(0, 4),
)
def test_no_training_label_meets_a_test_window_nor_its_embargo(
    dates: int, symbols: int, horizon: int, groups: int, tested: int, embargo: int
) -> None:
    event, end = panel(dates, symbols, horizon)

    for one in combinatorial_folds(event, end, groups, tested, embargo):
        train, test = one.fold.train, one.fold.test
        runs = np.split(np.unique(event[test]), np.flatnonzero(np.diff(np.unique(event[test])) > 1) + 1)
        for run in runs:
            meets = (end[train] >= run[0]) & (event[train] <= run[-1] + horizon + embargo)
            assert not meets.any()


def test_every_choice_of_groups_is_tested_once_and_whole_dates_stay_together() -> None:
    event, end = panel(24, 3, 2)

    folds = combinatorial_folds(event, end, 6, 2)

    assert [one.groups for one in folds] == list(combinations(range(6), 2))
    assert all(len(one.fold.test) == 24 for one in folds)
    assert path_count(6, 2) == 5
    assert np.bincount(np.concatenate([one.fold.test for one in folds])).tolist() == [5] * 72


@pytest.mark.parametrize(("groups", "tested"), [(3, 3), (3, 0), (30, 1)])
def test_groups_that_cannot_be_cut_are_refused(groups: int, tested: int) -> None:
    event, end = panel(24, 1, 1)

    with pytest.raises(ValueError, match="groups of 24 dates"):
        combinatorial_folds(event, end, groups, tested)
